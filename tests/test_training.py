"""Training: schedule, outer step, the generator's events, recovery, and resume after SIGKILL in a real process."""

import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from medfuncta_core.atomic import write_atomically
from medfuncta_core.checkpoint import load_checkpoint
from medfuncta_core.config import FieldConfig, FitConfig, MetaConfig
from medfuncta_core.errors import CheckpointError, ConfigError, TrainingError
from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.learning import Recovery, TrainingRun, TrainStep, Validation, learned_field, train, validate
from medfuncta_core.learning.schedule import batch_rows, context_indices, learning_rate
from medfuncta_core.learning.state import STATE_FILE, load_state
from medfuncta_core.runs import RunConfig, RunFolder, train_run
from medfuncta_core.runs import folder as folder_module
from medfuncta_core.runs import reporting as reporting_module
from medfuncta_core.runs import training as training_module
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


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the run gets to the disk from here on."""


def die_at_the_nth_write(monkeypatch: pytest.MonkeyPatch, n: int) -> list[str]:
    """From the n-th on, no file is replaced and no line appended: as if the process had been killed. Returns what was written."""
    written: list[str] = []
    replace_file, append_line = Path.replace, folder_module.append_line

    def count(name: str) -> None:
        if len(written) + 1 >= n:
            raise Killed
        written.append(name)

    def replace(self: Path, target: Path) -> Path:
        count(target.name)
        return replace_file(self, target)

    def append(file: Path, line: str) -> None:
        count(file.name)
        append_line(file, line)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(folder_module, "append_line", append)
    return written


def contents(folder: RunFolder) -> dict[str, object]:
    """What a run leaves, without times: events by kind and step (the later line counts), exports, status."""
    lines = [json.loads(line, parse_constant=pytest.fail) for line in folder.metrics.read_text().splitlines()]
    events = {
        (line["event"], line["step"]): {k: line[k] for k in line if k not in ("time", "seconds", "cpu_seconds", "memory_bytes")}
        for line in lines
    }
    status = json.loads((folder.path / "status.json").read_text())
    exports = {name: folder.checkpoint / name for name in ("last", "best")}
    weights = {name: load_file(path / "model.safetensors") for name, path in exports.items()}
    return {
        "events": events,
        "status": {key: status[key] for key in ("state", "step", "steps", "psnr", "ssim")},
        "weights": {name: {key: value.numpy().tobytes() for key, value in part.items()} for name, part in weights.items()},
        "configs": {name: (path / "config.json").read_text() for name, path in exports.items()},
        "samples": {file.name: file.read_bytes() for file in (folder.path / "samples").iterdir()},
    }


def run_all(folder: RunFolder, run: TrainingRun, *, resume: bool = False) -> None:
    for _ in train_run(folder, run_config(run), run.train, run.val, resume=resume, device="cpu"):
        pass


def test_run_killed_before_any_write_and_resumed_leaves_what_the_run_never_killed_leaves(
    beats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting_module, "STATUS_SECONDS", math.inf)  # the same writes every time
    run = make_run(beats, steps=4, validate_every=2)
    with monkeypatch.context() as patched:
        written = die_at_the_nth_write(patched, 10**9)
        run_all(RunFolder(tmp_path / "whole"), run)
    expected = contents(RunFolder(tmp_path / "whole"))
    assert written[:6] == ["config.json", "status.json", "log.txt", "00000000.safetensors", STATE_FILE, "metrics.jsonl"]
    assert written.count("model.safetensors") >= 3
    for n in range(1, len(written) + 1):
        folder = RunFolder(tmp_path / str(n))
        with monkeypatch.context() as patched:
            die_at_the_nth_write(patched, n)
            with pytest.raises(Killed):
                run_all(folder, run)
        run_all(folder, run, resume=(folder.path / "config.json").exists())
        assert contents(folder) == expected, f"killed before {written[n - 1]}, write {n}"


def test_run_killed_after_a_recovery_was_saved_tells_of_it_on_resume(beats: Path, tmp_path: Path) -> None:
    run = make_run(beats, outer_lr=30.0, warmup_steps=0, skip_ratio=None, clip_norm=None, max_collapses=40, collapse_drop_db=0.5)
    folder = RunFolder(tmp_path / "run")
    for event in train_run(folder, run_config(run), run.train, run.val, device="cpu"):
        if isinstance(event, Recovery):
            break
    lines = folder.metrics.read_text().splitlines()
    assert json.loads(lines[-1])["event"] == "recovery"
    folder.metrics.write_text("".join(line + "\n" for line in lines[:-1]) + lines[-1][:30])  # killed half-way through the line
    next(train_run(folder, run_config(run), run.train, run.val, resume=True, device="cpu"))
    resumed = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert resumed[len(lines) - 1] | {"time": 0} == json.loads(lines[-1]) | {"time": 0}


def test_state_of_an_older_version_still_resumes_and_exports(beats: Path, tmp_path: Path) -> None:
    run, folder = make_run(beats), RunFolder(tmp_path / "run")
    run_all(folder, run)
    state = folder.checkpoint / STATE_FILE
    kept = load_state(state)
    old = {name: value for name, value in asdict(kept.progress).items() if name not in ("last", "best", "recovery")}
    write_atomically(
        state, save(kept.tensors, metadata={"progress": json.dumps(old)})
    )  # its tensors are mapped from the old file
    exports = [folder.checkpoint / name / "config.json" for name in ("last", "best")]
    before = [file.read_bytes() for file in exports]
    run_all(folder, run, resume=True)
    assert [file.read_bytes() for file in exports] == before  # of the right step: their metrics stay
    exports[0].unlink()
    run_all(folder, run, resume=True)
    assert load_checkpoint(folder.checkpoint / "last").config.step == 24
    write_atomically(state, save(kept.tensors, metadata={"progress": json.dumps(old | {"new": 1})}))
    with pytest.raises(TrainingError, match="not a readable training state"):
        load_state(state)


def test_resume_that_cannot_begin_leaves_the_run_as_it_was(beats: Path, tmp_path: Path) -> None:
    run, folder = make_run(beats), RunFolder(tmp_path / "run")
    run_all(folder, run)
    before = {file: file.read_bytes() for file in folder.path.rglob("*") if file.is_file()}
    other = replace(run.train, sha256="other")
    with pytest.raises(TrainingError, match="other settings or data"):
        next(train_run(folder, run_config(run), other, run.val, resume=True, device="cpu"))
    (folder.checkpoint / STATE_FILE).write_bytes(b"cut")
    with pytest.raises(TrainingError, match="not a readable training state"):
        next(train_run(folder, run_config(run), run.train, run.val, resume=True, device="cpu"))
    (folder.checkpoint / STATE_FILE).unlink()  # there was one: its run is not begun anew over the exports
    with pytest.raises(TrainingError, match="no saved state"):
        next(train_run(folder, run_config(run), run.train, run.val, resume=True, device="cpu"))
    assert {file: file.read_bytes() for file in before if file.name != STATE_FILE} == {
        file: content for file, content in before.items() if file.name != STATE_FILE
    }
    folder = RunFolder(tmp_path / "unbegun")
    folder.create(run_config(run))
    with pytest.raises(TrainingError, match="started with other data"):
        next(train_run(folder, run_config(run), other, run.val, resume=True, device="cpu"))


@pytest.mark.parametrize("name", ["metrics.jsonl", "log.txt"])
def test_full_disk_pauses_the_run_until_there_is_room(
    beats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(training_module, "RETRY_SECONDS", 0.0)
    run, folder, states = make_run(beats), RunFolder(tmp_path / "run"), []
    folder.path.mkdir()
    (folder.path / name).symlink_to("/dev/full")

    def free_some_space() -> bool:
        status = json.loads(folder.status.read_text())
        states.append(status["state"])
        if status["state"] == "paused":
            assert re.search(rf"the disk is full; free some space .*{name}: cannot be written \(No space", status["reason"])
            (folder.path / name).unlink(missing_ok=True)
        return False

    for _ in train_run(folder, run_config(run), run.train, run.val, device="cpu", stop=free_some_space):
        pass
    assert "paused" in states
    run_all(RunFolder(tmp_path / "whole"), run)
    assert contents(folder) == contents(RunFolder(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("error", "text"), [(CheckpointError("no room; free some"), "no room; free some"), (ValueError("odd"), "ValueError: odd")]
)
def test_run_that_fails_says_so_and_can_go_on(
    beats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, text: str
) -> None:
    run, folder = make_run(beats), RunFolder(tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(training_module, "save_checkpoint", Mock(side_effect=error))
        with pytest.raises(type(error)) as caught:
            run_all(folder, run)
    assert caught.value is error
    status = json.loads((folder.path / "status.json").read_text())
    assert (status["state"], status["step"], status["reason"]) == ("failed", 6, text)
    for _ in train_run(folder, run_config(run), run.train, run.val, resume=True, device="cpu"):
        break
    assert json.loads((folder.path / "status.json").read_text())["state"] == "interrupted"


def test_run_that_fails_keeps_the_first_error_when_its_status_cannot_be_written(
    beats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, error = make_run(beats), ValueError("first")
    events = train_run(RunFolder(tmp_path / "run"), run_config(run), run.train, run.val, device="cpu")
    next(events)
    monkeypatch.setattr(RunFolder, "append", Mock(side_effect=error))
    monkeypatch.setattr(reporting_module, "write_status", Mock(side_effect=CheckpointError("second")))
    with pytest.raises(ValueError, match="first") as caught:
        next(events)
    assert caught.value is error


def test_metrics_file_has_null_for_numbers_that_json_cannot_hold(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append(TrainStep(1, math.nan, 0.5, -math.inf, math.inf, 1e-3, False, 0.1))
    line = json.loads(folder.metrics.read_text(), parse_constant=pytest.fail)
    assert (line["loss"], line["first_loss"], line["psnr"], line["gradient_norm"]) == (None, 0.5, None, None)


def test_validation_counts_a_perfect_signal_as_100_db(beats: Path) -> None:
    signals = load_data_set(beats, "val")
    blank = replace(signals, values=np.concatenate([np.zeros_like(signals.values[:1]), signals.values[1:4]]))
    field = ModulatedSIREN(FIELD).requires_grad_(False)
    for parameter in field.parameters():
        parameter.zero_()
    found = validate(field, FIT, blank)
    alone = validate(field, FIT, replace(blank, values=blank.values[1:]))
    assert found.psnr == pytest.approx((100 + 3 * alone.psnr) / 4)
    assert found.best


def test_perfect_validation_is_no_collapse_and_diverging_fits_are(beats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    black = replace(load_data_set(beats, "train"), values=np.zeros((6, 16, 1), np.float32))
    run = replace(make_run(beats, steps=6, validate_every=2), train=black, val=black)
    monkeypatch.setattr(torch.nn.init, "normal_", torch.nn.init.zeros_)
    assert not [event for event in train(run) if isinstance(event, Recovery)]
    wild = replace(make_run(beats, steps=6, validate_every=2, max_collapses=0), fit=FitConfig(steps=5, inner_lr=1e38))
    with pytest.raises(TrainingError, match="collapsed 1 times, last at step 2"):
        list(train(wild))


def test_training_refuses_more_parameters_than_memory_could_hold(beats: Path) -> None:
    with pytest.raises(ConfigError, match=r"800,\d{3},\d{3},\d{3},\d{3} parameters cannot be trained.*lower width"):
        replace(make_run(beats), field=FIELD.model_copy(update={"width": 20_000_000}))


EVERY_OPTION = {
    **{"muon_lr": 1e-3, "meta_sgd_lr": 1e-2, "clip_ratio": 1.0, "scale_lr_by_omega": True},
    **{"inner_steps_start": 1, "selection_ratio_start": 0.2, "grow_share": 0.9, "multi_step_share": 0.9},
    "scale_modulation_lr_by_omega": True,
}
KILLED_RUN = """
import json, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.test_training import make_run, run_config
from medfuncta_core.runs import RunFolder, train_run, training
run = make_run(Path(sys.argv[1]), **json.loads(sys.argv[4]))

