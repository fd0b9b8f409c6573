"""Processes that outlive whoever started them: who they are, whether they still live, and locks that die with their holder."""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

from medfuncta_core.errors import TrainingError


@dataclass(frozen=True)
class ProcessId:
    """A process that is never taken for another one: numbers are used again, after a reboot even soon.

    Args:
        pid: Its number.
        started: When it started, as the system counts; with the boot it belongs to.
        host: The machine.
    """

    pid: int
    started: str
    host: str

    @staticmethod
    def own() -> ProcessId:
        """This process."""
        return ProcessId.of(os.getpid())

    @staticmethod
    def of(pid: int) -> ProcessId:
        """A process of this machine, as it is now."""
        return ProcessId(pid, _started(pid) or "", platform.node())

    @staticmethod
    def parse(values: Any) -> ProcessId | None:
        """From JSON; None where there is no such process to speak of."""
        try:
            return ProcessId(int(values["pid"]), str(values["started"]), str(values["host"]))
        except (KeyError, TypeError, ValueError):
            return None

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def here(self) -> bool:
        """Whether it is a process of this machine, so that it can be asked about and signalled."""
        return self.host == platform.node()

    def alive(self) -> bool:
        """Whether exactly this process still runs on this machine."""
        return self.here and self.started == _started(self.pid)


def _started(pid: int) -> str | None:
    """Start time of a process, with the boot where the system tells; None when there is none, or only its remains."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            return None
        return None if fields[0] in "ZX" else f"{_boot()} {fields[19]}"  # fields 3 and 22 of proc(5): state, start in ticks
    listed = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    state, _, started = listed.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


@cache
def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


@contextmanager
def locked(file: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a lock of which there is one; the system releases it when its holder ends, however it ends.

    Args:
        file: Made when missing.
        wait: Wait for it; otherwise the context says whether it was to be had.

    Raises:
        TrainingError: when the file cannot be made.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise TrainingError(f"{file}: cannot be written ({error.strerror}); choose another place or free some space") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)  # and with it the lock


def spawn(
    arguments: Sequence[str], output: IO[bytes] | int, *, launcher: Sequence[str] = (), stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start `python -m medfuncta_core ARGUMENTS` in a session of its own: closing a terminal, a page or the app leaves it alone.

    Args:
        arguments: Of the command line.
        output: Where its stdout and stderr go.
        launcher: What starts it instead of the interpreter itself, such as torchrun's module and options.
        stdin: Nothing, or a pipe.
    """
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, *launcher, "-m", "medfuncta_core", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdin=stdin, stdout=output, stderr=output, env=environment, start_new_session=True)


def let_go(child: subprocess.Popen[bytes]) -> None:
    """Have a child that nobody waits for taken from the system's table when it ends, for as long as this process lives."""
    threading.Thread(target=child.wait, daemon=True).start()
