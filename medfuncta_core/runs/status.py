"""How a run is: what its process last wrote, checked against whether that process still lives."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from medfuncta_core.atomic import write_atomically
from medfuncta_core.errors import TrainingError
from medfuncta_core.runs.folder import RunFolder, finite
from medfuncta_core.runs.processes import ProcessId

RunState = Literal["queued", "starting", "running", "paused", "stopped", "finished", "failed", "interrupted"]
Want = Literal["run", "pause", "stop"]

LIVE: tuple[RunState, ...] = ("starting", "running", "paused")
SILENT_SECONDS = 120.0  # a run on another machine that has not written for so long is taken for dead
RESERVE_BYTES = 2**14  # kept free for the words that the disk is full
RESERVE_FILE = ".reserve"

_ACTIONS: dict[RunState, tuple[str, ...]] = {
    "queued": ("stop", "delete"),
    "starting": ("stop",),
    "running": ("pause", "stop", "fork", "promote"),
    "paused": ("resume", "stop", "fork", "promote"),
    "stopped": ("resume", "fork", "promote", "delete"),
    "finished": ("fork", "promote", "delete"),
    "failed": ("resume", "fork", "promote", "delete"),
    "interrupted": ("resume", "fork", "promote", "delete"),
}


@dataclass(frozen=True)
class RunStatus:
    """How a run is.

    Args:
        state: What it is doing, or how it ended.
        reason: Why, in one sentence; empty where there is nothing to say.
        step: Outer steps done.
        steps: Outer steps to do; 0 until its settings were read.
        psnr: Of the last validation, in dB.
        ssim: Of the last validation.
        lpips: Of the best weights after a sweep's run, where it could be measured.
        best_psnr: Of the best validation, in dB.
        best_step: Its step.
        steps_per_second: Of the latest steps, validations left out.
        eta_seconds: Until the last step, validations included.
        memory_bytes: Most that the process held (CPU) or that it held on the device (CUDA).
        device: What it trains on.
        created: When it was launched, in Unix seconds.
        updated: When this was written.
        process: Who trains it; None when nobody does.
    """

    state: RunState
    reason: str = ""
    step: int = 0
    steps: int = 0
    psnr: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    best_psnr: float | None = None
    best_step: int = 0
    steps_per_second: float | None = None
    eta_seconds: float | None = None
    memory_bytes: int | None = None
    device: str = ""
    created: float = 0.0
    updated: float = 0.0
    process: ProcessId | None = None

    @property
    def live(self) -> bool:
        """Whether a process has it."""
        return self.state in LIVE

    @property
    def pid(self) -> int | None:
        """Number of the process that has it."""
        return self.process.pid if self.live and self.process is not None else None

    @property
    def actions(self) -> tuple[str, ...]:
        """What can be done with it now: pause, resume, stop, fork, promote, delete."""
        return tuple(action for action in _ACTIONS[self.state] if action != "promote" or self.best_step)


def read_status(folder: RunFolder) -> RunStatus:
    """How a run is now: `interrupted` where its files say it goes on, but its process is gone."""
    try:
        values = json.loads(folder.status.read_text())
        status = _parse(values)
    except (OSError, ValueError, TypeError, AttributeError):  # killed before the first one was written
        return RunStatus("interrupted", _interrupted(0), created=_created(folder))
    if not status.live or (status.process and status.process.alive()):
        return status
    elsewhere = status.process is not None and not status.process.here
    if elsewhere and time.time() - status.updated < SILENT_SECONDS:
        return status
    return replace(status, state="interrupted", reason=_interrupted(status.step))


def write_status(folder: RunFolder, state: RunState, **values: Any) -> None:
    """Replace `status.json`, for the process that has the run.

    Args:
        folder: Of the run.
        state: How it is.
        values: Fields of `RunStatus`; those left out are as they were created, or empty.

    Raises:
        TrainingError: when it cannot be written, even into the space that was kept for it.
    """
    process = ProcessId.own().values() if state in LIVE else None
    created = values.pop("created", None) or _created(folder)
    status = {"state": state, "process": process, "created": created, "updated": time.time(), **values}
    content = json.dumps(finite(status), indent=2, allow_nan=False).encode()
    try:
        write_atomically(folder.status, content, TrainingError)
    except TrainingError:
        if not (folder.path / RESERVE_FILE).exists():
            raise
        (folder.path / RESERVE_FILE).unlink()  # a full disk must not keep the run from saying so
        write_atomically(folder.status, content, TrainingError)


def kept_values(status: RunStatus) -> dict[str, Any]:
    """What stays true of a run when another process, or none, has it."""
    return {key: getattr(status, key) for key in ("step", "steps", "psnr", "ssim", "best_psnr", "best_step", "created")}


def reserve_space(folder: RunFolder) -> None:
    """Keep some room for a last status; a disk without it is full, and the run will notice."""
    file = folder.path / RESERVE_FILE
    if not file.exists():
        with suppress(OSError), file.open("wb") as opened:
            opened.write(os.urandom(RESERVE_BYTES))  # file systems that compress keep nothing for zeros


def read_want(folder: RunFolder) -> Want:
    """What the user wants of the run: `control.json`, and to run where it says nothing."""
    try:
        want = json.loads((folder.path / "control.json").read_text())["want"]
    except (OSError, ValueError, KeyError, TypeError):
        return "run"
    return want if want in get_args(Want) else "run"


def write_want(folder: RunFolder, want: Want) -> None:
    """Say what the run is to do; its process obeys after the step it is at."""
    content = json.dumps({"want": want, "time": time.time()}).encode()
    write_atomically(folder.path / "control.json", content, TrainingError)


def _parse(values: dict[str, Any]) -> RunStatus:
    """From JSON; keys of other versions are left out."""
    known = {name: values[name] for name in RunStatus.__dataclass_fields__ if values.get(name) is not None}
    process = ProcessId.parse(known.pop("process", None))
    state = known.pop("state", "interrupted")
    if state not in get_args(RunState):
        state = "interrupted"
    reason = known.pop("reason", values.get("error") or "")
    return RunStatus(state, reason=reason, process=process, **known)


def _interrupted(step: int) -> str:
    return f"interrupted at step {step:,}: its process was killed, or the machine restarted; it can be resumed"


def _created(folder: RunFolder) -> float:
    """When the folder got its first file, which nobody writes again."""
    for name in ("request.json", "config.json"):
        with suppress(OSError):
            return (folder.path / name).stat().st_mtime
    return folder.path.stat().st_mtime if folder.path.exists() else time.time()
