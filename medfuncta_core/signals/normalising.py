"""From file values to [0, 1] and on to a checkpoint's normalisation, always keeping the way back to file units."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from medfuncta_core.config import Kind, SignalSpec
from medfuncta_core.errors import SignalError
from medfuncta_core.signals.signal import Signal

_CHUNK_VALUES = 1 << 22


def make_signal(
    raw: np.ndarray,
    kind: Kind,
    name: str,
    *,
    nominal_range: tuple[float, float] | None = None,
    full_depth: bool = True,
    inverted: bool = False,
    notes: tuple[str, ...] = (),
    **geometry: Any,
) -> Signal:
    """A `Signal` of a file's values, mapped to [0, 1] without losing any.

    Args:
        raw: `(*shape, c)` real numbers in the file's unit.
        kind: What it is.
        name: For people and messages.
        nominal_range: File values called black and white; integers in their type's range keep exactly that range,
            everything else its minimum and maximum.
        full_depth: Unsigned 16-bit integers mean to use their type's range, as in pictures; scanners use a part of it.
        inverted: High values are dark (MONOCHROME1).
        notes: What the reader did so far.
        geometry: Further fields of `Signal`.

    Raises:
        SignalError: if the values are not finite or span more than a float can hold.
    """
    flat = np.ascontiguousarray(raw) if raw.dtype == np.bool_ else raw
    low, high = float(flat.min()), float(flat.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        missing = int(flat.size - np.isfinite(flat).sum())
        raise SignalError(f"{name}: {missing} of {flat.size} values are NaN or infinite; replace them before reading")
    if nominal_range is None and (full_depth or raw.dtype == np.uint8):
        nominal_range = guess_nominal_range(raw.dtype, low, high)
    if nominal_range is not None and raw.dtype.kind in "bu" and nominal_range[0] <= low and high <= nominal_range[1]:
        low, high = nominal_range
    if not np.isfinite(high - low):
        raise SignalError(f"{name}: values from {low:g} to {high:g} span more than can be computed with; rescale them first")
    if low == high:
        notes, high = (*notes, f"Every value is {low:g}; the signal is constant."), low + 1
    values = _to_unit(flat, low, high)
    if inverted:
        np.subtract(1, values, out=values)
        low, high = high, low
        nominal_range = None if nominal_range is None else (nominal_range[1], nominal_range[0])
    return Signal(values, kind, name, value_range=(low, high), nominal_range=nominal_range, notes=notes, **geometry)


def guess_nominal_range(dtype: np.dtype, low: float, high: float) -> tuple[float, float] | None:
    """What a type calls black and white: its range for 8 and 16 unsigned bits, [0, 1] for floats that stay inside it."""
    if dtype in (np.uint8, np.uint16):
        return 0.0, float(np.iinfo(dtype).max)
    return (0.0, 1.0) if dtype.kind in "bf" and low >= 0 and high <= 1 else None


def normalise(signal: Signal, spec: SignalSpec) -> Signal:
    """The signal with [0, 1] meaning what the checkpoint's training data meant by it; reports what it did.

    Args:
        signal: Any signal; a row of a data set, normalised when the set was made, stays as it is.
        spec: Its `normalisation` and `limits`; see `SignalSpec`.
    """
    if signal.normalised:
        return signal
    low, high = signal.value_range
    span = high - low
    start, stop, how = _unit_limits(signal, spec)
    start, stop = min(start, stop), max(start, stop)
    unit = f" {signal.unit}" if signal.unit else ""
    if stop - start < 1e-12:
        zeros = np.zeros_like(signal.values)
        text = f"Every value is {low + start * span:g}{unit}; a constant signal becomes zeros."
        return replace(
            signal, values=zeros, value_range=(low + start * span, low + start * span + 1), notes=(*signal.notes, text)
        )
    if abs(start) < 1e-9 and abs(stop - 1) < 1e-9:
        return signal
    values = signal.values - np.float32(start)
    values /= np.float32(stop - start)
    clipped = float(((values < -1e-6) | (values > 1 + 1e-6)).mean())
    np.clip(values, 0, 1, out=values)
    bounds = low + start * span, low + stop * span
    text = f"Scaled {how}: {bounds[0]:g}{unit} became 0 and {bounds[1]:g}{unit} became 1"
    text += f", {clipped:.2%} of the values were clipped." if clipped else "."
    return replace(signal, values=values, value_range=bounds, notes=(*signal.notes, text))


def to_file_units(signal: Signal) -> np.ndarray:
    """Values `(*shape, c)` in the file's unit, float32, or float64 where float32 would lose whole numbers."""
    low, high = signal.value_range
    kind = np.float64 if max(abs(low), abs(high)) > 2**24 else np.float32
    units = signal.values.astype(kind)
    units *= kind(high - low)
    units += kind(low)
    return units


def _unit_limits(signal: Signal, spec: SignalSpec) -> tuple[float, float, str]:
    """Where 0 and 1 shall lie in the signal's present values, and how that is called."""
    low, high = signal.value_range
    limits = spec.limits or (0.0, 1.0)
    if spec.normalisation == "quantile":
        start, stop = (float(edge) for edge in np.quantile(signal.values, limits))
        return start, stop, f"between its {limits[0]:g} and {limits[1]:g} quantiles"
    if spec.normalisation == "window":
        return (limits[0] - low) / (high - low), (limits[1] - low) / (high - low), "by the window of the training data"
    nominal = signal.nominal_range
    if spec.normalisation == "dtype" and nominal is not None:
        return (nominal[0] - low) / (high - low), (nominal[1] - low) / (high - low), "by the file's own range or display window"
    start, stop = float(signal.values.min()), float(signal.values.max())
    return start, stop, "by its minimum and maximum"


def _to_unit(raw: np.ndarray, low: float, high: float) -> np.ndarray:
    """float32 `(raw - low) / (high - low)`, computed in float64 a few rows at a time so that nothing large is doubled."""
    values = np.empty(raw.shape, np.float32)
    rows = max(1, _CHUNK_VALUES * len(raw) // max(raw.size, 1))
    for start in range(0, len(raw), rows):
        part = raw[start : start + rows].astype(np.float64)
        part -= low
        part /= high - low
        values[start : start + rows] = part
    return np.clip(values, 0, 1, out=values)