def wait_for_the_end():
    print("reached", flush=True)
    signal.pause()

if sys.argv[3] == "export":  # the state of step 12 is saved, its exports are not
    save = training.save_checkpoint
    training.save_checkpoint = lambda *args: save(*args) if args[2].step < 12 else wait_for_the_end()
for event in train_run(RunFolder(Path(sys.argv[2])), run_config(run), run.train, run.val, device="cpu"):
    if sys.argv[3] == "step" and event.step == 15:
        wait_for_the_end()
"""


@pytest.mark.parametrize(("moment", "options"), [("step", EVERY_OPTION), ("export", {})])
def test_run_killed_with_sigkill_and_resumed_equals_the_run_never_killed(
    beats: Path, tmp_path: Path, moment: str, options: dict
) -> None:
    run, root = make_run(beats, **options), Path(__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(root), str(root / "tests"))), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED_RUN, str(beats), str(tmp_path / "killed"), moment, json.dumps(options)]
    with subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "reached\n"  # blocks until it is there; empty when the child has died
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    run_all(RunFolder(tmp_path / "whole"), run)
    run_all(RunFolder(tmp_path / "killed"), run, resume=True)
    assert contents(RunFolder(tmp_path / "killed")) == contents(RunFolder(tmp_path / "whole"))
