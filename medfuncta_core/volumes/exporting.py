"""A field as a NIfTI file on any grid: finer than the fitted one, or voxel for voxel the file it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from medfuncta_core.geometry import VolumeGeometry, geometry_of
from medfuncta_core.signals import Signal
from medfuncta_core.volumes.viewing import Decode, match_index

PART_POINTS = 2**18


@dataclass(frozen=True)
class DecodedPart:
    """Progress of decoding a grid.

    Args:
        done: Points so far.
        total: Points of the grid.
        signal: The whole volume, with the last part only.
    """

    done: int
    total: int
    signal: Signal | None


def export_geometries(signal: Signal, original: VolumeGeometry | None = None) -> dict[str, VolumeGeometry]:
    """The grids a field can be written on, by what to call them: 1 to 8 times the fitted one, and the file's own voxels.

    Args:
        signal: As it was fitted.
        original: The file's grid before preparation, where it is known.
    """
    fitted = geometry_of(signal)
    x, y, z = fitted.shape
    grids = {f"{factor}×": fitted.resampled((x * factor, y * factor, z * factor)) for factor in (1, 2, 4, 8)}
    if original is not None:
        grids["File"] = original
    return grids


def decode_onto(
    signal: Signal, decode: Decode, target: VolumeGeometry, *, part_points: int = PART_POINTS
) -> Iterator[DecodedPart]:
    """Decode a field on a grid, a part at a time; who stops asking has cancelled it.

    Voxels of the target outside what was fitted (a crop of the file) become 0, the lowest value.

    Args:
        signal: As it was fitted; gives the field's place, name and units.
        decode: The field.
        target: The grid to fill; in the signal's millimetres, or any grid over the same array without orientation.
        part_points: Points decoded at once; memory beyond the result is bounded by it.

    Yields:
        Progress; the last one with the volume.
    """
    fitted, total = geometry_of(signal), int(np.prod(target.shape))
    values = np.zeros((total, signal.channels), np.float32)
    for first in range(0, total, part_points):
        span = np.arange(first, min(first + part_points, total))
        index = np.stack(np.unravel_index(span, target.shape), axis=-1).astype(np.float64)
        places = match_index(target, fitted, target.index_to_mm(index))
        inside = fitted.contains(places)
        if inside.any():
            coords = np.clip(fitted.index_to_field(places[inside]), -1, 1)
            values[span[inside]] = decode(coords.astype(np.float32))
        done = int(span[-1]) + 1
        whole = values.reshape(*target.shape, -1) if done == total else None
        yield DecodedPart(done, total, None if whole is None else _on_grid(signal, whole, target))


def _on_grid(signal: Signal, values: Float[np.ndarray, "x y z c"], target: VolumeGeometry) -> Signal:
    """The signal with the values of another grid; an affine only where the orientation is known."""
    spacing = target.spacing if target.unit == "mm" else None
    affine = target.matrix if target.oriented else None
    return replace(signal, values=values, spacing=spacing, affine=affine, prepared_for=None)
