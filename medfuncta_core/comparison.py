"""Several representations of one signal beside each other: fits of fields, and what as many numbers do without a network.

A latent of P numbers is worth something where P numbers chosen without any training do worse. Two such choices are here, both
the best of their kind in the mean square: the lowest frequencies of the cosine transform, and a coarser grid under a cubic
spline.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from medfuncta_core.config import CheckpointConfig
from medfuncta_core.errors import CheckpointError, SignalError
from medfuncta_core.fitting import FitResult
from medfuncta_core.metrics import finite_or_none
from medfuncta_core.signals import Signal
from medfuncta_core.signals.resizing import cubic_weights

Values = Float[np.ndarray, "*shape c"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One representation of a signal and how well it does.

    Args:
        name: For people.
        numbers: That stand for the signal.
        reconstruction: `(*shape, c)` in [0, 1].
        mse, psnr: Of the whole signal; PSNR in dB, infinite for a perfect reconstruction.
        ssim: None where it is not defined.
        largest_error: Of any value, in shares of the value range.
        steps: That a fit took; None without a fit.
        seconds: Computing time of the fit; None without one.
    """

    name: str
    numbers: int
    reconstruction: Values
    mse: float
    psnr: float
    ssim: float | None
    largest_error: float
    steps: int | None = None
    seconds: float | None = None


def can_fit(config: CheckpointConfig, signal: Signal) -> bool:
    """Whether a checkpoint's field takes a signal's values as they are, however they were prepared: axes and channels agree."""
    return (config.field.coord_dim, config.field.channels) == (len(signal.shape), signal.channels)


def require_fitting(configs: Sequence[CheckpointConfig], signal: Signal) -> None:
    """Check that all checkpoints can be compared on a signal.

    Raises:
        CheckpointError: naming the first that cannot.
    """
    for config in configs:
        if not can_fit(config, signal):
            raise CheckpointError(
                f"{config.name} is for {config.field.coord_dim} axes and {config.field.channels} channel(s), the signal prepared "
                f"for {configs[0].name} has {len(signal.shape)} and {signal.channels}; compare checkpoints of one kind"
            )


def fit_outcome(name: str, signal: Signal, result: FitResult) -> Outcome:
    """A fit of the signal as one of the things compared."""
    worst = float(np.abs(result.reconstruction - signal.values).max())
    fit = result.fit_steps, result.seconds
    return Outcome(name, len(result.latent), result.reconstruction, result.mse, result.psnr, result.ssim, worst, *fit)


def baseline_outcome(name: str, signal: Signal, numbers: int) -> Outcome:
    """What a number of values does without a network.

    Args:
        name: A key of `BASELINES`.
        signal: Values in [0, 1].
        numbers: At most so many are kept, over all channels.

    Raises:
        SignalError: when there are fewer numbers than channels.
    """
    import torch

    from medfuncta_core import metrics

    if numbers < signal.channels:
        raise SignalError(f"{numbers} numbers cannot stand for {signal.channels} channels; give one a channel at least")
    kept, values = BASELINES[name](signal.values, numbers)
    values = np.clip(values, 0, 1).astype(np.float32)
    pair = torch.from_numpy(values)[None], torch.from_numpy(np.ascontiguousarray(signal.values))[None]
    mse, psnr, ssim = (float(metric(*pair)) for metric in (metrics.mse, metrics.psnr, metrics.ssim))
    return Outcome(name, kept, values, mse, psnr, ssim, float(np.abs(values - signal.values).max()))


