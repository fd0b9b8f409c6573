"""Curves of training runs: one run's training and validation, or many runs laid over each other; nothing jumps as they grow."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go

from medfuncta_core.figures.plots import MARGIN, OKABE_ITO, TEMPLATE

Quantity = Literal["psnr", "ssim", "loss"]
Axis = Literal["step", "seconds"]

RUN_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07D00")  # Okabe-Ito's, orange darkened to 3:1 on white
RUN_DASHES = ("solid", "dash", "dot", "dashdot")
TITLES: dict[Quantity, str] = {"psnr": "PSNR (dB)", "ssim": "SSIM", "loss": "Loss (MSE)"}
_HOVER: dict[Quantity, str] = {"psnr": "%{y:.2f} dB", "ssim": "%{y:.3f}", "loss": "%{y:.3g}"}
_TRAIN_COLOUR, _VALIDATION_COLOUR = OKABE_ITO[5], OKABE_ITO[0]
_HOURS_FROM, _MINUTES_FROM = 2 * 3600, 120


@dataclass(frozen=True, eq=False)
class Line:
    """One curve.

    Args:
        name: For the legend.
        x: Steps, or seconds of training.
        y: Values; NaN leaves a gap.
        faint: Drawn thin and light: noisy training beside validation.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    faint: bool = False


def training_curve(
    quantity: Quantity,
    lines: Sequence[Line],
    *,
    over: Axis = "step",
    end: float | None = None,
    marked: float | None = None,
    identity: str = "",
) -> go.Figure:
    """Training (faint) and validation (bold, with a mark at every value) of one run.

    Args:
        quantity: What is drawn; the loss has a log axis.
        lines: Curves; those without points take no room in the legend.
        over: What `x` is.
        end: Where the horizontal axis ends; it stays there while the run grows. None: where the curves end.
        marked: Where to draw a vertical line: the step whose pictures are shown.
        identity: A zoom is kept as long as this stays the same.
    """
    figure = go.Figure(layout={"template": TEMPLATE, "margin": MARGIN})
    for line in lines:
        if len(line.x):
            style = {"color": _TRAIN_COLOUR, "width": 1.2} if line.faint else {"color": _VALIDATION_COLOUR, "width": 2.4}
            marks = {"size": 5, "symbol": "circle"} if not line.faint and len(line.x) <= 60 else None
            _add(figure, quantity, line, style, marks)
    if marked is not None:
        figure.add_vline(x=marked, line={"color": "rgba(128, 128, 128, 0.7)", "width": 1, "dash": "dot"})
    return _finish(figure, quantity, lines, over, end, identity)


def overlaid_curves(
    quantity: Quantity, lines: Sequence[Line], *, over: Axis = "step", end: float | None = None, identity: str = ""
) -> go.Figure:
    """One curve a run, each with its own colour and dash; arguments as in `training_curve`."""
    figure = go.Figure(layout={"template": TEMPLATE, "margin": MARGIN})
    for index, line in enumerate(lines):
        style = {"color": run_colour(index), "width": 2, "dash": run_dash(index)}
        marks = {"size": 5, "symbol": index % 20} if len(line.x) <= 40 else None
        _add(figure, quantity, line, style, marks)
    return _finish(figure, quantity, lines, over, end, identity)


def run_colour(index: int) -> str:
    """The colour of a run by its place in a comparison; from the sixth on colours return with another dash."""
    return RUN_COLOURS[index % len(RUN_COLOURS)]


