"""A data set as a CSV file: a beat a row, its class last, as the published ECG files are."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from medfuncta_core.config import SignalSpec
from medfuncta_core.errors import DataSetError
from medfuncta_core.signals.data_set import DataSet
from medfuncta_core.signals.folders import split_of
from medfuncta_core.signals.sources import Source, hash_file
from medfuncta_core.signals.tables import read_table, split_labels

_FEWEST_SAMPLES = 2


def load_beat_table(path: Path, split: str, *, spec: SignalSpec | None = None, limit: int | None = None) -> DataSet:
    """One split of a CSV file of beats.

    A file called `…train.csv` is the training split, and its neighbours `…val.csv` and `…test.csv` are looked for; where
    there is no such neighbour, val is 1 in 10 rows of the training file. Any other file is divided 80/10/10. Rows are
    assigned by a hash of their file's name and number, so always alike.

    Args:
        path: The file; the last column is the class where `split_labels` says so.
        split: "train", "val" or "test".
        spec: As in `load_data_set`.
        limit: As in `load_data_set`.

    Raises:
        DataSetError: if the split is empty, or a checkpoint of images or volumes is asked for.
        SignalError: if the file is damaged.
    """
    from medfuncta_core.signals.data_sets import as_labels, finish_data_set

    if spec is not None and spec.kind != "ecg":
        raise DataSetError(f"{path.name}: a table of beats cannot become {spec.kind}s; use a checkpoint for ECGs")
    file, share = _choose_file(path, split)
    beats, classes = split_labels(read_table(Source(file.name, path=file)), spec.shape[0] if spec else None)
    if beats.shape[1] < _FEWEST_SAMPLES:
        raise DataSetError(f"{file.name}: has one number a row; a data set has a beat a row and its class last")
    keys = np.array([split_of(f"{file.name}:{row}") for row in range(len(beats))])
    wanted = np.isin(keys, share)
    if not wanted.any():
        raise DataSetError(f"{file.name}: no rows for {split}; give more rows, or files named …train.csv, …val.csv, …test.csv")
    labels = None if classes is None else as_labels(file.name, classes[wanted], None)
    opened = DataSet(
        name=path.stem,
        split=split,
        kind="ecg",
        values=beats[wanted][..., None],
        labels=labels,
        class_names=() if classes is None else tuple(str(k) for k in range(int(classes.max()) + 1)),
        sha256=hash_file(file),
        source=str(file),
        train_signals=int(np.isin(keys, _choose_file(path, "train")[1]).sum()) if file == _choose_file(path, "train")[0] else 0,
        extras={"table_row": np.flatnonzero(wanted)},
    ).take(limit)
    return finish_data_set(opened, spec)


def find_table_splits(path: Path) -> tuple[str, ...]:
    """The splits that hold rows, as `load_beat_table` divides them."""
    found, counts = [], {}
    for split in ("train", "val", "test"):
        with suppress(DataSetError):  # no file for it
            file, share = _choose_file(path, split)
            if file not in counts:
                counts[file] = len(read_table(Source(file.name, path=file)))
            if any(split_of(f"{file.name}:{row}") in share for row in range(counts[file])):
                found.append(split)
    return tuple(found)


def _choose_file(path: Path, split: str) -> tuple[Path, tuple[str, ...]]:
    """The file that holds a split, and which of its rows' hash classes belong to it."""
    everything = ("train", "val", "test")
    own = next((known for known in everything if path.stem.lower().endswith(known)), None)
    if own is None:
        return path, (split,)
    stem = path.stem[: -len(own)]
    files = {known: path.with_name(f"{stem}{known}{path.suffix}") for known in everything} | {own: path}
    held = {known for known, file in files.items() if file.is_file()}
    if split == "val" and "val" not in held and "train" in held:
        return files["train"], ("val",)
    if split not in held:
        raise DataSetError(f"{path.name}: has no {split} split beside it; put {files[split].name} into the same folder")
    return files[split], ("train", "test") if split == "train" and "val" not in held else everything
