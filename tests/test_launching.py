"""Before a run: settings that differ from a preset, shapes, kept uploads, a measured estimate, and the commands for all that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from typer.testing import CliRunner

from medfuncta_core.cli import app
from medfuncta_core.config import PRESETS
from medfuncta_core.errors import DataSetError
from medfuncta_core.runs import RunRequest, read_run
from medfuncta_core.runs.knobs import KNOBS, OPTIONAL, changes, step_of
from medfuncta_core.runs.measuring import KEPT_COPIES, measure
from medfuncta_core.runs.probing import Estimate, Measured, Probe
from medfuncta_core.runs.processes import locked
from medfuncta_core.runs.settings import apply_settings
from medfuncta_core.runs.suggesting import compression, suggest_presets, suggest_shapes, validation_percent, validation_signals
from medfuncta_core.signals.keeping import keep_data_set, list_kept
from pages.shared.words import bytes_words, seconds_words

TINY = ("depth=3", "width=4", "latent_dim=3", "omega_first=2", "omega_last=4", "batch_size=2", "inner_steps=2", "fit.steps=2")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (15, 8, 6), dtype=np.uint8)
    np.savez(tmp_path / "mini.npz", allow_pickle=False, train_images=values[:11], val_images=values[11:])
    return tmp_path / "mini.npz"


def tiny(data: Path) -> RunRequest:
    return RunRequest(preset="image-64-small", data=str(data), settings=TINY, shape=(8, 6), device="cpu")


@pytest.mark.parametrize("name", PRESETS)
def test_changes_of_every_knob_reach_the_preset_and_nothing_else_does(name: str) -> None:
    preset = PRESETS[name]
    assert changes(preset, {knob.key: knob.value(preset) for knob in KNOBS}) == ()
    for knob in KNOBS:
        value = knob.value(preset)
        wanted = not value if knob.low is None else knob.high
        told = changes(preset, {knob.key: wanted})
        if wanted == value:
            continue
        assert [entry.partition("=")[0] for entry in told] == [knob.key, *knob.also]
        if knob.key != "meta.final_lr_ratio" or wanted is not None:
            changed = apply_settings(preset, list(told))
            assert knob.value(changed) == wanted
    for key in OPTIONAL:
        knob = next(knob for knob in KNOBS if knob.key == key)
        assert knob.value(apply_settings(preset, list(changes(preset, {key: None})))) is None


def test_knobs_say_what_they_mean_and_step_by_their_second_digit() -> None:
    assert all(knob.help.endswith(".") and len(knob.help) > 10 for knob in KNOBS)
    assert [step_of(value) for value in (1e-4, 0.25, 80.0, None, 0.0)] == pytest.approx([1e-5, 0.01, 1, 0.01, 0.01])


def test_suggestions_by_hand() -> None:
    small = PRESETS["image-64-small"]
    assert suggest_shapes(small, (28, 28)) == ((28, 28), (64, 64))
    assert suggest_shapes(small, (128, 128)) == ((64, 64), (128, 128))
    assert suggest_shapes(small, (64, 64)) == ((64, 64),)
    assert compression(small.field.model_copy(update={"channels": 3}), (64, 64)) == 64 * 64 * 3 / 512
    assert suggest_presets((28, 28), accelerated=False)[0] == "image-64-small"
    assert (validation_percent(16, 524), validation_percent(9, 9), validation_percent(0, 0)) == (3, 100, 1)
    assert (validation_signals(50, 9), validation_signals(1, 9)) == (4, 1)


def test_words_by_hand() -> None:
    spoken = [seconds_words(seconds) for seconds in (0.045, 3.21, 12.4, 250, 9000, 270_000)]
    assert spoken == ["45 ms", "3.2 s", "12 s", "4.2 min", "2.5 h", "3.1 days"]
    assert [bytes_words(count) for count in (512e6, 3.42e9, 23e9)] == ["512 MB", "3.4 GB", "23 GB"]


def test_upload_is_kept_once_and_only_if_it_can_be_data(tmp_path: Path, data: Path) -> None:
    kept = keep_data_set(data.read_bytes(), "../my set.npz", tmp_path / "data")
    assert kept.parent == tmp_path / "data"
    assert kept.name.startswith("my-set-")
    assert kept.read_bytes() == data.read_bytes()
    assert keep_data_set(data.read_bytes(), "my set.npz", tmp_path / "data") == kept
    assert list_kept(tmp_path / "data") == (kept,)
    with pytest.raises(DataSetError, match="is no data set; give"):
        keep_data_set(b"MZ", "program.exe", tmp_path / "data")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataSetError, match="cannot be written"):
        keep_data_set(data.read_bytes(), "a.npz", tmp_path / "file")
    assert list_kept(tmp_path / "nowhere") == ()


def test_estimate_counts_steps_and_validations(data: Path) -> None:
    request = tiny(data).model_copy(update={"settings": (*TINY, "meta.steps=1000", "validate_every=300", "validate_signals=3")})
    *progress, found = measure(request, steps=3)
    assert isinstance(found, Estimate)
    assert [event.done for event in progress if isinstance(event, Measured)] == [0, 0, 1, 2, 3]
    assert found.total_seconds == pytest.approx(1000 * found.step_seconds + 4 * found.validation_seconds)
    assert found.steps_measured == 3
    assert found.fits
    parameters = request.resolve().field.parameter_count
    assert found.parameters == parameters
    assert found.memory_bytes > 4 * KEPT_COPIES * parameters
    (*_, quick) = measure(request, steps=50, seconds=0)  # time is up after the first one
    assert isinstance(quick, Estimate)
    assert quick.steps_measured == 1


def test_commands_launch_and_estimate(data: Path, tmp_path: Path) -> None:
    shape = ["--preset", "image-64-small", "--data", str(data), "--shape", "8,6", "--device", "cpu", "--json"]
    with locked(tmp_path / "runs" / ".worker.lock"):  # as if other runs were trained: nothing starts
        arguments = [
            "runs",
            "launch",
            "--root",
            str(tmp_path / "runs"),
            *shape,
            "--name",
            "mine",
            "--tensorboard",
            "--set",
            *TINY,
        ]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.stderr
        run = read_run(tmp_path / "runs", json.loads(result.stdout)["run"])
    assert (run.id, run.status.state) == ("mine", "queued")
    assert run.request is not None
    assert run.request.tensorboard
    assert run.settings["meta.batch_size"] == 2
    result = CliRunner().invoke(app, ["runs", "estimate", *shape, "--steps", "9", "--set", *TINY])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["steps_measured"] >= 1
    assert "now validation" in result.stderr
    assert CliRunner().invoke(app, ["runs", "estimate"]).exit_code == 2


WATCHER = """
import sys, time
from medfuncta_core.runs.probing import Probe
from medfuncta_core.runs import RunRequest
probe = Probe(RunRequest.model_validate_json(sys.argv[1]))
print(probe._process.pid, flush=True)
"""


def test_measurement_fails_in_one_line_and_ends_with_its_watcher(data: Path) -> None:
    endless = tiny(data).model_copy(update={"settings": (*TINY, "inner_steps=100000")})
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    watcher = [sys.executable, "-c", WATCHER, endless.model_dump_json()]
    pid = int(subprocess.run(watcher, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout)
    gone = Probe(tiny(data.with_name("gone.npz")))
    end = time.monotonic() + 120
    while (gone.active or Path(f"/proc/{pid}").exists()) and time.monotonic() < end:
        gone.poll()
        time.sleep(0.1)
    assert "gone.npz" in str(gone.error)
    assert gone.estimate is None
    assert not Path(f"/proc/{pid}").exists()
