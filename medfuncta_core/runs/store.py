"""All runs of a folder: list, launch, stop, pause, resume, fork, delete. What trains is always another process."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from medfuncta_core.errors import ConfigError, MedFunctaError, TrainingError
from medfuncta_core.runs.folder import RunConfig, RunFolder
from medfuncta_core.runs.queueing import order_queue, place, wake_queue
from medfuncta_core.runs.request import RunRequest, read_request, write_request
from medfuncta_core.runs.settings import GROUPS
from medfuncta_core.runs.status import RunStatus, kept_values, read_status, write_status, write_want

_DELETED = ".deleted-"  # a folder on its way out; nobody takes it for a run


@dataclass(frozen=True)
class RunView:
    """A run as it is at this moment.

    Args:
        id: Name of its folder.
        path: Its folder.
        request: How it was asked for; None for runs of older versions.
        config: What its training depends on; None until its data was opened.
        status: How it is.
        queue_position: 1 for the next of those that wait; None when it does not wait.
    """

    id: str
    path: Path
    request: RunRequest | None
    config: RunConfig | None
    status: RunStatus
    queue_position: int | None = None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings, flat: `meta.batch_size` and so on; from the request until there is a configuration."""
        source: Any = self.config
        if source is None and self.request is not None:
            with suppress(ConfigError):
                source = self.request.resolve()
        if source is None:
            return {}
        groups = {group: getattr(source, group).model_dump(mode="json") for group in GROUPS}
        return {f"{group}.{key}": value for group, values in groups.items() for key, value in values.items()}


def list_runs(root: Path) -> list[RunView]:
    """All runs, the newest first; folders that cannot be read are left out."""
    found = {}
    for path in _run_folders(root):
        with suppress(MedFunctaError):
            found[path.name] = _view(path)
    waiting = order_queue(root, [run.id for run in found.values() if run.status.state == "queued"])
    for position, name in enumerate(waiting, 1):
        found[name] = replace(found[name], queue_position=position)
    return sorted(found.values(), key=lambda run: (run.status.created, run.id), reverse=True)


def read_run(root: Path, name: str) -> RunView:
    """One run.

    Raises:
        TrainingError: when there is none of this name.
    """
    path = _find(root, name)
    run = _view(path)
    if run.status.state != "queued":
        return run
    waiting = [other.name for other in _run_folders(root) if read_status(RunFolder(other)).state == "queued"]
    order = order_queue(root, waiting)
    return replace(run, queue_position=order.index(name) + 1)


def launch(root: Path, request: RunRequest) -> str:
    """Put a new run into the queue; it starts at once when there is room, in a process that outlives this one.

    Args:
        root: Folder of all runs.
        request: What to train. A relative path of its data is one of the current directory.

    Returns:
        The run's id, made of its name.

    Raises:
        MedFunctaError: when its settings are wrong, or the folder cannot be written.
    """
    name = prepare_run(root, request)
    enqueue(root, name)
    return name


def prepare_run(root: Path, request: RunRequest) -> str:
    """The folder of a new run, not queued yet."""
    request.resolve()
    data = Path(request.data).expanduser()
    if data.exists():
        request = request.model_copy(update={"data": str(data.resolve())})
    name = _new_folder(root, request.name or request.preset)
    write_request(RunFolder(root / name), request.model_copy(update={"name": request.name or name}))
    return name


def enqueue(root: Path, name: str, *, wake: bool = True) -> None:
    """Let a run that nobody trains wait for its turn.

    Args:
        root: Folder of all runs.
        name: Of the run.
        wake: See that a worker is there; off when more runs follow, whose caller wakes the queue once.

    Raises:
        TrainingError: when a process has it.
    """
    folder = RunFolder(root / name)
    with folder.claim():
        status = read_status(folder)
        write_want(folder, "run")
        write_status(folder, "queued", **kept_values(status))
    place(root, name)
    if wake:
        wake_queue(root)


def pause(root: Path, name: str) -> None:
    """Let a run hold on after its current step; its state is saved, its process stays."""
    run = read_run(root, name)
    if not run.status.live:
        raise TrainingError(f"{name}: is {run.status.state}, there is nothing to pause")
    write_want(RunFolder(run.path), "pause")


def stop(root: Path, name: str) -> None:
    """End a run after its current step, its state saved; a queued one leaves the queue."""
    run = read_run(root, name)
    folder = RunFolder(run.path)
    if run.status.state == "queued":
        write_want(folder, "stop")  # should it be starting right now
        with suppress(TrainingError), folder.claim(seconds=0):
            write_status(folder, "stopped", **kept_values(run.status))
        return
    if not run.status.live:
        raise TrainingError(f"{name}: is {run.status.state} already")
    write_want(folder, "stop")


