"""Arrays -> Plotly figures with one template: axes named with units, no chart junk, readable on light and dark pages.

Text, grid and background colours are left to the page's theme; the traces' own colours (Okabe-Ito) keep a contrast of 3:1 or more
on white and on near-black, and every trace also differs by dash or marker, so colour never carries a meaning alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float
from plotly.subplots import make_subplots

from medfuncta_core.figures.pictures import error_values
from medfuncta_core.signals import Signal

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
INPUT_COLOUR, RECONSTRUCTION_COLOUR = OKABE_ITO[:2]
PAPER_MINOR, PAPER_MAJOR = "rgba(213, 94, 0, 0.16)", "rgba(213, 94, 0, 0.38)"
HIDDEN_FILL = "rgba(128, 128, 128, 0.22)"

MARGIN = {"l": 56, "r": 14, "t": 34, "b": 40}
LEGEND = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "xanchor": "left"}
TEMPLATE = go.layout.Template(
    layout=go.Layout(
        colorway=OKABE_ITO,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin=MARGIN,
        hovermode="x unified",
        hoverlabel={"namelength": -1},
        legend=LEGEND,
        xaxis={"zeroline": False, "automargin": False},
        yaxis={"zeroline": False, "automargin": False},
    )
)


def psnr_curve(steps: Sequence[int], psnr: Sequence[float], total: int, selected: int | None = None) -> go.Figure:
    """PSNR over fit steps; axes keep their range while a fit runs.

    Args:
        steps: Index of each step shown.
        psnr: dB on the whole signal.
        total: Steps the fit will take, H.
        selected: Step to mark, if any.
    """
    finite = [value for value in psnr if math.isfinite(value)] or [0.0]
    low, high = 5 * math.floor(min(finite) / 5), 5 * math.ceil((max(finite) + 1) / 5)
    figure = _curve("PSNR (dB)", steps, psnr, total, INPUT_COLOUR, "solid", "%{y:.1f} dB", selected)
    figure.update_yaxes(range=_widen(low, high), nticks=6)
    return figure


def loss_curve(steps: Sequence[int], loss: Sequence[float], total: int, selected: int | None = None) -> go.Figure:
    """Mean squared error on the fitted points over fit steps, on a log axis of whole decades; arguments as in `psnr_curve`."""
    positive = [value for value in loss if value > 0 and math.isfinite(value)] or [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)) + 1e-9)
    figure = _curve("Loss (MSE)", steps, loss, total, RECONSTRUCTION_COLOUR, "dash", "%{y:.3g}", selected)
    figure.update_yaxes(type="log", range=_widen(low, max(high, low + 1)), dtick=1, tickformat=".0e")
    return figure


def _widen(low: float, high: float) -> list[float]:
    """A range with room for markers at its ends."""
    return [low - 0.06 * (high - low), high + 0.06 * (high - low)]


def _curve(
    title: str,
    steps: Sequence[int],
    values: Sequence[float],
    total: int,
    colour: str,
    dash: str,
    hover: str,
    selected: int | None,
) -> go.Figure:
    mode = "lines+markers" if total <= 60 else "lines"
    line = {"color": colour, "width": 2, "dash": dash}
    trace = go.Scatter(x=list(steps), y=list(values), mode=mode, line=line, marker={"size": 5}, name=title, hovertemplate=hover)
    figure = go.Figure(trace, layout={"template": TEMPLATE, "showlegend": False, "margin": MARGIN})
    if selected is not None and selected in steps:
        value = values[list(steps).index(selected)]
        marker = {"size": 12, "symbol": "circle-open", "color": colour, "line": {"width": 2}}
        figure.add_scatter(x=[selected], y=[value], mode="markers", marker=marker, hoverinfo="skip", name="Shown step")
        figure.add_vline(x=selected, line={"color": "rgba(128, 128, 128, 0.6)", "width": 1, "dash": "dot"})
    figure.update_layout(title={"text": title, "font": {"size": 14}, "x": 0, "xanchor": "left", "y": 0.97, "yanchor": "top"})
    figure.update_yaxes(tickfont={"size": 12})
    padding = 0.02 * max(total, 1)
    figure.update_xaxes(title={"text": "Fit step", "standoff": 6}, range=[-padding, total + padding], nticks=8, tickformat="d")
    return figure


def ecg_figure(
    signal: Signal,
    reconstruction: Float[np.ndarray, "n c"],
    *,
    dense: Float[np.ndarray, "m c"] | None = None,
    mask: Bool[np.ndarray, " n"] | None = None,
    error_limit: float = 0.2,
) -> go.Figure:
    """Input and reconstruction over time on a grid like ECG paper, and the absolute error below.

    The grid is paper's: 40 ms and 200 ms across; up, 0.1 and 0.5 mV where the file gives millivolts, else tenths of the range.

    Args:
        signal: The ECG as fitted; its spacing gives seconds, otherwise the axis counts samples.
        reconstruction: At the signal's samples.
        dense: The same latent decoded at another resolution over the same time; drawn instead of `reconstruction`.
        mask: False where the fit did not see the signal.
        error_limit: Upper end of the error axis, in shares of the value range.
    """
    step = signal.spacing[0] if signal.spacing and signal.spacing_unit == "s" else None
    duration = (signal.shape[0] - 1) * (step or 1.0)
    low, high = signal.value_range if signal.unit else (0.0, 1.0)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.74, 0.26], vertical_spacing=0.06)
    drawn = reconstruction if dense is None else dense
    traces = (("Input", signal.values, INPUT_COLOUR, "solid"), ("Reconstruction", drawn, RECONSTRUCTION_COLOUR, "dash"))
    for name, values, colour, dash in traces:
        x = np.linspace(0, duration, len(values))
        for channel in range(values.shape[-1]):
            y = low + values[:, channel].astype(float) * (high - low)
            line = {"color": colour, "width": 2, "dash": dash}
            label = {"name": name, "legendgroup": name, "showlegend": channel == 0, "hovertemplate": "%{y:.3f}"}
            figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line=line, **label), row=1, col=1)
    error = error_values(signal.values, reconstruction)
    x = np.linspace(0, duration, len(error))
    line = {"color": "#808080", "width": 1}
    area = go.Scatter(
        x=x, y=error, mode="lines", line=line, fill="tozeroy", name="Absolute error", hovertemplate="%{y:.4f}", showlegend=False
    )
    figure.add_trace(area, row=2, col=1)
    for start, stop in _hidden_runs(mask):
        figure.add_vrect(x0=x[start], x1=x[stop], fillcolor=HIDDEN_FILL, line={"width": 0}, layer="below")
    figure.update_layout(template=TEMPLATE, hovermode="x unified", margin=MARGIN, legend=LEGEND)
    _rule_paper(figure, duration, step is not None, signal.unit, (low, high))
    figure.update_yaxes(title={"text": "Error", "standoff": 6}, range=[0, error_limit], nticks=3, row=2, col=1)
    return figure


def beat_strip(
    inputs: Float[np.ndarray, "m n c"],
    initial: Float[np.ndarray, "n c"],
    reconstructions: Float[np.ndarray, "m n c"],
    titles: Sequence[str],
) -> go.Figure:
    """A few ECGs side by side: each with the learned initialisation they all start from, and its reconstruction.

    Args:
        inputs: In [0, 1]; the first channel is drawn.
        initial: What the field says before any step on the latent.
        reconstructions: After the inner steps.
        titles: One for each ECG.
    """
    figure = make_subplots(rows=1, cols=len(inputs), shared_yaxes=True, subplot_titles=list(titles), horizontal_spacing=0.015)
    samples = list(range(inputs.shape[1]))
    styles = (
        ("Input", INPUT_COLOUR, "solid", 2.0),
        ("Learned initialisation", "#808080", "dot", 1.4),
        ("Reconstruction", RECONSTRUCTION_COLOUR, "dash", 2.0),
    )
    for column in range(len(inputs)):
        for (name, colour, dash, width), values in zip(styles, (inputs[column], initial, reconstructions[column]), strict=True):
            line = {"color": colour, "width": width, "dash": dash}
            label = {"name": name, "legendgroup": name, "showlegend": column == 0, "hovertemplate": "%{y:.3f}"}
            trace = go.Scatter(x=samples, y=values[:, 0].astype(float), mode="lines", line=line, **label)
            figure.add_trace(trace, row=1, col=column + 1)
    figure.update_layout(template=TEMPLATE, margin=MARGIN | {"t": 56, "l": 34}, legend=LEGEND | {"y": 1.14})
    figure.update_annotations(font={"size": 12})
    figure.update_xaxes(range=[0, len(samples) - 1], nticks=4, showgrid=True, gridcolor=PAPER_MAJOR)
    figure.update_yaxes(range=_widen(0, 1), showgrid=True, gridcolor=PAPER_MAJOR, dtick=0.5)
    return figure


def _rule_paper(figure: go.Figure, duration: float, seconds: bool, unit: str, window: tuple[float, float]) -> None:
    """ECG paper's squares, as long as they stay wide enough to see."""
    if seconds and duration <= 4:
        squares: dict[str, Any] = {
            "dtick": 0.2,
            "minor": {"dtick": 0.04, "showgrid": True, "gridcolor": PAPER_MINOR},
            "tickformat": ".1f",
        }
    else:
        squares = {"minor": {"showgrid": True, "gridcolor": PAPER_MINOR}}
    figure.update_xaxes(showgrid=True, gridcolor=PAPER_MAJOR, range=[0, duration], **squares)
    figure.update_xaxes(title={"text": "Time (s)" if seconds else "Sample", "standoff": 6}, row=2, col=1)
    low, high = window
    major = 0.5 if unit == "mV" and high - low <= 8 else None
    ruled = {"dtick": major, "minor": {"dtick": 0.1}} if major else ({"dtick": 0.5, "minor": {"dtick": 0.1}} if not unit else {})
    figure.update_yaxes(showgrid=True, gridcolor=PAPER_MAJOR, minor_showgrid=True, minor_gridcolor=PAPER_MINOR, row=1, col=1)
    figure.update_yaxes(range=_widen(low, high), row=1, col=1)
    figure.update_yaxes(title={"text": f"Voltage ({unit})" if unit else "Value (0 to 1)", "standoff": 6}, row=1, col=1, **ruled)


def _hidden_runs(mask: Bool[np.ndarray, " n"] | None) -> list[tuple[int, int]]:
    """First and last index of every stretch where `mask` is False, widened to the neighbours so that single samples show."""
    if mask is None or mask.all():
        return []
    edges = np.flatnonzero(np.diff(np.concatenate([[True], mask, [True]]).astype(np.int8)))
    return [(max(int(start) - 1, 0), min(int(stop), len(mask) - 1)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
