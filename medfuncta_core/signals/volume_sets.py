"""A folder of volumes becomes a data set in MedMNIST's layout: every volume prepared alike, the recipe kept beside the values."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from medfuncta_core.atomic import write_atomically
from medfuncta_core.config import SignalSpec
from medfuncta_core.errors import DataSetError, MedFunctaError
from medfuncta_core.signals.dicom_series import open_series
from medfuncta_core.signals.guarding import one_line
from medfuncta_core.signals.opening import open_volume
from medfuncta_core.signals.preparing import prepare_signal
from medfuncta_core.signals.sources import Source
from medfuncta_core.signals.streaming import LARGE_VOXELS, prepare_volume
from medfuncta_core.signals.volume_file import VolumeFile
from medfuncta_core.signals.volume_listing import SPLITS, ListedVolume

Depth = Literal["uint8", "uint16", "float32"]

RECIPE_KEY = "recipe"
"""Array of a data set's file that holds the SignalSpec that made it, as JSON."""


@dataclass(frozen=True)
class PreparedVolume:
    """One volume of a folder, prepared or left out.

    Args:
        listed: Which.
        part: File with its values; None when it was left out.
        warnings: What is doubtful about it.
        reason: Why it was left out, "" when it was not.
    """

    listed: ListedVolume
    part: Path | None
    warnings: tuple[str, ...] = ()
    reason: str = ""


def prepare_volumes(
    volumes: Sequence[ListedVolume], spec: SignalSpec, out: Path, depth: Depth = "uint8"
) -> Iterator[PreparedVolume]:
    """Prepare volumes one by one; what an earlier, interrupted call prepared of the same files is taken over.

    Args:
        volumes: With their splits.
        spec: What they become.
        out: The data set's file, beside which parts are kept until `write_volume_set` made one of them.
        depth: How values are stored: [0, 1] as bytes, 16 bits or floats.

    Yields:
        Every volume in order, those that cannot be read too.
    """
    for volume in volumes:
        part = _parts_of(out) / f"{_fingerprint(volume, spec, depth)}.npz"
        try:
            if not part.is_file():
                _prepare_part(volume, spec, depth, part)
            with np.load(part) as kept:
                warnings = tuple(str(text) for text in kept["warnings"])
            yield PreparedVolume(volume, part, warnings)
        except MedFunctaError as error:
            yield PreparedVolume(volume, None, reason=one_line(error, 300).removeprefix(f"{volume.key}: "))


def write_volume_set(prepared: Sequence[PreparedVolume], spec: SignalSpec, out: Path) -> Path:
    """One file of all parts, whole or not at all: `{split}_images`, `_patient`, `_file`, `_labels` of classes, and the recipe.

    Args:
        prepared: Drained from `prepare_volumes`; those left out are passed over.
        spec: What they became.
        out: Ends in .npz.

    Raises:
        DataSetError: if no volume was prepared, or the file cannot be written.
    """
    kept = [volume for volume in prepared if volume.part is not None]
    if not kept:
        reason = f"; the first one: {prepared[0].reason}" if prepared else ""
        raise DataSetError(f"{out.name}: none of {len(prepared)} volumes could be prepared{reason}")
    classes = sorted({volume.listed.class_name for volume in kept} - {""})
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for split in SPLITS:
                _write_split(archive, split, [volume for volume in kept if volume.listed.split == split], classes)
            if classes:
                _write_array(archive, "class_names", np.array(classes))
            _write_array(archive, RECIPE_KEY, np.array(spec.model_dump_json()))
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(out)
    except OSError as error:
        raise DataSetError(f"{out}: cannot be written ({one_line(error)}); choose another place or free some space") from error
    finally:
        temporary.unlink(missing_ok=True)
    shutil.rmtree(_parts_of(out), ignore_errors=True)
    return out


def _parts_of(out: Path) -> Path:
    return out.with_name(f".{out.name}.parts")


def _fingerprint(volume: ListedVolume, spec: SignalSpec, depth: Depth) -> str:
    """What a part depends on: its files as they are now, the recipe, and how values are stored."""
    digest = hashlib.sha256(f"{spec.model_dump_json()} {depth} {volume.key}".encode())
    for file in volume.files:
        state = file.stat()
        digest.update(f"{file.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _prepare_part(volume: ListedVolume, spec: SignalSpec, depth: Depth, part: Path) -> None:
    """Read, prepare and store one volume with its warnings."""
    opened = _open(volume)
    signal = prepare_volume(opened, spec) if opened.voxels > LARGE_VOXELS else prepare_signal(opened.read(), spec)
    values = signal.values[..., 0] if signal.channels == 1 else signal.values
    if depth != "float32":
        values = np.rint(values.astype(np.float64) * np.iinfo(depth).max).astype(depth)
    stream = io.BytesIO()
    np.savez_compressed(stream, values=values, warnings=np.array(signal.warnings, dtype=np.str_))
    write_atomically(part, stream.getvalue(), DataSetError)


def _open(volume: ListedVolume) -> VolumeFile:
    """The volume's file, archive or slices; errors and notes call it by its path below the folder."""
    if len(volume.files) == 1:
        return open_volume(volume.files[0], volume.key if "#" not in volume.key else None)
    return open_series(volume.key, [Source(file.name, path=file) for file in volume.files])


def _write_split(archive: zipfile.ZipFile, split: str, volumes: list[PreparedVolume], classes: list[str]) -> None:
    """A split's arrays, its images one after the other so that only one is in memory."""
    if not volumes:
        return
    first = _read_part(volumes[0])
    header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False}
    with archive.open(f"{split}_images.npy", "w", force_zip64=True) as stream:
        np.lib.format.write_array_header_1_0(stream, header | {"shape": (len(volumes), *first.shape)})
        for volume in volumes:
            stream.write(np.ascontiguousarray(_read_part(volume)).tobytes())
    _write_array(archive, f"{split}_patient", np.array([volume.listed.patient for volume in volumes]))
    _write_array(archive, f"{split}_file", np.array([volume.listed.key for volume in volumes]))
    if classes and all(volume.listed.class_name for volume in volumes):
        labels = np.array([[classes.index(volume.listed.class_name)] for volume in volumes], dtype=np.int64)
        _write_array(archive, f"{split}_labels", labels)


def _read_part(volume: PreparedVolume) -> np.ndarray:
    assert volume.part is not None  # only prepared volumes are written
    with np.load(volume.part) as kept:
        return kept["values"]


def _write_array(archive: zipfile.ZipFile, key: str, values: np.ndarray) -> None:
    with archive.open(f"{key}.npy", "w") as stream:
        np.lib.format.write_array(stream, values, allow_pickle=False)
