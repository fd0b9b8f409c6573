"""Which passes a field gets: fused kernels on a GPU, tiles everywhere else. The one place that decides."""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch

from medfuncta_core.errors import ConfigError
from medfuncta_core.fields.passes import FieldPasses
from medfuncta_core.fields.siren import ModulatedSIREN
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
        field: On a GPU that Triton knows and in float32, it gets the fused kernels; else, PyTorch in tiles.
        precision: Of the kernels' products; `chosen_precision()` when None.
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
        return FieldPasses(field)
    from medfuncta_core.fields.cuda_passes import CudaPasses

    return CudaPasses(field, precision=precision or chosen_precision())
