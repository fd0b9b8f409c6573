"""The training state in one file: weights, average, optimiser moments and counters, written whole or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from medfuncta_core.checkpoint.atomic import write_atomically
from medfuncta_core.errors import TrainingError

STATE_FILE = "state.safetensors"


@dataclass(frozen=True)
class Progress:
    """Counters of a run.

    Args:
        step: Outer steps done.
        best_psnr: Best validation PSNR so far, in dB.
        best_step: Where it was reached.
        lr_factor: Product of the reductions after collapses.
        collapses: Returns to the last good state so far.
        norms: Recent meta-gradient norms.
        settings: The run's configuration, to be compared on resume.
    """

    step: int = 0
    best_psnr: float = float("-inf")
    best_step: int = 0
    lr_factor: float = 1.0
    collapses: int = 0
    norms: tuple[float, ...] = field(default=())
    settings: str = ""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A good state to go back to."""

    progress: Progress
    tensors: dict[str, Tensor]

    @staticmethod
    def of(progress: Progress, tensors: dict[str, Tensor]) -> Snapshot:
        """A copy that later steps do not change."""
        return Snapshot(progress, {name: value.detach().clone() for name, value in tensors.items()})

    def with_lower_rate(self, factor: float) -> Snapshot:
        """The same state, to be continued with a smaller learning rate after a collapse."""
        before = self.progress
        return replace(self, progress=replace(before, lr_factor=before.lr_factor * factor, collapses=before.collapses + 1))


def save_state(file: Path, snapshot: Snapshot) -> None:
    """Write a snapshot; the previous one stays until the new one is complete."""
    header = {"progress": json.dumps(asdict(snapshot.progress))}
    tensors = {name: value.cpu().contiguous() for name, value in snapshot.tensors.items()}
    write_atomically(file, save(tensors, metadata=header))


def load_state(file: Path) -> Snapshot:
    """Read a snapshot.

    Raises:
        TrainingError: when the file is missing, truncated or not a training state.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            progress = json.loads((stored.metadata() or {})["progress"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}
    except FileNotFoundError:
        raise TrainingError(f"{file}: there is no saved state to resume; start the run without --resume") from None
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise TrainingError(f"{file}: not a readable training state ({error}); start the run anew in another folder") from error
    progress["norms"] = tuple(progress["norms"])
    return Snapshot(Progress(**progress), {name: torch.as_tensor(value) for name, value in tensors.items()})
