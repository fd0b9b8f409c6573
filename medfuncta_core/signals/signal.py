"""A medical signal in memory: values in [0, 1] plus the geometry and units that lead back to the file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medfuncta_core.config import AXES_OF_KIND, Kind, SignalSpec
from medfuncta_core.errors import SignalError


@dataclass(frozen=True, eq=False)
class Signal:
    """One ECG, image or volume, channel-last.

    Args:
        values: float32 `(*shape, c)`, finite, in [0, 1]. Axis order is the file's array order and the field's coordinate order.
        kind: "ecg" (one axis), "image" (two) or "volume" (three).
        name: Where it comes from, for people: a file name, possibly with a beat or row number.
        spacing: Distance between neighbouring points per axis, in `spacing_unit`, or None when the file does not say.
        spacing_unit: "mm" or "s".
        affine: `(4, 4)` voxel index to RAS+ millimetres (nibabel's convention), volumes only.
        value_range: File values that became 0 and 1, so that `low + v * (high - low)` is in `unit`.
        unit: Unit of the file's values: "HU", "mV" or "".
        original_shape: The file's shape before anything was done.
        notes: What was done to the file's values and grid, one plain sentence each, in order.
        label: Class index, when a data set gives one.
        class_name: Its name.
        nominal_range: File values that its type or display window calls black and white ((0, 255) for 8 bits), which is what
            "dtype" normalisation maps to 0 and 1; None when the file does not say.
        events: Annotated heartbeats of an ECG record, (sample, MIT-BIH symbol) in order.
        prepared_for: What `prepare_signal` brought it to, so that preparing it again changes nothing; None before.
        warnings: Those of the notes that say what is doubtful about the file: a missing slice, a tilted gantry.
        normalised: It is a row of a data set, whose values are what training sees: preparing changes its grid only.

    `value_range` and `nominal_range` may fall instead of rise: MONOCHROME1 pictures show their highest value as black.

    Raises:
        SignalError: if the values are empty, not finite, not in [0, 1] or have the wrong number of axes for `kind`.
    """

    values: np.ndarray
    kind: Kind
    name: str
    spacing: tuple[float, ...] | None = None
    spacing_unit: str = ""
    affine: np.ndarray | None = None
    value_range: tuple[float, float] = (0.0, 1.0)
    unit: str = ""
    original_shape: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    label: int | None = None
    class_name: str = ""
    nominal_range: tuple[float, float] | None = None
    events: tuple[tuple[int, str], ...] = ()
    prepared_for: SignalSpec | None = None
    normalised: bool = False
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        axes = AXES_OF_KIND[self.kind]
        if self.values.ndim != axes + 1 or self.values.size == 0:
            raise SignalError(f"{self.name}: a {self.kind} needs {axes} axes and channels, not shape {self.values.shape}")
        if not np.isfinite(self.values).all():
            raise SignalError(f"{self.name}: contains NaN or infinite values; replace them before reading")
        low, high = float(self.values.min()), float(self.values.max())
        if low < -1e-6 or high > 1 + 1e-6:
            raise SignalError(f"{self.name}: values span {low:g} to {high:g}; a signal's values lie in [0, 1]")

    @property
    def shape(self) -> tuple[int, ...]:
        """Points per axis, without channels."""
        return self.values.shape[:-1]

    @property
    def channels(self) -> int:
        """Values per point."""
        return self.values.shape[-1]
