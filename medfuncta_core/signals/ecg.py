"""Cutting an ECG record into heartbeats as the paper's ECG set was made (Kachuee et al., 2018)."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.signal import Signal

BEAT_CLASSES = {
    **dict.fromkeys("NLRejnB", "N"),
    **dict.fromkeys("AaJS", "S"),
    **dict.fromkeys("VEr", "V"),
    "F": "F",
    **dict.fromkeys("/fQ?", "Q"),
}
"""MIT-BIH annotation symbols to the five classes of AAMI EC57, as the ECG set has them."""

_CLASS_ORDER = "NSVFQ"
_WINDOW_S = 10.0
_SNAP_S = 0.04
_BEAT_PER_INTERVAL = 1.2
_PEAK_HEIGHT = 0.9
_REFRACTORY_S = 0.25


class Beat(NamedTuple):
    """One heartbeat in a resampled record.

    Args:
        start: Sample of its R peak.
        length: Samples up to 1.2 median R-R intervals later.
        symbol: MIT-BIH annotation, or "".
    """

    start: int
    length: int
    symbol: str


def resample(signal: Signal, rate_hz: float) -> Signal:
    """The record at another sampling rate, through scipy's polyphase filter, which is antialiased; events move along.

    On MIT-BIH record 100 this, followed by `find_beats`, gives the ECG set's own rows to 1e-5.
    """
    if signal.spacing is None:
        return signal
    old = 1 / signal.spacing[0]
    ratio = Fraction(rate_hz / old).limit_denominator(1000)
    if abs(old - rate_hz) < 1e-6 * rate_hz or ratio == 1 or ratio == 0:
        return signal
    from scipy.signal import resample_poly

    # Filtering around the median keeps the ends of the record from ringing against zero.
    values = resample_poly(signal.values, ratio.numerator, ratio.denominator, axis=0, padtype="median").astype(np.float32)
    low, high = float(values.min()), float(values.max())
    # The filter overshoots a little; the range is widened rather than clipped.
    start, stop = min(low, 0.0), max(high, 1.0)
    values = np.clip((values - start) / (stop - start), 0, 1)
    bottom, span = signal.value_range[0], signal.value_range[1] - signal.value_range[0]
    last = len(values) - 1
    return replace(
        signal,
        values=values,
        spacing=(1 / rate_hz,),
        value_range=(bottom + start * span, bottom + stop * span),
        events=tuple((min(last, round(at * rate_hz / old)), symbol) for at, symbol in signal.events),
        notes=(*signal.notes, f"Resampled from {old:g} Hz to {rate_hz:g} Hz with antialiasing."),
    )


def find_beats(record: Signal, rate_hz: float) -> tuple[Signal, list[Beat]]:
    """Heartbeats of a record, and the record at the rate at which they are wanted.

    R peaks are the record's annotations, each moved to the highest sample within 40 ms after resampling; without
    annotations they are the local maxima above 0.9 of each 10 s window's range. A beat lasts from its R peak 1.2 times
    the median R-R interval of the 10 s around it.

    Args:
        record: Any ECG with its sampling rate; its first channel is used.
        rate_hz: The rate at which beats are wanted.

    Returns:
        The record at `rate_hz`, and its beats in order, those that would end after it left out; positions at `rate_hz`.
    """
    resampled = resample(record, rate_hz)
    lead = resampled.values[:, 0]
    old = rate_hz if record.spacing is None else 1 / record.spacing[0]
    if record.events:
        # Intervals are taken from the annotations themselves, before they are rounded to samples of the new rate.
        times = np.array([at for at, _ in record.events]) / old
        symbols = [symbol for _, symbol in record.events]
        starts = _snap(lead, times, rate_hz)
    else:
        starts = _detect(lead, rate_hz)
        times, symbols = starts / rate_hz, [""] * len(starts)
    beats = []
    first = np.searchsorted(times, times - _WINDOW_S / 2)
    stop = np.searchsorted(times, times + _WINDOW_S / 2, side="right")
    for k, (start, symbol) in enumerate(zip(starts, symbols, strict=True)):
        near = times[first[k] : stop[k]]
        if len(near) < 2:
            continue
        length = round(_BEAT_PER_INTERVAL * float(np.median(np.diff(near))) * rate_hz)
        if length >= 2 and start + length <= len(lead):
            beats.append(Beat(int(start), length, symbol))
    return resampled, beats


def cut_beat(record: Signal, beats: list[Beat], index: int) -> Signal:
    """One heartbeat `(length, 1)` of the record and beats that `find_beats` gave.

    Raises:
        SignalError: if there is no such beat.
    """
    if not beats:
        raise SignalError(f"{record.name}: no heartbeats were found; give a longer recording, or its .atr annotations")
    if not 0 <= index < len(beats):
        raise SignalError(f"{record.name}: has beats 0 to {len(beats) - 1}, not {index}; choose one of these")
    start, length, symbol = beats[index]
    assert record.spacing is not None
    known = BEAT_CLASSES.get(symbol, "")
    text = f"Beat {index + 1} of {len(beats)}, from the R peak at {start * record.spacing[0]:.2f} s for 1.2 median R-R intervals"
    return replace(
        record,
        values=record.values[start : start + length, :1],
        name=f"{record.name} beat {index}",
        events=(),
        label=_CLASS_ORDER.index(known) if known else record.label,
        class_name=known or record.class_name,
        notes=(*record.notes, f"{text}{f', annotated {symbol}' if symbol else ''}."),
    )


def _snap(lead: np.ndarray, times: np.ndarray, rate_hz: float) -> np.ndarray:
    """Annotated times in seconds as samples of the highest point nearby."""
    reach = max(1, round(_SNAP_S * rate_hz))
    starts = np.clip(np.rint(times * rate_hz).astype(int), 0, len(lead) - 1)
    for k, start in enumerate(starts):
        first = max(0, start - reach)
        starts[k] = first + int(np.argmax(lead[first : start + reach + 1]))
    return starts


def _detect(lead: np.ndarray, rate_hz: float) -> np.ndarray:
    """R peaks as samples, by the published method: windows of 10 s in [0, 1], maxima above 0.9."""
    from scipy.signal import find_peaks

    window, gap = max(2, round(_WINDOW_S * rate_hz)), max(1, round(_REFRACTORY_S * rate_hz))
    found: list[int] = []
    for first in range(0, len(lead), window):
        part = lead[first : first + window]
        span = float(np.ptp(part))
        if span > 0:
            peaks, _ = find_peaks((part - part.min()) / span, height=_PEAK_HEIGHT, distance=gap)
            found.extend(int(first + peak) for peak in peaks)
    return np.array(found, dtype=int)
