"""A box of a volume's file as a volume of its own: only its voxels are kept, whatever the file's size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.volume_file import Slab, VolumeFile

Voxels = tuple[int, int, int]


def check_box(name: str, shape: tuple[int, ...], low: Voxels, high: Voxels) -> str:
    """The sentence that says which voxels a box has.

    Raises:
        SignalError: when it holds fewer than two voxels along an axis, or leaves the volume.
    """
    if any(a < 0 or b > count or b - a < 2 for a, b, count in zip(low, high, shape, strict=True)):
        raise SignalError(f"{name}: a region needs at least 2 voxels on every axis, inside the volume; draw a larger one")
    words = " × ".join(f"{a} to {b - 1}" for a, b in zip(low, high, strict=True))
    return f"Cut to the region of voxels {words}."


def shift_affine(affine: np.ndarray | None, low: Voxels) -> np.ndarray | None:
    """The affine `(4, 4)` of a grid whose first voxel is voxel `low` of another."""
    if affine is None:
        return None
    moved = np.array(affine, np.float64)
    moved[:3, 3] += moved[:3, :3] @ np.array(low)
    return moved


def crop_volume(volume: VolumeFile, low: Voxels, high: Voxels) -> VolumeFile:
    """The part of a file's volume between two corners, lying where it lay and still in the file.

    Args:
        volume: Opened.
        low: First voxel kept per axis.
        high: First voxel no longer kept.

    Raises:
        SignalError: as `check_box`.
    """
    note = check_box(volume.name, volume.shape, low, high)

    def slabs() -> Iterator[Slab]:
        for start, values in volume.slabs():
            first, last = max(low[2] - start, 0), min(high[2] - start, values.shape[2])
            if first < last:
                part = values[low[0] : high[0], low[1] : high[1], first:last]
                yield Slab(start + first - low[2], np.ascontiguousarray(part))
            if start + values.shape[2] >= high[2]:
                return

    x, y, z = (b - a for a, b in zip(low, high, strict=True))
    return replace(volume, shape=(x, y, z), slabs=slabs, affine=shift_affine(volume.affine, low), notes=(*volume.notes, note))
