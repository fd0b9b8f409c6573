"""Reading runs while they grow, laying them side by side, promoting and forking them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medfuncta_core.checkpoint import read_config
from medfuncta_core.cli import app
from medfuncta_core.errors import CheckpointError, TrainingError
from medfuncta_core.figures import line_key
from medfuncta_core.runs.comparing import MOST_RUNS, comparison_csv, differing_settings, require_comparable
from medfuncta_core.runs.curves import CurveReader, curves_csv, read_curves, thin
from medfuncta_core.runs.processes import locked
from medfuncta_core.runs.promoting import Promotion, checkpoint_place, promote_run
from medfuncta_core.runs.store import read_run


def step(number: int, loss: float, seconds: float = 0.5, **more: object) -> str:
    values = {"event": "step", "step": number, "loss": loss, "psnr": -10 * math.log10(loss), "seconds": seconds, **more}
    return json.dumps(values) + "\n"


def validation(number: int, psnr: float | None, seconds: float = 2.0) -> str:
    values = {"event": "validation", "step": number, "mse": 0.01, "psnr": psnr, "ssim": 0.5, "seconds": seconds}
    return json.dumps(values) + "\n"


def test_curves_grow_line_by_line_and_a_line_half_written_waits(tmp_path: Path) -> None:
    file, reader = tmp_path / "metrics.jsonl", CurveReader(tmp_path)
    assert reader.read().steps == ()
    file.write_text(step(1, 0.1) + step(2, 0.01)[:20])
    assert [point.step for point in reader.read().steps] == [1]
    with file.open("a") as opened:
        opened.write(step(2, 0.01)[20:] + validation(2, 21.0))
    found = reader.read()
    assert [point.number("psnr") for point in found.steps] == pytest.approx([10, 20])
    assert [point.seconds for point in found.steps] == [0.5, 1.0]
    assert found.seconds == 3.0
    assert found is reader.read()  # nothing new: nothing is made anew


def test_repeated_steps_count_once_and_the_later_line_wins(tmp_path: Path) -> None:
    lines = [step(1, 0.1), step(2, 0.1), validation(2, 20.0), step(2, 0.001, 1.0), validation(2, 25.0), "no json\n"]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    found = read_curves(tmp_path)
    assert [point.number("psnr") for point in found.steps] == pytest.approx([10, 30])
    assert [point.number("psnr") for point in found.validations] == [25.0]
    assert found.steps[-1].seconds == 1.5


def test_reader_notices_that_a_file_was_mended_or_is_another_runs(tmp_path: Path) -> None:
    file, reader = tmp_path / "metrics.jsonl", CurveReader(tmp_path)
    file.write_text(step(1, 0.1) + step(2, 0.1))
    assert len(reader.read().steps) == 2
    file.write_text(step(1, 0.01))
    assert [point.number("psnr") for point in reader.read().steps] == pytest.approx([20])


def test_pace_is_the_median_of_100_steps_and_best_ignores_what_is_not_finite(tmp_path: Path) -> None:
    lines = [step(1, 0.1, 60.0), *(step(k, 0.1, 0.25, cpu_seconds=0.125) for k in range(2, 12))]
    (tmp_path / "metrics.jsonl").write_text("".join([*lines, validation(3, None), validation(6, 22.0), validation(9, 21.0)]))
    found = read_curves(tmp_path)
    assert found.seconds_per_100_steps == pytest.approx(25)
    assert found.cpu_seconds_per_100_steps == pytest.approx(12.5)
    assert found.best is not None
    assert found.best.step == 6


def test_thinning_keeps_means_and_gaps(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("".join(step(k, 10.0 ** (-k)) for k in (1, 2, 3, 4, 5)))
    found = thin(read_curves(tmp_path).steps, 3, ("psnr", "missing"))
    assert found["step"] == [2, 4, 5]
    assert found["psnr"] == pytest.approx([15, 35, 50])
    assert all(math.isnan(value) for value in found["missing"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs of a few steps on 8x6 images, which differ in their seed and selection ratio."""
    root = tmp_path_factory.mktemp("runs")
    arrays = {}
    for split, count in (("train", 5), ("val", 3), ("test", 2)):
        arrays[f"{split}_images"] = np.random.default_rng(0).integers(0, 256, (count, 8, 6), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count)[:, None] % 2
    np.savez(root / "mini.npz", **arrays)  # type: ignore[arg-type]
    shared = ["depth=4", "width=6", "latent_dim=3", "batch_size=2", "inner_steps=1", "validate_every=2", "fit.steps=2"]
    for name, own in {"one": ["meta.seed=1"], "two": ["meta.seed=2", "meta.selection_ratio=0.5"]}.items():
        arguments = ["train", "--preset", "image-64-small", "--data", str(root / "mini.npz"), "--out", str(root / name)]
        arguments += ["--shape", "8,6", "--steps", "4", "--device", "cpu"]
        result = CliRunner().invoke(app, [*arguments, *(f"--set={setting}" for setting in (*shared, *own))])
        assert result.exit_code == 0, result.output
    return root


