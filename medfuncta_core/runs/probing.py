"""Watching a measurement of what a training would take: a process of its own, which ends when nobody watches it any more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from medfuncta_core.errors import MedFunctaError, TrainingError
from medfuncta_core.runs.processes import let_go, spawn
from medfuncta_core.runs.request import RunRequest


@dataclass(frozen=True)
class Measured:
    """How far a measurement is: `done` of at most `of` steps, and what it is at, in a few words."""

    done: int
    of: int
    at: str


@dataclass(frozen=True)
class Estimate:
    """What a training would take on the machine that measured it.

    Args:
        step_seconds: Median of the outer steps measured.
        validation_seconds: Of one validation.
        total_seconds: Of the whole training, validations included, if the machine has nothing else to do.
        memory_bytes: Most that its process holds: on the GPU, else in all.
        available_bytes: What it could hold now; None where the system does not tell.
        device: Its name.
        steps_measured: Outer steps behind `step_seconds`.
        parameters: Of the field.
        shape: Points per axis that were trained on.
        channels: Values per point.
    """

    step_seconds: float
    validation_seconds: float
    total_seconds: float
    memory_bytes: int
    available_bytes: int | None
    device: str
    steps_measured: int
    parameters: int
    shape: tuple[int, ...]
    channels: int

    @property
    def fits(self) -> bool:
        """Whether there is memory enough, as far as that is known."""
        return self.available_bytes is None or self.memory_bytes < self.available_bytes


class Probe:
    """A measurement under way in another process.

    Args:
        request: What would be trained.

    Raises:
        MedFunctaError: when its settings are wrong.
    """

    def __init__(self, request: RunRequest) -> None:
        request.resolve()
        self.request = request
        self.measured = Measured(0, 1, "starting")
        self.estimate: Estimate | None = None
        self.error: MedFunctaError | None = None
        self._output = tempfile.TemporaryFile()
        # The pipe's other end closes when this process ends, however it ends, and then the measurement does.
        self._process = spawn(
            ["runs", "estimate", "--request", request.model_dump_json()], self._output.fileno(), stdin=subprocess.PIPE
        )

    @property
    def active(self) -> bool:
        """Whether a result is still to come."""
        return self.estimate is None and self.error is None

    def poll(self) -> None:
        """Take in what the process has told since."""
        if not self.active:
            return
        code = self._process.poll()  # before its output is read, which then is whole
        told = os.pread(self._output.fileno(), 2**20, 0).decode(errors="replace").splitlines()
        for line in told:
            if (values := _parse(line)) is not None:
                self._note(values)
        if code is not None and self.estimate is None:
            self.error = TrainingError(_why(code, told))
        if not self.active:
            self._close()

    def cancel(self) -> None:
        """End the measurement at once; it has no result then."""
        if self.active:
            with suppress(OSError):
                self._process.kill()
            self.error = TrainingError("the measurement was cancelled; measure again when you like")
            self._close()

    def _note(self, values: dict[str, Any]) -> None:
        if "step_seconds" in values:
            values["shape"] = tuple(values["shape"])
            self.estimate = Estimate(**values)
        else:
            self.measured = Measured(**values)

    def _close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        let_go(self._process)
        self._output.close()


def tell(events: Iterator[Measured | Estimate]) -> None:
    """Print a measurement for a `Probe` that watches it, a JSON object a line; the process ends when its stdin does."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    for event in events:
        print(json.dumps(asdict(event), allow_nan=False), flush=True)


def _end_with_stdin() -> None:
    with suppress(OSError, ValueError):
        while sys.stdin.buffer.read(1):
            pass
    os._exit(1)  # there is nothing to tidy up: a measurement keeps no files


def _parse(line: str) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _why(code: int, told: list[str]) -> str:
    errors = [line.removeprefix("error: ") for line in told if line.startswith("error: ")]
    if errors:
        return errors[-1]
    remedy = "lower the batch size, the latent size, the width or the shape"
    if code == -9 or any("OutOfMemoryError" in line or "MemoryError" in line for line in told):
        return f"there is not enough memory for these settings; {remedy}"
    last = next((line for line in reversed(told) if line.strip() and _parse(line) is None), f"exit code {code}")
    return f"the measurement failed ({last.strip()[:160]}); {remedy}, or check the data"
