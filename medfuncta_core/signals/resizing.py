"""Bringing a grid to another shape as the training data was: crop, antialiased reduction, padding; and its geometry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from einops import reduce
from jaxtyping import Float32

from medfuncta_core.signals.guarding import format_shape
from medfuncta_core.signals.signal import Signal


def crop_to_aspect(signal: Signal, shape: tuple[int, ...]) -> Signal:
    """The largest centred part of an image with the aspect ratio of `shape`, as MedMNIST cuts squares."""
    height, width = signal.shape
    kept = min(height, max(1, round(width * shape[0] / shape[1]))), min(width, max(1, round(height * shape[1] / shape[0])))
    if kept == (height, width):
        return signal
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    text = f"Cropped from {format_shape(signal.shape)} to the {format_shape(kept)} at its centre."
    return replace(signal, values=signal.values[top : top + kept[0], left : left + kept[1]], notes=(*signal.notes, text))


def resize_image(signal: Signal, shape: tuple[int, ...]) -> Signal:
    """An image at another shape, by Pillow's bicubic filter, which widens when it shrinks and so is antialiased.

    This is how MedMNIST and the sets in its format were made: 8-bit images are resized as bytes, so that a training
    image's original gives that training image to the last bit. Others are resized as floats.
    """
    if signal.shape == shape:
        return signal
    from PIL import Image

    size, filter_ = (shape[1], shape[0]), Image.Resampling.BICUBIC
    if signal.value_range == (0.0, 255.0) and signal.nominal_range == (0.0, 255.0):
        planes = np.rint(signal.values * 255).astype(np.uint8)
        scale = np.float32(255)
    else:
        planes, scale = signal.values, np.float32(1)
    resized = [
        np.asarray(Image.fromarray(np.ascontiguousarray(planes[..., c])).resize(size, filter_)) for c in range(signal.channels)
    ]
    values = np.clip(np.stack(resized, axis=-1).astype(np.float32) / scale, 0, 1)
    shrinks = any(old > new for old, new in zip(signal.shape, shape, strict=True))
    return _finish(signal, values, "with antialiasing" if shrinks else "by bicubic interpolation")


def resize_linear(signal: Signal, shape: tuple[int, ...]) -> Signal:
    """A signal of any number of axes at another shape, linearly, first and last points staying where they are.

    This is how the volumes were made. Below half the points linear interpolation alone would alias, so a Gaussian of
    (factor - 1) / 2 points goes before it; up to a factor of two there is none, as in the training data.
    """
    if signal.shape == shape:
        return signal
    from scipy import ndimage

    sigmas = [_antialiasing(old, new) for old, new in zip(signal.shape, shape, strict=True)]
    values = np.empty((*shape, signal.channels), np.float32)
    for channel in range(signal.channels):
        plane = signal.values[..., channel]
        if any(sigmas):
            plane = ndimage.gaussian_filter(plane, sigmas, mode="nearest")
        values[..., channel] = _interpolate(plane, shape)
    return _finish(signal, np.clip(values, 0, 1, out=values), "with antialiasing" if any(sigmas) else "linearly")


def pad_end(signal: Signal, length: int) -> Signal:
    """An ECG lengthened with zeros at its end, as the paper's beats are."""
    count = signal.shape[0]
    values = np.zeros((length, signal.channels), np.float32)
    values[:count] = signal.values
    return replace(
        signal, values=values, notes=(*signal.notes, f"Padded from {count} to {length} samples with zeros at its end.")
    )


def with_values(signal: Signal, values: Float32[np.ndarray, "*shape c"]) -> Signal:
    """The signal with other values over the same extent, such as a reconstruction decoded at another resolution.

    The field's grid puts the first and last sample of an axis at -1 and 1, on the *centres* of the first and last voxel.
    So a new spacing is the old one times (n_old - 1) / (n_new - 1), and the first voxel's centre stays where it was.

    At the same points it still is what the signal was prepared for; at others it is not.

    Args:
        signal: Gives kind, name, units and geometry.
        values: `(*shape, c)` in [0, 1], of any shape with the same axes.
    """
    shape, old = values.shape[:-1], signal.shape
    return replace(
        signal,
        values=values,
        spacing=None if signal.spacing is None else scale_spacing(signal.spacing, old, shape),
        affine=None if signal.affine is None else scale_affine(signal.affine, old, shape),
        events=signal.events if shape == old else (),
        prepared_for=signal.prepared_for if values.shape == signal.values.shape else None,
    )


def scale_spacing(spacing: tuple[float, ...], old: tuple[int, ...], new: tuple[int, ...]) -> tuple[float, ...]:
    """Spacing after resampling `old` to `new` points with first and last point fixed; unchanged along axes of one point."""
    return tuple(
        step * (before - 1) / (after - 1) if before > 1 and after > 1 else step
        for step, before, after in zip(spacing, old, new, strict=True)
    )


