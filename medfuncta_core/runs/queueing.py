"""The queue: runs that wait for their turn, and the worker that starts them.

Waiting is a state of the run itself; `queue.json` only says in which order. The worker is an ordinary process that a launch
starts when there is none and that ends when nothing waits, so nothing has to be installed, and killing it loses nothing: runs
are not its business once they have started, and the next launch, or the app, starts another one.
"""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfuncta_core.atomic import write_atomically
from medfuncta_core.errors import MedFunctaError, TrainingError
from medfuncta_core.runs.folder import RunFolder
from medfuncta_core.runs.processes import let_go, locked, spawn
from medfuncta_core.runs.request import read_request
from medfuncta_core.runs.status import kept_values, read_status, write_status

LOOK_SECONDS = 0.5  # between the worker's looks at runs and queue
START_SECONDS = 60.0  # a process that has not taken its run by then is not waited for
RESTARTS = 3  # of all ranks, when one of several is killed


@dataclass(frozen=True)
class Queue:
    """Which runs wait, the next one first; how many may train at a time; whether a worker is there to start them."""

    order: tuple[str, ...]
    slots: int
    working: bool


def read_queue(root: Path) -> Queue:
    """The queue as it is now."""
    with locked(root / ".worker.lock") as free:
        working = not free
    return Queue(tuple(order_queue(root, _waiting(root))), _read(root)["slots"], working)


def order_queue(root: Path, waiting: list[str]) -> list[str]:
    """Names in the queue's order; those it does not know come last, the oldest first."""
    known = {name: position for position, name in enumerate(_read(root)["order"])}
    return sorted(waiting, key=lambda name: (known.get(name, len(known)), read_status(RunFolder(root / name)).created, name))


def place(root: Path, name: str, position: int | None = None) -> None:
    """Give a waiting run its place: 1 is the next, None the last."""
    with locked(root / ".queue.lock", wait=True):
        values = _read(root)
        order = [other for other in order_queue(root, _waiting(root)) if other != name]
        order.insert(len(order) if position is None else max(0, position - 1), name)
        _write(root, values | {"order": order})


def move_in_queue(root: Path, name: str, position: int) -> None:
    """Let a waiting run start earlier or later.

    Raises:
        TrainingError: when it does not wait.
    """
    if name not in _waiting(root):
        raise TrainingError(f"{name}: does not wait in the queue")
    place(root, name, position)


def set_slots(root: Path, slots: int) -> None:
    """How many runs may train at the same time."""
    if not 1 <= slots <= 64:
        raise TrainingError(f"{slots} runs at a time: choose 1 to 64")
    with locked(root / ".queue.lock", wait=True):
        _write(root, _read(root) | {"slots": slots})
    wake_queue(root)


def wake_queue(root: Path) -> None:
    """Start a worker when runs wait; should there be one already, the new one ends at once."""
    if _waiting(root):
        with (root / "worker.log").open("ab") as output:
            let_go(spawn(["runs", "work", "--root", str(root.resolve())], output.fileno()))


def work(root: Path) -> int:
    """Start waiting runs as there is room, until none waits.

    Returns:
        How many were started; 0 as well when another worker is at it.
    """
    started = 0
    while _waiting(root):
        with locked(root / ".worker.lock") as ours:
            if not ours:
                return started
            started += _work(root)
        # One that was queued while the lock was held found this worker there, and did not start another.
    return started


def _work(root: Path) -> int:
    children: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    started = 0
    while (waiting := _waiting(root)) or children:
        for name, (child, _) in list(children.items()):
            if child.poll() is not None:
                _bury(RunFolder(root / name), child.returncode)
                del children[name]
        now = time.monotonic()
        starting = [name for name, (_, since) in children.items() if name in waiting and now - since < START_SECONDS]
        ready = [name for name in order_queue(root, waiting) if name not in children]
        if ready and len(starting) + _live(root) < _read(root)["slots"]:
            children[ready[0]] = _start(RunFolder(root / ready[0])), now
            started += 1
            continue
        time.sleep(LOOK_SECONDS)
    return started


def _start(folder: RunFolder) -> subprocess.Popen[bytes]:
    request = read_request(folder)
    launcher: list[str] = []
    if request is not None and request.processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={request.processes}"]
        launcher.append(f"--max-restarts={RESTARTS}")
    device = [] if request is None else ["--device", request.device]
    with folder.output.open("ab") as output:
        return spawn(["train", "--resume", "--out", str(folder.path.resolve()), *device], output.fileno(), launcher=launcher)


def _bury(folder: RunFolder, code: int) -> None:
    """A process that ended before it took its run never told why."""
    with suppress(MedFunctaError):
        if code:
            folder.log(f"its process ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}")
        if read_status(folder).state != "queued":
            return
        with folder.claim():
            printed = folder.output.read_text(errors="replace").strip().splitlines() if folder.output.exists() else []
            reason = printed[-1].removeprefix("error: ") if printed else f"its process ended with exit code {code}"
            write_status(folder, "failed", reason=reason, **kept_values(read_status(folder)))


def _waiting(root: Path) -> list[str]:
    return [path.parent.name for path in root.glob("[!.]*/status.json") if read_status(RunFolder(path.parent)).state == "queued"]


def _live(root: Path) -> int:
    return sum(read_status(RunFolder(path.parent)).live for path in root.glob("[!.]*/status.json"))


def _read(root: Path) -> dict[str, Any]:
    try:
        values = json.loads((root / "queue.json").read_text())
        return {"order": [str(name) for name in values["order"]], "slots": max(1, int(values["slots"]))}
    except (OSError, ValueError, KeyError, TypeError):
        return {"order": [], "slots": 1}


def _write(root: Path, values: dict[str, Any]) -> None:
    write_atomically(root / "queue.json", json.dumps(values).encode(), TrainingError)
