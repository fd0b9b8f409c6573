"""A volume that lies in a file: its geometry in memory, its voxels read a few slices at a time and as often as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from medfuncta_core.signals.normalising import make_signal, to_file_units
from medfuncta_core.signals.signal import Signal

SLAB_VALUES = 1 << 20
"""Values read at once, about: 4 MiB as float32."""


class Slab(NamedTuple):
    """Neighbouring slices of a volume.

    Args:
        start: Index of the first one along the file's last axis.
        values: `(x, y, k, c)` in the file's unit, of any real type.
    """

    start: int
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class VolumeFile:
    """A volume whose voxels stay in its file until they are asked for.

    Args:
        name: Where it comes from, for people.
        shape: Voxels per axis, in the file's order.
        channels: Values per voxel.
        slabs: Reads all slices in order; every call starts anew.
        affine: `(4, 4)` voxel index to RAS+ millimetres, or None when the file gives no orientation.
        spacing: Distance between voxels per axis in mm, or None when the file does not say.
        unit, nominal_range, notes, warnings: As in `Signal`.
        inverted: High values are dark.
        total: How many volumes the file holds, of which this is one.
    """

    name: str
    shape: tuple[int, int, int]
    channels: int
    slabs: Callable[[], Iterator[Slab]]
    affine: np.ndarray | None = None
    spacing: tuple[float, ...] | None = None
    unit: str = ""
    nominal_range: tuple[float, float] | None = None
    inverted: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    total: int = 1

    @property
    def voxels(self) -> int:
        """Voxels in the volume."""
        return int(np.prod(self.shape, dtype=np.int64))

    def geometry(self) -> dict[str, Any]:
        """The fields that a `Signal` of these voxels shares with it, but its range, name and notes."""
        spacing_unit = "mm" if self.spacing else ""
        about = {"affine": self.affine, "spacing": self.spacing, "spacing_unit": spacing_unit, "unit": self.unit}
        return about | {"warnings": self.warnings, "original_shape": self.shape}

    def read(self) -> Signal:
        """The whole volume in memory, in the file's axis order, mapped to [0, 1] and nothing more.

        Raises:
            SignalError: if the file is damaged, or its values are not finite.
        """
        whole: np.ndarray | None = None
        for start, values in self.slabs():
            if whole is None:
                whole = np.empty((*self.shape, self.channels), values.dtype)
            whole[:, :, start : start + values.shape[2]] = values
        assert whole is not None  # a volume has slices
        return make_signal(
            whole, "volume", self.name, nominal_range=self.nominal_range, full_depth=False, inverted=self.inverted,
            notes=self.notes, **self.geometry(),
        )  # fmt: skip


def volume_of_signal(signal: Signal) -> VolumeFile:
    """A volume that is in memory already, as if it lay in a file in the units it was read in."""
    slices = max(1, SLAB_VALUES * signal.shape[2] // signal.values.size)

    def slabs() -> Iterator[Slab]:
        for start in range(0, signal.shape[2], slices):
            yield Slab(start, to_file_units(replace(signal, values=signal.values[:, :, start : start + slices])))

    x, y, z = signal.shape
    inverted = signal.value_range[0] > signal.value_range[1]
    nominal = signal.nominal_range
    return VolumeFile(
        signal.name, (x, y, z), signal.channels, slabs, affine=signal.affine, spacing=signal.spacing, unit=signal.unit,
        nominal_range=nominal if nominal is None else (min(nominal), max(nominal)), inverted=inverted, notes=signal.notes,
        warnings=signal.warnings,
    )  # fmt: skip
