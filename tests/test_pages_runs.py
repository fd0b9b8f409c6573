"""The Runs and sweeps page alone under AppTest: real runs in a folder, what is shown of them and what can be done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from medfuncta_core.cli import app
from medfuncta_core.runs import RunFolder, launch, list_runs, read_run, stop
from medfuncta_core.runs.processes import locked
from medfuncta_core.runs.request import RunRequest
from medfuncta_core.runs.status import read_want
from medfuncta_core.runs.sweeps import list_sweeps

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "runs.py")
TINY = ("depth=4", "width=6", "latent_dim=3", "batch_size=2", "inner_steps=1", "validate_every=2", "fit.steps=2", "seed=1")
SHAPES = {"pictures": ("image-64-small", (8, 6)), "beats": ("ecg-187-cpu", (16,)), "volumes": ("volume-32-small", (4, 5, 6))}
Visit = Callable[..., AppTest]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of every kind, four steps each."""
    root = tmp_path_factory.mktemp("runs")
    for name, (preset, shape) in SHAPES.items():
        arrays = {}
        for split, count in (("train", 5), ("val", 3), ("test", 2)):
            arrays[f"{split}_images"] = np.random.default_rng(0).random((count, *shape), dtype=np.float32)
            arrays[f"{split}_labels"] = np.arange(count)[:, None] % 2
        np.savez(root / f"{name}.npz", **arrays)  # type: ignore[arg-type]
        arguments = ["train", "--preset", preset, "--data", str(root / f"{name}.npz"), "--out", str(root / name)]
        arguments += ["--steps", "4", "--device", "cpu", "--shape", ",".join(map(str, shape))]
        settings = [f"--set={'meta.' if setting.startswith('seed') else ''}{setting}" for setting in TINY]
        result = CliRunner().invoke(app, [*arguments, *settings])
        assert result.exit_code == 0, result.output
    return root


