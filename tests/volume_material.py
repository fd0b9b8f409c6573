"""Volumes as visitors have them: the real files where they are there, else small ones made here."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import nibabel
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

RAW = Path(__file__).resolve().parents[2] / "shared" / "data" / "raw"
OBLIQUE = np.array([[-1.9, 0.3, 0.1, 20.0], [0.2, 1.4, -0.5, -11.0], [0.1, 0.4, 2.4, 5.0], [0, 0, 0, 1.0]])
"""Anisotropic, left-handed and turned against the axes."""


def blob(shape: tuple[int, int, int]) -> np.ndarray:
    """A bright ball that is off the middle, so that nothing can be mirrored unseen."""
    axes = np.meshgrid(*(np.linspace(0, 1, points) for points in shape), indexing="ij")
    return np.exp(-sum((axis - place) ** 2 for axis, place in zip(axes, (0.35, 0.6, 0.45), strict=True)) / 0.06)


def nifti(values: np.ndarray, affine: np.ndarray, folder: Path) -> bytes:
    """A compressed NIfTI file."""
    file = folder / "made.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), affine), file)
    return file.read_bytes()


def hippocampus(folder: Path) -> bytes:
    """An MRI of a hippocampus."""
    file = RAW / "hippocampus_190.nii.gz"
    return file.read_bytes() if file.is_file() else nifti(1000 * blob((11, 13, 9)), OBLIQUE, folder)


def computed_tomogram(folder: Path) -> bytes:
    """A CT in Hounsfield units."""
    file = RAW / "example_ct.nii.gz"
    return file.read_bytes() if file.is_file() else nifti(1500 * blob((12, 10, 11)) - 1000, np.diag([3.0, 3, 3, 1]), folder)


def real_series() -> bytes:
    """The real series of CT slices where it is there, else a made one; zipped."""
    folder = RAW / "dicom_series"
    return _zip({file.name: file.read_bytes() for file in folder.iterdir()}) if folder.is_dir() else zipped_series()


def zipped_series(missing: tuple[int, ...] = (), tilt: float = 0.0) -> bytes:
    """A made series of CT slices, zipped.

    Args:
        missing: Numbers of slices left out.
        tilt: Millimetres that each slice is shifted against the one before, as a tilted gantry does.
    """
    planes = enumerate(np.moveaxis(1500 * blob((12, 10, 6)) - 1000, 2, 0))
    return _zip({f"{number}.dcm": _slice(plane, number, tilt) for number, plane in planes if number not in missing})


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            archive.writestr(name, files[name])
    return buffer.getvalue()


def _slice(plane: np.ndarray, number: int, tilt: float) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number}")
    ct = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ct.SOPClassUID, ct.SOPInstanceUID, ct.SeriesInstanceUID, ct.Modality = CTImageStorage, f"1.2.3.{number}", "1.2.3", "CT"
    ct.Rows, ct.Columns, ct.SamplesPerPixel, ct.PhotometricInterpretation = plane.shape[1], plane.shape[0], 1, "MONOCHROME2"
    ct.BitsAllocated, ct.BitsStored, ct.HighBit, ct.PixelRepresentation = 16, 16, 15, 1
    ct.RescaleSlope, ct.RescaleIntercept, ct.PixelSpacing = 1, 0, [0.7, 0.7]
    ct.ImageOrientationPatient, ct.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, tilt * number, 1.2 * number]
    ct.PixelData = plane.T.astype("<i2").tobytes()
    buffer = io.BytesIO()
    ct.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
