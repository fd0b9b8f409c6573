"""MedFuncta: medical signals as neural fields, one latent vector each.

from medfuncta_core import Fitter, load_checkpoint, read_signal
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medfuncta_core.checkpoint import Checkpoint, load_checkpoint
    from medfuncta_core.errors import MedFunctaError
    from medfuncta_core.fitting import FitResult, FitStep, Fitter
    from medfuncta_core.signals import Signal, load_data_set, read_signal

__version__ = "0.1.0"
__all__ = [
    "Checkpoint",
    "FitResult",
    "FitStep",
    "Fitter",
    "MedFunctaError",
    "Signal",
    "load_checkpoint",
    "load_data_set",
    "read_signal",
]

_HOMES = {
    "Checkpoint": "checkpoint",
    "load_checkpoint": "checkpoint",
    "MedFunctaError": "errors",
    "Fitter": "fitting",
    "FitResult": "fitting",
    "FitStep": "fitting",
    "Signal": "signals",
    "load_data_set": "signals",
    "read_signal": "signals",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that `import medfuncta_core` does not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
