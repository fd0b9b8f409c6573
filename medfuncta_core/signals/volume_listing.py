"""Which volumes a folder holds: NIfTI files, DICOM series and archives of either; whose they are, and in which split."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from medfuncta_core.errors import DataSetError
from medfuncta_core.signals.folders import SPLIT_FOLDERS
from medfuncta_core.signals.guarding import guarded

PATIENT = r"sub-[A-Za-z0-9]+|BraTS[A-Za-z0-9]*[-_][A-Za-z0-9]*-?\d{4,}|LIDC-IDRI-\d+"
"""Names of patients in the paths of BIDS, BraTS and LIDC-IDRI."""

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ListedVolume:
    """A volume of a folder, not yet read.

    Args:
        key: Path below the folder, the series' number after it where a folder holds several.
        files: The file or archive, or the series' slices.
        patient: What must not be in two splits: PatientID, a patient's name in the path, its folder, or the file's own name.
        split: train, val or test; "" until it is chosen.
        class_name: First folder below the split's, "" when classes are not asked for.
    """

    key: str
    files: tuple[Path, ...]
    patient: str
    split: str = ""
    class_name: str = ""


def list_volumes(folder: Path, *, include: str = "*", patient: str | None = None, classes: bool = False) -> list[ListedVolume]:
    """The volumes below a folder, sorted by path; train, val and test folders on top decide their splits.

    Args:
        folder: With NIfTI files, folders of DICOM slices, .zip archives, at any depth.
        include: Pattern that a file's path below the folder must match, such as `*t1n*`.
        patient: Regular expression for the part of a path that names the patient; None takes DICOM's PatientID or `PATIENT`.
        classes: The first folder (below the split's) names the class.

    Raises:
        DataSetError: if there is no such folder, no volume in it, or the expression is none.
    """
    if not folder.is_dir():
        raise DataSetError(f"{folder}: is not a folder; give the folder that holds the NIfTI files or DICOM series")
    try:
        pattern = re.compile(patient or PATIENT)
    except re.error as error:
        raise DataSetError(f"{patient}: is not a regular expression ({error}); write one such as 'sub-[0-9]+'") from error
    found = [volume for place in _folders(folder) for volume in _list_folder(folder, place, include)]
    if not found:
        raise DataSetError(
            f"{folder}: no .nii, .nii.gz, .zip or DICOM file matches {include!r}; check the folder and the pattern"
        )
    if patient:
        found = [replace(volume, patient="") for volume in found]
    return [_describe(volume, pattern, classes) for volume in sorted(found, key=lambda volume: volume.key)]


def assign_splits(volumes: list[ListedVolume], shares: tuple[float, float, float], seed: int) -> list[ListedVolume]:
    """Give every volume without a split one, whole patients at a time.

    Args:
        volumes: As listed.
        shares: Of patients in train, val and test; each split gets a patient as long as there are enough.
        seed: Same seed and same patients, same splits.

    Raises:
        DataSetError: if only some volumes lie in train, val and test folders.
    """
    loose = [volume for volume in volumes if not volume.split]
    if loose and len(loose) < len(volumes):
        raise DataSetError(f"{loose[0].key}: lies in none of the folders train, val and test, others do; sort all or none")
    if not loose:
        return volumes
    patients = np.random.default_rng(seed).permutation(sorted({volume.patient for volume in volumes})).tolist()
    wanted = [share / sum(shares) * len(patients) for share in shares]
    val, test = (max(round(count), int(count > 0 and len(patients) > 2)) for count in wanted[1:])
    chosen = {name: "test" if n < test else "val" if n < test + val else "train" for n, name in enumerate(patients)}
    return [replace(volume, split=chosen[volume.patient]) for volume in volumes]


def _folders(folder: Path) -> Iterator[Path]:
    """A folder and all below it, hidden ones left out."""
    yield folder
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith((".", "__")):
            yield from _folders(child)


def _list_folder(top: Path, place: Path, include: str) -> list[ListedVolume]:
    """The volumes directly inside a folder."""
    files = [file for file in sorted(place.iterdir()) if file.is_file() and not file.name.startswith(".")]
    files = [file for file in files if fnmatch(file.relative_to(top).as_posix(), include)]
    whole = [file for file in files if file.name.lower().endswith((".nii", ".nii.gz", ".zip"))]
    volumes = [ListedVolume(file.relative_to(top).as_posix(), (file,), "") for file in whole]
    series: dict[str, list[Path]] = {}
    patients: dict[str, str] = {}
    for file in files:
        if file not in whole and file.name.upper() != "DICOMDIR" and _is_dicom(file):
            number, patient = _read_series(file)
            series.setdefault(number, []).append(file)
            patients[number] = patient
    at = place.relative_to(top).as_posix()
    for n, (number, slices) in enumerate(sorted(series.items())):
        key = at if len(series) == 1 else f"{at}#{n + 1}"
        volumes.append(ListedVolume(key if key != "." else top.name, tuple(slices), patients[number]))
    return volumes


def _is_dicom(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _read_series(file: Path) -> tuple[str, str]:
    """A slice's series and patient, "" where they cannot be read: preparing the volume will say why."""
    import pydicom

    try:
        with guarded(file.name, "a DICOM file"):
            tags = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "PatientID"])
            return str(tags.get("SeriesInstanceUID", "")), str(tags.get("PatientID") or "")
    except Exception:
        return "", ""


def _describe(volume: ListedVolume, pattern: re.Pattern[str], classes: bool) -> ListedVolume:
    """The volume with its patient, its split if a folder on top names one, and its class."""
    parts = volume.key.split("/")
    split = next((name for name, folders in SPLIT_FOLDERS.items() if len(parts) > 1 and parts[0].lower() in folders), "")
    below = parts[1:] if split else parts
    class_name = below[0] if classes and len(below) > 1 else ""
    inside = below[1:] if class_name else below
    named = pattern.search(volume.key)
    patient = volume.patient or (named[0] if named else inside[0])
    return replace(volume, patient=patient, split=split, class_name=class_name)
