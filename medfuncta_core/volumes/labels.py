"""Labels and masks of a volume, from a NIfTI file of their own, wherever their voxels lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from medfuncta_core.errors import SignalError
from medfuncta_core.geometry import Cut, VolumeGeometry, geometry_of
from medfuncta_core.signals import Signal, read_signal
from medfuncta_core.signals.normalising import to_file_units
from medfuncta_core.volumes.viewing import match_index, sample_values

MOST_LABELS = 64


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Whole numbers at the voxels of a grid; 0 is background.

    Args:
        name: The file.
        values: `(x, y, z)`.
        geometry: Where they lie.
        numbers: The labels in it, without 0.
    """

    name: str
    values: Int[np.ndarray, "x y z"]
    geometry: VolumeGeometry
    numbers: tuple[int, ...]

    def on_cut(self, signal: Signal, cut: Cut, pixels: tuple[int, int]) -> Int[np.ndarray, "h w"]:
        """The label of every pixel of a cut through `signal`; never interpolated, 0 outside the labels' own grid."""
        index = match_index(geometry_of(signal), self.geometry, cut.points(pixels).reshape(-1, 3))
        found = sample_values(self.values[..., None], index, linear=False)[:, 0].astype(np.int64)
        return np.where(self.geometry.contains(index), found, 0).reshape(pixels)


def read_labels(content: bytes, name: str, original_shape: tuple[int, ...], *, oriented: bool) -> LabelMap:
    """A label map or mask for a volume.

    Args:
        content: A NIfTI file.
        name: Its name.
        original_shape: Voxels per axis of the volume's own file; compared where there is no affine to go by.
        oriented: Whether the volume has an affine.

    Raises:
        SignalError: when it holds no whole numbers, too many of them, or cannot be laid over the volume.
    """
    signal = read_signal(content, name)
    if signal.kind != "volume" or signal.channels != 1:
        raise SignalError(f"{name}: is no volume of labels; give a NIfTI file with one whole number a voxel")
    numbers = to_file_units(signal)[..., 0]
    labels = np.rint(numbers)
    if np.abs(numbers - labels).max() > 1e-2:
        raise SignalError(f"{name}: holds numbers that are not whole; give a label map or a mask, not an image")
    found = np.unique(labels)
    if len(found) > MOST_LABELS:
        raise SignalError(f"{name}: holds {len(found)} different values, more than {MOST_LABELS}; give a label map, not an image")
    geometry = geometry_of(signal)
    if not (oriented and geometry.oriented) and signal.shape != tuple(original_shape[:3]):
        raise SignalError(
            f"{name}: has {signal.shape} voxels and the volume {tuple(original_shape)}, and without an affine in both there is "
            "no other way to lay them over each other; give labels of the volume's own grid"
        )
    return LabelMap(name, labels.astype(np.int64), geometry, tuple(int(number) for number in found if number != 0))
