"""The training state in one file: weights, average, optimiser moments and counters, written whole or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from medfuncta_core.atomic import write_atomically
from medfuncta_core.errors import TrainingError

STATE_FILE = "state.safetensors"
STOPPED_FILE = "stopped.safetensors"  # between two validations; without the best weights, which the state has


@dataclass(frozen=True)
class Validation:
    """Mean quality on the fixed validation signals after `fit_steps` steps; `best` when PSNR is the highest so far.

    The PSNR is the mean of the signals' own, in dB, each counted as at most 100 dB (an MSE of 1e-10).
    """

    step: int
    mse: float
    psnr: float
    ssim: float
    n: int
    fit_steps: int
    best: bool
    seconds: float


@dataclass(frozen=True)
class Recovery:
    """A collapse was noticed at `step`; training goes on from `restored_step`, its rate multiplied by `lr_factor` in all."""

    step: int
    restored_step: int
    lr_factor: float
    reason: str


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
        last: The validation at `step`; None before the first one, and in states that older versions wrote, as for the next two.
        best: The validation at `best_step`.
        recovery: The latest return to this state or an earlier one.
    """

    step: int = 0
    best_psnr: float = float("-inf")
    best_step: int = 0
    lr_factor: float = 1.0
    collapses: int = 0
    norms: tuple[float, ...] = field(default=())
    settings: str = ""
    last: Validation | None = None
    best: Validation | None = None
    recovery: Recovery | None = None

    @staticmethod
    def parse(values: dict[str, Any]) -> Progress:
        """Counters from their JSON; those that an older version did not know have their defaults.

        Raises:
            TypeError: for counters that this version does not know.
        """
        kinds = {"last": Validation, "best": Validation, "recovery": Recovery}
        known: dict[str, Any] = {name: kind(**values[name]) for name, kind in kinds.items() if values.get(name) is not None}
        known["norms"] = tuple(values["norms"])
        return Progress(**(values | known))


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A good state to go back to."""

    progress: Progress
    tensors: dict[str, Tensor]

    @staticmethod
    def of(progress: Progress, tensors: dict[str, Tensor]) -> Snapshot:
        """A copy that later steps do not change."""
        return Snapshot(progress, {name: value.detach().clone() for name, value in tensors.items()})

    def recovered(self, *, at: int, factor: float, reason: str) -> tuple[Snapshot, Recovery]:
        """The same state, to be continued with a smaller learning rate after a collapse at a later step, and what to tell."""
        before = self.progress
        recovery = Recovery(at, before.step, before.lr_factor * factor, reason)
        after = replace(before, lr_factor=recovery.lr_factor, collapses=before.collapses + 1, recovery=recovery)
        return replace(self, progress=after), recovery


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
            progress = Progress.parse(json.loads((stored.metadata() or {})["progress"]))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}
    except FileNotFoundError:
        raise TrainingError(f"{file}: there is no saved state to resume; start the run anew in another folder") from None
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise TrainingError(f"{file}: not a readable training state ({error}); start the run anew in another folder") from error
    return Snapshot(progress, {name: torch.as_tensor(value) for name, value in tensors.items()})