def run_dash(index: int) -> str:
    """The dash of a run by its place in a comparison."""
    return RUN_DASHES[index // len(RUN_COLOURS) % len(RUN_DASHES)]


def _add(figure: go.Figure, quantity: Quantity, line: Line, style: dict, marks: dict | None) -> None:
    figure.add_scatter(
        x=list(line.x),
        y=[value if math.isfinite(value) else None for value in line.y],
        mode="lines+markers" if marks else "lines",
        line=style,
        marker=marks or {},
        name=line.name,
        hovertemplate=_HOVER[quantity],
        connectgaps=False,
        showlegend=True,
    )


def _finish(
    figure: go.Figure, quantity: Quantity, lines: Iterable[Line], over: Axis, end: float | None, identity: str
) -> go.Figure:
    figure.update_layout(
        uirevision=f"{identity} {over}",
        title={"text": TITLES[quantity], "font": {"size": 14}, "x": 0, "xanchor": "left", "y": 0.97, "yanchor": "top"},
        legend={"x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"},
    )
    last = end if end is not None else max((max(line.x) for line in lines if len(line.x)), default=1.0)
    _label_time(figure, last) if over == "seconds" else figure.update_xaxes(title={"text": "Outer step", "standoff": 6})
    figure.update_xaxes(range=[-0.02 * last, 1.02 * last], nticks=7)
    _choose_range(figure, quantity, [value for line in lines for value in line.y if math.isfinite(value)])
    return figure


def _label_time(figure: go.Figure, last: float) -> None:
    """Ticks at whole seconds, minutes or hours, whichever the run's length asks for."""
    unit, name = (3600, "h") if last >= _HOURS_FROM else (60, "min") if last >= _MINUTES_FROM else (1, "s")
    step = _round_step(last / unit / 6)
    values = [step * k for k in range(int(last / unit / step) + 1)]
    figure.update_xaxes(title={"text": f"Training time ({name})", "standoff": 6}, tickvals=[v * unit for v in values])
    figure.update_xaxes(ticktext=[f"{value:g}" for value in values])


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(step, 1e-6)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step)


def _choose_range(figure: go.Figure, quantity: Quantity, values: Sequence[float]) -> None:
    """Vertical limits on round numbers, so that they change seldom while a run grows."""
    if quantity == "loss":
        positive = [value for value in values if value > 0] or [1e-2]
        low, high = math.floor(2 * math.log10(min(positive))) / 2, math.ceil(2 * math.log10(max(positive)) + 1e-9) / 2
        high = max(high, low + 1)
        figure.update_yaxes(type="log", range=[low - 0.05, high + 0.05], dtick=1 if high - low >= 2 else "D2", tickformat=".0e")
        return
    grain = 5.0 if quantity == "psnr" else 0.1
    values = values or [0.0]
    low, high = grain * math.floor(min(values) / grain), grain * math.ceil((max(values) + 0.02 * grain) / grain)
    figure.update_yaxes(range=[low - 0.04 * (high - low), high + 0.04 * (high - low)], nticks=6)


def line_key(index: int) -> str:
    """A run's line in `overlaid_curves`, colour and dash, as a small picture for a table: a `data:` address."""
    dash = {"solid": "none", "dash": "9 4", "dot": "3 4", "dashdot": "9 4 3 4"}[run_dash(index)]
    stroke = f'stroke="{run_colour(index)}" stroke-width="4" stroke-dasharray="{dash}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="16"><path d="M0 8H40" {stroke}/></svg>'
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def curve_data(figure: go.Figure) -> dict[str, Any]:
    """What a curve of this module shows, as plain values: for a page that draws it again and again without replacing it.

    Args:
        figure: From `training_curve`, `overlaid_curves`, `psnr_curve` or `loss_curve`.

    Returns:
        `title`, `x_title`, `x_range`, `y_range` (decades where `log`), `ticks` (values with words, or None), `marked` (or None),
        `legend` (whether traces are named), `traces` with `name`, `x`, `y` (None where it is not finite), `color`, `width`,
        `dash`, `marks`, and `rings`, single points with `x`, `y`, `color`.
    """
    values = figure.to_plotly_json()
    layout, shapes = values["layout"], values["layout"].get("shapes") or ()
    lines = [trace for trace in values["data"] if "lines" in trace["mode"]]
    points = [trace for trace in values["data"] if trace["mode"] == "markers" and math.isfinite(trace["y"][0])]
    across, upwards = layout["xaxis"], layout["yaxis"]
    return {
        "title": layout["title"]["text"],
        "x_title": across["title"]["text"],
        "x_range": list(across["range"]),
        "y_range": list(upwards["range"]),
        "log": upwards.get("type") == "log",
        "ticks": list(zip(across["tickvals"], across["ticktext"], strict=True)) if "tickvals" in across else None,
        "marked": shapes[0]["x0"] if shapes else None,
        "legend": layout.get("showlegend", True),
        "rings": [{"x": at["x"][0], "y": at["y"][0], "color": at["marker"]["color"]} for at in points],
        "traces": [
            {
                "name": trace["name"],
                "x": list(trace["x"]),
                "y": [value if value is not None and math.isfinite(value) else None for value in trace["y"]],
                "color": trace["line"]["color"],
                "width": trace["line"]["width"],
                "dash": trace["line"].get("dash", "solid"),
                "marks": "markers" in trace["mode"],
            }
            for trace in lines
        ],
    }
