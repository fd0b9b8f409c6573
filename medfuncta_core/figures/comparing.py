"""Fits beside each other: their quality over steps or time, and on an ECG their errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from medfuncta_core.figures.curves import curves_figure
from medfuncta_core.figures.training import Axis, Line, overlaid_curves, run_colour, run_dash

INPUT_GREY = "rgba(128, 128, 128, 0.55)"


def fits_curve(fits: Sequence[Line], levels: Mapping[str, float], *, over: Axis, end: float, marked: float | None) -> go.Figure:
    """PSNR of fits as they go, and as level lines that of what has no steps; for `curve_data`, without a legend.

    Args:
        fits: PSNR in dB over steps or seconds; each line keeps its colour and dash by its place.
        levels: PSNR in dB by name; their colours and dashes follow on those of the fits.
        over: What the fits' `x` is.
        end: Where the horizontal axis ends while the fits go on.
        marked: Where to draw a vertical line.
    """
    flat = [Line(name, (0.0, end), (psnr, psnr)) for name, psnr in levels.items()]
    figure = overlaid_curves("psnr", [*fits, *flat], over=over, end=end)
    title = str(figure.layout.xaxis.title.text)  # type: ignore[attr-defined]
    words = title.replace("Outer step", "Fit step").replace("Training time", "Computing time")
    figure.update_xaxes(title={"text": words, "standoff": 6})
    figure.update_traces(marker=None, mode="lines")
    figure.update_layout(showlegend=False)
    if marked is not None:
        figure.add_vline(x=marked, line={"color": "rgba(128, 128, 128, 0.7)", "width": 1, "dash": "dot"})
    return figure


def representation_traces(
    signal: Float[np.ndarray, "n c"], representations: Mapping[str, Float[np.ndarray, "n c"]], rate: float | None = None
) -> go.Figure:
    """An ECG in grey under its representations, each with the colour and dash that `fits_curve` gives its place."""
    figure = curves_figure({"Input": signal, **representations}, rate)
    figure.update_traces(selector={"name": "Input"}, line={"color": INPUT_GREY, "width": 4, "dash": "solid"})
    return _as_runs(figure, list(representations))


def error_traces(errors: Mapping[str, Float[np.ndarray, " n"]], limit: float, rate: float | None = None) -> go.Figure:
    """Absolute errors of an ECG's representations over time, up to `limit`, a share of the value range."""
    figure = curves_figure({name: error[:, None] for name, error in errors.items()}, rate)
    figure.update_yaxes(title={"text": "Absolute error", "standoff": 6}, range=[0, limit])
    return _as_runs(figure, list(errors))


def _as_runs(figure: go.Figure, names: Sequence[str]) -> go.Figure:
    for place, name in enumerate(names):
        figure.update_traces(selector={"name": name}, line={"color": run_colour(place), "width": 2, "dash": run_dash(place)})
    return figure
