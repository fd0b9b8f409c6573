"""Results of sweeps: a heat map over two settings, a curve over one, a bar for each choice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from medfuncta_core.figures.plots import MARGIN, OKABE_ITO, TEMPLATE

VIRIDIS = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
"""Evenly spaced stops of matplotlib's viridis: perceptually uniform, readable in grey and with colour blindness."""


def heat_map(
    title: str,
    columns: tuple[str, Sequence[float]],
    rows: tuple[str, Sequence[float]],
    values: Sequence[Sequence[float | None]],
    *,
    digits: int,
    higher_is_better: bool = True,
    outliers: Sequence[tuple[int, int]] = (),
) -> go.Figure:
    """A measure over two settings, its numbers written in the cells (Figure 4).

    Args:
        title: Of the measure, with its unit.
        columns: Name and values of the setting across.
        rows: Name and values of the setting upwards.
        values: One row for each of `rows`; None where nothing was measured yet, which stays empty.
        digits: Decimals written.
        higher_is_better: Off, the colours turn round, so that bright is always good.
        outliers: (row, column) of collapsed runs: framed in red and left out of the colour scale, as in the paper.
    """
    scaled = [[None if (i, j) in outliers else value for j, value in enumerate(row)] for i, row in enumerate(values)]
    text = [["" if value is None else f"{value:.{digits}f}" for value in row] for row in values]
    heat = go.Heatmap(
        z=scaled,
        x=[f"{value:g}" for value in columns[1]],
        y=[f"{value:g}" for value in rows[1]],
        colorscale=[[k / (len(VIRIDIS) - 1), colour] for k, colour in enumerate(VIRIDIS)],
        reversescale=not higher_is_better,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        hovertemplate=f"{columns[0]} %{{x}}, {rows[0]} %{{y}}: %{{z:.{digits}f}}<extra></extra>",
        colorbar={"thickness": 10, "outlinewidth": 0, "nticks": 5, "len": 1},
    )
    figure = go.Figure(heat, layout={"template": TEMPLATE, "margin": MARGIN | {"l": 48, "r": 8}, "hovermode": "closest"})
    known = [value for row in scaled for value in row if value is not None]
    middle = (min(known) + max(known)) / 2 if known else 0.0
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            out = (i, j) in outliers
            if value is not None:
                bright = (value > middle) == higher_is_better and not out
                colour = "#D55E00" if out else "#101010" if bright else "#ffffff"
                figure.add_annotation(x=j, y=i, text=text[i][j], showarrow=False, font={"size": 12, "color": colour})
            if out:
                frame = {"color": "#D55E00", "width": 2}
                figure.add_shape(type="rect", x0=j - 0.47, x1=j + 0.47, y0=i - 0.46, y1=i + 0.46, line=frame)
    figure.update_layout(title=_title(title))
    figure.update_xaxes(title={"text": columns[0], "standoff": 6}, type="category", showgrid=False)
    figure.update_yaxes(title={"text": rows[0], "standoff": 4}, type="category", showgrid=False)
    return figure


def sweep_curve(
    title: str, across: tuple[str, Sequence[float]], values: Sequence[float | None], *, digits: int, colour: int = 0
) -> go.Figure:
    """A measure over one setting, a mark and a number for every run; arguments as in `heat_map`."""
    style = {"color": OKABE_ITO[colour], "width": 2}
    trace = go.Scatter(
        x=list(across[1]),
        y=list(values),
        mode="lines+markers+text",
        line=style,
        marker={"size": 8},
        text=["" if value is None else f"{value:.{digits}f}" for value in values],
        textposition="top center",
        hovertemplate=f"{across[0]} %{{x}}: %{{y:.{digits}f}}<extra></extra>",
        cliponaxis=False,
    )
    figure = go.Figure(trace, layout={"template": TEMPLATE, "margin": MARGIN, "hovermode": "closest", "showlegend": False})
    figure.update_layout(title=_title(title))
    figure.update_xaxes(title={"text": across[0], "standoff": 6}, tickvals=list(across[1]))
    figure.update_yaxes(range=_room(values), nticks=5)
    return figure


def sweep_bars(title: str, labels: Sequence[str], values: Sequence[float | None], *, digits: int) -> go.Figure:
    """A measure for every choice, longest names first to read; arguments as in `heat_map`."""
    order = range(len(labels) - 1, -1, -1)
    trace = go.Bar(
        y=[labels[k] for k in order],
        x=[values[k] for k in order],
        orientation="h",
        marker={"color": OKABE_ITO[0]},
        text=["" if (value := values[k]) is None else f"{value:.{digits}f}" for k in order],
        textposition="auto",
        hovertemplate=f"%{{y}}: %{{x:.{digits}f}}<extra></extra>",
    )
    margin = MARGIN | {"l": 24 + 7 * max((len(label) for label in labels), default=4)}
    figure = go.Figure(trace, layout={"template": TEMPLATE, "margin": margin, "hovermode": "closest", "showlegend": False})
    figure.update_layout(title=_title(title), bargap=0.35)
    low, high = _room(values)
    figure.update_xaxes(range=[low, high], nticks=5)
    return figure


def _title(text: str) -> dict:
    return {"text": text, "font": {"size": 14}, "x": 0, "xanchor": "left", "y": 0.97, "yanchor": "top"}


def _room(values: Sequence[float | None]) -> list[float]:
    """Limits around the values with room for their numbers."""
    known = [value for value in values if value is not None and math.isfinite(value)] or [0.0, 1.0]
    span = max(max(known) - min(known), 0.02 * max(abs(max(known)), 1e-3))
    return [min(known) - 0.35 * span, max(known) + 0.45 * span]
