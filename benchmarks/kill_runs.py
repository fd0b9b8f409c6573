"""Kill a real training run with SIGKILL at random moments, again and again, and see that nothing is lost; prints JSON.

    python -m benchmarks.kill_runs --kills 50 --out benchmarks/results/kill-runs.json

The run is `python -m medfuncta_core train` on a CPU, in a process of its own, on pictures that the script makes. Its checkpoints
come every few steps, so that kills fall into the writing of files as well as into steps. After every kill all files of the run
are read; after the last one the run is resumed to its end and compared, bit for bit, with the run that nobody disturbed.
With --fork the processes are forked from this one, which has everything imported: the same commands, started sooner.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors.numpy import load_file

from benchmarks.speed import machine
from medfuncta_core.atomic import write_atomically
from medfuncta_core.checkpoint import load_checkpoint
from medfuncta_core.cli import app
from medfuncta_core.learning.state import STATE_FILE, STOPPED_FILE, load_state
from medfuncta_core.runs import RunFolder, RunRequest, list_sample_steps, read_samples, read_status
from medfuncta_core.runs.measuring import measure
from medfuncta_core.runs.processes import spawn

SHAPE = (12, 10)
VALIDATE_EVERY = 3
SETTINGS = (
    *("depth=4", "width=16", "latent_dim=8", "omega_first=4", "omega_last=12", "batch_size=4", "inner_steps=3", "outer_lr=1e-3"),
    *("fit.steps=3", "meta.validate_signals=6", f"meta.validate_every={VALIDATE_EVERY}", "meta.warmup_steps=10"),
)
MOST_STEPS = 4 * VALIDATE_EVERY  # that a process takes before it is killed
LOOK_SECONDS = 0.02  # between two looks at what the run has told
LONGEST_WAIT = 0.3  # seconds after that, so that kills fall anywhere: into steps, validations, and the writing of files
EARLY = 0.1  # share of processes that are killed before they have trained a step, possibly before they have begun to
CHANGING = ("time", "seconds", "cpu_seconds", "memory_bytes")  # columns that no two runs share


@dataclass
class Report:
    """What the kills did. All of the lists of problems must be empty."""

    kills: int = 0
    runs: int = 0
    steps: int = 0
    states_when_killed: dict[str, int] = field(default_factory=dict)
    steps_lost_at_most: int = 0
    steps_between_checkpoints: int = VALIDATE_EVERY
    broken_files: list[str] = field(default_factory=list)
    not_resumable: list[str] = field(default_factory=list)
    different_from_undisturbed: list[str] = field(default_factory=list)
    bit_equal: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=240, help="of each run")
    parser.add_argument("--fork", action="store_true", help="fork the processes instead of starting interpreters")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, help="JSON file to write as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medfuncta-kill-") as folder:
        start = fork if options.fork else start_interpreter
        if options.fork:
            warm_up(Path(folder))
        report = kill_again_and_again(Path(folder), options.kills, options.steps, random.Random(options.seed), start)
    about = {"command": " ".join(["python -m benchmarks.kill_runs", *sys.argv[1:]]), "machine": machine(torch.device("cpu"))}
    text = json.dumps(about | asdict(report), indent=2, allow_nan=False)
    if options.out is not None:
        write_atomically(options.out, (text + "\n").encode())
    print(text)
    sys.exit(0 if report.bit_equal and not report.broken_files and not report.not_resumable else 1)


class Child(Protocol):
    """A process that trains."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self) -> int: ...
    def kill(self) -> None: ...


Start = Callable[[list[str], int], Child]
"""From arguments of the command line, and where it prints, to its process."""


def start_interpreter(arguments: list[str], output: int) -> Child:
    """As a user does."""
    return spawn(arguments, output)


