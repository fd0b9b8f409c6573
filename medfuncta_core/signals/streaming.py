"""Volumes brought to a checkpoint's grid while they are read: a few slices in memory at a time, whatever the file's size.

Resampling, cropping and antialiasing act on each axis by itself and are linear, so a slab of slices adds its share to the result
and is forgotten. What remains in memory is the result, or the canvas of a recipe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from medfuncta_core.config import SignalSpec, VolumeRecipe
from medfuncta_core.errors import SignalError
from medfuncta_core.signals.guarding import check_size, format_shape
from medfuncta_core.signals.normalising import make_signal, normalise
from medfuncta_core.signals.resizing import (
    average_blocks,
    cubic_weights,
    linear_weights,
    map_affine,
    pad_to,
    resize_linear,
    scale_affine,
)
from medfuncta_core.signals.scanning import find_bounds
from medfuncta_core.signals.signal import Signal
from medfuncta_core.signals.turning import Turn, find_turn, turned_note
from medfuncta_core.signals.volume_file import VolumeFile

LARGE_VOXELS = 1 << 24
"""Volumes of more voxels are prepared while they are read: 64 MiB as float32."""


class _Axis(NamedTuple):
    """What becomes of one turned axis: `weights` (m, n) times its n points; point j lies at `scale * j + offset` of them."""

    weights: np.ndarray
    scale: float
    offset: float


def prepare_volume(volume: VolumeFile, spec: SignalSpec) -> Signal:
    """What `prepare_signal` makes of a volume, without ever holding all of it.

    Without a recipe's spacing or canvas: turned, normalised, linear, as `prepare_signal` does to within rounding. With them
    the volume is first resampled and cropped, then normalised by what is left, padded with zeros and reduced.

    Args:
        volume: One channel, or as many as `spec` asks for.
        spec: What a checkpoint expects.

    Returns:
        A signal of `spec.shape` whose affine lies over the file.

    Raises:
        SignalError: if the file is damaged, not finite or of other channels.
    """
    if volume.channels != spec.channels:
        raise SignalError(f"{volume.name}: has {volume.channels} channels, the checkpoint expects {spec.channels}")
    prepared = place_volume(volume, spec)
    return prepared if volume.affine is not None else replace(prepared, affine=None)


def place_volume(volume: VolumeFile, spec: SignalSpec) -> Signal:
    """As `prepare_volume`, always with an affine: that of the file, or of its bare grid where it gives none."""
    recipe = spec.recipe or VolumeRecipe()
    turn = _turn(volume, recipe.orientation)
    if recipe.spacing_mm is None and recipe.canvas is None:
        prepared = _resize(volume, spec, recipe, turn)
    else:
        prepared = _fill_canvas(volume, spec, recipe, turn)
    return replace(prepared, prepared_for=spec)


def overview(volume: VolumeFile, edge: int = 128) -> Signal:
    """A whole volume with at most `edge` points an axis, in the file's own axis order and units, to be looked at."""
    shape = tuple(min(length, edge) for length in volume.shape)
    weights = [linear_weights(count, points) for count, points in zip(volume.shape, shape, strict=True)]
    values = gather(volume, weights)
    geometry = volume.geometry()
    if volume.affine is not None:
        geometry["affine"] = scale_affine(volume.affine, volume.shape, shape)
    if volume.spacing is not None:
        steps = zip(volume.spacing, volume.shape, shape, strict=True)
        geometry["spacing"] = tuple(s * (old - 1) / (new - 1) if new > 1 else s for s, old, new in steps)
    note = () if shape == volume.shape else (f"Shown at {format_shape(shape)} of its {format_shape(volume.shape)} voxels.",)
    return make_signal(
        values, "volume", volume.name, nominal_range=volume.nominal_range, full_depth=False, inverted=volume.inverted,
        notes=(*volume.notes, *note), **geometry,
    )  # fmt: skip


def gather(volume: VolumeFile, weights: list[np.ndarray], change: Callable[[np.ndarray], np.ndarray] | None = None) -> np.ndarray:
    """A volume with a matrix applied along each axis, `(i, j, k, c)` float32, reading it once.

    Args:
        volume: Read slab by slab.
        weights: `(m, n)` for each of the file's axes.
        change: Applied to each slab's values first.
    """
    along_x, along_y, along_z = weights
    total = np.zeros((len(along_x), len(along_y), len(along_z), volume.channels), np.float32)
    for start, slab in volume.slabs():
        values = slab.astype(np.float32, copy=False) if change is None else change(slab)
        part = along_z[:, start : start + slab.shape[2]]
        reached = np.flatnonzero(part.any(axis=1))
        if not len(reached):
            continue
        first, last = reached[0], reached[-1] + 1
        values = np.einsum("ix,xykc->iykc", along_x, values, optimize=True)
        values = np.einsum("jy,iykc->ijkc", along_y, values, optimize=True)
        total[:, :, first:last] += np.einsum("lk,ijkc->ijlc", part[first:last], values, optimize=True)
    return total


def bare_affine(volume: VolumeFile) -> np.ndarray:
    """Voxel index to millimetres `(4, 4)` along the file's own axes, for a volume that gives no orientation."""
    return np.diag([*(volume.spacing or (1.0, 1.0, 1.0)), 1.0])


def _turn(volume: VolumeFile, orientation: str) -> Turn:
    """How the file's axes become those asked for; as they are where the file does not say which way they run."""
    if volume.affine is None:
        return Turn((0, 1, 2), (False, False, False), bare_affine(volume), orientation)
    return find_turn(volume.affine, volume.shape, orientation)


