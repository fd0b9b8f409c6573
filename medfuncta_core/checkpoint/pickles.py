"""PyTorch files by other hands, read without running anything from them.

`torch.load(weights_only=True)` builds only tensors, plain containers and the few names on an allow-list. The published
implementation pickles whole modules, so its four class names are on that list, each standing for an inert holder of attributes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from medfuncta_core.errors import CheckpointError


class Inert:
    """Stands in for a foreign class: keeps the attributes its pickle sets, and does nothing."""


MODULE_NAMES = (
    "models.inrs.LatentModulatedSIREN",
    "models.layers.LatentModulatedSIRENLayer",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.linear.Linear",
)


def read_pickle(path: str | Path, *, modules: bool = False) -> Any:
    """The content of a `torch.save` file, on the CPU.

    Args:
        path: A zip or legacy PyTorch file.
        modules: Also accept the published implementation's pickled modules, as `Inert` objects.

    Raises:
        CheckpointError: when the file is missing, truncated or no PyTorch file, and when it asks for any other class or function,
            which is then neither imported nor called.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; check the path")
    allowed = [(Inert, name) for name in MODULE_NAMES] if modules else []
    try:
        with torch.serialization.safe_globals(allowed):  # type: ignore[arg-type]  (pairs of class and name are accepted)
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or damaged pickle can fail in any way at all; none may reach the user as a traceback
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked:
            raise CheckpointError(
                f"{path}: refused, because it asks for {asked[1]}, which weights never need; do not open it elsewhere either"
            ) from error
        raise CheckpointError(
            f"{path}: truncated, or not a file of PyTorch weights; copy it again from where it came from"
        ) from error


def as_tensor(value: Any, what: str) -> torch.Tensor:
    """A plain, finite float32 tensor from a foreign file.

    Args:
        value: What the file has at this place.
        what: File and place, for the message.

    Raises:
        CheckpointError: when it is no dense floating-point tensor, has fewer numbers than its shape claims, or is not finite.
    """
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or not value.is_floating_point():
        raise CheckpointError(f"{what}: not a tensor of real numbers; this is no file of the published implementation")
    if value.device.type != "cpu" or value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CheckpointError(f"{what}: claims more numbers than the file holds; copy it again from where it came from")
    value = value.detach().to(torch.float32).contiguous()
    if not torch.isfinite(value).all():
        raise CheckpointError(f"{what}: contains NaN or infinite values; use an earlier checkpoint")
    return value