def scale_affine(affine: np.ndarray, old: tuple[int, ...], new: tuple[int, ...]) -> np.ndarray:
    """Voxel-to-millimetre matrix `(4, 4)` after resampling `old` to `new` voxels with corner centres fixed."""
    factors = scale_spacing((1.0, 1.0, 1.0), old, new)
    return affine @ np.diag([*factors, 1.0])


def pad_to(signal: Signal, canvas: tuple[int, ...]) -> Signal:
    """A volume with zeros around it, half of them rounded down before it, up to a canvas that is at least as large."""
    before = tuple((wide - have) // 2 for wide, have in zip(canvas, signal.shape, strict=True))
    if signal.shape == canvas:
        return signal
    values = np.zeros((*canvas, signal.channels), np.float32)
    values[tuple(slice(first, first + have) for first, have in zip(before, signal.shape, strict=True))] = signal.values
    text = f"Padded from {format_shape(signal.shape)} to {format_shape(canvas)} with zeros around it."
    affine = None if signal.affine is None else map_affine(signal.affine, (1.0, 1.0, 1.0), tuple(-first for first in before))
    return replace(signal, values=values, affine=affine, notes=(*signal.notes, text))


def average_blocks(signal: Signal, shape: tuple[int, ...]) -> Signal:
    """A volume reduced to the means of whole blocks, as average pooling does it; its voxels grow by the same factor."""
    if signal.shape == shape:
        return signal
    factors = tuple(have // kept for have, kept in zip(signal.shape, shape, strict=True))
    x, y, z = factors
    values = reduce(signal.values, "(i x) (j y) (k z) c -> i j k c", "mean", x=x, y=y, z=z)
    text = f"Averaged blocks of {format_shape(factors)} voxels: {format_shape(signal.shape)} became {format_shape(shape)}."
    affine = signal.affine
    if affine is not None:
        affine = map_affine(affine, tuple(map(float, factors)), tuple((factor - 1) / 2 for factor in factors))
    spacing = None if signal.spacing is None else tuple(s * f for s, f in zip(signal.spacing, factors, strict=True))
    return replace(signal, values=np.clip(values, 0, 1), affine=affine, spacing=spacing, notes=(*signal.notes, text))


def map_affine(affine: np.ndarray, scales: tuple[float, ...], offsets: tuple[float, ...]) -> np.ndarray:
    """The affine of a grid whose index i lies at index `scale * i + offset` of the grid that `affine` belongs to."""
    steps = np.diag([*scales, 1.0])
    steps[:3, 3] = offsets
    return affine @ steps


def linear_weights(count: int, points: int) -> Float32[np.ndarray, "points count"]:
    """What `resize_linear` does along one axis, as a matrix, so that a volume can be resized as it is read.

    Args:
        count: Points along the axis.
        points: Points wanted.
    """
    identity = np.eye(count, dtype=np.float32)
    sigma = _antialiasing(count, points)
    if sigma:
        from scipy import ndimage

        identity = ndimage.gaussian_filter1d(identity, sigma, axis=0, mode="nearest")
    return _interpolate(identity, (points, count))


def cubic_weights(count: int, points: int) -> Float32[np.ndarray, "points count"]:
    """A cubic spline through all points along one axis, as a matrix; corner points stay where they are, nothing is smoothed.

    Args:
        count: Points along the axis.
        points: Points wanted.
    """
    from scipy import ndimage

    if count == points:
        return np.eye(count, dtype=np.float32)
    weights = np.asarray(ndimage.zoom(np.eye(count), (points / count, 1), order=3, mode="nearest"), dtype=np.float32)
    # A spline's weights fall by a factor of four a point and never end; what no float32 sum would notice is dropped.
    return np.where(np.abs(weights) < 1e-8, np.float32(0), weights)


def _antialiasing(count: int, points: int) -> float:
    """Sigma in points of the Gaussian that goes before linear interpolation; none up to a factor of two."""
    factor = count / points
    return (factor - 1) / 2 if factor > 2 else 0.0


def _interpolate(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Linear interpolation axis by axis, corner-aligned: point i of n_new lies at i * (n_old - 1) / (n_new - 1)."""
    for axis, count in enumerate(shape):
        before = plane.shape[axis]
        if before == count:
            continue
        position = np.linspace(0, before - 1, count)
        left = np.minimum(position.astype(int), max(before - 2, 0))
        right = np.minimum(left + 1, before - 1)
        weight = (position - left).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(plane.ndim)])
        plane = np.take(plane, left, axis) * (1 - weight) + np.take(plane, right, axis) * weight
    return plane


def _finish(signal: Signal, values: np.ndarray, how: str) -> Signal:
    """The resized signal with its geometry scaled and a sentence about it."""
    resized = with_values(signal, values)
    text = f"Resized from {format_shape(signal.shape)} to {format_shape(resized.shape)} {how}."
    return replace(resized, notes=(*signal.notes, text))
