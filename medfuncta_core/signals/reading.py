"""Any supported file to a `Signal`: what a file *is* decides, its extension only where the bytes do not tell."""

from __future__ import annotations

from pathlib import Path

from medfuncta_core.config import SignalSpec
from medfuncta_core.errors import SignalError
from medfuncta_core.signals.archives import unpack
from medfuncta_core.signals.guarding import MAX_ARCHIVE_MEMBERS, guarded, translated
from medfuncta_core.signals.preparing import count_parts, prepare_signal
from medfuncta_core.signals.readings import Reading
from medfuncta_core.signals.signal import Signal
from medfuncta_core.signals.sources import Source, make_source
from medfuncta_core.signals.streaming import LARGE_VOXELS, prepare_volume
from medfuncta_core.signals.volume_file import VolumeFile

_PICTURES = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF8", b"BM", b"RIFF", b"\0\0\0\x0cjP",
    b"\xff\x4f\xff\x51", b"P4", b"P5", b"P6",
)  # fmt: skip
_PICTURE_NAMES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".jp2")
_RECORD_NAMES = (".hea", ".dat", ".atr")
_TABLE_NAMES = (".csv", ".tsv", ".txt")
_DICOM_NAMES = (".dcm", ".dicom", ".ima", "")
_SUPPORTED = "give PNG, JPEG, TIFF, DICOM, NIfTI, WFDB, CSV, .npy or .npz"


def read_signal(source: str | Path | bytes, name: str | None = None, *, spec: SignalSpec | None = None, index: int = 0) -> Signal:
    """Read one ECG, image or volume.

    Args:
        source: Path of a file; of a folder with a DICOM series or one WFDB record; or a file's bytes. A .zip holds a DICOM
            series, a WFDB record or one file.
        name: What to call it; required for bytes, whose extension hints at the format.
        spec: What a checkpoint expects: the signal is brought there by `prepare_signal`.
        index: Which beat, row, frame, page or slice where there are several; `count_signals` says how many.

    Returns:
        The signal; without `spec` as the file has it, mapped to [0, 1] and nothing more.

    Raises:
        SignalError: whatever is wrong with the file, in one line with its name and the remedy.
    """
    opened = _open(source, name)
    with translated(opened.name, "a signal", _SUPPORTED):
        reading = _read(opened, index, spec)
        if spec is None:
            return reading.signal
        return prepare_signal(reading.signal, spec, index=0 if reading.total > 1 else index)


def count_signals(source: str | Path | bytes, name: str | None = None, spec: SignalSpec | None = None) -> int:
    """How many signals `index` of `read_signal` chooses among: rows, frames, pages, heartbeats or slices.

    Args:
        source: As for `read_signal`.
        name: As for `read_signal`.
        spec: As for `read_signal`; a record has one signal as it is, and many heartbeats for an ECG checkpoint.

    Returns:
        At least 1.

    Raises:
        SignalError: as `read_signal`.
    """
    opened = _open(source, name)
    with translated(opened.name, "a signal", _SUPPORTED):
        reading = _read(opened, 0, spec)
        return reading.total if reading.total > 1 or spec is None else count_parts(reading.signal, spec)


def _open(source: str | Path | bytes, name: str | None) -> Source:
    """The source, a WFDB record's name without extension standing for its header."""
    if isinstance(source, str | Path):
        header = Path(f"{Path(source).expanduser()}.hea")
        try:
            if not Path(source).expanduser().exists() and header.is_file():
                source = header
        except (OSError, ValueError):
            pass
    return make_source(source, name)


def _read(source: Source, index: int, spec: SignalSpec | None) -> Reading:
    """The signal as the file has it, and how many the file itself counts."""
    if index < 0:
        raise SignalError(f"{source.name}: index {index} is negative; count from 0")
    if source.path is not None and source.path.is_dir():
        return _read_folder(source, index, spec)
    if source.path is not None and not source.path.is_file():
        raise SignalError(f"{source.name}: is not a regular file; give a file or folder")
    if source.byte_count == 0:
        raise SignalError(f"{source.name}: is empty (0 bytes); copy or download it again")
    return _read_file(source, index, spec)


def _read_file(source: Source, index: int, spec: SignalSpec | None) -> Reading:
    """One file, by its first bytes, then by its extension."""
    head, suffix = source.head(1024), source.suffix
    volume_wanted = spec is not None and spec.kind == "volume"
    if head[128:132] == b"DICM":
        return _read_dicom(source, index, spec)
    if head.startswith(b"\x93NUMPY"):
        from medfuncta_core.signals.array_signals import read_npy

        return read_npy(source, index, spec)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _read_zip(source, index, spec)
    if is_nifti_file(source, head):
        from medfuncta_core.signals.nifti import open_nifti_volume

        return _read_volume(open_nifti_volume(source, index), spec)
    if suffix in _RECORD_NAMES:
        from medfuncta_core.signals.wfdb_records import read_record

        return read_record(source)
    if suffix in _TABLE_NAMES and not head.startswith(_PICTURES[:8]):
        from medfuncta_core.signals.tables import read_csv

        return read_csv(source, index, spec.shape[0] if spec is not None and spec.kind == "ecg" else None)
    if head.startswith(_PICTURES) or suffix in _PICTURE_NAMES:
        from medfuncta_core.signals.images import read_image

        return read_image(source, index, stack=volume_wanted)
    if suffix in _DICOM_NAMES:
        return _read_dicom(source, index, spec)
    raise SignalError(f"{source.name}: {_describe_unknown(suffix)}; {_SUPPORTED}")


