"""What a training would take on this machine, measured: a few real steps and a real validation, thrown away afterwards."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from medfuncta_core.fitting import choose_device
from medfuncta_core.learning import TrainingRun, TrainStep, initial_field, train, validate
from medfuncta_core.learning.validating import VALIDATION_BATCH
from medfuncta_core.runs.probing import Estimate, Measured
from medfuncta_core.runs.reporting import memory_bytes
from medfuncta_core.runs.request import RunRequest

STEPS = 8
"""Most outer steps that are measured; the first one, which also warms up, counts only where there is no other."""
SECONDS = 15.0
"""No further step is begun after this."""
KEPT_COPIES = 3
"""Of the parameters, which a run holds after its first validation and the measurement does not: two moments, the best weights."""


def measure(request: RunRequest, *, steps: int = STEPS, seconds: float = SECONDS) -> Iterator[Measured | Estimate]:
    """Measure what a request would take.

    Args:
        request: What would be trained; one process measures, whatever `request.processes` says.
        steps: Most outer steps to take, at least one.
        seconds: No further step is begun after this.

    Yields:
        How far it is, and in the end the estimate.

    Raises:
        MedFunctaError: when the request cannot be met.
    """
    yield Measured(0, steps, "reading the data")
    preset, train_set, val_set = request.open()
    meta, device = preset.meta, choose_device(request.device)
    # A state is only saved at validations; without one, this writes nothing.
    unsaved = meta.model_copy(update={"steps": max(meta.steps, steps + 1), "validate_every": max(meta.steps, steps + 1)})
    run = TrainingRun(preset.field, unsaved, preset.fit, train_set, val_set, device=device.type)
    durations: list[float] = []
    events, began = train(run), time.monotonic()
    while len(durations) < steps and (not durations or time.monotonic() - began < seconds):
        yield Measured(len(durations), steps, f"step {len(durations) + 1}")
        event = next(events)
        durations += [event.seconds] if isinstance(event, TrainStep) else []
    yield Measured(len(durations), len(durations), "validation")
    taken, wanted = statistics.median(durations[1:] or durations), min(meta.validate_signals, len(val_set))
    one_signal = taken / (meta.batch_size * meta.inner_steps) * preset.fit.steps  # about as long, in seconds
    fitted = max(1, min(wanted, VALIDATION_BATCH, round(seconds / one_signal)))
    found = validate(initial_field(run), preset.fit, val_set.take(fitted))  # the learner is still held, as in a run
    validation = found.seconds * wanted / fitted
    yield Estimate(
        step_seconds=taken,
        validation_seconds=validation,
        total_seconds=meta.steps * taken + math.ceil(meta.steps / meta.validate_every) * validation,
        memory_bytes=memory_bytes(device) + KEPT_COPIES * 4 * preset.field.parameter_count,
        available_bytes=_available_bytes(device),
        device=_name(device),
        steps_measured=len(durations),
        parameters=preset.field.parameter_count,
        shape=train_set.shape,
        channels=train_set.channels,
    )


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} CPU thread{'s' if threads > 1 else ''}"


def _available_bytes(device: torch.device) -> int | None:
    """What a run could hold beside all that goes on now: on the GPU, or of the machine's memory where the system tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(free.split()[1]) * 1024 + memory_bytes(device)
    return None