@pytest.fixture
def visit(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Visit:
    """A visitor who opens the page, with the parameters of an address and the runs of a folder."""

    def open_page(root: Path | None = None, **address: str) -> AppTest:
        monkeypatch.setenv("MEDFUNCTA_RUNS", str(root or trained))
        page = AppTest.from_file(PAGE, default_timeout=180)
        for name, value in address.items():
            page.query_params[name] = value
        page.run()
        assert not page.exception, page.exception
        return page

    return open_page


def metrics(page: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in page.metric}


def labels(page: AppTest) -> list[str]:
    return [button.label for button in page.button]


def test_page_without_runs_says_what_to_do(visit: Visit, tmp_path: Path) -> None:
    page = visit(tmp_path)
    assert "Start one on the Train page" in page.info[0].value
    assert "start two" in visit(tmp_path, view="compare").info[0].value
    assert any("not for diagnosis" in caption.value for caption in page.main.caption)


@pytest.mark.parametrize("name", list(SHAPES))
def test_run_in_the_address_is_shown_with_numbers_curves_and_samples(visit: Visit, trained: Path, name: str) -> None:
    page = visit(run=name)
    status = read_run(trained, name).status
    assert not page.error
    assert page.subheader[0].value == name
    assert metrics(page)["Best PSNR"] == f"{status.best_psnr:.1f} dB"
    assert metrics(page)["Best at step"] == str(status.best_step)
    charts = [chart.proto.spec for chart in page.get("plotly_chart")]
    psnr = json.loads(charts[0])
    assert [trace["name"] for trace in psnr["data"]] == ["Training", "Validation"]
    assert psnr["data"][1]["x"] == [2.0, 4.0]
    assert len(charts) == (4 if name == "beats" else 3)  # an ECG's samples are curves, too
    slider = page.select_slider(key=f"sample_step-{name}")
    assert slider.options == ["0", "2", "4"]
    assert slider.value == 4
    assert labels(page) == ["Fork…", "Promote…", "Delete…"]


def test_slider_scrubs_through_the_samples_and_returns_to_the_newest(visit: Visit) -> None:
    page = visit(run="beats")
    page.select_slider(key="sample_step-beats").set_value(0).run()
    assert any("before training" in text.value for text in page.markdown)
    page.run()
    assert page.select_slider(key="sample_step-beats").value == 0
    page.select_slider(key="sample_step-beats").set_value(4).run()
    assert any("after step 4" in text.value for text in page.markdown)


def test_curves_can_be_drawn_over_wall_clock(visit: Visit) -> None:
    page = visit(run="pictures")
    page.button_group(key="run_axis").set_value("seconds").run()
    figure = json.loads(page.get("plotly_chart")[0].proto.spec)
    assert 0 < figure["data"][1]["x"][0] < figure["data"][1]["x"][1]
    assert "Training time" in figure["layout"]["xaxis"]["title"]["text"]


def test_lost_run_is_named_and_another_one_shown(visit: Visit) -> None:
    page = visit(run="gone")
    assert "gone" in page.warning[0].value
    assert page.subheader[0].value == "volumes"  # the newest


def test_comparison_lays_runs_over_each_other_with_their_differences(visit: Visit) -> None:
    page = visit(view="compare", compare="pictures,beats")
    figure = json.loads(page.get("plotly_chart")[0].proto.spec)
    assert [trace["name"] for trace in figure["data"]] == ["pictures", "beats"]
    reached, settings = page.dataframe
    assert list(reached.value["Run"]) == ["pictures", "beats"]
    assert "preset" in list(settings.value["setting"])
    page.multiselect(key="compare_runs").set_value([]).run()
    assert "Choose runs above" in page.info[0].value


def test_fork_promote_and_delete_ask_and_do(visit: Visit, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFUNCTA_CHECKPOINTS", str(tmp_path / "checkpoints"))
    with locked(trained / ".worker.lock"):  # so that nothing starts the fork
        page = visit(run="pictures")
        page.button(key="fork_run").click().run()
        page.number_input(key="fork_steps").set_value(9)
        page.text_area(key="fork_more").set_value("meta.nonsense=1")
        page.button(key="fork_go").click().run()
        assert "nonsense" in page.error[0].value
        page.text_area(key="fork_more").set_value("")
        page.button(key="fork_go").click().run()
        forked = read_run(trained, "pictures-fork")
        assert (forked.status.state, forked.settings["meta.steps"], forked.settings["meta.seed"]) == ("queued", 9, 1)
        page = visit(run="pictures-fork")
        page.button(key="stop_run").click().run()
        assert read_run(trained, "pictures-fork").status.state == "stopped"
        page.button(key="delete_run").click().run()
        page.button(key="delete_go").click().run()
        assert "pictures-fork" not in [run.id for run in list_runs(trained)]
    page = visit(run="pictures")
    page.button(key="promote_run").click().run()
    page.text_input(key="promote_name").set_value("mine")
    page.text_input(key="promote_source").set_value("Made by a test")
    page.button(key="promote_go").click().run()
    assert not page.error
    assert "mine" in page.success[0].value
    assert page.sidebar.selectbox[0].value == "mine"
    assert "Made by a test" in (tmp_path / "checkpoints" / "mine" / "CARD.md").read_text()


def test_queued_runs_can_be_reordered_and_slots_set(visit: Visit, tmp_path: Path, trained: Path) -> None:
    root = tmp_path / "runs"
    with locked(root / ".worker.lock"):
        for name in ("first", "second"):
            launch(root, RunRequest(preset="image-64-small", data=str(trained / "pictures.npz"), name=name))
        page = visit(root, run="second")
        assert read_run(root, "second").queue_position == 2
        page.button(key="up-second").click().run()
        assert read_run(root, "second").queue_position == 1
        page.number_input(key="slots").set_value(3).run()
        assert json.loads((root / "queue.json").read_text())["slots"] == 3
        page.button(key="stop_run").click().run()
        assert read_want(RunFolder(root / "second")) == "stop"
        assert "Resume" in labels(page)
        stop(root, "first")  # a worker that wakes up late finds nothing to do


def test_sweeps_show_kept_results_until_there_is_one_of_ones_own(visit: Visit, tmp_path: Path, trained: Path) -> None:
    root = tmp_path / "runs"
    page = visit(root, view="sweeps")
    assert page.selectbox(key="sweep_shown").value == "benchmark-gamma"
    assert any("python benchmarks/sweeps.py gamma" in code.value for code in page.code)
    curve = json.loads(page.get("plotly_chart")[0].proto.spec)
    assert curve["data"][0]["x"] == [0.1, 0.25, 0.5, 0.75, 1]
    page.selectbox(key="sweep_shown").set_value("benchmark-omega").run()
    heat = json.loads(page.get("plotly_chart")[0].proto.spec)
    assert heat["data"][0]["type"] == "heatmap"
    with locked(root / ".worker.lock"):
        page.text_input(key="sweep_data").set_value(str(trained / "pictures.npz"))
        page.selectbox(key="sweep_budget").set_value("steps").run()
        page.number_input(key="sweep_steps").set_value(7)
        page.text_input(key="sweep_axis-gamma-γ").set_value("0.5, 1")
        page.button(key="start_sweep").click().run()
        assert not page.exception
        assert not page.error
        (sweep,) = list_sweeps(root)
        assert (sweep.config.steps, len(sweep.runs), sweep.active) == (7, 2, True)
        assert page.selectbox(key="sweep_shown").value == sweep.config.name
        page.button(key="stop_sweep").click().run()
        page.button(key="delete_sweep").click().run()
        page.button(key="delete_sweep_go").click().run()
        assert list_sweeps(root) == []
        assert list_runs(root) == []


def test_wrong_axis_values_and_missing_data_are_told_in_one_line(visit: Visit, tmp_path: Path) -> None:
    page = visit(tmp_path / "runs", view="sweeps")
    assert page.button(key="start_sweep").disabled
    page.text_input(key="sweep_data").set_value("/nowhere/data.npz").run()
    page.button(key="start_sweep").click().run()
    assert "/nowhere/data.npz" in page.error[0].value
    page.selectbox(key="sweep_preset").set_value("ecg-187-cpu")
    page.text_input(key="sweep_axis-gamma-γ").set_value("a half").run()
    page.button(key="start_sweep").click().run()
    assert "a half" in page.error[0].value
