"""Opening a data set: MedMNIST flags and MedMNIST-style archives, folders of classes, CSV files of beats."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from medfuncta_core.config import AXES_OF_KIND, KIND_OF_AXES, Kind, Normalisation, SignalSpec
from medfuncta_core.errors import DataSetError, SignalError
from medfuncta_core.signals.arrays import list_npz, load_npz_array
from medfuncta_core.signals.data_set import KACHUEE_RATE_HZ, KACHUEE_SHAPE, DataSet
from medfuncta_core.signals.guarding import MAX_DATA_SET_BYTES, format_shape, one_line
from medfuncta_core.signals.medmnist_files import ensure_medmnist, find_medmnist
from medfuncta_core.signals.normalising import make_signal
from medfuncta_core.signals.preparing import prepare_signal
from medfuncta_core.signals.signal import Signal
from medfuncta_core.signals.sources import Source, hash_file

SPLITS = ("train", "val", "test")

MAX_LABEL = 100_000
"""Largest class index: every class up to it gets a name, so that a stray number must not make millions."""


def load_data_set(
    data: str | Path,
    split: str,
    *,
    spec: SignalSpec | None = None,
    limit: int | None = None,
    cache_dir: str | Path | None = None,
) -> DataSet:
    """Open one split of a data set.

    Args:
        data: A path (a MedMNIST-style .npz; a folder with a sub-folder a class, itself under train/val/test folders or
            not; a .csv with a beat a row and its class last) or a MedMNIST name: `chestmnist`, `chestmnist:64`, `chestmnist_64`.
        split: "train", "val" or "test".
        spec: Bring every signal to this kind, shape and number of channels as `prepare_signal` does; without it signals
            stay as they are, and must all be alike.
        limit: At most so many signals, evenly spread over the split.
        cache_dir: Where MedMNIST's files are kept; None for the environment variable MEDFUNCTA_CACHE, or ~/.cache/medfuncta.

    Returns:
        The split, its integers kept as stored.

    Raises:
        DataSetError: if there is no such data set, split or network.
        SignalError: if one of its files cannot be read.
    """
    if split not in SPLITS:
        raise DataSetError(f"{data}: no split {split!r}; choose train, val or test")
    path = Path(data).expanduser()
    flag = None if path_exists(path) else find_medmnist(str(data))
    if flag is not None:
        opened = load_npz_set(ensure_medmnist(flag, cache_dir), split, spec=spec, limit=limit)
        return flag.describe(opened)
    if not path_exists(path):
        raise DataSetError(
            f"{data}: neither a path nor a MedMNIST name; give a .npz, a .csv, a folder, or a name such as pneumoniamnist:64"
        )
    if path.is_dir():
        from medfuncta_core.signals.folders import load_folder

        return load_folder(path, split, spec=spec, limit=limit)
    if path.suffix.lower() == ".npz":
        return load_npz_set(path, split, spec=spec, limit=limit)
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        from medfuncta_core.signals.beat_tables import load_beat_table

        return load_beat_table(path, split, spec=spec, limit=limit)
    raise DataSetError(f"{path.name}: a data set is a .npz, a .csv or a folder with a sub-folder a class; give one of these")


def load_npz_set(path: Path, split: str, *, spec: SignalSpec | None = None, limit: int | None = None) -> DataSet:
    """One split of a MedMNIST-style archive: `{split}_images`, `{split}_labels`, optionally `class_names`.

    Images are `(N, H, W)` or `(N, H, W, 3)`, volumes `(N, D, H, W)`, ECGs `(N, L)`.

    Args:
        path: The .npz.
        split: "train", "val" or "test".
        spec: As in `load_data_set`.
        limit: As in `load_data_set`.

    Raises:
        DataSetError: if the split is missing, labels do not fit, or values are not finite.
        SignalError: if the archive is damaged.
    """
    source = Source(path.name, path=path)
    shapes = list_npz(source)
    key = f"{split}_images"
    if key not in shapes:
        held = ", ".join(shapes) or "nothing"
        raise DataSetError(
            f"{path.name}: has no {key}; it holds {held}; name the arrays as MedMNIST does ({key}, {split}_labels)"
        )
    stored = load_npz_array(source, key, limit=MAX_DATA_SET_BYTES)
    kind, values = add_channels(path.name, stored, spec)
    labels, class_names = _read_labels(source, split, len(values), shapes)
    opened = DataSet(
        name=path.stem,
        split=split,
        kind=kind,
        values=values,
        labels=labels,
        class_names=class_names,
        sha256=hash_file(path),
        source=str(path),
        train_signals=shapes.get("train_images", (0,))[0],
        extras=_read_extras(source, split, len(values), shapes),
    ).take(limit)
    return finish_data_set(opened, spec, _read_recipe(source, shapes))


def finish_data_set(opened: DataSet, spec: SignalSpec | None, prepared: SignalSpec | None = None) -> DataSet:
    """Make stored values usable: raw numbers into [0, 1], ECG rates filled in, everything brought to `spec` where it differs.

    Bytes, 16-bit pictures and numbers in [0, 1] were normalised by whoever made the set, and stay. Raw numbers are
    normalised one signal at a time, as `spec` says, or without one by their minimum and maximum.

    Args:
        opened: A data set with values of any real type.
        spec: What its signals are to become, or None to leave shapes alone.
        prepared: What they were brought to when the set was made, where its file says so; they are not raw then.

    Raises:
        DataSetError: if values are not finite or cannot become what `spec` says.
    """
    rate = opened.sampling_rate
    if opened.kind == "ecg" and rate is None and opened.shape == KACHUEE_SHAPE:
        rate = KACHUEE_RATE_HZ
    raw = prepared is None and is_raw(opened, spec)
    ready = replace(opened, sampling_rate=rate)
    if not raw and opened.values.dtype not in (np.uint8, np.uint16):
        ready = replace(ready, values=opened.values.astype(np.float32, copy=False))
    if spec is None and prepared is not None:
        return replace(ready, normalisation=prepared.normalisation, limits=prepared.limits, recipe=prepared.recipe)
    if spec is None:
        values = scale_rows(ready.values) if raw else ready.values
        return replace(ready, values=values, normalisation="range" if raw or opened.kind == "ecg" else "dtype")
    if raw or (ready.kind, ready.shape, ready.channels) != (spec.kind, spec.shape, spec.channels):
        ready = replace(ready, values=_prepare_rows(ready, spec, raw), kind=spec.kind)
    # Raw numbers have no type whose range could mean black and white.
    done: Normalisation = "range" if raw and spec.normalisation == "dtype" else spec.normalisation
    return replace(ready, normalisation=done, limits=spec.limits, sampling_rate=spec.sampling_rate or rate, recipe=spec.recipe)


def add_channels(name: str, stored: np.ndarray, spec: SignalSpec | None) -> tuple[Kind, np.ndarray]:
    """Tell what an array of signals holds, from its number of axes, and give it a channel axis.

    Args:
        name: For the message.
        stored: `(N, …)`.
        spec: Decides where the axes alone do not.

    Returns:
        The kind, and the values `(N, *shape, c)` as a view.

    Raises:
        DataSetError: if the axes are those of no kind of signal.
    """
    colour = stored.ndim >= 3 and stored.shape[-1] in (1, 3)
    points = stored.ndim - 1 - int(colour)
    if spec is not None and stored.ndim - 1 == AXES_OF_KIND[spec.kind] and not (colour and points == AXES_OF_KIND[spec.kind]):
        return spec.kind, stored[..., None]
    if points not in KIND_OF_AXES:
        raise DataSetError(
            f"{name}: arrays of shape {format_shape(stored.shape)} are no signals; store ECGs as (N, samples), images as "
            "(N, height, width[, 3]), volumes as (N, depth, height, width)"
        )
    return KIND_OF_AXES[points], stored if colour else stored[..., None]


def is_raw(opened: DataSet, spec: SignalSpec | None) -> bool:
    """Whether stored values are numbers in a scanner's unit, still to be normalised.

    Args:
        opened: A data set with values of any real type.
        spec: Anything but "dtype" makes ECGs and volumes of unsigned 16 bits raw: scanners use a part of that range.

    Raises:
        DataSetError: if a signal holds NaN or infinite values.
    """
    values = opened.values
    if values.dtype == np.uint8:
        return False
    if values.dtype == np.uint16:
        return spec is not None and spec.normalisation != "dtype" and opened.kind != "image"
    axes = tuple(range(1, values.ndim))
    low, high = values.min(axis=axes), values.max(axis=axes)
    finite = np.isfinite(low) & np.isfinite(high)
    if not finite.all():
        raise DataSetError(
            f"{opened.name}: signal {int(np.argmin(finite))} holds NaN or infinite values; remove or fill it first"
        )
    return bool(low.min() < 0 or high.max() > 1)


def scale_rows(values: np.ndarray) -> np.ndarray:
    """Values `(N, *shape, c)` as float32, each signal scaled by its own minimum and maximum; constant ones become zeros."""
    floats = values.astype(np.float32, copy=False)
    axes = tuple(range(1, floats.ndim))
    low, high = floats.min(axis=axes, keepdims=True), floats.max(axis=axes, keepdims=True)
    span = np.where(high > low, high - low, np.float32(1))
    return (floats - low) / span


def _prepare_rows(opened: DataSet, spec: SignalSpec, raw: bool) -> np.ndarray:
    """Every signal brought to `spec`; back to bytes where it came from bytes, as MedMNIST's own thumbnails are."""
    to_bytes = opened.values.dtype == np.uint8
    prepared = np.empty((len(opened), *spec.shape, spec.channels), np.uint8 if to_bytes else np.float32)
    for row in range(len(opened)):
        try:
            signal = _raw_signal(opened, row) if raw else opened.signal(row)
            values = prepare_signal(signal, spec).values
        except SignalError as error:
            raise DataSetError(f"{opened.name}: {one_line(error)}") from error
        prepared[row] = np.rint(values * 255).astype(np.uint8) if to_bytes else values
    return prepared


