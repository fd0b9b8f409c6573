"""How a fit is shown: pictures for an image or a volume, a trace for an ECG, curves and numbers for all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import streamlit as st

from medfuncta_core import figures
from medfuncta_core.signals import Signal
from pages.shared.components import compare, live_curves, panes
from pages.shared.fit_run import FitRun

FACTORS = (0.5, 1.0, 2.0, 4.0, 8.0)
CHART = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "png", "scale": 2},
}
CURVE_HEIGHT, ECG_HEIGHT = 222, 430


def scaled_shape(run: FitRun, factor: float) -> tuple[int, ...]:
    """The signal's shape at another resolution, at least two points an axis."""
    return tuple(max(2, round(points * factor)) for points in run.signal.shape)


def shape_words(shape: tuple[int, ...]) -> str:
    """A shape as people write it."""
    return " × ".join(f"{points:,}" for points in shape)


def show_numbers(run: FitRun, index: int) -> None:
    """The numbers that matter, big."""
    step, result = run.history[index], run.result
    values, latent = run.signal.values.size, run.checkpoint.field.latent_dim
    psnr = f"{step.psnr:.1f} dB" if math.isfinite(step.psnr) else "∞ dB"
    ssim = "…" if result is None else (f"{result.ssim:.3f}" if index == run.last and result.ssim is not None else "–")
    with st.container(horizontal=True, gap="small"):
        st.metric(
            "PSNR", psnr, help="Peak signal-to-noise ratio of the whole signal, in decibels; 3 dB more is half the squared error."
        )
        if run.mask is not None:
            _show_hidden_psnr(run, index)
        st.metric("SSIM", ssim, help="Structural similarity at the last step, 1 is identical.")
        st.metric("Fit time", f"{step.seconds:.2f} s", help=f"Computing time of the steps, on {run.device.upper()}.")
        st.metric("Latent / values", f"{latent:,} / {values:,}", help="Numbers in the latent, against values in the signal.")
        st.metric("Compression", f"{values / latent:.1f}×", help="Values in the signal for every number of the latent.")


def _show_hidden_psnr(run: FitRun, index: int) -> None:
    from medfuncta_core.report import hidden_psnr

    hidden = hidden_psnr(run.signal, run.decode(index), run.mask)
    words = "–" if hidden is None else (f"{hidden:.1f} dB" if math.isfinite(hidden) else "∞ dB")
    st.metric("PSNR, hidden part", words, help="Quality of what the fit never saw and filled in.")


def show_curves(run: FitRun, index: int, *, beside: bool) -> None:
    """PSNR and loss over steps, with the shown step marked once the fit is over."""
    steps = [step.index for step in run.history]
    marked = None if run.active else index
    first, second = st.columns(2, gap="medium") if beside else (st.container(), st.container())
    psnr = figures.psnr_curve(steps, [step.psnr for step in run.history], run.config.steps, marked)
    loss = figures.loss_curve(steps, [step.loss for step in run.history], run.config.steps, marked)
    alt = f"after {run.last} steps: {run.history[-1].psnr:.1f} dB, loss {run.history[-1].loss:.3g}"
    for place, figure, quantity in ((first, psnr, "PSNR"), (second, loss, "Loss")):
        with place:
            alternative = f"{quantity} over fit steps, {alt}"
            live_curves(figures.curve_data(figure), alt=alternative, key=f"{quantity.lower()}_curve", height=CURVE_HEIGHT)


def show_ecg(run: FitRun, index: int, factor: float, limit: float) -> None:
    """Input, reconstruction and error over time."""
    dense = None if factor == 1 else run.decode(index, scaled_shape(run, factor))
    figure = figures.ecg_figure(run.signal, run.decode(index), dense=dense, mask=run.mask, error_limit=limit)
    st.plotly_chart(figure, key="ecg", height=ECG_HEIGHT, config=CHART, alt=f"ECG, input and reconstruction at step {index}")


def show_pictures(run: FitRun, index: int, *, smooth: bool, limit: float) -> None:
    """Input, reconstruction and absolute error side by side: one row for an image, one per plane for a volume."""
    signal, values = run.signal, run.decode(index)
    rows: list[list[dict[str, Any]]] = []
    for truth, decoded, hidden in zip(_planes(run, signal.values), _planes(run, values), _hidden(run), strict=True):
        place = (
            f"{truth.name} {truth.place} · {truth.height_mm:.0f} × {truth.width_mm:.0f} {'mm' if signal.spacing else 'voxels'}"
        )
        words = place if signal.kind == "volume" else f"{shape_words(signal.shape)}{'' if hidden is None else ' · blue: hidden'}"
        told = ("Reconstruction", f"step {index} of {run.config.steps}")
        rows.append(_side_by_side(truth, decoded, words, told, limit, hidden))
    widest = max(plane.width_mm for plane in _planes(run, signal.values))
    for row, plane in zip(rows, _planes(run, signal.values), strict=True):
        for pane in row:
            pane["share"] = plane.width_mm / widest
    panes(rows, scale=error_scale(limit), smooth=smooth, key=f"panes-{signal.kind}")