def force_stop(root: Path, name: str) -> None:
    """Kill the process of a run that does not answer; it loses the steps since its last checkpoint.

    Raises:
        TrainingError: when there is no such process on this machine.
    """
    process = read_run(root, name).status.process
    if process is None or not process.alive():
        raise TrainingError(f"{name}: no process of this machine trains it")
    os.kill(process.pid, signal.SIGKILL)


def resume(root: Path, name: str) -> None:
    """Let a paused run go on, or queue one that ended before its last step; it continues exactly where it was.

    Raises:
        TrainingError: when it is running, waiting or finished.
    """
    run = read_run(root, name)
    if run.status.live:
        write_want(RunFolder(run.path), "run")  # also takes back a stop or a pause that was not obeyed yet
    elif "resume" in run.status.actions:
        enqueue(root, name)
    else:
        raise TrainingError(f"{name}: is {run.status.state}; fork it to train on with other settings")


def fork(root: Path, name: str, settings: Sequence[str] = (), *, new_name: str = "", weights: str | None = "best") -> str:
    """A new run with a run's settings, some of them changed.

    Args:
        root: Folder of all runs.
        name: Run to fork.
        settings: Changes, key=value.
        new_name: Name of the new run; the old one's with a number when empty.
        weights: "best" or "last": what the new run starts from, copied; None starts from scratch.

    Returns:
        The new run's id.

    Raises:
        MedFunctaError: when settings are wrong, or change an architecture whose weights are to be kept.
    """
    run = read_run(root, name)
    request = run.request or _reconstruct(run)
    changed = {"settings": (*request.settings, *settings), "name": new_name or request.name or name, "parent": name, "sweep": ""}
    request = RunRequest.parse(request.model_dump() | changed, name)
    preset = request.resolve()
    source = None if weights is None else run.path / "checkpoint" / weights
    if source is not None:
        if run.config is None or not (source / "config.json").exists():
            raise TrainingError(f"{name}: has no {weights} weights yet; fork it from scratch, or after its first validation")
        if preset.field != run.config.field.model_copy(update={"channels": 1}):
            raise ConfigError(
                "the changes make another architecture, which cannot start from this run's weights; start from scratch"
            )
    new = prepare_run(root, request)
    if source is not None:
        shutil.copytree(source, root / new / "start", ignore=shutil.ignore_patterns(".*"))
    enqueue(root, new)
    return new


def delete_run(root: Path, name: str) -> None:
    """Remove a run with all its files, at once or not at all.

    Raises:
        TrainingError: when a process has it.
    """
    run = read_run(root, name)
    if run.status.live:
        raise TrainingError(f"{name}: is {run.status.state}; stop it first")
    folder = RunFolder(run.path)
    with folder.claim():
        gone = root / f"{_DELETED}{name}-{os.getpid()}"
        run.path.rename(gone)
    for rest in root.glob(f"{_DELETED}*"):  # also what an interrupted deletion left
        shutil.rmtree(rest, ignore_errors=True)


def read_log(path: Path, lines: int = 200) -> str:
    """The end of a run's log; with what its process printed last, when it failed."""
    folder = RunFolder(path)
    text = _tail(path / "log.txt", lines)
    if read_status(folder).state in ("failed", "interrupted") and (printed := _tail(folder.output, 30)):
        text += f"\n--- output of its process ---\n{printed}"
    return text


def _tail(file: Path, lines: int) -> str:
    try:
        return "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _run_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    named = [path for path in root.iterdir() if not path.name.startswith(".")]
    return sorted(path for path in named if (path / "request.json").exists() or (path / "config.json").exists())


def _find(root: Path, name: str) -> Path:
    path = root / name
    if Path(name).name != name or name.startswith(".") or path not in _run_folders(root):
        raise TrainingError(f"{name}: no such run in {root}; runs list shows those there are")
    return path


def _view(path: Path) -> RunView:
    folder = RunFolder(path)
    config = folder.read_config() if folder.opened else None
    return RunView(path.name, path, read_request(folder), config, read_status(folder))


def _new_folder(root: Path, wanted: str) -> str:
    """Make a folder that was not there, even when two launch at the same moment."""
    slug = re.sub(r"[^\w.-]+", "-", wanted.strip()).strip("-.")[:60] or "run"
    number = 1
    while True:
        name = slug if number == 1 else f"{slug}-{number}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            (root / name).mkdir()
        except FileExistsError:
            number += 1
        except OSError as error:
            raise TrainingError(f"{root / name}: cannot be made ({error.strerror}); choose another folder for runs") from error
        else:
            return name


def _reconstruct(run: RunView) -> RunRequest:
    """The request behind a run that was started without one."""
    if run.config is None or not run.config.preset:
        raise TrainingError(f"{run.id}: does not say which preset it came from; start a new run instead")
    settings = tuple(
        f"{key}={'none' if value is None else value}" for key, value in run.settings.items() if key != "field.channels"
    )
    config = run.config
    return RunRequest(preset=config.preset, data=config.source, settings=settings, shape=config.signal.shape, name=run.id)
