"""Training runs on disk: launch, watch, stop, resume; a folder each, that whoever wants can read while the run writes it.

What needs torch is imported when it is first used, so that watching runs stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medfuncta_core.runs.folder import RunConfig, RunFolder
from medfuncta_core.runs.queueing import Queue, move_in_queue, read_queue, set_slots, wake_queue
from medfuncta_core.runs.request import RunRequest
from medfuncta_core.runs.samples import Samples, list_sample_steps, read_samples
from medfuncta_core.runs.status import RunState, RunStatus, read_status
from medfuncta_core.runs.store import (
    RunView,
    delete_run,
    force_stop,
    fork,
    launch,
    list_runs,
    pause,
    read_log,
    read_run,
    resume,
    stop,
)

if TYPE_CHECKING:
    from medfuncta_core.runs.training import train_run

__all__ = [
    "Queue",
    "RunConfig",
    "RunFolder",
    "RunRequest",
    "RunState",
    "RunStatus",
    "RunView",
    "Samples",
    "delete_run",
    "force_stop",
    "fork",
    "launch",
    "list_runs",
    "list_sample_steps",
    "move_in_queue",
    "pause",
    "read_log",
    "read_queue",
    "read_run",
    "read_samples",
    "read_status",
    "resume",
    "set_slots",
    "stop",
    "train_run",
    "wake_queue",
]

_LATE = {"train_run": "training"}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