class Forked:
    """A process forked from this one that runs the command line."""

    def __init__(self, arguments: list[str], output: int) -> None:
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.setsid()
                for descriptor in (1, 2):
                    os.dup2(output, descriptor)
                code = int(app(arguments, standalone_mode=False) or 0)
            finally:
                os._exit(code)

    def poll(self) -> int | None:
        return self._take(os.WNOHANG)

    def wait(self) -> int:
        code = self._take(0)
        assert code is not None
        return code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _take(self, options: int) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, options)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code


def warm_up(folder: Path) -> None:
    """Import all that training imports, so that forked processes have it."""
    shape = (SHAPE[0], SHAPE[1])
    request = RunRequest(preset="image-64-small", data=str(make_pictures(folder / "warm.npz")), settings=SETTINGS, shape=shape)
    for _ in measure(request.model_copy(update={"device": "cpu"}), steps=1):
        pass


def fork(arguments: list[str], output: int) -> Child:
    """Without the seconds that an interpreter takes to import PyTorch."""
    return Forked(arguments, output)


def kill_again_and_again(folder: Path, kills: int, steps: int, moments: random.Random, start: Start) -> Report:
    """Train undisturbed, train with kills, compare.

    Args:
        folder: Empty.
        kills: How many; where a run ends before them, the rest fall on another one like it.
        steps: Of the run.
        moments: Draws when to kill.
        start: How processes begin.
    """
    report, whole = Report(steps=steps), RunFolder(folder / "whole")
    command = new_run(make_pictures(folder / "pictures.npz"), steps)
    finish([*command, "--out", str(whole.path)], whole, report, start)
    expected = contents(whole)
    while report.kills < kills:
        report.runs += 1
        killed = RunFolder(folder / f"killed-{report.runs}")
        while report.kills < kills and read_status(killed).state != "finished":
            arguments = resumed(killed) if killed.opened else [*command, "--out", str(killed.path)]
            steps_first = -1 if moments.random() < EARLY else moments.randint(0, MOST_STEPS)
            before = kill_later(start, arguments, killed, steps_first, moments.uniform(0, LONGEST_WAIT))
            if before is None and read_status(killed).state != "finished":
                report.not_resumable.append(f"kill {report.kills + 1}: {read_status(killed).reason}")
                return report
            if before is None:
                break
            report.kills += 1
            report.states_when_killed[before] = report.states_when_killed.get(before, 0) + 1
            report.broken_files += [f"kill {report.kills}: {problem}" for problem in broken_files(killed)]
            report.steps_lost_at_most = max(report.steps_lost_at_most, steps_lost(killed))
            print(f"kill {report.kills}: {before}, {read_status(killed).reason or 'finished'}", file=sys.stderr, flush=True)
        finish(resumed(killed), killed, report, start)
        found = contents(killed)
        report.different_from_undisturbed += [key for key in expected | found if expected.get(key) != found.get(key)]
    report.bit_equal = not report.different_from_undisturbed
    return report


def make_pictures(file: Path) -> Path:
    """32 and 8 pictures of blobs in MedMNIST's layout."""
    centres = np.random.default_rng(0).uniform(2, 9, (40, 2))
    rows, columns = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    pictures = np.stack([255 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 9) for y, x in centres]).astype(np.uint8)
    np.savez(file, allow_pickle=False, train_images=pictures[:32], val_images=pictures[32:])
    return file


def new_run(data: Path, steps: int) -> list[str]:
    """Arguments of the command line that start the run."""
    shape = ",".join(map(str, SHAPE))
    command = ["train", "--preset", "image-64-small", "--data", str(data), "--shape", shape, "--device", "cpu", "--name", "run"]
    return [*command, "--steps", str(steps), "--set", *SETTINGS]


def resumed(folder: RunFolder) -> list[str]:
    """Arguments that continue it."""
    return ["train", "--resume", "--out", str(folder.path), "--device", "cpu"]


