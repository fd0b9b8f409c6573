"""Signals in NumPy files: what the axes of an array mean, and which of several arrays is meant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medfuncta_core.config import AXES_OF_KIND, KIND_OF_AXES, Kind, SignalSpec
from medfuncta_core.errors import SignalError
from medfuncta_core.signals.arrays import list_npz, load_npy, load_npz_array
from medfuncta_core.signals.guarding import format_shape
from medfuncta_core.signals.normalising import make_signal
from medfuncta_core.signals.readings import Reading, check_index
from medfuncta_core.signals.signal import Signal
from medfuncta_core.signals.sources import Source

_PREFERRED_KEYS = ("test_images", "val_images", "train_images", "values", "image", "images", "volume", "signal", "data", "arr_0")


def read_npy(source: Source, index: int, spec: SignalSpec | None) -> Reading:
    """A signal of a .npy file; see `array_reading`."""
    return array_reading(source.name, load_npy(source), index, spec)


def read_npz(source: Source, index: int, spec: SignalSpec | None) -> Reading:
    """A signal of a .npz file: of its test images if it is MedMNIST-style, otherwise of its main array.

    Raises:
        SignalError: if it holds no array that could be a signal.
    """
    shapes = list_npz(source)
    keys = [key for key in _PREFERRED_KEYS if key in shapes] or [
        key for key, shape in shapes.items() if len(shape) in (1, 2, 3, 4)
    ]
    if not keys:
        raise SignalError(f"{source.name}: holds no array that could be a signal; save one with numpy.savez(file, values=array)")
    key = keys[0]
    stored = load_npz_array(source, key)
    rows = key.endswith("_images")
    reading = array_reading(f"{source.name}[{key}]", stored, index, spec, rows=rows)
    labels = key.replace("_images", "_labels")
    if not rows or labels not in shapes or shapes[labels] not in ((len(stored),), (len(stored), 1)):
        return reading
    label = int(load_npz_array(source, labels).reshape(-1)[index])
    return Reading(_with_label(reading, label), reading.total)


def array_reading(name: str, stored: np.ndarray, index: int, spec: SignalSpec | None, *, rows: bool = False) -> Reading:
    """One signal of an array.

    Without a checkpoint `(n,)` is an ECG, `(h, w)` and `(h, w, 3)` an image, `(d, h, w)` a volume. A checkpoint's kind
    decides first, and an axis too many in front counts signals.

    Args:
        name: For people.
        stored: Real numbers.
        index: Which signal, where the first axis counts them.
        spec: What a checkpoint expects.
        rows: The first axis surely counts signals.

    Raises:
        SignalError: if the axes fit no kind of signal.
    """
    kind, counted, channels = _interpret(stored.shape, spec, rows)
    if kind is None:
        wanted = f"a {spec.kind}" if spec else "a signal"
        raise SignalError(
            f"{name}: shape {format_shape(stored.shape)} is not {wanted}; save (samples,), (height, width[, 3]) or a volume"
        )
    count = len(stored) if counted else 1
    if counted:
        check_index(name, index, count, "row")
    one = stored[index] if counted else stored
    notes = (f"Row {index + 1} of {count}.",) if count > 1 else ()
    if channels == 4:
        one, notes = one[..., :3], (*notes, "Its fourth channel was dropped.")
    values = one if channels else one[..., None]
    if values.size == 0:
        raise SignalError(f"{name}: holds no values; save an array that is not empty")
    signal = make_signal(values, kind, f"{name} row {index}" if count > 1 else name, original_shape=one.shape, notes=notes)
    return Reading(signal, count)


def _interpret(shape: tuple[int, ...], spec: SignalSpec | None, rows: bool) -> tuple[Kind | None, bool, int]:
    """Kind, whether the first axis counts signals, and channels on the last axis (0: none)."""
    candidates: list[tuple[Kind, bool, int]] = []
    for counted in (True,) if rows else (False, True):
        axes = len(shape) - int(counted)
        colour = shape[-1] if shape and shape[-1] in (1, 3, 4) and axes > 1 else 0
        for channels in (colour, 0) if colour else (0,):
            kind = KIND_OF_AXES.get(axes - int(bool(channels)))
            # A colour ECG or volume is too rare to be what an unlabelled array means.
            if kind and (channels in (0, 1) or kind == "image" or (spec is not None and spec.kind == kind and spec.channels > 1)):
                candidates.append((kind, counted, channels))
    if spec is not None:
        fitting = [entry for entry in candidates if entry[0] == spec.kind]
        exact = [entry for entry in fitting if shape[int(entry[1]) :][: AXES_OF_KIND[spec.kind]] == spec.shape]
        if exact or fitting:
            return (exact or fitting)[0]
    return candidates[0] if candidates else (None, False, 0)


def _with_label(reading: Reading, label: int) -> Signal:
    """The reading's signal with its class."""
    return replace(reading.signal, label=label, class_name=str(label))
