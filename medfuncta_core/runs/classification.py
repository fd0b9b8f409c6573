"""Classifications in a process of their own: started, watched and cancelled by whoever can read the folder of their results."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medfuncta_core.atomic import write_atomically
from medfuncta_core.errors import MedFunctaError, SetError
from medfuncta_core.runs.processes import ProcessId, let_go, locked, spawn

if TYPE_CHECKING:
    from medfuncta_core.mednf.classifying_results import ClassifyRequest

State = Literal["idle", "running", "done", "cancelled", "failed"]

PROGRESS_FILE, LOG_FILE, LOCK_FILE, ESTIMATES_FILE = "progress.json", "log.txt", ".lock", "estimates.json"
WRITE_SECONDS = 0.2  # between two updates of the progress file


@dataclass(frozen=True)
class ClassifyProgress:
    """How the classifications of a folder are.

    Args:
        state: What they are doing, or how they ended; idle where none was ever started.
        title: The method at work.
        number: Which one it is, from 1.
        total: How many there are.
        share: Of this method's work that is done, 0 to 1.
        doing: In a few words.
        eta_seconds: What is left of this method; None while that is not known.
        reason: Why it failed, in one sentence.
        process: Who is at it.
    """

    state: State = "idle"
    title: str = ""
    number: int = 0
    total: int = 0
    share: float = 0.0
    doing: str = ""
    eta_seconds: float | None = None
    reason: str = ""
    process: ProcessId | None = None


def read_progress(folder: Path) -> ClassifyProgress:
    """How the classifications of a folder are now; those whose process is gone have failed, and the log says why."""
    try:
        values = json.loads((folder / PROGRESS_FILE).read_text(encoding="utf-8"))
        found = ClassifyProgress(**{**values, "process": ProcessId.parse(values["process"])})
    except (OSError, ValueError, TypeError, KeyError):
        return ClassifyProgress()
    if found.state != "running" or (found.process is not None and found.process.alive()):
        return found
    return replace(found, state="failed", reason=_last_words(folder))


def _last_words(folder: Path) -> str:
    with suppress(OSError):
        lines = (folder / LOG_FILE).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines and lines[-1].startswith("error: "):
            return lines[-1].removeprefix("error: ")
    return "its process was killed, or the machine restarted; start it again"


def write_progress(folder: Path, progress: ClassifyProgress) -> None:
    """Replace the progress file.

    Raises:
        SetError: when the place cannot be written.
    """
    values = asdict(progress) | {"process": None if progress.process is None else progress.process.values()}
    write_atomically(folder / PROGRESS_FILE, json.dumps(values, allow_nan=False).encode(), SetError)


def arguments_of(path: Path, requests: Sequence[ClassifyRequest], data: str | None, device: str) -> list[str]:
    """The command line that does requests which differ in method and k only; as arguments for `launch_classification`."""
    first = requests[0]
    words = [str(path.resolve()), "--device", device]
    for method in dict.fromkeys(request.method for request in requests):
        words += ["--method", method]
    for k in dict.fromkeys(request.k for request in requests if request.method == "knn"):
        words += ["-k", str(k)]
    for name in ("metric", "space", "scaling", "seed", "epochs", "batch_size", "limit"):
        value = getattr(first, name)
        words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    return words + ([] if data is None else ["--data", data])


def launch_classification(folder: Path, arguments: Sequence[str], words: str) -> None:
    """Start `python -m medfuncta_core classify ARGUMENTS --out FOLDER`, which outlives whoever started it.

    Args:
        folder: Where results and progress go.
        arguments: Of the command line.
        words: What the progress says until the process does.

    Raises:
        SetError: when one is running there already, or the place cannot be written.
    """
    if read_progress(folder).state == "running":
        raise SetError(f"{folder.name}: is being classified already; wait for it, or cancel it")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG_FILE).open("wb") as output:
        process = spawn(["classify", *arguments, "--out", str(folder.resolve())], output.fileno())
    let_go(process)
    write_progress(folder, ClassifyProgress("running", words, 1, 1, doing="starting", process=ProcessId.of(process.pid)))


def cancel_classification(folder: Path) -> None:
    """End the process that works for a folder; the results it has stay."""
    progress = read_progress(folder)
    if progress.state == "running" and progress.process is not None and progress.process.alive():
        with suppress(ProcessLookupError):
            os.kill(progress.process.pid, signal.SIGTERM)
        write_progress(folder, replace(progress, state="cancelled", process=None))


def work_on_classifications(
    folder: Path, path: Path, requests: Sequence[ClassifyRequest], *, data: str | None = None, device: str = "auto"
) -> None:
    """Classify one after the other, keep each result as it is there, and tell how far it is.

    Args:
        folder: Where results and progress go.
        path: The set.
        requests: What to do; those whose result is there already are left out.
        data: As for `classify`.
        device: As for `classify`.

    Raises:
        MedFunctaError: as for `classify`; the progress says so as well.
    """
    from medfuncta_core.mednf import open_set
    from medfuncta_core.mednf.classifying import classify
    from medfuncta_core.mednf.classifying_results import save_result

    with _told(folder) as own:
        opened = open_set(path)
        waiting = [request for request in requests if not (folder / f"{request.key}.json").is_file()]
        for number, request in enumerate(waiting, start=1):
            written = 0.0
            for step in classify(opened, request, data=data, device=device):
                if step.result is not None:
                    save_result(folder, step.result)
                if time.monotonic() - written > WRITE_SECONDS:
                    at = number, len(waiting), step.share, step.doing, step.eta_seconds
                    write_progress(folder, ClassifyProgress("running", request.title, *at, process=own))
                    written = time.monotonic()


def work_on_estimates(
    folder: Path, path: Path, requests: Sequence[ClassifyRequest], *, data: str | None = None, device: str = "auto"
) -> None:
    """Measure how long networks will take on this machine, and keep the seconds by the requests' keys; arguments as above."""
    from medfuncta_core.mednf import open_set
    from medfuncta_core.mednf.classifying_estimate import estimate_seconds

    with _told(folder) as own:
        opened, found = open_set(path), read_estimates(folder)
        for number, request in enumerate(requests, start=1):
            write_progress(
                folder,
                ClassifyProgress("running", request.title, number, len(requests), doing="timing a few batches", process=own),
            )
            found[request.key] = estimate_seconds(opened, request, data=data, device=device)
            write_atomically(folder / ESTIMATES_FILE, json.dumps(found).encode(), SetError)


def read_estimates(folder: Path) -> dict[str, float]:
    """Seconds that networks were measured to take, by their requests' keys."""
    try:
        return {str(key): float(value) for key, value in json.loads((folder / ESTIMATES_FILE).read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


@contextmanager
def _told(folder: Path) -> Iterator[ProcessId]:
    """Hold the folder, and say in its progress how the work ended."""
    with locked(folder / LOCK_FILE) as ours:
        if not ours:
            raise SetError(f"{folder}: another classification works there; wait for it, or choose another folder")
        try:
            yield ProcessId.own()
        except MedFunctaError as error:
            with suppress(MedFunctaError):
                write_progress(folder, ClassifyProgress("failed", reason=str(error)))
            raise
        write_progress(folder, ClassifyProgress("done"))
