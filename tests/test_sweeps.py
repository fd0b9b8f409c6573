"""Sweeps: which runs each ablation wants, and what happens to them: queued, trained, stopped, resumed, read, kept, deleted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from medfuncta_core import metrics
from medfuncta_core.cli import app
from medfuncta_core.config import PRESETS
from medfuncta_core.errors import ConfigError, TrainingError
from medfuncta_core.runs.processes import locked
from medfuncta_core.runs.settings import apply_settings
from medfuncta_core.runs.store import delete_run, list_runs, read_run
from medfuncta_core.runs.sweep_kinds import ABLATIONS, CHOICE, OMEGA_FACTOR, OMEGA_FIRST, budget_steps, make_cells, suggest_preset
from medfuncta_core.runs.sweep_results import SweepResult, SweepRow, best_row, collect, read_result, result_csv, table_lines
from medfuncta_core.runs.sweeps import continue_sweep, delete_sweep, list_sweeps, plan_sweep, read_sweep, start_sweep, stop_sweep

TINY = (
    *("field.depth=4", "field.width=6", "field.latent_dim=3", "meta.batch_size=2", "meta.inner_steps=1"),
    *("fit.steps=2", "meta.validate_signals=3"),
)
RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def test_gamma_and_omega_are_the_papers_grids() -> None:
    preset = PRESETS["image-64"]
    gammas = [apply_settings(preset, list(cell.settings)).meta.selection_ratio for cell in make_cells("gamma", preset)]
    assert gammas == [0.1, 0.25, 0.5, 0.75, 1.0]
    cells = make_cells("omega", preset)
    assert len(cells) == 25
    assert cells[-1].place == {OMEGA_FIRST: 50, OMEGA_FACTOR: 20}
    field = apply_settings(preset, list(cells[-1].settings)).field
    assert (field.omega_first, field.omega_last) == (50, 1000)
    single = apply_settings(preset, list(cells[0].settings)).field
    assert set(single.omegas) == {10.0}


def test_schedules_are_table_5s_own_rows() -> None:
    preset = PRESETS["image-64"]
    cells = {str(cell.place[CHOICE]): apply_settings(preset, list(cell.settings)) for cell in make_cells("schedules", preset)}
    assert len(cells) == 5
    baseline, everything = cells["Baseline"], cells["+ All"]
    assert (baseline.meta.final_lr_ratio, baseline.meta.selection_ratio, baseline.meta.batch_size) == (1, 1, 12)
    assert len(set(baseline.field.omegas)) == 1
    assert (everything.meta.selection_ratio, everything.meta.batch_size) == (0.25, 24)
    assert everything.meta.final_lr_ratio == preset.meta.final_lr_ratio
    assert everything.field.omegas == preset.field.omegas
    assert cells["+ ω-schedule"].meta == baseline.meta
    assert cells["+ Global lr-schedule"].field == baseline.field


def test_order_crosses_the_meta_gradient_with_the_omega_schedule() -> None:
    preset = PRESETS["ecg-187-cpu"]
    found = [apply_settings(preset, list(cell.settings)) for cell in make_cells("order", preset)]
    assert [(each.meta.second_order, len(set(each.field.omegas)) > 1) for each in found] == [
        *((False, True), (False, False)),
        *((True, True), (True, False)),
    ]


def test_axes_can_be_changed_and_wrong_ones_are_named() -> None:
    preset = PRESETS["image-64-small"]
    assert len(make_cells("omega", preset, {OMEGA_FIRST: (5, 5, 8)})) == 10
    with pytest.raises(ConfigError, match="no such axis"):
        make_cells("gamma", preset, {"δ": (1,)})
    with pytest.raises(ConfigError, match="at least one value"):
        make_cells("gamma", preset, {"γ": ()})


def test_budgets_choose_preset_and_steps() -> None:
    assert suggest_preset((40, 40), "small") == "image-64-small"
    assert suggest_preset((40,), "paper") == "ecg-187"
    assert budget_steps("gamma", "image-64", "paper") == 100_000  # Table 4
    assert budget_steps("omega", "image-64", "paper") == 25_000  # Figure 4
    for kind in ABLATIONS:
        assert budget_steps(kind, "ecg-187-cpu", "small") < budget_steps(kind, "ecg-187-cpu", "medium")
    assert plan_sweep("omega", "not opened", "paper", "image-64") == ("image-64", 25_000)
    with pytest.raises(ConfigError, match="no preset"):
        plan_sweep("omega", "not opened", "small", "image-65")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    arrays = {}
    for split, count in (("train", 5), ("val", 3), ("test", 2)):
        arrays[f"{split}_images"] = np.random.default_rng(0).integers(0, 256, (count, 8, 6), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count)[:, None] % 2
    np.savez(tmp_path / "mini.npz", **arrays)  # type: ignore[arg-type]
    return tmp_path / "mini.npz"


def train_queued(root: Path) -> None:
    """What the queue's worker would start, in this process."""
    for run in list_runs(root):
        if run.status.state == "queued":
            result = CliRunner().invoke(app, ["train", "--resume", "--out", str(run.path), "--device", "cpu"])
            assert result.exit_code == 0, result.output


