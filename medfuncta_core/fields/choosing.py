"""Which passes a field gets: fused kernels on a GPU, compiled ones on a CPU, PyTorch in tiles where neither can be. The one place
that decides.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch

from medfuncta_core.errors import ConfigError
from medfuncta_core.fields.native_passes import NativePasses
from medfuncta_core.fields.passes import FieldPasses
from medfuncta_core.fields.products import compiled_products
from medfuncta_core.fields.siren import ModulatedSIREN
from medfuncta_core.kernels import native
from medfuncta_core.kernels.precision import PRECISIONS, Precision

PRECISION_VARIABLE = "MEDFUNCTA_PRECISION"
OLDEST_CAPABILITY = (8, 0)  # Ampere: TF32
WIDEST = 1024  # hidden units: the last layer's kernel holds whole rows


def chosen_precision() -> Precision:
    """The matrix products' precision on a GPU: what MEDFUNCTA_PRECISION says, float32 where it is not set.

    Raises:
        ConfigError: when it says something else than a precision's name.
    """
    name = os.environ.get(PRECISION_VARIABLE, "float32")
    for precision in PRECISIONS:
        if precision == name:
            return precision
    raise ConfigError(f"{PRECISION_VARIABLE} is {name!r}; set it to one of {', '.join(PRECISIONS)}")


def passes_for(field: ModulatedSIREN, *, precision: Precision | None = None) -> FieldPasses:
    """Passes of a field where it lies.

    Args:
        field: In float32, on a GPU that Triton knows or on a CPU that has a compiler, it gets kernels; else, PyTorch in tiles.
        precision: Of the GPU kernels' products; `chosen_precision()` when None.

    Raises:
        ConfigError: when MEDFUNCTA_PRODUCTS or MEDFUNCTA_PRECISION asks for what there is not.
    """
    weight = field.first_weight
    fused = (
        weight.device.type == "cuda"
        and weight.dtype == torch.float32
        and field.config.width <= WIDEST
        and find_spec("triton") is not None
        and torch.cuda.get_device_capability(weight.device) >= OLDEST_CAPABILITY
    )
    if not fused:
        library = native.library() if compiled_products() else None
        if library is None or not NativePasses.can_take(field, library):
            return FieldPasses(field)
        return NativePasses(field, library)
    from medfuncta_core.fields.cuda_passes import CudaPasses

    return CudaPasses(field, precision=precision or chosen_precision())
