"""Figures of what happens in a latent space: ECGs over one another, quality along a path, variance by component, confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from medfuncta_core.figures.plots import LEGEND, MARGIN, OKABE_ITO, PAPER_MAJOR, PAPER_MINOR, TEMPLATE

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def curves_figure(curves: Mapping[str, Float[np.ndarray, "n c"]], rate: float | None = None) -> go.Figure:
    """ECGs over one another on paper, told apart by colour and dash.

    Args:
        curves: Values in [0, 1] by name, possibly decoded at different lengths: all span the same time.
        rate: Samples per second of the first one, for an axis in seconds; None counts samples.
    """
    length = len(next(iter(curves.values())))
    duration = (length - 1) / (rate or 1.0)
    figure = go.Figure(layout={"template": TEMPLATE, "margin": MARGIN, "legend": LEGEND, "hovermode": "x unified"})
    if len(curves) == 1:
        figure.update_layout(margin={"t": 8}, showlegend=False)
    for place, (name, values) in enumerate(curves.items()):
        line = {"color": OKABE_ITO[place % 6], "width": 2, "dash": DASHES[place % len(DASHES)]}
        x = np.linspace(0, duration, len(values))
        figure.add_scatter(x=x, y=values[:, 0].astype(float), mode="lines", name=name, line=line, hovertemplate="%{y:.3f}")
    grid = {"showgrid": True, "gridcolor": PAPER_MAJOR, "minor": {"showgrid": True, "gridcolor": PAPER_MINOR}}
    figure.update_xaxes(title={"text": "Time (s)" if rate else "Sample", "standoff": 6}, range=[0, duration], **grid)
    figure.update_yaxes(title={"text": "Value (0 to 1)", "standoff": 6}, range=[-0.05, 1.05], **grid)
    return figure


def path_quality(
    shares: Sequence[float],
    curves: Mapping[str, Sequence[float | None]],
    unit: str = "PSNR (dB)",
    selected: float | None = None,
    digits: int = 1,
    per_colour: int = 1,
) -> go.Figure:
    """Quality along a path from A (0) to B (1), a line for each thing compared; None leaves a gap.

    `per_colour` curves in a row share a colour and differ by dash.
    """
    figure = go.Figure(layout={"template": TEMPLATE, "margin": MARGIN, "legend": LEGEND})
    for place, (name, values) in enumerate(curves.items()):
        dash = DASHES[place % (len(DASHES) if per_colour == 1 else per_colour)]
        line = {"color": OKABE_ITO[place // per_colour % 6], "width": 2, "dash": dash}
        figure.add_scatter(x=list(shares), y=list(values), mode="lines", name=name, line=line, hovertemplate=f"%{{y:.{digits}f}}")
    if selected is not None:
        figure.add_vline(x=selected, line={"color": "rgba(128, 128, 128, 0.7)", "width": 1, "dash": "dot"})
    figure.update_xaxes(title={"text": "Place on the path: 0 is A, 1 is B", "standoff": 6}, range=[0, 1])
    figure.update_yaxes(title={"text": unit, "standoff": 6})
    return figure


def spectrum_figure(variances: Float[np.ndarray, " p"], marked: Mapping[str, int]) -> go.Figure:
    """Share of a set's variance that the first components hold together.

    Args:
        variances: Of every principal component, largest first.
        marked: Numbers of components to mark, by what they say.
    """
    total = np.cumsum(variances) / max(float(variances.sum()), 1e-30)
    count = np.arange(1, len(variances) + 1)
    figure = go.Figure(layout={"template": TEMPLATE, "margin": MARGIN, "showlegend": False})
    figure.add_scatter(
        x=count,
        y=100 * total,
        mode="lines",
        line={"color": OKABE_ITO[0], "width": 2},
        hovertemplate="%{x:,} components hold %{y:.1f} %<extra></extra>",
    )
    for place, (words, components) in enumerate(marked.items()):
        _mark_components(figure, components, words, place)
    _count_components(figure, len(variances))
    figure.update_yaxes(title={"text": "Variance held (%)", "standoff": 6}, range=[0, 102])
    return figure


def components_figure(counts: Sequence[int], psnr: Sequence[float], whole: float, share: float, needed: int | None) -> go.Figure:
    """Mean PSNR of signals decoded from their first principal components.

    Args:
        counts: Components kept, rising.
        psnr: With each number of them, dB.
        whole: With the whole latents, dB.
        share: Of it that is asked for.
        needed: Components that keep it; None where all do not.
    """
    figure = go.Figure(layout={"template": TEMPLATE, "margin": MARGIN, "showlegend": False, "hovermode": "closest"})
    figure.add_scatter(
        x=list(counts),
        y=list(psnr),
        mode="lines+markers",
        line={"color": OKABE_ITO[0], "width": 2},
        hovertemplate="%{x:,} components: %{y:.1f} dB<extra></extra>",
    )
    words = {"text": f"{share:.0%} of the PSNR of whole latents", "yanchor": "bottom"}
    line = {"color": OKABE_ITO[1], "width": 1, "dash": DASHES[1]}
    figure.add_hline(y=share * whole, line=line, annotation=words, annotation_position="top left")
    if needed is not None:
        _mark_components(figure, needed, f"{needed:,}", 0)
    _count_components(figure, max(counts))
    figure.update_yaxes(title={"text": "PSNR (dB)", "standoff": 6})
    return figure


def _mark_components(figure: go.Figure, components: int, words: str, place: int) -> None:
    """A number of components as a line with words beside it; plotly wants the place of words on a log axis as its logarithm."""
    figure.add_vline(x=components, line={"color": OKABE_ITO[1], "width": 1, "dash": DASHES[1 + place % 4]})
    at = {"x": float(np.log10(components)), "y": 0.04 + 0.11 * place, "yref": "paper", "xanchor": "right", "yanchor": "bottom"}
    figure.add_annotation(text=words, showarrow=False, xshift=-3, **at)


def _count_components(figure: go.Figure, most: int) -> None:
    """An axis of numbers of components that doubles from tick to tick."""
    ticks = [2**power for power in range(0, most.bit_length(), 1 if most < 256 else 2)]
    low, high = -0.02, float(np.log10(max(most, 2))) + 0.02
    figure.update_xaxes(
        title={"text": "Components", "standoff": 6}, type="log", range=[low, high], tickvals=ticks, tickformat=",d"
    )


def confusion_figure(counts: Int[np.ndarray, "c c"], names: Sequence[str]) -> go.Figure:
    """A confusion matrix: a row is the truth, its cells the share and number predicted as each class."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    text = [[f"{int(n):,}" for n in row] for row in counts]
    heat = go.Heatmap(
        z=100 * shares,
        x=list(names),
        y=list(names),
        text=text,
        texttemplate="%{text}",
        colorscale="Blues",
        zmin=0,
        zmax=100,
        colorbar={"title": {"text": "% of the class"}, "thickness": 10},
        hovertemplate="%{y} taken for %{x}: %{text}, %{z:.1f} %<extra></extra>",
    )
    figure = go.Figure(heat, layout={"template": TEMPLATE, "margin": {**MARGIN, "l": 90}, "hovermode": "closest"})
    figure.update_xaxes(title={"text": "Predicted", "standoff": 6}, showgrid=False, type="category")
    figure.update_yaxes(title={"text": "True class", "standoff": 6}, autorange="reversed", showgrid=False, type="category")
    return figure
