"""A data set as a folder: a sub-folder a class, under train, val and test folders or not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from medfuncta_core.config import Kind, Normalisation, SignalSpec
from medfuncta_core.errors import DataSetError
from medfuncta_core.signals.data_set import DataSet
from medfuncta_core.signals.guarding import MAX_DATA_SET_BYTES, check_size, format_shape
from medfuncta_core.signals.sources import hash_file

EXTENSIONS = (
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".dcm", ".nii", ".nii.gz", ".npy", ".csv", ".hea",
)  # fmt: skip
SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


def split_of(key: str) -> str:
    """train, val or test (80/10/10) by a hash of a name, the same on every machine and whatever else there is."""
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return "train" if number < 0.8 else "val" if number < 0.9 else "test"


def load_folder(path: Path, split: str, *, spec: SignalSpec | None = None, limit: int | None = None) -> DataSet:
    """One split of a folder of files.

    Sub-folders are classes, in alphabetical order; a folder without sub-folders has no labels. Without train, val and
    test folders on top, files are divided 80/10/10 by a hash of their names.

    Args:
        path: The folder.
        split: "train", "val" or "test".
        spec: Every file is brought here; without it the first file's kind, shape and channels must be everyone's.
        limit: At most so many files, evenly spread; only these are read.

    Raises:
        DataSetError: if there are no files for the split, or they differ in shape.
        SignalError: if a file cannot be read.
    """
    if limit is not None and limit < 1:
        raise DataSetError(f"{path.name}: limit {limit} leaves no signals; give at least 1")
    listed = {known: list_split(path, known) for known in SPLIT_FOLDERS}
    files = listed[split]
    if not files:
        raise DataSetError(f"{path.name}: no files for {split}; give sub-folders of classes with {', '.join(EXTENSIONS)} files")
    names = sorted({label for found in listed.values() for label, _ in found if label})
    if limit is not None and limit < len(files):
        files = [files[row] for row in np.linspace(0, len(files) - 1, limit).round().astype(int)]
    values, kind, normalisation, rate = _read_files(path, [file for _, file in files], spec)
    return DataSet(
        name=path.name,
        split=split,
        kind=kind,
        values=values,
        labels=np.array([names.index(label) for label, _ in files], dtype=np.int64)
        if names and all(label for label, _ in files)
        else None,
        class_names=tuple(names),
        sha256=_hash_listing(path, [file for _, file in files]),
        source=str(path),
        train_signals=len(listed["train"]),
        normalisation=normalisation,
        limits=spec.limits if spec else None,
        sampling_rate=rate,
        extras={"file": np.array([file.relative_to(path).as_posix() for _, file in files], dtype=object)},
    )


def list_split(path: Path, split: str) -> list[tuple[str, Path]]:
    """Class and path of every file of a split, sorted."""
    top = {child.name.lower(): child for child in sorted(path.iterdir()) if child.is_dir()}
    known = {name for names in SPLIT_FOLDERS.values() for name in names}
    if known & set(top):
        folders = [top[name] for name in SPLIT_FOLDERS[split] if name in top]
        return [entry for folder in folders for entry in _list_classes(folder)]
    everything = _list_classes(path)
    return [(label, file) for label, file in everything if split_of(f"{label}/{file.name}") == split]


def _list_classes(path: Path) -> list[tuple[str, Path]]:
    """Class (first sub-folder, "" directly inside) and path of every file below a folder, sorted."""
    found = []
    for file in sorted(path.rglob("*")):
        parts = file.relative_to(path).parts
        hidden = any(part.startswith((".", "__")) for part in parts)
        if not hidden and file.is_file() and file.name.lower().endswith(EXTENSIONS):
            found.append((parts[0] if len(parts) > 1 else "", file))
    return found


def _read_files(path: Path, files: list[Path], spec: SignalSpec | None) -> tuple[np.ndarray, Kind, Normalisation, float | None]:
    """Values `(N, *shape, c)`, bytes where every file holds bytes; their kind, normalisation and sampling rate."""
    from medfuncta_core.signals.reading import read_signal

    first = read_signal(files[0], spec=spec)
    shape, kind = first.values.shape, first.kind
    check_size(path.name, (len(files), *shape), 4, MAX_DATA_SET_BYTES)
    bytes_only = True
    values = np.empty((len(files), *shape), np.uint8)
    for row, file in enumerate(files):
        signal = first if row == 0 else read_signal(file, spec=spec)
        if signal.values.shape != shape or signal.kind != kind:
            raise DataSetError(
                f"{path.name}: {file.name} is {format_shape(signal.values.shape)}, {files[0].name} {format_shape(shape)}; "
                "make all files alike, or give the checkpoint or preset whose shape they shall have"
            )
        if bytes_only and not (kind == "image" and signal.value_range == (0.0, 255.0)):
            bytes_only, values = False, np.divide(values, np.float32(255), dtype=np.float32)
        values[row] = np.rint(signal.values * 255) if bytes_only else signal.values
    rate = 1 / first.spacing[0] if kind == "ecg" and first.spacing else None
    normalisation = spec.normalisation if spec else "dtype" if bytes_only else "range"
    return values, kind, normalisation, (spec.sampling_rate if spec else None) or rate


def _hash_listing(path: Path, files: list[Path]) -> str:
    """SHA-256 over the names and digests of the files read."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(path).as_posix()} {hash_file(file)}\n".encode())
    return digest.hexdigest()