def _describe_unknown(suffix: str) -> str:
    """Why a file that no reader recognised was not."""
    announced = {
        ".nii": "is not the NIfTI volume its name announces",
        ".nii.gz": "is not the NIfTI volume its name announces",
        ".gz": "is not a compressed NIfTI volume",
        ".npy": "is not the .npy array its name announces",
        ".npz": "is not the .npz archive its name announces",
        ".zip": "is not the .zip archive its name announces",
    }
    return announced.get(suffix, "is of a kind that is not known here") + ", or its beginning is damaged"


def is_nifti_file(source: Source, head: bytes) -> bool:
    """Whether the bytes, decompressed where need be, begin as a NIfTI file does."""
    from medfuncta_core.signals.nifti import is_nifti, open_nifti

    if not head.startswith(b"\x1f\x8b"):
        return is_nifti(head)
    with guarded(source.name, "a compressed file"), open_nifti(source) as stream:
        return is_nifti(stream.read(540))


def _read_dicom(source: Source, index: int, spec: SignalSpec | None) -> Reading:
    """A DICOM file, its frames stacked if the checkpoint is for volumes, or if they say where they lie."""
    from medfuncta_core.signals.dicom import read_dicom
    from medfuncta_core.signals.dicom_places import locate
    from medfuncta_core.signals.dicom_series import open_places

    places = locate(source)
    if len(places) > 1:
        return _read_volume(open_places(source.name, places, []), spec)
    stack = None if spec is None else spec.kind == "volume"
    return read_dicom(source, index, stack=stack)


def _read_volume(volume: VolumeFile, spec: SignalSpec | None) -> Reading:
    """A volume as the file has it; one too large to copy around is brought to the checkpoint's grid while it is read."""
    if spec is not None and spec.kind == "volume" and volume.voxels > LARGE_VOXELS:
        return Reading(prepare_volume(volume, spec), volume.total)
    return Reading(volume.read(), volume.total)


def _read_zip(source: Source, index: int, spec: SignalSpec | None) -> Reading:
    """A .npz, or an archive of files."""
    import zipfile

    with (
        guarded(source.name, "a .zip archive", "zip the files again"),
        source.open() as stream,
        zipfile.ZipFile(stream) as archive,
    ):
        names = archive.namelist()
    if source.suffix == ".npz" or (names and all(name.endswith(".npy") for name in names)):
        from medfuncta_core.signals.array_signals import read_npz

        return read_npz(source, index, spec)
    return _read_together(source.name, unpack(source), index, spec)


def _read_folder(source: Source, index: int, spec: SignalSpec | None) -> Reading:
    """A folder's DICOM series or WFDB record."""
    assert source.path is not None
    inside = sorted(child for child in source.path.iterdir() if child.is_file() and not child.name.startswith("."))
    if not inside:
        raise SignalError(f"{source.name}: is a folder without files; choose the folder that directly holds a series' files")
    if len(inside) > MAX_ARCHIVE_MEMBERS:
        raise SignalError(f"{source.name}: holds {len(inside)} files, more than {MAX_ARCHIVE_MEMBERS}; keep one series a folder")
    return _read_together(source.name, [Source(child.name, path=child) for child in inside], index, spec)


def _read_together(name: str, files: list[Source], index: int, spec: SignalSpec | None) -> Reading:
    """Files that belong together: slices of a series, parts of a record, or a single one."""
    slices = [file for file in files if file.head(132)[128:] == b"DICM" and file.name.upper() != "DICOMDIR"]
    headers = [file for file in files if file.suffix == ".hea"]
    if len(slices) > 1:
        from medfuncta_core.signals.dicom_series import open_series

        return _read_volume(open_series(name, slices), spec)
    if headers:
        from medfuncta_core.signals.wfdb_records import read_record, read_record_archive

        if headers[0].content is not None:
            return read_record_archive(name, files)
        if len(headers) == 1:
            return read_record(headers[0])
        raise SignalError(f"{name}: holds {len(headers)} WFDB records; give the .hea file of one of them")
    single = slices or files
    if len(single) != 1:
        raise SignalError(f"{name}: holds {len(files)} files that are no DICOM series or WFDB record; give one of them")
    if single[0].suffix == ".zip":
        raise SignalError(f"{name}: holds another .zip; unpack it and give the inner one")
    if single[0].byte_count == 0:
        raise SignalError(f"{name}: its only file {single[0].name} is empty; zip it again")
    return _read_file(single[0], index, spec)
