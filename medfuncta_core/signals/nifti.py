"""NIfTI volumes (.nii, .nii.gz), one frame at a time, with their affine."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from typing import Any, NamedTuple

import numpy as np

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.guarding import check_size, guarded
from medfuncta_core.signals.nifti_orientation import read_orientation
from medfuncta_core.signals.readings import check_index
from medfuncta_core.signals.sources import Source
from medfuncta_core.signals.volume_file import SLAB_VALUES, Slab, VolumeFile

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


def open_nifti_volume(source: Source, index: int = 0) -> VolumeFile:
    """A NIfTI volume in the file's own axis order, its voxels still in the file.

    Args:
        source: The file, compressed or not.
        index: Which frame of a 4D file.

    Returns:
        The volume `(x, y, z, c)`, scl_slope and scl_inter applied, with the affine that the file states (RAS+ mm), if it does.

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
        if int(header.get_data_offset()) < header.template_dtype.itemsize:
            raise SignalError(f"{source.name}: its data is said to begin inside its header; {_REMEDY}")
        slope, intercept = header.get_slope_inter()
        affine, spacing, warnings = read_orientation(header)
    notes = [f"Frame {index + 1} of {frames}."] if frames > 1 else []
    if frames > 1:
        warnings = (f"A 4D file: number {index + 1} of its {frames} volumes was read; index chooses another.", *warnings)
    scaling = None if slope is None or (slope, intercept) == (1.0, 0.0) else (float(slope), float(intercept or 0.0))
    if scaling is not None:
        notes.append(f"Scaled by the file's slope {slope:g} and intercept {intercept:g}.")
    x, y, z = (*shape[:3], *[1] * (3 - len(shape)))
    frame = _Frame(header, (x, y, z), dtype, index, scaling)
    return VolumeFile(
        source.name, (x, y, z), 3 if dtype.fields is not None else 1, lambda: _read_slabs(source, frame), affine=affine,
        spacing=spacing, nominal_range=(0.0, 255.0) if dtype.fields is not None else None, notes=(*notes, *warnings),
        warnings=warnings, total=frames,
    )  # fmt: skip


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


class _Frame(NamedTuple):
    """Where one frame's voxels lie, and what becomes of them: `scaling` is slope and intercept, or None."""

    header: Any
    shape: tuple[int, int, int]
    dtype: np.dtype
    number: int
    scaling: tuple[float, float] | None


def _read_slabs(source: Source, frame: _Frame) -> Iterator[Slab]:
    """The frame's slices in order, `(x, y, k, c)` in file units, unscaled ones in their stored type."""
    x, y, z = frame.shape
    plane, whole = x * y * frame.dtype.itemsize, x * y * z * frame.dtype.itemsize
    slices = max(1, SLAB_VALUES // (x * y))
    with open_nifti(source) as stream:
        with guarded(source.name, "a NIfTI volume", _REMEDY):
            stream.seek(int(frame.header.get_data_offset()) + frame.number * whole)
        for start in range(0, z, slices):
            count = min(slices, z - start)
            with guarded(source.name, "a NIfTI volume", _REMEDY):
                content = stream.read(count * plane)
            if len(content) < count * plane:
                held = start * plane + len(content)
                raise SignalError(
                    f"{source.name}: is truncated: {whole} bytes announced, {held} there; copy or download it again"
                )
            yield Slab(start, _decode_slab(frame, np.frombuffer(content, frame.dtype), count))


def _decode_slab(frame: _Frame, flat: np.ndarray, count: int) -> np.ndarray:
    """Stored numbers as values `(x, y, count, c)`; without scaling a byte stays a byte, so that its range is still known."""
    shape = (*frame.shape[:2], count)
    if frame.dtype.fields is not None:
        raw = np.stack([flat[band].reshape(shape, order="F") for band in ("R", "G", "B")], axis=-1)
    else:
        raw = flat.reshape(shape, order="F")[..., None]
    if frame.scaling is None:
        return raw
    scaled = raw.astype(np.float64 if frame.dtype.itemsize > 2 else np.float32)
    scaled *= frame.scaling[0]
    scaled += frame.scaling[1]
    return scaled