def test_sweep_is_queued_trained_read_kept_and_deleted(tmp_path: Path, data: Path) -> None:
    root = tmp_path / "runs"
    with locked(root / ".worker.lock"):  # so that no worker of its own trains beside the test
        axes = {"γ": (0.5, 1.0)}
        name = start_sweep(
            root, "gamma", preset="image-64-small", data=str(data), steps=4, settings=TINY, shape=(8, 6), device="cpu", axes=axes
        )
        sweep = read_sweep(root, name)
        assert [run and run.status.state for run in sweep.runs] == ["queued", "queued"]
        assert [run and run.queue_position for run in sweep.runs] == [1, 2]
        assert sweep.active
        assert not collect(sweep).measured
        stop_sweep(root, name)
        sweep = read_sweep(root, name)
        assert not sweep.active
        assert sweep.resumable
        assert sweep.runs[0] is not None
        delete_run(root, sweep.runs[0].id)  # a lost run is launched again
        assert continue_sweep(root, name) == 2
        assert continue_sweep(root, name) == 0
        train_queued(root)
    sweep = read_sweep(root, name)
    assert (sweep.finished, sweep.steps_done, sweep.active, sweep.resumable) == (2, 8, False, False)
    assert [found.config.name for found in list_sweeps(root)] == [name]
    result = collect(sweep)
    assert result.axes == {"γ": (0.5, 1.0)}
    for row, run in zip(result.rows, sweep.runs, strict=True):
        assert run is not None
        assert row.psnr == run.status.best_psnr
        assert row.memory_bytes == run.status.memory_bytes
        assert row.seconds_per_100_steps
        assert row.cpu_seconds_per_100_steps
        assert row.lpips is None  # 8x6 pixels are too few for it
        assert run.settings["meta.warmup_steps"] == 0
    (tmp_path / "kept.json").write_text(json.dumps({"date": "2026-01-01", **result.model_dump(mode="json")}))
    assert read_result(tmp_path / "kept.json") == result
    assert result_csv(result).splitlines()[1].startswith("0.5,")
    with pytest.raises(TrainingError, match="no such sweep"):
        read_sweep(root, "other")
    delete_sweep(root, name, runs=True)
    assert list_runs(root) == []
    assert list_sweeps(root) == []


def test_wrong_settings_stop_a_sweep_before_anything_is_queued(tmp_path: Path, data: Path) -> None:
    with pytest.raises(ConfigError, match="widht"):
        start_sweep(tmp_path / "runs", "gamma", preset="image-64-small", data=str(data), steps=4, settings=("field.widht=6",))
    with pytest.raises(ConfigError, match="selection_ratio"):
        start_sweep(tmp_path / "runs", "gamma", preset="image-64-small", data=str(data), steps=4, axes={"γ": (2.0,)})
    assert list_runs(tmp_path / "runs") == []