def _resize(volume: VolumeFile, spec: SignalSpec, recipe: VolumeRecipe, turn: Turn) -> Signal:
    """Normalised and resized in one go."""
    bounds = find_bounds(volume, spec, recipe.floor)
    counts = tuple(volume.shape[axis] for axis in turn.order)
    axes = [
        _Axis(linear_weights(count, points), _step_ratio(count, points), 0.0)
        for count, points in zip(counts, spec.shape, strict=True)
    ]
    values = _gather_turned(volume, axes, turn, bounds.apply)
    np.clip(values, 0, 1, out=values)
    if volume.inverted:
        np.subtract(1, values, out=values)
    turned = () if turn.codes == recipe.orientation else (turned_note(turn, recipe.orientation),)
    shrinks = any(count > 2 * points for count, points in zip(counts, spec.shape, strict=True))
    how = "with antialiasing" if shrinks else "linearly"
    resized = () if counts == spec.shape else (f"Resized from {format_shape(counts)} to {format_shape(spec.shape)} {how}.",)
    notes = (*volume.notes, *turned, bounds.describe(volume.unit), *resized)
    value_range = (bounds.high, bounds.low) if volume.inverted else (bounds.low, bounds.high)
    return _placed(volume, values, axes, turn, value_range=value_range, nominal_range=volume.nominal_range, notes=notes)


def _step_ratio(count: int, points: int) -> float:
    """Old steps in a new one, corner points fixed; an axis of one point keeps its step."""
    return (count - 1) / (points - 1) if count > 1 and points > 1 else 1.0


def _fill_canvas(volume: VolumeFile, spec: SignalSpec, recipe: VolumeRecipe, turn: Turn) -> Signal:
    """Resampled and cropped as it is read; normalised, padded and reduced after that."""
    counts = tuple(volume.shape[axis] for axis in turn.order)
    axes, notes = _plan_axes(volume, recipe, counts, turn)
    shape = tuple(len(axis.weights) for axis in axes)
    check_size(volume.name, shape, 4)
    floor = recipe.floor
    values = _gather_turned(volume, axes, turn, None)
    if floor is not None:
        np.maximum(values, np.float32(floor), out=values)
        notes.append(f"Values below {floor:g} were raised to it.")
    made = make_signal(
        values, "volume", volume.name, nominal_range=volume.nominal_range, full_depth=False, inverted=volume.inverted,
        notes=(*volume.notes, *notes), unit=volume.unit, warnings=volume.warnings, original_shape=volume.shape,
    )  # fmt: skip
    ranges = {"value_range": made.value_range, "nominal_range": made.nominal_range}
    placed = _placed(volume, made.values, axes, turn, notes=made.notes, **ranges)
    filled = pad_to(normalise(placed, spec), recipe.canvas or shape)
    return average_blocks(filled, spec.shape) if recipe.reduction == "average" else resize_linear(filled, spec.shape)


def _plan_axes(volume: VolumeFile, recipe: VolumeRecipe, counts: tuple[int, ...], turn: Turn) -> tuple[list[_Axis], list[str]]:
    """What a recipe's spacing and crop do to each turned axis, and a sentence for each step."""
    notes = [] if turn.codes == recipe.orientation else [turned_note(turn, recipe.orientation)]
    steps = np.sqrt((turn.affine[:3, :3] ** 2).sum(axis=0))
    points = counts
    if recipe.spacing_mm is not None:
        if volume.spacing is None:
            raise SignalError(f"{volume.name}: does not give its voxel spacing, which the recipe resamples; set it in the header")
        wanted = zip(counts, steps, recipe.spacing_mm, strict=True)
        points = tuple(max(2, round(count * step / target)) if count > 1 else 1 for count, step, target in wanted)
        how = f"to voxels of {' x '.join(f'{step:g}' for step in recipe.spacing_mm)} mm ({recipe.interpolation})"
        notes.append(f"Resampled from {format_shape(counts)} to {format_shape(points)} {how}.")
    make_weights = cubic_weights if recipe.interpolation == "cubic" else linear_weights
    axes = []
    for axis, (count, kept) in enumerate(zip(counts, points, strict=True)):
        weights = make_weights(count, kept)
        scale = _step_ratio(count, kept)
        width = kept if recipe.canvas is None else min(kept, recipe.canvas[axis])
        first = (kept - width) // 2
        axes.append(_Axis(weights[first : first + width], scale, scale * first))
    shape = tuple(len(axis.weights) for axis in axes)
    if shape != points:
        notes.append(f"Cropped from {format_shape(points)} to the {format_shape(shape)} at its centre.")
    return axes, notes


def _gather_turned(
    volume: VolumeFile, axes: list[_Axis], turn: Turn, change: Callable[[np.ndarray], np.ndarray] | None
) -> np.ndarray:
    """`gather` in the turned axes: the file is read in its own order, the result comes in the other."""
    weights: list[np.ndarray] = [np.empty(0)] * 3
    for axis, (source, flip) in enumerate(zip(turn.order, turn.flips, strict=True)):
        weights[source] = axes[axis].weights[:, ::-1] if flip else axes[axis].weights
    return np.ascontiguousarray(gather(volume, weights, change).transpose(*turn.order, 3))


def _placed(volume: VolumeFile, values: np.ndarray, axes: list[_Axis], turn: Turn, **fields: object) -> Signal:
    """A signal of values that were gathered along `axes`, where they lie in the patient."""
    affine = map_affine(turn.affine, tuple(axis.scale for axis in axes), tuple(axis.offset for axis in axes))
    spacing = None
    if volume.spacing is not None:
        spacing = tuple(volume.spacing[source] * axis.scale for source, axis in zip(turn.order, axes, strict=True))
    geometry = volume.geometry() | {"affine": affine, "spacing": spacing}
    return Signal(values, "volume", volume.name, **(geometry | fields))  # type: ignore[arg-type]
