"""A random part of a volume's voxels, in the coordinates of a checkpoint: a field needs points, not a grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from medfuncta_core.config import SignalSpec, VolumeRecipe
from medfuncta_core.errors import SignalError
from medfuncta_core.signals.scanning import Bounds
from medfuncta_core.signals.signal import Signal
from medfuncta_core.signals.streaming import bare_affine, place_volume
from medfuncta_core.signals.volume_file import VolumeFile


@dataclass(frozen=True, eq=False)
class VoxelSample:
    """Voxels of a volume at full resolution.

    Args:
        coords: `(n, 3)`, where they lie on the prepared grid, whose corner voxels are at -1 and 1.
        values: `(n, c)` in [0, 1].
        signal: The prepared volume: its geometry is that of `decode(latent, signal.shape)`.
    """

    coords: Float32[np.ndarray, "n 3"]
    values: Float32[np.ndarray, "n c"]
    signal: Signal


def sample_voxels(volume: VolumeFile, spec: SignalSpec, count: int, *, seed: int = 0) -> VoxelSample:
    """Draw voxels at random, without replacement and evenly over the slices, while the file is read.

    Args:
        volume: Read for its preparation, then once more; a few slices are in memory at a time.
        spec: Decides where voxels lie in the checkpoint's coordinates and how their values are normalised.
        count: Voxels to draw, at least 1; all of them when the volume has fewer. Those outside a recipe's crop fall away.
        seed: Same seed, same voxels.

    Raises:
        SignalError: if the file cannot be read, or no voxel is left.
    """
    if count < 1:
        raise SignalError(f"{volume.name}: {count} voxels cannot be fitted; draw at least 1")
    placed = place_volume(volume, spec)
    assert placed.affine is not None  # always has one
    to_grid = np.linalg.inv(placed.affine) @ (bare_affine(volume) if volume.affine is None else volume.affine)
    floor = (spec.recipe or VolumeRecipe()).floor
    bounds = Bounds(min(placed.value_range), max(placed.value_range), "")
    last = np.maximum(np.array(placed.shape) - 1, 1)
    generator, coords, values = np.random.default_rng(seed), [], []
    share = min(count, volume.voxels) / volume.voxels
    for start, slab in volume.slabs():
        before = start * volume.shape[0] * volume.shape[1]
        here = int(np.prod(slab.shape[:3]))
        wanted = round((before + here) * share) - round(before * share)
        flat = np.sort(generator.choice(here, wanted, replace=False))
        index = np.stack(np.unravel_index(flat, slab.shape[:3]), axis=-1) + np.array([0, 0, start])
        places = 2 * (index @ to_grid[:3, :3].T + to_grid[:3, 3]) / last - 1
        inside = (np.abs(places) <= 1 + 1e-6).all(axis=1)
        drawn = slab.reshape(here, -1)[flat[inside]]
        coords.append(np.clip(places[inside], -1, 1).astype(np.float32))
        values.append(bounds.apply(drawn if floor is None else np.maximum(drawn, floor)))
    found, held = np.concatenate(coords), np.concatenate(values)
    if not len(found):
        raise SignalError(f"{volume.name}: none of {count} voxels lies inside the checkpoint's crop; draw more")
    note = f"{len(found):,} of {volume.voxels:,} voxels were drawn at random."
    signal = replace(placed, affine=None if volume.affine is None else placed.affine, notes=(*placed.notes, note))
    return VoxelSample(found, 1 - held if volume.inverted else held, signal)