def keep_lowest_frequencies(values: Values, numbers: int) -> tuple[int, Values]:
    """The signal from the lowest frequencies of its cosine transform, the same ones for every signal of a shape.

    Args:
        values: `(*shape, c)`.
        numbers: Coefficients kept, shared evenly by the channels.

    Returns:
        Numbers used, and the values they give.
    """
    from scipy.fft import dctn, idctn

    *shape, channels = values.shape
    axes = tuple(range(len(shape)))
    frequencies = np.meshgrid(*(np.arange(points) / points for points in shape), indexing="ij")
    order = np.argsort(sum(np.square(axis) for axis in frequencies), axis=None, kind="stable")
    count = min(numbers // channels, math.prod(shape))
    kept = np.zeros(math.prod(shape), dtype=bool)
    kept[order[:count]] = True
    spectrum = np.asarray(dctn(values.astype(np.float64), axes=axes, norm="ortho"))
    return count * channels, np.asarray(idctn(spectrum * kept.reshape(*shape, 1), axes=axes, norm="ortho"))


def keep_coarser_grid(values: Values, numbers: int) -> tuple[int, Values]:
    """The signal from fewer grid points, a cubic spline between them, their values the best in the mean square.

    Arguments and returns as `keep_lowest_frequencies`; all axes shrink by about the same factor.
    """
    *shape, channels = values.shape
    grid = coarser_shape(tuple(shape), numbers // channels)
    for axis, (points, count) in enumerate(zip(shape, grid, strict=True)):
        spline = cubic_weights(count, points).astype(np.float64)
        values = np.moveaxis(np.tensordot(spline @ np.linalg.pinv(spline), values, (1, axis)), 0, axis)
    return math.prod(grid) * channels, values


def coarser_shape(shape: tuple[int, ...], numbers: int) -> tuple[int, ...]:
    """The largest grid of at most so many points with about the proportions of `shape`.

    Raises:
        SignalError: when there is not even one point.
    """
    if numbers < 1:
        raise SignalError("a grid needs at least one point")
    scaled = lambda factor: tuple(max(1, min(points, int(points * factor))) for points in shape)  # noqa: E731
    # Only factors at which some axis gains a point matter.
    factors = sorted({count / points for points in shape for count in range(1, points + 1)}, reverse=True)
    fitting = (scaled(factor + 1e-9) for factor in factors)
    return next((grid for grid in fitting if math.prod(grid) <= numbers), (1,) * len(shape))


DCT, GRID = "DCT", "Coarser grid"
BASELINES: dict[str, Callable[[Values, int], tuple[int, Values]]] = {DCT: keep_lowest_frequencies, GRID: keep_coarser_grid}


def comparison_rows(signal: Signal, outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    """What was compared as plain values; an infinite PSNR is None, which JSON can hold."""
    return [
        {
            "name": outcome.name,
            "numbers": outcome.numbers,
            "compression_ratio": signal.values.size / outcome.numbers,
            "psnr": finite_or_none(outcome.psnr),
            "ssim": finite_or_none(outcome.ssim),
            "mse": outcome.mse,
            "largest_error": outcome.largest_error,
            "steps": outcome.steps,
            "seconds": outcome.seconds,
        }
        for outcome in outcomes
    ]


def comparison_csv(signal: Signal, outcomes: Sequence[Outcome]) -> str:
    """`comparison_rows` as CSV with a header, one line for each thing compared."""
    buffer = io.StringIO()
    rows = comparison_rows(signal, outcomes)
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def comparison_sentence(outcomes: Sequence[Outcome]) -> str:
    """What a comparison says, in a sentence or two; "" with fewer than two to compare."""
    if len(outcomes) < 2:
        return ""
    best, second, *_ = sorted(outcomes, key=lambda outcome: outcome.psnr, reverse=True)
    ahead = best.psnr - second.psnr
    if not math.isfinite(ahead):
        return f"{best.name} gives the signal back as it is."
    words = f"{best.name} is {ahead:.1f} dB ahead of {second.name}"
    if ahead < 0.05:
        words = f"{best.name} and {second.name} are equally close to the signal"
    if best.seconds and second.seconds:
        words += f", at {best.seconds / second.seconds:.1f} times its computing time"
    structured = [outcome for outcome in outcomes if outcome.ssim is not None]
    similar = max(structured, key=lambda outcome: outcome.ssim or 0.0, default=best)
    if best.ssim is not None and similar.ssim is not None and similar.ssim > best.ssim + 0.0005:
        words += f"; by SSIM {similar.name} leads, {similar.ssim:.3f} to {best.ssim:.3f}"
    return words + "."