def kill_later(start: Start, arguments: list[str], folder: RunFolder, steps: int, seconds: float) -> str | None:
    """Start a process and kill it some time after it has taken some steps.

    Args:
        start: How it begins.
        arguments: Of the command line.
        folder: Of the run.
        steps: That the process takes first; -1 not even waits for it to train.
        seconds: That pass afterwards.

    Returns:
        What the run said of itself at that moment; None where the process had ended by itself.
    """
    told = told_steps(folder)
    with Path(os.devnull).open("wb") as nowhere:
        child = start(arguments, nowhere.fileno())
    while child.poll() is None and not (folder.opened and read_status(folder).pid == child.pid):
        time.sleep(LOOK_SECONDS)
    while child.poll() is None and steps >= 0 and told_steps(folder) - told < steps:
        time.sleep(LOOK_SECONDS)
    time.sleep(seconds)
    state = read_status(folder).state
    child.kill()
    return state if child.wait() == -signal.SIGKILL else None


def told_steps(folder: RunFolder) -> int:
    """How many steps the run has told of, those that were done twice counted twice."""
    return folder.metrics.read_bytes().count(b'{"event": "step"') if folder.metrics.exists() else 0


def finish(arguments: list[str], folder: RunFolder, report: Report, start: Start) -> None:
    """Let the run end by itself."""
    with tempfile.TemporaryFile() as output:
        if start(arguments, output.fileno()).wait() != 0:
            output.seek(0)
            report.not_resumable.append(f"{folder.path.name}: {output.read().decode(errors='replace').strip()[-400:]}")


def broken_files(folder: RunFolder) -> Iterator[str]:
    """Files of a killed run that cannot be read; half a line at the end of a file that is only added to is no fault."""
    for name in ("config.json", "status.json", "request.json"):
        file = folder.path / name
        if file.exists() and _problem(lambda file=file: json.loads(file.read_text())):
            yield f"{name} is no JSON"
    for name in (STATE_FILE, STOPPED_FILE):
        if (folder.checkpoint / name).exists() and (problem := _problem(lambda name=name: load_state(folder.checkpoint / name))):
            yield f"{name}: {problem}"
    for name in ("last", "best"):
        if (folder.checkpoint / name / "config.json").exists():
            if problem := _problem(lambda name=name: load_checkpoint(folder.checkpoint / name)):
                yield f"{name}: {problem}"
    for step in list_sample_steps(folder.path):
        if read_samples(folder.path, step) is None:
            yield f"samples of step {step} cannot be read"
    lines = folder.metrics.read_bytes().split(b"\n")[:-1] if folder.metrics.exists() else []
    for number, line in enumerate(lines, 1):
        if problem := _problem(lambda line=line: json.loads(line)):
            yield f"line {number} of metrics.jsonl: {problem}"


def _problem(read) -> str:
    try:
        read()
    except Exception as error:  # whatever it is, the file cannot be read
        return f"{type(error).__name__}: {error}"
    return ""


def steps_lost(folder: RunFolder) -> int:
    """Steps that were told of and have to be done again."""
    told = 0
    if folder.metrics.exists():
        for line in folder.metrics.read_bytes().split(b"\n")[:-1]:
            values = json.loads(line)
            told = values["step"] if values["event"] == "step" else told
    saved = folder.checkpoint / STATE_FILE
    return told - (load_state(saved).progress.step if saved.exists() else 0)


def contents(folder: RunFolder) -> dict[str, object]:
    """What a finished run leaves, without times: the state, what anybody loads, samples, events (the later line counts)."""
    state = load_state(folder.checkpoint / STATE_FILE)
    found: dict[str, object] = {f"state {name}": value.numpy().tobytes() for name, value in state.tensors.items()}
    for name in ("last", "best"):
        weights = load_file(folder.checkpoint / name / "model.safetensors")
        found |= {f"{name} {key}": value.tobytes() for key, value in weights.items()}
    found |= {f"samples {file.name}": file.read_bytes() for file in (folder.path / "samples").iterdir()}
    for line in folder.metrics.read_text().splitlines():
        values = json.loads(line)
        kept = {key: value for key, value in values.items() if key not in CHANGING}
        found[f"event {values['event']} {values['step']}"] = kept
    return found | {"status": read_status(folder).state}


if __name__ == "__main__":
    main()
