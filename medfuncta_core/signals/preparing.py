"""Bringing a signal to what a checkpoint expects, the way its training data was made; every step leaves a sentence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medfuncta_core.config import SignalSpec
from medfuncta_core.errors import SignalError
from medfuncta_core.signals.ecg import cut_beat, find_beats, resample
from medfuncta_core.signals.guarding import format_shape
from medfuncta_core.signals.normalising import normalise
from medfuncta_core.signals.resizing import crop_to_aspect, pad_end, resize_image, resize_linear
from medfuncta_core.signals.signal import Signal
from medfuncta_core.signals.turning import reorient
from medfuncta_core.signals.volume_file import volume_of_signal

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601 weights of red, green and blue, as Pillow's conversion to grey has them."""


def prepare_signal(signal: Signal, spec: SignalSpec, *, index: int = 0) -> Signal:
    """Bring a signal to a checkpoint's shape, channels and normalisation as its training data was brought there.

    Images: cropped to the aspect ratio about their centre, then Pillow's bicubic reduction (`resize_image`). Volumes:
    turned to RAS axes, normalised, then linear with corner voxels fixed (`resize_linear`). ECG records: resampled, cut
    into heartbeats (`find_beats`), each normalised and padded with zeros; single beats are padded, or resampled if longer.
    Rows of a data set keep their values, which are normalised already, and what was prepared for `spec` stays as it is.

    Args:
        signal: Any signal.
        spec: What the checkpoint expects.
        index: Which heartbeat of a record; for an image checkpoint which slice of a volume, counted from the middle one
            upwards and around.

    Returns:
        A signal of `spec.shape` and `spec.channels`, its notes saying what was done.

    Raises:
        SignalError: if the signal is of a kind that cannot become what is expected.
    """
    if is_prepared(signal, spec) and index == 0:
        return signal
    return replace(_prepare(signal, spec, index), prepared_for=spec)


def is_prepared(signal: Signal, spec: SignalSpec) -> bool:
    """Whether a signal is what a checkpoint expects: it was prepared for it, or is a row of a data set of its grid."""
    alike = (signal.kind, signal.shape, signal.channels) == (spec.kind, spec.shape, spec.channels)
    return alike and (signal.normalised or signal.prepared_for == spec)


def _prepare(signal: Signal, spec: SignalSpec, index: int) -> Signal:
    """As `prepare_signal`, for a signal that is not prepared yet."""
    if signal.kind == "volume" and spec.kind == "image":
        signal = _take_slice(signal, index)
    elif signal.kind != spec.kind:
        raise SignalError(
            f"{signal.name}: is {_with_article(signal.kind)}, the checkpoint is for {spec.kind}s; {_REMEDIES[spec.kind]}"
        )
    if spec.kind == "ecg":
        return _prepare_ecg(signal, spec, index)
    signal = _match_channels(signal, spec.channels)
    if spec.recipe is not None and not signal.normalised:
        from medfuncta_core.signals.streaming import prepare_volume

        return prepare_volume(volume_of_signal(signal), spec)
    if spec.kind == "image":
        return resize_image(crop_to_aspect(normalise(signal, spec), spec.shape), spec.shape)
    return resize_linear(normalise(reorient(signal), spec), spec.shape)


def count_parts(signal: Signal, spec: SignalSpec) -> int:
    """How many heartbeats of a record or slices of a volume `index` of `prepare_signal` chooses among; at least 1."""
    if signal.kind == "volume" and spec.kind == "image":
        return signal.shape[_slice_axis(signal)] if signal.affine is None else reorient(signal).shape[2]
    if signal.kind == spec.kind == "ecg" and _is_record(signal, spec):
        return max(1, len(find_beats(signal, _rate(signal, spec))[1]))
    return 1


_REMEDIES = {
    "ecg": "give a WFDB record or a CSV of beats, or choose a checkpoint that fits",
    "image": "give a picture or a slice, or choose a checkpoint that fits",
    "volume": "give a NIfTI file, or a folder or .zip of a DICOM series, or choose a checkpoint for images",
}


def _with_article(kind: str) -> str:
    """The kind as a sentence has it."""
    return {"ecg": "an ECG", "image": "an image"}.get(kind, f"a {kind}")


