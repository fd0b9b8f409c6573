"""What a training process says of itself: its status now and then, its speed, its memory, and why it failed."""

from __future__ import annotations

import errno
import resource
import sys
import time
from collections import deque
from statistics import fmean
from typing import Any

import torch

from medfuncta_core.errors import MedFunctaError
from medfuncta_core.fitting import choose_device
from medfuncta_core.learning import Recovery, TrainEvent, TrainingRun, TrainStep, Validation
from medfuncta_core.learning.state import Progress
from medfuncta_core.runs.folder import RunConfig, RunFolder
from medfuncta_core.runs.status import RunState, read_status, write_status

STATUS_SECONDS = 1.0  # between two writes of status.json
PACE_STEPS = 50  # latest steps that speed and remaining time are reckoned from


class Reporter:
    """Keeps `status.json` up to date for the process that trains.

    Args:
        folder: Of the run.
        config: Of the run.
        run: What is trained.
        progress: Where it is.
    """

    def __init__(self, folder: RunFolder, config: RunConfig, run: TrainingRun, progress: Progress) -> None:
        self._folder, self._steps, self._every = folder, config.meta.steps, config.meta.validate_every
        self._device = choose_device(run.device)
        self._created = read_status(folder).created
        self._recent: deque[float] = deque(maxlen=PACE_STEPS)
        self._validation_seconds, self._written, self._computed = 0.0, float("-inf"), time.process_time()
        self.rewind(progress)

    def rewind(self, progress: Progress) -> None:
        """Start from a saved state."""
        self.step = progress.step
        self._found = {} if progress.last is None else {"psnr": progress.last.psnr, "ssim": progress.last.ssim}
        self._best = {} if progress.best is None else {"best_psnr": progress.best.psnr, "best_step": progress.best_step}

    def note(self, event: TrainEvent) -> None:
        """Take in an event."""
        self.step = event.restored_step if isinstance(event, Recovery) else event.step
        if isinstance(event, TrainStep):
            self._recent.append(event.seconds)
        if isinstance(event, Validation):
            self._validation_seconds = event.seconds
            self._found = {"psnr": event.psnr, "ssim": event.ssim}
            self._best = {"best_psnr": event.psnr, "best_step": event.step} if event.best else self._best

    def measured(self, event: TrainEvent) -> dict[str, Any]:
        """Columns of `metrics.jsonl` that training itself does not know: memory and processor time."""
        before, self._computed = self._computed, time.process_time()
        if isinstance(event, TrainStep):
            return {"cpu_seconds": self._computed - before}
        return {"memory_bytes": memory_bytes(self._device)} if isinstance(event, Validation) else {}

    def write(self, state: RunState, **more: Any) -> None:
        """Replace `status.json`."""
        seconds = fmean(self._recent) if self._recent else None
        left = self._steps - self.step
        validations = left // self._every + bool(left % self._every)
        pace = {} if not seconds else {"steps_per_second": 1 / seconds}
        eta = {} if not seconds else {"eta_seconds": left * seconds + validations * self._validation_seconds}
        memory = {"memory_bytes": memory_bytes(self._device), "device": self._device.type}
        counted = {"step": self.step, "steps": self._steps, "created": self._created}
        write_status(self._folder, state, **counted, **self._found, **self._best, **pace, **eta, **memory, **more)
        self._written = time.monotonic()

    def write_sometimes(self) -> None:
        """Replace `status.json` when the last time was a while ago."""
        if time.monotonic() - self._written > STATUS_SECONDS:
            self.write("running")


def memory_bytes(device: torch.device) -> int:
    """The most that this process held so far: on the device where that is a GPU, else in all."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error comes of a full disk or a full quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def reason_of(error: BaseException) -> str:
    """An error in one line, with what helps where it is not one of the library's own."""
    text = " ".join(str(error).split())
    if isinstance(error, MedFunctaError):
        return text
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "there is not enough memory; lower meta.batch_size, meta.selection_ratio or the shape, then fork the run"
    return f"{type(error).__name__}: {text}"
