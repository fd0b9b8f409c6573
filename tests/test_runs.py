"""Runs as processes of their own: queue, signals, kills, two at once, a full disk, event files; all of it in real processes."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

from medfuncta_core.errors import ConfigError, TrainingError
from medfuncta_core.learning.state import STOPPED_FILE, load_state
from medfuncta_core.runs import (
    RunFolder,
    RunRequest,
    delete_run,
    force_stop,
    launch,
    list_runs,
    move_in_queue,
    pause,
    read_log,
    read_queue,
    read_run,
    read_status,
    resume,
    stop,
    wake_queue,
)
from medfuncta_core.runs.processes import ProcessId
from medfuncta_core.runs.request import take_run
from medfuncta_core.runs.starting import continue_run, start_run
from medfuncta_core.runs.status import write_status
from medfuncta_core.runs.store import enqueue, prepare_run

ROOT = Path(__file__).resolve().parents[1]
TINY = (
    *("depth=3", "width=4", "latent_dim=3", "omega_first=2", "omega_last=4", "batch_size=2", "inner_steps=2", "outer_lr=1e-4"),
    *("validate_every=5", "validate_signals=3", "warmup_steps=0", "fit.steps=2"),
)
PATIENT = 240.0  # seconds; a loaded machine is slow, not wrong


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A folder of runs; none of its processes outlives the test."""
    yield tmp_path / "runs"
    for run in list_runs(tmp_path / "runs"):
        if run.status.process is not None and run.status.process.alive():
            os.kill(run.status.process.pid, signal.SIGKILL)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eleven and four 8x6 pictures."""
    values = np.random.default_rng(0).integers(0, 256, (15, 8, 6), dtype=np.uint8)
    np.savez(tmp_path / "mini.npz", allow_pickle=False, train_images=values[:11], val_images=values[11:])
    return tmp_path / "mini.npz"


def request(data: Path, steps: int, name: str, **more: object) -> RunRequest:
    settings = (*TINY, f"meta.steps={steps}")
    asked = RunRequest(preset="image-64-small", data=str(data), settings=settings, shape=(8, 6), name=name, device="cpu")
    return asked.model_copy(update=more)


def wait_for(met: Callable[[], object]) -> None:
    """Until something holds; it need not hold any longer afterwards."""
    end = time.monotonic() + PATIENT
    while not met():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.05)


def state_of(root: Path, name: str) -> str:
    return read_run(root, name).status.state


def events(root: Path, name: str, kind: str = "step") -> list[dict]:
    file = root / name / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [line for line in found if line["event"] == kind]


def test_queue_starts_runs_in_its_order_one_at_a_time(root: Path, data: Path) -> None:
    launch(root, request(data, 10**6, "first"))
    wait_for(lambda: events(root, "first"))
    for name in ("second", "third"):
        launch(root, request(data, 4, name))
    assert read_queue(root).order == ("second", "third")
    assert read_queue(root).working
    assert (read_run(root, "second").queue_position, read_run(root, "third").queue_position) == (1, 2)
    move_in_queue(root, "third", 1)
    assert read_queue(root).order == ("third", "second")
    with pytest.raises(TrainingError, match="does not wait"):
        move_in_queue(root, "first", 1)
    wake_queue(root)  # another app on the same machine: its worker finds the first one at work and leaves
    assert state_of(root, "second") == "queued"
    stop(root, "first")
    wait_for(lambda: state_of(root, "second") == "finished")
    assert state_of(root, "first") == "stopped"
    assert state_of(root, "third") == "finished"
    assert events(root, "first")[-1]["time"] <= events(root, "third")[0]["time"]
    assert events(root, "third")[-1]["time"] <= events(root, "second")[0]["time"]
    assert [line["step"] for line in events(root, "second")] == [1, 2, 3, 4]  # started once
    wait_for(lambda: not read_queue(root).working)


def test_sigterm_saves_and_ends_and_sigkill_leaves_a_run_that_can_be_resumed(root: Path, data: Path) -> None:
    name = launch(root, request(data, 10**6, "run"))
    folder = RunFolder(root / name)
    wait_for(lambda: len(events(root, name)) > 6)
    pid = read_run(root, name).status.pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: state_of(root, name) == "stopped")
    status = read_status(folder)
    last = events(root, name)[-1]["step"]
    saved = [folder.checkpoint / part for part in (STOPPED_FILE, "state.safetensors") if (folder.checkpoint / part).exists()]
    assert status.step == last == load_state(saved[0]).progress.step  # not one step is lost
    wait_for(lambda: "stopped at step" in read_log(folder.path))

    resume(root, name)
    wait_for(lambda: events(root, name)[-1]["step"] > last)
    pause(root, name)
    wait_for(lambda: state_of(root, name) == "paused")
    held = read_status(folder).step
    with pytest.raises(TrainingError, match="stop it first"):
        delete_run(root, name)
    resume(root, name)
    wait_for(lambda: events(root, name)[-1]["step"] > held)
    force_stop(root, name)
    wait_for(lambda: state_of(root, name) == "interrupted")
    found = read_run(root, name).status
    assert found.reason.startswith("interrupted at step")
    assert "can be resumed" in found.reason
    assert "resume" in found.actions
    steps = [line["step"] for line in events(root, name)]
    assert steps == list(range(1, len(steps) + 1))  # every step once, also over stop and pause
    delete_run(root, name)
    assert list_runs(root) == []


def test_run_is_interrupted_after_a_restart_of_the_machine(root: Path, data: Path) -> None:
    folder = RunFolder(root / prepare_run(root, request(data, 4, "run")))
    write_status(folder, "running", step=3, steps=9)
    assert read_status(folder).state == "running"
    values = json.loads(folder.status.read_text())
    values["process"] |= {"started": "another boot 17"}  # the same number, given to this process after the restart
    folder.status.write_text(json.dumps(values))
    found = read_status(folder)
    assert (found.state, found.step, found.pid) == ("interrupted", 3, None)
    assert "the machine restarted; it can be resumed" in found.reason
    folder.status.write_text("{")  # cut off by the same power failure
    assert read_status(folder).state == "interrupted"
    assert not replace(ProcessId.own(), started="another boot 17").alive()


def test_two_processes_do_not_train_the_same_run(root: Path, data: Path) -> None:
    name = prepare_run(root, request(data, 10**6, "run"))
    command = [sys.executable, "-m", "medfuncta_core", "train", "--resume", "--out", str(root / name), "--device", "cpu"]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    wait_for(lambda: any(child.poll() is not None for child in both))
    loser = next(child for child in both if child.poll() is not None)
    winner = next(child for child in both if child is not loser)
    assert "another process trains this run already" in loser.communicate()[1]
    assert loser.returncode == 1
    wait_for(lambda: len(events(root, name)) > 2)
    assert read_run(root, name).status.pid == winner.pid
    winner.terminate()
    winner.communicate()
    assert winner.returncode == 128 + signal.SIGTERM
    steps = [line["step"] for line in events(root, name)]
    assert steps == list(range(1, len(steps) + 1))


def test_full_disk_pauses_a_launched_run_which_goes_on_by_itself(root: Path, data: Path) -> None:
    name = prepare_run(root, request(data, 4, "run"))
    (root / name / "metrics.jsonl").symlink_to("/dev/full")
    enqueue(root, name)
    wait_for(lambda: state_of(root, name) == "paused")
    status = read_run(root, name).status
    assert "the disk is full; free some space and the run goes on by itself" in status.reason
    assert status.pid is not None
    (root / name / "metrics.jsonl").unlink()
    wait_for(lambda: state_of(root, name) == "finished")
    assert [line["step"] for line in events(root, name)] == [1, 2, 3, 4]


def test_run_whose_data_is_gone_says_so(root: Path, data: Path) -> None:
    with pytest.raises(ConfigError, match="no such setting"):
        launch(root, request(data, 4, "run").model_copy(update={"settings": ("widht=4",)}))
    assert list_runs(root) == []
    name = launch(root, request(data.with_name("gone.npz"), 4, "run"))
    wait_for(lambda: state_of(root, name) == "failed")
    assert "gone.npz" in read_run(root, name).status.reason


def read_event_files(folder: Path) -> list[Event]:
    """Events of all files, by time, as TensorBoard reads them: length, its checksum, content, its checksum."""
    found = []
    for file in sorted((folder / "tensorboard").iterdir(), key=lambda file: file.stat().st_mtime_ns):
        content, at = file.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            head, body = content[at : at + 8], content[at + 12 : at + 12 + length]
            assert [checksum(head), checksum(body)] == [
                struct.unpack_from("<I", content, place)[0] for place in (at + 8, at + 12 + length)
            ]
            found.append(Event.FromString(body))
            at += 16 + length
    return found


def checksum(part: bytes) -> int:
    """TFRecord's masked CRC-32C."""
    value = crc32c(part)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_event_files_hold_every_step_and_validation_once_over_a_stop(root: Path, data: Path) -> None:
    asked = request(data, 40, "run", tensorboard=True)
    folder, steps = RunFolder(root / "run"), [0]
    for event in start_run(folder, asked, stop=lambda: steps[-1] >= 13):
        steps.append(event.step)
    assert read_status(folder).state == "stopped"
    (folder.checkpoint / STOPPED_FILE).unlink()  # as if it had been killed: steps 11 to 13 come again
    take_run(folder)
    for _ in continue_run(folder, device="cpu"):
        pass
    curves: dict[str, dict[int, float]] = {}
    dropped = 0
    for found in read_event_files(folder.path):
        if found.session_log.status:
            for curve in curves.values():  # as TensorBoard does
                for step in [step for step in curve if step >= found.step]:
                    del curve[step]
                    dropped += 1
        for value in found.summary.value:
            curves.setdefault(value.tag, {})[found.step] = value.simple_value
            if value.tag.startswith("samples/"):
                assert value.image.encoded_image_string.startswith(b"\x89PNG")
                assert (value.image.height, value.image.width) == (4 * 8, 3 * 6)
    assert dropped >= 3
    assert list(curves["train/loss"]) == list(range(1, 41))
    assert curves["train/loss"] == pytest.approx({line["step"]: line["loss"] for line in events(root, "run")})
    told = {line["step"]: line["psnr"] for line in events(root, "run", "validation")}
    assert curves["validation/psnr"] == pytest.approx(told)
    assert list(told) == list(range(5, 41, 5))
    assert list(curves["samples/input_start_reconstruction"]) == [0, *told]
