"""Bars: how many of each class."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from medfuncta_core.figures.classes import class_colour
from medfuncta_core.figures.plots import MARGIN, TEMPLATE


def class_bars(labels: Sequence[int], names: Sequence[str], counts: Sequence[int], totals: Sequence[int]) -> go.Figure:
    """A bar a class in its colour, its number and share of the class written at its end.

    Args:
        labels: Of the classes; -1 is none.
        names: Of the classes.
        counts: How many were chosen.
        totals: How many there are.
    """
    text = [f" {count:,} ({count / max(total, 1):.0%})" for count, total in zip(counts, totals, strict=True)]
    bars = go.Bar(
        x=list(counts),
        y=list(names),
        orientation="h",
        marker={"color": [class_colour(label) for label in labels]},
        text=text,
        textposition="outside",
        cliponaxis=False,
        customdata=list(totals),
        hovertemplate="%{y}: %{x:,} of %{customdata:,} in the set<extra></extra>",
    )
    figure = go.Figure(bars, layout={"template": TEMPLATE, "margin": {**MARGIN, "l": 10, "r": 10, "t": 4}, "bargap": 0.35})
    figure.update_xaxes(
        title={"text": "Signals chosen", "standoff": 6}, range=[0, 1.35 * max(counts, default=1)], rangemode="tozero"
    )
    figure.update_yaxes(autorange="reversed", type="category", automargin=True, showgrid=False)
    return figure
