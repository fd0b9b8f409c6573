"""What a data set holds, told before anything is trained on it: from headers, labels and a few signals, in bounded time.

Training reads every value; a person who chooses data wants to see in a second or two whether these are the right files.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medfuncta_core.config import Kind
from medfuncta_core.errors import DataSetError
from medfuncta_core.signals.arrays import list_npz, load_npz_array, sample_npz_array
from medfuncta_core.signals.beat_tables import load_beat_table
from medfuncta_core.signals.data_set import DataSet
from medfuncta_core.signals.data_sets import SPLITS, add_channels, as_labels, finish_data_set
from medfuncta_core.signals.folders import list_split
from medfuncta_core.signals.guarding import MAX_DATA_SET_BYTES
from medfuncta_core.signals.medmnist_files import MedMNISTFlag, ensure_medmnist, find_medmnist
from medfuncta_core.signals.reading import read_signal
from medfuncta_core.signals.sources import Source

SURVEY_BYTES = 96 * 2**20
"""Most that is read of an array to find its value range: a second or two of unpacking."""

TRAINED_ON = ("train", "val")


@dataclass(frozen=True, eq=False)
class DataSurvey:
    """What a data set holds.

    Args:
        name: For people.
        kind: Of its signals.
        shape: Points per axis of its first training signal, without channels.
        channels: Values per point.
        counts: Signals per split, only of splits that there are.
        classes: Signals per split of every class, by class name; empty without labels.
        value_range: Least and greatest value met, as the file stores them.
        looked_at: How many training signals `value_range` is from.
        samples: A few training signals `(*shape, c)` in [0, 1]; those of a folder may differ in shape.
        captions: Class name or number of each sample.
        notes: What a person should know, one plain sentence each.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    channels: int
    counts: dict[str, int]
    classes: dict[str, dict[str, int]]
    value_range: tuple[float, float]
    looked_at: int
    samples: tuple[np.ndarray, ...]
    captions: tuple[str, ...]
    notes: tuple[str, ...] = ()


def survey_data_set(data: str | Path, *, samples: int = 12) -> DataSurvey:
    """Look into a data set without reading it whole.

    Args:
        data: As in `load_data_set`; a MedMNIST file is downloaded when it is not there yet.
        samples: How many training signals to show.

    Raises:
        DataSetError: if there is no such data set, or it lacks a split that training needs.
        SignalError: if a file that was looked at cannot be read.
    """
    path = Path(data).expanduser()
    flag = None if path.exists() else find_medmnist(str(data))
    if flag is not None:
        return _survey_npz(ensure_medmnist(flag), samples, flag)
    if path.is_dir():
        return _survey_folder(path, samples)
    if not path.exists():
        raise DataSetError(f"{data}: no such file or folder on this machine; check the path")
    if path.suffix.lower() == ".npz":
        return _survey_npz(path, samples)
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return _survey_table(path, samples)
    raise DataSetError(f"{path.name}: a data set is a .npz, a .csv or a folder with a sub-folder a class; give one of these")


def _survey_npz(path: Path, samples: int, flag: MedMNISTFlag | None = None) -> DataSurvey:
    source = Source(path.name, path=path)
    shapes = list_npz(source)
    for split in TRAINED_ON:
        if f"{split}_images" not in shapes:
            held = ", ".join(shapes) or "nothing"
            raise DataSetError(f"{path.name}: has no {split}_images, it holds {held}; training needs train_images and val_images")
    counts = {split: shapes[f"{split}_images"][0] for split in SPLITS if f"{split}_images" in shapes}
    found = sample_npz_array(source, "train_images", samples, budget=SURVEY_BYTES, limit=MAX_DATA_SET_BYTES)
    kind, values = add_channels(path.name, found.rows, None)
    opened = finish_data_set(DataSet(path.stem, "train", kind, values), None)
    labels = {split: _npz_labels(source, split, counts[split], shapes) for split in counts}
    names = flag.class_names if flag else _npz_class_names(source, shapes)
    chosen = np.linspace(0, found.read - 1, len(values)).round().astype(int)
    return DataSurvey(
        name=path.stem,
        kind=kind,
        shape=opened.shape,
        channels=opened.channels,
        counts=counts,
        classes=_count_classes(labels, names),
        value_range=(found.low, found.high),
        looked_at=found.read,
        samples=tuple(opened.batch(slice(None))),
        captions=_captions(labels["train"], names, chosen),
        notes=("A signal has several labels; training does not need them.",) if _several_labels(shapes) else (),
    )


