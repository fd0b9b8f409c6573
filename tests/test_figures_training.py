"""Curves of runs and pictures of sweeps: axes that stay, runs told apart, collapsed runs out of the scale."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from medfuncta_core.figures import (
    Line,
    beat_strip,
    curve_data,
    heat_map,
    overlaid_curves,
    sweep_bars,
    sweep_curve,
    training_curve,
)


def layout(figure: go.Figure) -> Any:
    """The figure's layout; plotly makes its attributes as they are asked for."""
    return figure.layout


def traces(figure: go.Figure) -> Any:
    return figure.data


def test_training_curve_keeps_its_axes_and_zoom_while_it_grows() -> None:
    lines = [Line("Training", [1, 2, 3], [10.0, 12.0, 13.0], faint=True), Line("Validation", [2], [11.0])]
    early = training_curve("psnr", lines, end=100, identity="mine")
    lines = [Line("Training", [1, 2, 3, 4], [10.0, 12.0, 13.0, 13.5], faint=True), Line("Validation", [2, 4], [11.0, 12.5])]
    later = training_curve("psnr", lines, end=100, identity="mine")
    assert layout(early).xaxis.range == layout(later).xaxis.range == (-2, 102)
    assert layout(early).yaxis.range == layout(later).yaxis.range
    assert layout(early).uirevision == layout(later).uirevision
    assert layout(training_curve("psnr", lines, over="seconds", identity="mine")).uirevision != layout(later).uirevision


def test_training_curve_has_faint_training_beside_marked_validation() -> None:
    training, validation = traces(training_curve("loss", [Line("T", [1, 2], [0.1, 0.01], faint=True), Line("V", [2], [0.02])]))
    assert training.line.width < validation.line.width
    assert (training.mode, validation.mode) == ("lines", "lines+markers")
    assert training.line.color != validation.line.color


def test_training_curve_of_loss_is_logarithmic_and_leaves_gaps_for_what_is_not_finite() -> None:
    figure = training_curve("loss", [Line("V", [1, 2, 3], [0.5, math.nan, 0.002])])
    assert layout(figure).yaxis.type == "log"
    assert traces(figure)[0].y[1] is None
    low, high = layout(figure).yaxis.range
    assert low <= math.log10(0.002)
    assert high >= math.log10(0.5)


@pytest.mark.parametrize(
    ("last", "unit", "ticks"), [(50, "s", (0, 10, 20, 30, 40, 50)), (600, "min", (0, 120)), (9000, "h", (0, 1800))]
)
def test_time_axis_has_round_ticks_in_a_unit_that_suits(last: float, unit: str, ticks: tuple[float, ...]) -> None:
    figure = training_curve("psnr", [Line("V", [0, last], [10.0, 20.0])], over="seconds")
    assert layout(figure).xaxis.title.text == f"Training time ({unit})"
    assert layout(figure).xaxis.tickvals[: len(ticks)] == ticks


def test_training_curve_without_points_is_an_empty_frame() -> None:
    figure = training_curve("ssim", [Line("Validation", [], [])], end=10)
    assert not traces(figure)
    assert layout(figure).xaxis.range == (-0.2, 10.2)


def test_ten_overlaid_runs_are_told_apart_by_colour_and_dash() -> None:
    figure = overlaid_curves("psnr", [Line(f"run {k}", [1, 2], [10.0 + k, 11.0 + k]) for k in range(10)])
    assert len({(trace.line.color, trace.line.dash) for trace in traces(figure)}) == 10
    assert [trace.name for trace in traces(figure)] == [f"run {k}" for k in range(10)]


def test_heat_map_writes_every_number_and_leaves_outliers_out_of_the_scale() -> None:
    figure = heat_map("PSNR (dB)", ("ω1", [10, 20]), ("δ", [1, 5]), [[20.0, 25.0], [None, 3.0]], digits=1, outliers=[(1, 1)])
    (heat,) = traces(figure)
    assert heat.z[1] == (None, None) or list(heat.z[1]) == [None, None]
    assert [note.text for note in layout(figure).annotations] == ["20.0", "25.0", "3.0"]
    assert len(layout(figure).shapes) == 1
    assert list(heat.x) == ["10", "20"]
    assert not heat.reversescale
    (lower,) = traces(heat_map("LPIPS", ("a", [1]), ("b", [1]), [[0.2]], digits=3, higher_is_better=False))
    assert lower.reversescale


def test_sweep_curve_and_bars_leave_room_for_their_numbers() -> None:
    curve = sweep_curve("PSNR (dB)", ("γ", [0.25, 0.5, 1.0]), [28.0, None, 29.0], digits=1)
    assert traces(curve)[0].text == ("28.0", "", "29.0")
    low, high = layout(curve).yaxis.range
    assert low < 28
    assert high > 29
    (bars,) = traces(sweep_bars("PSNR (dB)", ["first", "second"], [27.0, 28.0], digits=2))
    assert list(bars.y) == ["second", "first"]  # drawn from below
    assert list(bars.text) == ["28.00", "27.00"]


def test_beat_strip_draws_every_beat_with_the_start_they_share() -> None:
    rng = np.random.default_rng(0)
    beats, start = rng.random((3, 16, 1)).astype(np.float32), rng.random((16, 1)).astype(np.float32)
    figure = beat_strip(beats, start, 1 - beats, ["20.0 dB", "21.0 dB", "22.0 dB"])
    assert len(traces(figure)) == 9
    np.testing.assert_allclose(traces(figure)[4].y, start[:, 0])
    np.testing.assert_allclose(traces(figure)[8].y, 1 - beats[2, :, 0])
    assert [trace.showlegend for trace in traces(figure)].count(True) == 3


def test_curve_data_says_all_that_a_curve_shows() -> None:
    lines = [Line("Training", [1, 2, 3], [0.1, float("nan"), 0.01], faint=True), Line("Validation", [3], [0.02])]
    found = curve_data(training_curve("loss", lines, end=10, marked=3))
    assert (found["title"], found["x_title"], found["log"], found["marked"]) == ("Loss (MSE)", "Outer step", True, 3)
    assert [(trace["name"], trace["x"], trace["y"], trace["marks"]) for trace in found["traces"]] == [
        ("Training", [1, 2, 3], [0.1, None, 0.01], False),
        ("Validation", [3], [0.02], True),
    ]
    assert found["x_range"][1] == pytest.approx(10.2)
    timed = curve_data(training_curve("psnr", [Line("Validation", [60, 180], [20, 21])], over="seconds"))
    assert timed["ticks"][0] == (0, "0")
    assert "(min)" in timed["x_title"]