def error_scale(limit: float) -> dict[str, Any]:
    """The colour scale beside errors, for `panes`."""
    label = "Absolute error as a share of the value range"
    return {"stops": figures.MAGMA, "low": "0", "high": f"≥ {limit:g}", "label": label}


def plane_names(signal: Signal) -> list[str]:
    """What the planes of an image ("") or of a volume are called."""
    return [plane.name for plane in _planes_of(signal, signal.values)]


def representation_panes(
    signal: Signal, decoded: Sequence[tuple[str, str, Any]], limit: float, plane: int
) -> list[list[dict[str, Any]]]:
    """Input, reconstruction and absolute error of several representations of a signal, a row each.

    Args:
        signal: What they stand for.
        decoded: Name, caption and values of each.
        limit: Of the error's colours, the same for all.
        plane: Which of `plane_names`.
    """
    truth = _planes_of(signal, signal.values)[plane]
    words = truth.name or shape_words(signal.shape)
    return [
        _side_by_side(truth, _planes_of(signal, values)[plane], words, (name, caption), limit)
        for name, caption, values in decoded
    ]


def show_comparison(run: FitRun, index: int, factor: float, *, smooth: bool) -> None:
    """Before/after: the input's pixels under a divider, the latent decoded at another resolution."""
    shape = scaled_shape(run, factor)
    before = _planes(run, run.signal.values)[0]
    after = _planes(run, run.decode(index), factor=factor, index=index)[0]
    title = f"{shape_words(shape)} reconstruction"
    data = [
        {"src": figures.to_data_url(figures.encode_png(figures.to_pixels(plane.values))), "title": words}
        for plane, words in ((before, f"{shape_words(run.signal.shape)} input"), (after, title))
    ]
    compare(data[0], data[1], aspect=before.width_mm / before.height_mm, smooth=smooth, key="compare")


def _planes(run: FitRun, values: Any, factor: float = 1.0, index: int | None = None) -> tuple[figures.Plane, ...]:
    """What of a signal is shown: the image itself, or the middle planes of a volume, possibly decoded at another resolution."""
    signal = run.signal
    if index is None or factor == 1:
        return _planes_of(signal, values)
    scaled = scaled_shape(run, factor)
    if signal.kind == "image":
        return _planes_of(signal, run.decode(index, scaled))
    cut = tuple(
        run.decode(index, (*scaled[:axis], 1, *scaled[axis + 1 :])).squeeze(axis) for axis in range(3)
    )  # one point on an axis lies in its middle: only the planes shown are computed
    return figures.turn_planes(cut, signal.shape, signal.affine, signal.spacing)


def _planes_of(signal: Signal, values: Any) -> tuple[figures.Plane, ...]:
    if signal.kind == "image":
        height, width = signal.shape
        return (figures.Plane(values, "", ("", "", "", ""), height, width, ""),)
    return figures.turn_planes(figures.cut_planes(values), signal.shape, signal.affine, signal.spacing)


def _hidden(run: FitRun) -> list[Any]:
    """Where the fit saw nothing, plane by plane; None where it saw all."""
    if run.mask is None:
        return [None] * (3 if run.signal.kind == "volume" else 1)
    return [plane.values[..., 0] for plane in _planes(run, ~run.mask[..., None])]


def _side_by_side(
    truth: figures.Plane, shown: figures.Plane, words: str, told: tuple[str, str], limit: float, hidden: Any = None
) -> list[dict[str, Any]]:
    """Input, with words below it, what stands for it, with its title and caption, and the absolute error between them."""
    error = figures.error_values(truth.values, shown.values)
    return [
        _pane(truth, "Input", words, figures.to_pixels(truth.values, hidden)),
        _pane(shown, *told, figures.to_pixels(shown.values)),
        _pane(truth, "Absolute error", f"mean {error.mean():.3f}, max {error.max():.3f}", figures.to_magma(error, limit)),
    ]


def _pane(plane: figures.Plane, title: str, caption: str, pixels: Any) -> dict[str, Any]:
    name = f"{title} {plane.name}".strip().lower().replace(" ", "-")
    return {
        "title": title,
        "caption": caption,
        "src": figures.to_data_url(figures.encode_png(pixels)),
        "alt": f"{title} {plane.name} {plane.place}".strip(),
        "file": f"{name}.png",
        "aspect": plane.width_mm / plane.height_mm,
        "letters": plane.letters,
    }