def _npz_labels(source: Source, split: str, count: int, shapes: dict[str, tuple[int, ...]]) -> np.ndarray | None:
    key = f"{split}_labels"
    return as_labels(source.name, load_npz_array(source, key), count) if key in shapes else None


def _npz_class_names(source: Source, shapes: dict[str, tuple[int, ...]]) -> tuple[str, ...]:
    if "class_names" not in shapes:
        return ()
    return tuple(str(name) for name in load_npz_array(source, "class_names", text=True).reshape(-1))


def _several_labels(shapes: dict[str, tuple[int, ...]]) -> bool:
    shape = shapes.get("train_labels", ())
    return len(shape) > 1 and shape[1] > 1


def _survey_folder(path: Path, samples: int) -> DataSurvey:
    files = {split: list_split(path, split) for split in SPLITS}
    for split in TRAINED_ON:
        if not files[split]:
            raise DataSetError(
                f"{path.name}: no files for {split}; give train, val and test folders, or more files (one in ten becomes {split})"
            )
    training = files["train"]
    chosen = [training[row] for row in np.linspace(0, len(training) - 1, min(samples, len(training))).round().astype(int)]
    signals = [read_signal(file) for _, file in chosen]
    first = signals[0]
    for signal, (_, file) in zip(signals, chosen, strict=True):
        if (signal.kind, signal.channels) != (first.kind, first.channels):
            raise DataSetError(
                f"{path.name}: {file.name} and {chosen[0][1].name} are not alike; keep one kind of file in a folder"
            )
    ends = [low + signal.values * (high - low) for signal in signals for low, high in (signal.value_range,)]
    names = sorted({label for found in files.values() for label, _ in found if label})
    counts = {split: Counter(label for label, _ in found) for split, found in files.items()}
    differing = len({signal.shape for signal in signals}) > 1
    return DataSurvey(
        name=path.name,
        kind=first.kind,
        shape=first.shape,
        channels=first.channels,
        counts={split: len(found) for split, found in files.items() if found},
        classes={name: {split: counts[split][name] for split in SPLITS if files[split]} for name in names},
        value_range=(float(min(values.min() for values in ends)), float(max(values.max() for values in ends))),
        looked_at=len(signals),
        samples=tuple(signal.values for signal in signals),
        captions=tuple(label or file.stem for label, file in chosen),
        notes=("The files differ in shape; each is brought to the preset's.",) if differing else (),
    )


def _survey_table(path: Path, samples: int) -> DataSurvey:
    splits = {"train": load_beat_table(path, "train"), "val": load_beat_table(path, "val")}
    try:
        splits["test"] = load_beat_table(path, "test")
    except DataSetError:
        pass  # training does without
    training = splits["train"]
    chosen = np.linspace(0, len(training) - 1, min(samples, len(training))).round().astype(int)
    labels = {split: opened.labels for split, opened in splits.items()}
    return DataSurvey(
        name=path.stem,
        kind="ecg",
        shape=training.shape,
        channels=training.channels,
        counts={split: len(opened) for split, opened in splits.items()},
        classes=_count_classes(labels, training.class_names),
        value_range=(float(training.values.min()), float(training.values.max())),
        looked_at=len(training),
        samples=tuple(training.batch(chosen)),
        captions=_captions(training.labels, training.class_names, chosen),
    )


def _count_classes(labels: dict[str, np.ndarray | None], names: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Signals per class and split; empty where a split has no single label a signal."""
    known = {split: found for split, found in labels.items() if found is not None}
    if len(known) < len(labels):
        return {}
    classes = max(1 + max(int(found.max(initial=0)) for found in known.values()), len(names))
    counted = {split: np.bincount(found, minlength=classes) for split, found in known.items()}
    return {_name(names, k): {split: int(counted[split][k]) for split in known} for k in range(classes)}


def _captions(labels: np.ndarray | None, names: tuple[str, ...], rows: np.ndarray) -> tuple[str, ...]:
    return tuple(f"#{row}" if labels is None else _name(names, int(labels[row])) for row in rows)


def _name(names: tuple[str, ...], label: int) -> str:
    return names[label] if label < len(names) else f"class {label}"