def _prepare_ecg(signal: Signal, spec: SignalSpec, index: int) -> Signal:
    """One heartbeat of the expected length."""
    signal = _match_channels(signal, spec.channels)
    length = spec.shape[0]
    if _is_record(signal, spec):
        rate = _rate(signal, spec)
        beat = normalise(cut_beat(*find_beats(signal, rate), index), spec)
        if beat.shape[0] > length:
            text = f"Shortened from {beat.shape[0]} to {length} samples; the heart beats slowly here."
            beat = replace(beat, values=beat.values[:length], notes=(*beat.notes, text))
        return beat if beat.shape[0] == length else pad_end(beat, length)
    if index:
        raise SignalError(f"{signal.name}: holds one beat, not {index + 1}; choose index 0")
    known_rate = signal.spacing is not None and spec.sampling_rate is not None
    beat = normalise(resample(signal, _rate(signal, spec)) if known_rate else signal, spec)
    if beat.shape[0] < length:
        return pad_end(beat, length)
    if beat.shape[0] > length:
        text = "Its sampling rate is not known; if it is longer than one heartbeat, give a WFDB record or a time column."
        beat = replace(beat, notes=(*beat.notes, text))
    return resize_linear(beat, spec.shape)


def _rate(signal: Signal, spec: SignalSpec) -> float:
    """Samples per second that the checkpoint works at; the signal's own when it does not say."""
    if spec.sampling_rate is not None:
        return spec.sampling_rate
    return 1.0 if signal.spacing is None else 1 / signal.spacing[0]


def _is_record(signal: Signal, spec: SignalSpec) -> bool:
    """Whether an ECG of known sampling rate is longer than one beat of the checkpoint."""
    return signal.spacing is not None and round(signal.shape[0] * signal.spacing[0] * _rate(signal, spec)) > spec.shape[0]


def _match_channels(signal: Signal, channels: int) -> Signal:
    """Grey to RGB and back, first lead of several; anything else cannot be guessed."""
    if signal.channels == channels:
        return signal
    if signal.kind == "ecg" and channels == 1:
        return replace(
            signal, values=signal.values[:, :1], notes=(*signal.notes, f"The first of {signal.channels} leads was taken.")
        )
    if signal.channels == 3 and channels == 1:
        grey = (signal.values @ _LUMA)[..., None]
        return replace(
            signal, values=np.clip(grey, 0, 1), notes=(*signal.notes, "Converted from RGB to grey (ITU-R BT.601 luma).")
        )
    if signal.channels == 1 and channels == 3:
        values = np.repeat(signal.values, 3, axis=-1)
        return replace(signal, values=values, notes=(*signal.notes, "Converted from grey to RGB, all three channels alike."))
    raise SignalError(f"{signal.name}: has {signal.channels} channels, the checkpoint expects {channels}; choose one that fits")


def _slice_axis(signal: Signal) -> int:
    """The axis that counts slices: the third where an affine tells directions, the first of a bare array."""
    return 0 if signal.affine is None else 2


def _take_slice(signal: Signal, index: int) -> Signal:
    """An axial slice as radiologists look at it: front on top, the patient's right on the left."""
    turned = reorient(signal)
    axis = _slice_axis(turned)
    count = turned.shape[axis]
    if not 0 <= index < count:
        raise SignalError(f"{signal.name}: has slices 0 to {count - 1}, not {index}; choose one of these")
    number = (count // 2 + index) % count
    plane = np.take(turned.values, number, axis)
    spacing = None if turned.spacing is None else tuple(step for a, step in enumerate(turned.spacing) if a != axis)
    if turned.affine is not None:
        plane = plane[::-1, ::-1].transpose(1, 0, 2)
        spacing = None if spacing is None else spacing[::-1]
    text = f"The checkpoint is for images: slice {number + 1} of {count} of the volume {format_shape(turned.shape)} was taken."
    return replace(
        turned, values=np.ascontiguousarray(plane), kind="image", name=f"{signal.name} slice {number}", affine=None,
        spacing=spacing, notes=(*turned.notes, text),
    )  # fmt: skip