def _raw_signal(opened: DataSet, row: int) -> Signal:
    """A signal of a set whose values are raw numbers, as if it were a file of its own."""
    rate = opened.sampling_rate if opened.kind == "ecg" else None
    spacing, unit = (None, "") if rate is None else ((1 / rate,), "s")
    name = f"{opened.name} {opened.split} {row}"
    signal = make_signal(opened.values[row], opened.kind, name, full_depth=False, spacing=spacing, spacing_unit=unit)
    return replace(signal, nominal_range=None)  # one row of a raw set may lie in [0, 1] by chance


def _read_labels(
    source: Source, split: str, count: int, shapes: dict[str, tuple[int, ...]]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels `(N,)` of a split and the names of all classes; None and () where there are none or several a signal."""
    key = f"{split}_labels"
    if key not in shapes:
        return None, ()
    labels = as_labels(source.name, load_npz_array(source, key), count)
    if labels is None:
        return None, ()
    others = [as_labels(source.name, load_npz_array(source, f"{s}_labels"), None) for s in SPLITS if f"{s}_labels" in shapes]
    classes = 1 + max(int(known.max(initial=0)) for known in others if known is not None)
    if "class_names" not in shapes:
        return labels, tuple(str(index) for index in range(classes))
    names = tuple(str(entry) for entry in load_npz_array(source, "class_names", text=True).reshape(-1))
    if len(names) < classes:
        raise DataSetError(f"{source.name}: {len(names)} class_names for labels up to {classes - 1}; name every class")
    return labels, names


def _read_recipe(source: Source, shapes: dict[str, tuple[int, ...]]) -> SignalSpec | None:
    """How the volumes of a set were prepared, where its file says so; see `volume_sets`."""
    if shapes.get("recipe") != ():
        return None
    try:
        stored = json.loads(str(load_npz_array(source, "recipe", text=True)))
    except ValueError as error:
        raise DataSetError(f"{source.name}: its recipe is no JSON ({one_line(error)}); prepare the set again") from error
    return SignalSpec.parse(stored, f"{source.name}: recipe")


def _read_extras(source: Source, split: str, count: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """What the archive holds for every signal beside its label, such as `{split}_patient`; `labels` where it has several."""
    extras = {}
    for key, shape in shapes.items():
        name = key.removeprefix(f"{split}_")
        several = name == "labels" and len(shape) == 2 and shape[1] > 1
        if name != key and shape[:1] == (count,) and (several or (name not in ("images", "labels") and len(shape) == 1)):
            with suppress(SignalError):  # objects, or damaged: no reason to refuse the signals
                extras[name] = load_npz_array(source, key, text=True)
    return extras


def as_labels(name: str, stored: np.ndarray, count: int | None) -> np.ndarray | None:
    """Class indices `(N,)` int64 of a stored label array `(N,)` or `(N, 1)`; None when a signal has several labels.

    Raises:
        DataSetError: if their number is not `count`, or they are not whole numbers from 0 to `MAX_LABEL`.
    """
    if count is not None and len(stored) != count:
        raise DataSetError(f"{name}: {len(stored)} labels for {count} signals; store one label a signal")
    if stored.ndim > 1 and stored.shape[1] != 1:
        return None
    flat = stored.reshape(len(stored), -1)[:, 0]
    if len(flat) and flat.max() > MAX_LABEL:
        raise DataSetError(f"{name}: labels reach {flat.max():g}, more than {MAX_LABEL}; number the classes from 0 without gaps")
    labels = np.nan_to_num(flat, nan=-1, neginf=-1).astype(np.int64)
    if (labels != flat).any() or (labels < 0).any():
        raise DataSetError(f"{name}: labels must be whole numbers from 0, such as {flat.min():g}; number the classes from 0")
    return labels


def path_exists(path: Path) -> bool:
    """Whether the path is there; a name that no file can have is not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
