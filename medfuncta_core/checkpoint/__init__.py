"""Checkpoints: the only code that reads or writes weights, galleries of latents, and the published implementation's files."""

from medfuncta_core.checkpoint.cards import make_card
from medfuncta_core.checkpoint.files import (
    Checkpoint,
    CheckpointSummary,
    list_checkpoints,
    load_checkpoint,
    read_config,
    save_checkpoint,
    update_metrics,
)
from medfuncta_core.checkpoint.gallery import Gallery, load_gallery, save_gallery
from medfuncta_core.checkpoint.latents import LatentTable, load_latents, read_latent, save_latents
from medfuncta_core.checkpoint.official import ImportResult, import_official

__all__ = [
    "Checkpoint",
    "CheckpointSummary",
    "Gallery",
    "ImportResult",
    "LatentTable",
    "import_official",
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
