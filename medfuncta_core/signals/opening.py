"""Opening a volume without reading it: what a file is decides, as in `reading`, but its voxels stay where they are."""

from __future__ import annotations

from pathlib import Path

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.archives import unpack
from medfuncta_core.signals.dicom_places import locate
from medfuncta_core.signals.dicom_series import open_places, open_series
from medfuncta_core.signals.guarding import translated
from medfuncta_core.signals.nifti import open_nifti_volume
from medfuncta_core.signals.reading import is_nifti_file, read_signal
from medfuncta_core.signals.sources import Source, make_source
from medfuncta_core.signals.volume_file import VolumeFile, volume_of_signal


def open_volume(source: str | Path | bytes, name: str | None = None, *, index: int = 0) -> VolumeFile:
    """A NIfTI volume or a DICOM series, its voxels still in the file; volumes of other formats are read.

    Args:
        source: As for `read_signal`.
        name: As for `read_signal`.
        index: Which volume of a 4D file.

    Raises:
        SignalError: whatever is wrong with the file, or if it is no volume.
    """
    opened = make_source(source, name)
    with translated(opened.name, "a volume", "give a NIfTI file, or a folder or .zip of a DICOM series"):
        if opened.path is not None and opened.path.is_dir():
            files = [Source(file.name, path=file) for file in sorted(opened.path.iterdir()) if file.is_file()]
            return open_series(opened.name, files)
        if opened.head(4) == b"PK\x03\x04" and opened.suffix == ".zip":
            files = unpack(opened)
            slices = [file for file in files if file.head(132)[128:] == b"DICM"]
            if len(slices) > 1 or len(files) > 1:
                return open_series(opened.name, slices)
            opened = files[0]
        if is_nifti_file(opened, opened.head(1024)):
            return open_nifti_volume(opened, index)
        places = locate(opened)
        if len(places) > 1:
            return open_places(opened.name, places, [])
        given = opened.path if opened.content is None else opened.content
        assert given is not None  # a source has one of them
        signal = read_signal(given, opened.name, index=index)
        if signal.kind != "volume":
            raise SignalError(f"{opened.name}: holds no volume; give a NIfTI file, or a folder or .zip of a DICOM series")
        return volume_of_signal(signal)