def test_comparison_names_the_settings_that_differ(runs: Path) -> None:
    views = [read_run(runs, name) for name in ("one", "two")]
    assert differing_settings(views) == {"meta.selection_ratio": (0.25, 0.5), "meta.seed": (1, 2)}
    assert differing_settings(views[:1]) == {}
    table = comparison_csv(views, [read_curves(view.path) for view in views]).splitlines()
    assert table[0] == "run,step,training_seconds,psnr,ssim,mse"
    assert [line.split(",")[:2] for line in table[1:]] == [["one", "2"], ["one", "4"], ["two", "2"], ["two", "4"]]
    csv = curves_csv(read_curves(runs / "one")).splitlines()
    assert [line.split(",")[0] for line in csv[1:]] == ["step", "step", "validation", "step", "step", "validation"]


def test_compare_command_tells_numbers_and_differences(runs: Path) -> None:
    result = CliRunner().invoke(app, ["runs", "compare", "one", "two", "--root", str(runs), "--json", "--curves"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["differing"]["meta.seed"] == {"one": 1, "two": 2}
    one = report["runs"][0]
    assert [point["step"] for point in one["validations"]] == [2, 4]
    assert one["psnr"] == max(point["psnr"] for point in one["validations"])
    assert one["cpu_seconds_per_100_steps"] > 0
    lines = CliRunner().invoke(app, ["runs", "compare", "one", "two", "--root", str(runs)]).stdout
    assert "meta.selection_ratio: 0.25 | 0.5" in lines
    assert CliRunner().invoke(app, ["runs", "compare", "one", "three", "--root", str(runs)]).exit_code == 1
    with pytest.raises(TrainingError, match="10 at most"):
        require_comparable([str(k) for k in range(MOST_RUNS + 1)])


def test_fork_command_queues_a_run_with_changes(runs: Path) -> None:
    with locked(runs / ".worker.lock") as ours:  # so that nothing starts it
        assert ours
        arguments = ["runs", "fork", "one", "--set", "meta.steps=9", "--name", "longer", "--root", str(runs), "--json"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout) == {"run": "longer", "parent": "one"}
        forked = read_run(runs, "longer")
        assert (forked.status.state, forked.queue_position, forked.settings["meta.steps"]) == ("queued", 1, 9)
        assert (forked.path / "start" / "model.safetensors").exists()
        assert CliRunner().invoke(app, ["runs", "stop", "longer", "--root", str(runs)]).exit_code == 0
        assert CliRunner().invoke(app, ["runs", "delete", "longer", "--yes", "--root", str(runs)]).exit_code == 0


def test_promotion_keeps_numbers_on_request_and_never_writes_over_by_accident(runs: Path, tmp_path: Path) -> None:
    out = checkpoint_place(tmp_path, "mine")
    promote_run(runs / "one", out, Promotion(licence="CC0", keep_metrics=True), replace=False)
    config = read_config(out)
    assert (config.name, config.licence, config.metrics[0].split) == ("mine", "CC0", "val")
    assert "val" in (out / "CARD.md").read_text()
    with pytest.raises(CheckpointError, match="choose another name"):
        promote_run(runs / "two", out, Promotion(), replace=False)
    for name in ("", "../x", ".hidden", "a b"):
        with pytest.raises(CheckpointError, match="a checkpoint's name has"):
            checkpoint_place(tmp_path, name)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text((runs / "one" / "config.json").read_text())
    with pytest.raises(CheckpointError, match="wait for its first validation"):
        promote_run(tmp_path / "run", tmp_path / "other", Promotion())


def test_line_keys_tell_ten_runs_apart() -> None:
    assert len({line_key(index) for index in range(10)}) == 10
