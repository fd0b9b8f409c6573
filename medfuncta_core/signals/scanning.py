"""What a volume's values span, found by reading it a few times instead of holding it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medfuncta_core.config import SignalSpec
from medfuncta_core.errors import SignalError
from medfuncta_core.signals.volume_file import VolumeFile

_BINS = 1 << 16


@dataclass(frozen=True)
class Bounds:
    """File values that become 0 and 1, values outside being clipped.

    Args:
        low, high: In the file's unit.
        how: How they were chosen, continuing "Scaled".
    """

    low: float
    high: float
    how: str

    def apply(self, values: np.ndarray) -> np.ndarray:
        """File values as float32 in [0, 1]; computed in float64 only where the file needs it."""
        kind = np.float64 if max(abs(self.low), abs(self.high)) > 2**24 else np.float32
        scaled = values.astype(kind)
        scaled -= kind(self.low)
        scaled /= kind(self.high - self.low)
        return np.clip(scaled, 0, 1, out=scaled).astype(np.float32, copy=False)

    def describe(self, unit: str) -> str:
        """What was done, as a sentence."""
        unit = f" {unit}" if unit else ""
        return f"Scaled {self.how}: {self.low:g}{unit} became 0 and {self.high:g}{unit} became 1."


def find_bounds(volume: VolumeFile, spec: SignalSpec, floor: float | None = None) -> Bounds:
    """What `normalise` would map to 0 and 1 if it had the whole volume.

    Args:
        volume: Read once for its range, twice more for quantiles.
        spec: Its `normalisation` and `limits`.
        floor: Lower values count as this.

    Raises:
        SignalError: if values are not finite.
    """
    low, high, stored = _scan_range(volume)
    low, high = (low, high) if floor is None else (max(low, floor), max(high, floor))
    limits = spec.limits or (0.0, 1.0)
    if spec.normalisation == "window":
        return Bounds(*limits, "by the window of the training data")
    nominal = volume.nominal_range or ((0.0, 255.0) if stored == np.uint8 else None)
    if spec.normalisation == "dtype" and nominal is not None:
        return Bounds(*nominal, "by the file's own range or display window")
    if spec.normalisation == "quantile":
        shares = (1 - limits[1], 1 - limits[0]) if volume.inverted else limits
        start, stop = _scan_quantiles(volume, shares, low, high, floor)
        how = f"between its {limits[0]:g} and {limits[1]:g} quantiles"
        return Bounds(start, stop if stop > start else start + 1, how)
    return Bounds(low, high if high > low else low + 1, "by its minimum and maximum")


def _scan_range(volume: VolumeFile) -> tuple[float, float, np.dtype]:
    """Smallest and largest value, and the type they are stored in."""
    low, high, stored = np.inf, -np.inf, np.dtype(np.float32)
    for _, values in volume.slabs():
        first, last = float(values.min()), float(values.max())
        if not (np.isfinite(first) and np.isfinite(last)):
            raise SignalError(f"{volume.name}: some of its values are NaN or infinite; replace them before reading")
        low, high, stored = min(low, first), max(high, last), values.dtype
    if not np.isfinite(high - low):
        raise SignalError(
            f"{volume.name}: values from {low:g} to {high:g} span more than can be computed with; rescale them first"
        )
    return low, high, stored


def _scan_quantiles(volume: VolumeFile, shares: tuple[float, ...], low: float, high: float, floor: float | None) -> list[float]:
    """Quantiles of the values as `numpy.quantile` defines them, each order statistic to within 2^-32 of their range.

    A histogram tells which bins the order statistics fall in, a second reading looks into those bins.
    """
    places = [share * (volume.voxels * volume.channels - 1) for share in shares]
    ranks = sorted({int(edge) for place in places for edge in (np.floor(place), np.ceil(place))})
    windows = dict.fromkeys(ranks, (low, high))
    for _ in range(2):
        bins = _count_bins(volume, sorted(set(windows.values())), floor)
        windows = {rank: _find_bin(rank, window, *bins[window]) for rank, window in windows.items()}
    found = {rank: (first + last) / 2 for rank, (first, last) in windows.items()}
    return [float(np.interp(place, ranks, [found[rank] for rank in ranks])) for place in places]


def _find_bin(rank: int, window: tuple[float, float], below: int, counts: np.ndarray) -> tuple[float, float]:
    """The bin of a window's histogram that holds the value of a rank."""
    low, high = window
    place = int(np.searchsorted(below + np.cumsum(counts), rank, side="right"))
    width = (high - low) / _BINS
    return (low + place * width, low + (place + 1) * width) if place < _BINS and width > 0 else (high, high)


def _count_bins(
    volume: VolumeFile, windows: list[tuple[float, float]], floor: float | None
) -> dict[tuple[float, float], tuple[int, np.ndarray]]:
    """For each window how many values lie below it, and how many in each of its bins; all in one reading."""
    found = {window: (0, np.zeros(_BINS, np.int64)) for window in windows}
    for _, values in volume.slabs():
        flat = values.reshape(-1).astype(np.float64)
        if floor is not None:
            np.maximum(flat, floor, out=flat)
        for (low, high), (below, counts) in found.items():
            inside = flat[(flat >= low) & (flat <= high)]
            place = ((inside - low) * (_BINS / (high - low) if high > low else 0)).astype(np.int64)
            counts += np.bincount(np.minimum(place, _BINS - 1), minlength=_BINS)
            found[low, high] = below + int((flat < low).sum()), counts
    return found
