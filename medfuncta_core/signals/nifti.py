"""NIfTI volumes (.nii, .nii.gz), one frame at a time, with their affine."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from typing import Any

import numpy as np

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.guarding import check_size, guarded
from medfuncta_core.signals.normalising import make_signal
from medfuncta_core.signals.readings import Reading, check_index
from medfuncta_core.signals.sources import Source

_HEADER_BYTES = 540
_REMEDY = "check that the file is whole, or convert it again"


def is_nifti(head: bytes) -> bool:
    """Whether a file's first 540 bytes (after decompression) are a NIfTI-1 or NIfTI-2 header of a single file."""
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


@contextmanager
def open_nifti(source: Source) -> Iterator[BufferedIOBase]:
    """The file's bytes after decompression, if it is compressed."""
    with source.open() as stream:
        if source.head(2) == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=stream) as content:
                yield content
        else:
            yield stream


def read_nifti(source: Source, index: int) -> Reading:
    """A NIfTI volume in the file's own axis order.

    Args:
        source: The file, compressed or not.
        index: Which frame of a 4D file.

    Returns:
        The volume `(x, y, z, c)`, scl_slope and scl_inter applied, with its affine (RAS+ mm); an image for a single slice.

    Raises:
        SignalError: if it is damaged, too large, complex or has more axes than frames of volumes.
    """
    with guarded(source.name, "a NIfTI volume", _REMEDY), open_nifti(source) as stream:
        header = _read_header(source.name, stream)
        shape = tuple(int(length) for length in header.get_data_shape())
        dtype = header.get_data_dtype()
        check_size(source.name, shape, dtype.itemsize)
        check_size(source.name, shape[:3], 4)
        if dtype.kind == "c":
            raise SignalError(f"{source.name}: holds complex numbers; save the magnitude instead")
        frames = int(np.prod(shape[3:], dtype=np.int64))
        check_index(source.name, index, frames, "frame")
        volume_shape = (*shape[:3], *[1] * (3 - len(shape)))
        raw = _read_frame(source.name, stream, header, volume_shape, dtype, index)
        slope, intercept = header.get_slope_inter()
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    notes = [f"Frame {index + 1} of {frames}."] if frames > 1 else []
    nominal = (0.0, 255.0) if dtype.fields is not None else None
    # Without scaling a byte stays a byte, so that its range is still known further on.
    if slope is not None and (slope, intercept) != (1.0, 0.0):
        raw = raw.astype(np.float64 if dtype.itemsize > 2 else np.float32)
        raw *= slope
        raw += intercept or 0.0
        notes.append(f"Scaled by the file's slope {slope:g} and intercept {intercept:g}.")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        affine = np.eye(4)
        notes.append("Its affine is unusable; voxels of 1 mm in RAS order were assumed.")
    spacing = tuple(float(step) for step in np.sqrt((affine[:3, :3] ** 2).sum(axis=0)))
    signal = make_signal(
        raw, "volume", source.name, nominal_range=nominal, full_depth=False, notes=tuple(notes),
        spacing=spacing, spacing_unit="mm", affine=affine, original_shape=shape,
    )  # fmt: skip
    return Reading(signal, frames)


def _read_header(name: str, stream: BufferedIOBase) -> Any:
    """The header, of either version and byte order, without nibabel's own checks, which print."""
    import nibabel

    head = stream.read(_HEADER_BYTES)
    if not is_nifti(head):
        raise SignalError(f"{name}: is not a single-file NIfTI; convert it to .nii or .nii.gz")
    kind = nibabel.Nifti2Header if head[4:8] == b"n+2\0" else nibabel.Nifti1Header
    if len(head) < kind.template_dtype.itemsize:
        raise SignalError(f"{name}: is truncated inside its header; copy or download it again")
    header = kind(head[: kind.template_dtype.itemsize], check=False)
    shape = header.get_data_shape()
    if not 2 <= len(shape) <= 7:
        raise SignalError(f"{name}: has {len(shape)} axes; a volume has three, or four with frames")
    return header


def _read_frame(
    name: str, stream: BufferedIOBase, header: Any, shape: tuple[int, ...], dtype: np.dtype, index: int
) -> np.ndarray:
    """One frame `(x, y, z, c)` in its stored type, reading no more of the file than that needs."""
    count = int(np.prod(shape, dtype=np.int64))
    start = int(header.get_data_offset()) + index * count * dtype.itemsize
    if start < _HEADER_BYTES and int(header.get_data_offset()) < header.template_dtype.itemsize:
        raise SignalError(f"{name}: its data is said to begin inside its header; {_REMEDY}")
    stream.seek(start)
    content = stream.read(count * dtype.itemsize)
    if len(content) < count * dtype.itemsize:
        raise SignalError(
            f"{name}: is truncated: {count * dtype.itemsize} bytes announced, {len(content)} there; copy or download it again"
        )
    flat = np.frombuffer(content, dtype)
    if dtype.fields is not None:
        colours = [flat[band].reshape(shape, order="F") for band in ("R", "G", "B")]
        return np.stack(colours, axis=-1)
    return flat.reshape(shape, order="F")[..., None]
