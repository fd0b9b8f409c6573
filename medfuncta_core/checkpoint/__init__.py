"""Checkpoints: the only code that reads or writes weights, galleries of latents, and the published implementation's files.

What needs torch is imported when it is first used, so that listing checkpoints and opening galleries stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medfuncta_core.checkpoint.cards import make_card
from medfuncta_core.checkpoint.descriptions import CheckpointSummary, list_checkpoints, read_config, update_metrics
from medfuncta_core.checkpoint.gallery import Gallery, load_gallery, save_gallery
from medfuncta_core.checkpoint.latents import LatentTable, is_latent_file, load_latents, read_latent, save_latents

if TYPE_CHECKING:
    from medfuncta_core.checkpoint.files import Checkpoint, load_checkpoint, save_checkpoint
    from medfuncta_core.checkpoint.official import ImportResult, import_official

__all__ = [
    "Checkpoint",
    "CheckpointSummary",
    "Gallery",
    "ImportResult",
    "LatentTable",
    "import_official",
    "is_latent_file",
    "list_checkpoints",
    "load_checkpoint",
    "load_gallery",
    "load_latents",
    "make_card",
    "read_config",
    "read_latent",
    "save_checkpoint",
    "save_gallery",
    "save_latents",
    "update_metrics",
]

_LATE = {
    **dict.fromkeys(("Checkpoint", "load_checkpoint", "save_checkpoint"), "files"),
    **dict.fromkeys(("ImportResult", "import_official"), "official"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
