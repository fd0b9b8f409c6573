"""Training: schedule, outer step, the generator's events, recovery, and resume after SIGKILL in a real process."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from medfuncta_core.checkpoint import load_checkpoint
from medfuncta_core.config import FieldConfig, FitConfig, MetaConfig
from medfuncta_core.errors import TrainingError
from medfuncta_core.learning import Recovery, TrainingRun, TrainStep, Validation, learned_field, train
from medfuncta_core.learning.schedule import batch_rows, context_indices, learning_rate
from medfuncta_core.learning.state import STATE_FILE, load_state
from medfuncta_core.runs import RunConfig, RunFolder, train_run
from medfuncta_core.signals import load_data_set

FIELD = FieldConfig(coord_dim=1, depth=4, width=12, latent_dim=6, omega_first=5, omega_last=15, residual=True)
META = MetaConfig(
    steps=24, batch_size=5, inner_steps=3, inner_lr=0.1, selection_ratio=0.5, outer_lr=2e-3, warmup_steps=4, validate_every=6,
    validate_signals=7, average_decay=0.9, skip_ratio=10,
)  # fmt: skip
FIT = FitConfig(steps=5, inner_lr=0.1)


@pytest.fixture
def beats(tmp_path: Path) -> Path:
    """A MedMNIST-style file of 16-sample beats."""
    rng, time_axis = np.random.default_rng(0), np.linspace(0, 1, 16, dtype=np.float32)
    splits = {}
    for split, n in (("train", 23), ("val", 9), ("test", 8)):
        peaks = rng.uniform(0.2, 0.8, (n, 1)).astype(np.float32)
        splits[f"{split}_images"] = np.exp(-(((time_axis - peaks) / 0.15) ** 2)).astype(np.float32)
        splits[f"{split}_labels"] = (peaks > 0.5).astype(np.uint8)
    np.savez(tmp_path / "beats.npz", **splits)
    return tmp_path / "beats.npz"


def make_run(beats: Path, directory: Path | None = None, **meta: object) -> TrainingRun:
    train_set, val_set = load_data_set(beats, "train"), load_data_set(beats, "val")
    return TrainingRun(FIELD, META.model_copy(update=meta), FIT, train_set, val_set, directory, "cpu")


def test_learning_rate_warms_up_and_anneals() -> None:
    meta = MetaConfig(steps=101, batch_size=1, outer_lr=1.0, warmup_steps=10, final_lr_ratio=0.1)
    assert learning_rate(meta, 5) == pytest.approx(0.5, abs=0.01)
    assert learning_rate(meta, 51) == pytest.approx(0.55)  # half-way between 1 and 0.1
    assert learning_rate(meta, 101) == pytest.approx(0.1)


def test_batches_use_every_signal_once_an_epoch() -> None:
    meta = META.model_copy(update={"batch_size": 5})
    drawn = np.concatenate([batch_rows(meta, step, 23) for step in range(1, 24)])  # 5 * 23 = five epochs
    for epoch in drawn.reshape(5, 23):
        assert sorted(epoch) == list(range(23))
    assert (drawn[:23] != drawn[23:46]).any()


def test_contexts_are_drawn_anew_at_every_inner_step_and_repeat_with_the_seed() -> None:
    first, again, later = (context_indices(META, step, 5, 16) for step in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True) if a is not None and b is not None)
    for a, b in itertools.pairwise([*first, later[0]]):
        assert a is not None
        assert b is not None
        assert not torch.equal(a, b)


def test_training_improves_reconstruction(beats: Path) -> None:
    events = list(train(make_run(beats, steps=120, validate_every=30)))
    validations = [event for event in events if isinstance(event, Validation)]
    assert [event.step for event in events if isinstance(event, TrainStep)] == list(range(1, 121))
    assert [event.step for event in validations] == [30, 60, 90, 120]
    assert validations[-1].psnr > validations[0].psnr + 2
    assert validations[-1].n == 7


@pytest.mark.parametrize("scale_lr_by_omega", [False, True])
def test_resumed_run_equals_the_undisturbed_one_bit_for_bit(beats: Path, tmp_path: Path, scale_lr_by_omega: bool) -> None:
    whole = make_run(beats, tmp_path / "whole", scale_lr_by_omega=scale_lr_by_omega)
    expected = list(train(whole))
    broken = make_run(beats, tmp_path / "broken", scale_lr_by_omega=scale_lr_by_omega)
    for event in train(broken):
        if event.step == 15:
            break  # state of step 12 is on the disk
    resumed = list(train(broken, resume=True))
    assert resumed[0].step == 13
    for best in (True, False):
        for a, b in zip(
            learned_field(whole, best=best)[0].parameters(), learned_field(broken, best=best)[0].parameters(), strict=True
        ):
            assert torch.equal(a, b)
    losses = {event.step: event.loss for event in expected if isinstance(event, TrainStep)}
    assert all(event.loss == losses[event.step] for event in resumed if isinstance(event, TrainStep))


def test_best_weights_are_those_of_the_best_validation(beats: Path, tmp_path: Path) -> None:
    run = make_run(beats, tmp_path)
    validations = [event for event in train(run) if isinstance(event, Validation)]
    best = max(validations, key=lambda event: event.psnr)
    assert learned_field(run)[1].best_step == best.step
    assert learned_field(run)[1].best_psnr == best.psnr


def test_collapse_goes_back_with_a_smaller_rate(beats: Path, tmp_path: Path) -> None:
    run = make_run(
        beats,
        tmp_path,
        outer_lr=30.0,
        warmup_steps=0,
        skip_ratio=None,
        clip_norm=None,
        max_collapses=40,
        steps=12,
        collapse_drop_db=0.5,
    )
    with torch.no_grad():
        recoveries = []
        for event in train(run):
            if isinstance(event, Recovery):
                recoveries.append(event)
                assert event.restored_step < event.step
                assert load_state(tmp_path / STATE_FILE).progress.lr_factor == event.lr_factor
            if len(recoveries) == 2:
                break
    assert [event.lr_factor for event in recoveries] == [0.5, 0.25]
    assert "PSNR fell" in recoveries[0].reason or "finite" in recoveries[0].reason


def test_training_gives_up_after_too_many_collapses(beats: Path) -> None:
    run = make_run(beats, outer_lr=1e30, warmup_steps=0, skip_ratio=None, clip_norm=None, max_collapses=1, weight_decay=0)
    with pytest.raises(TrainingError, match="lower outer_lr"):
        list(train(run))


def test_resume_refuses_other_settings_and_missing_or_broken_states(beats: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no saved state"):
        list(train(make_run(beats, tmp_path), resume=True))
    next(train(make_run(beats, tmp_path)))
    with pytest.raises(TrainingError, match="other settings"):
        list(train(make_run(beats, tmp_path, batch_size=6), resume=True))
    state = tmp_path / STATE_FILE
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(TrainingError, match="not a readable training state"):
        list(train(make_run(beats, tmp_path), resume=True))


def test_training_refuses_data_of_another_kind(beats: Path) -> None:
    train_set, val_set = load_data_set(beats, "train"), load_data_set(beats, "val")
    with pytest.raises(TrainingError, match="preset of its kind"):
        TrainingRun(FIELD.model_copy(update={"coord_dim": 2}), META, FIT, train_set, val_set)


def run_config(run: TrainingRun) -> RunConfig:
    return RunConfig(name="beats", field=FIELD, meta=run.meta, fit=FIT, signal=run.train.spec(), data=run.train.info())


def test_run_folder_holds_loadable_checkpoints_metrics_and_status(beats: Path, tmp_path: Path) -> None:
    run, folder = make_run(beats), RunFolder(tmp_path / "run")
    events = list(train_run(folder, run_config(run), run.train, run.val, device="cpu"))
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines].count("validation") == 4
    assert len(lines) == len(events)
    assert json.loads((folder.path / "status.json").read_text())["state"] == "finished"
    best = load_checkpoint(folder.checkpoint / "best")
    assert best.config.signal == run.train.spec()
    assert load_checkpoint(folder.checkpoint / "last").config.step == 24
    with pytest.raises(TrainingError, match="already holds a run"):
        list(train_run(folder, run_config(run), run.train, run.val))


KILLED_RUN = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.test_training import make_run, run_config
from medfuncta_core.runs import RunFolder, train_run
beats, out, resume = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "resume"
run = make_run(beats, steps=400, validate_every=20)
for event in train_run(RunFolder(out), run_config(run), run.train, run.val, resume=resume, device="cpu"):
    pass
"""


def test_run_killed_with_sigkill_and_resumed_equals_the_run_never_killed(beats: Path, tmp_path: Path) -> None:
    def start(out: str, mode: str) -> subprocess.Popen[bytes]:
        root = Path(__file__).resolve().parents[1]
        environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", KILLED_RUN, str(beats), str(tmp_path / out), mode], cwd=root, env=environment
        )

    whole = start("whole", "start")
    killed, metrics = start("killed", "start"), tmp_path / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("validation") >= 2):  # somewhere after step 40
        assert killed.poll() is None
        assert time.monotonic() < deadline
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert whole.wait(timeout=120) == 0
    resumed = start("killed", "resume")
    assert resumed.wait(timeout=120) == 0
    for name in ("last", "best"):
        fields = [load_checkpoint(tmp_path / out / "checkpoint" / name).field for out in ("whole", "killed")]
        for a, b in zip(fields[0].parameters(), fields[1].parameters(), strict=True):
            assert torch.equal(a, b)