def test_sweep_commands_start_show_stop_and_delete(tmp_path: Path, data: Path) -> None:
    root, runner = tmp_path / "runs", CliRunner()

    def run(*arguments: str) -> dict:
        result = runner.invoke(app, ["sweep", *arguments, "--root", str(root), "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    with locked(root / ".worker.lock"):
        chosen = ["--budget", "2", "--shape", "8,6", "--axis", "omega=5,9", "--axis", "delta=1,2"]
        started = run("omega", "--data", str(data), *chosen, *(f"--set={setting}" for setting in TINY))
        assert len(started["runs"]) == 4
        assert started["steps"] == 2
        shown = run("show", started["sweep"])
        assert SweepResult.parse(shown, "shown").grid("psnr") == [[None, None], [None, None]]
        assert run("list")["sweeps"][0] == {"sweep": started["sweep"], "kind": "omega", "finished": 0, "runs": 4}
        run("stop", started["sweep"])
        assert run("resume", started["sweep"])["queued"] == 4
        run("stop", started["sweep"])
        assert run("delete", started["sweep"], "--yes") == {"deleted": started["sweep"]}
    assert runner.invoke(app, ["sweep", "gamma", "--data", str(data), "--budget", "huge", "--root", str(root)]).exit_code == 2
    assert runner.invoke(app, ["sweep", "show", "../x", "--root", str(root)]).exit_code == 1


def test_sweeps_run_is_measured_with_lpips_where_it_is_defined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a distance of the test's own: AlexNet's weights are not everywhere."""
    arrays = {}
    for split, count in (("train", 4), ("val", 3), ("test", 1)):
        arrays[f"{split}_images"] = np.random.default_rng(0).integers(0, 256, (count, 33, 34), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.zeros((count, 1), np.uint8)
    np.savez(tmp_path / "wide.npz", **arrays)  # type: ignore[arg-type]
    monkeypatch.setattr(metrics, "lpips", lambda a, b: (a - b).abs().flatten(1).mean(1))
    root = tmp_path / "runs"
    with locked(root / ".worker.lock"):
        name = start_sweep(
            root,
            "gamma",
            preset="image-64-small",
            data=str(tmp_path / "wide.npz"),
            steps=2,
            settings=TINY,
            shape=(33, 34),
            device="cpu",
            axes={"γ": (0.5,)},
        )
        train_queued(root)
    (row,) = collect(read_sweep(root, name)).rows
    assert row.lpips is not None
    assert 0 < row.lpips < 1
    assert read_run(root, row.run or "").status.lpips == row.lpips
    assert torch.get_default_dtype() == torch.float32


def a_result() -> SweepResult:
    rows = [
        SweepRow(place={OMEGA_FIRST: first, OMEGA_FACTOR: factor}, state=state, psnr=psnr, collapses=collapses)
        for first, factor, state, psnr, collapses in (
            *((10, 1, "finished", 20.0, 0), (10, 5, "finished", 24.0, 0)),
            *((20, 1, "failed", None, 0), (20, 5, "finished", 30.0, 2)),
        )
    ]
    return SweepResult(name="s", kind="omega", preset="p", data="d", steps=1, rows=tuple(rows))


def test_result_grid_has_the_second_axis_upwards_and_collapsed_runs_apart() -> None:
    result = a_result()
    assert result.grid("psnr") == [[20.0, None], [24.0, 30.0]]
    assert result.outliers() == ((0, 1), (1, 1))
    best = best_row(result)
    assert best is not None
    assert best.words == "ω₁ = 10, δ = 5: 24.00 dB"
    assert table_lines(result)[4].split()[-2:] == ["finished,", "collapsed"]


@pytest.mark.parametrize("file", sorted(RESULTS.glob("sweep-*.json")), ids=lambda file: file.stem)
def test_kept_results_are_whole_and_say_how_they_were_measured(file: Path) -> None:
    result = read_result(file)
    assert all(row.state == "finished" and row.psnr for row in result.rows)
    assert result.command.startswith("python benchmarks/sweeps.py ")
    assert (RESULTS.parent / "sweeps.py").is_file()
    assert result.machine is not None
    assert {"cpu", "cores", "date"} <= set(result.machine)


def test_both_kept_results_are_there() -> None:
    assert {read_result(file).kind for file in RESULTS.glob("sweep-*.json")} == {"gamma", "omega"}
