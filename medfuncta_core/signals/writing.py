"""Signals to files, in the units they were read in, whole or not at all."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medfuncta_core.atomic import write_atomically
from medfuncta_core.errors import SignalError
from medfuncta_core.signals.normalising import to_file_units
from medfuncta_core.signals.signal import Signal


def write_signal(signal: Signal, path: str | Path) -> Path:
    """Write a signal in the format that the extension names.

    Values are written in the file's own unit, `low + v * (high - low)`. A .png holds whole numbers only: signals of 0 to
    255 or 0 to 65535 keep theirs, others get their [0, 1] spread over 16 bits (grey) or 8 (RGB). For a reconstruction at
    another resolution build the signal with `with_values`, which scales spacing and affine.

    Args:
        signal: Any signal.
        path: Ends in .npy `(*shape, c)` (without the channel axis if c is 1), .png or .tiff (images), .nii or .nii.gz
            (volumes, with affine), .csv (an ECG as a row per channel, a grey image as its rows). Its folder must exist.

    Returns:
        The path.

    Raises:
        SignalError: if the format is unknown, cannot hold this kind of signal, or the file cannot be written.
    """
    target = Path(path)
    name = target.name.lower()
    suffix = ".nii.gz" if name.endswith(".nii.gz") else target.suffix.lower()
    if suffix not in _WRITERS:
        raise SignalError(f"{target.name}: cannot write {suffix or 'a file without extension'}; choose {', '.join(_WRITERS)}")
    kinds, encode = _WRITERS[suffix]
    if signal.kind not in kinds:
        fitting = ", ".join(known for known, (held, _) in _WRITERS.items() if signal.kind in held)
        raise SignalError(f"{target.name}: {suffix} does not hold a signal of kind {signal.kind}; choose {fitting}")
    if not target.parent.is_dir():
        raise SignalError(f"{target}: cannot be written (its folder is not there); make the folder first, or choose another")
    return write_atomically(target, encode(signal), SignalError)


def _plain(values: np.ndarray) -> np.ndarray:
    """Values without a channel axis of one."""
    return values[..., 0] if values.shape[-1] == 1 else values


def _encode_npy(signal: Signal) -> bytes:
    stream = io.BytesIO()
    np.save(stream, _plain(to_file_units(signal)), allow_pickle=False)
    return stream.getvalue()


def _encode_png(signal: Signal) -> bytes:
    from PIL import Image

    grey = signal.channels == 1
    if signal.channels not in (1, 3):
        raise SignalError(f"{signal.name}: a .png holds 1 or 3 channels, not {signal.channels}; choose .npy")
    high = 255 if signal.value_range == (0.0, 255.0) or not grey else 65535
    stored = np.rint(_plain(np.clip(signal.values, 0, 1)).astype(np.float64) * high).astype(
        np.uint8 if high == 255 else np.uint16
    )
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(stream, "PNG")
    return stream.getvalue()


def _encode_tiff(signal: Signal) -> bytes:
    import tifffile

    values = _plain(to_file_units(signal))
    depths = {(0.0, 255.0): np.uint8, (0.0, 65535.0): np.uint16}
    depth = depths.get(signal.value_range)
    stored = np.rint(values).astype(depth) if depth else values.astype(np.float32)
    photometric = "rgb" if signal.channels == 3 else "minisblack"
    stream = io.BytesIO()
    tifffile.imwrite(stream, stored, photometric=photometric, metadata=None)
    return stream.getvalue()


def _encode_nifti(signal: Signal) -> bytes:
    import nibabel

    values = _plain(to_file_units(signal)).astype(np.float32)
    image = nibabel.Nifti1Image(values, signal.affine)
    if signal.affine is None:  # form codes 0: a reader is not told an orientation that nobody knows
        image.header.set_zooms((*(signal.spacing or (1.0, 1.0, 1.0)), *[1.0] * (values.ndim - 3)))
    image.header.set_xyzt_units("mm")
    return image.to_bytes()


def _encode_csv(signal: Signal) -> bytes:
    values = to_file_units(signal)
    if signal.kind == "image" and signal.channels != 1:
        raise SignalError(f"{signal.name}: a .csv holds grey images only; choose .png or .npy")
    rows = values.T if signal.kind == "ecg" else values[..., 0]
    stream = io.StringIO()
    np.savetxt(stream, rows, delimiter=",", fmt="%.9g")
    return stream.getvalue().encode()


_WRITERS: dict[str, tuple[tuple[str, ...], Callable[[Signal], bytes]]] = {
    ".npy": (("ecg", "image", "volume"), _encode_npy),
    ".png": (("image",), _encode_png),
    ".tiff": (("image",), _encode_tiff),
    ".tif": (("image",), _encode_tiff),
    ".nii.gz": (("volume",), lambda signal: gzip.compress(_encode_nifti(signal), compresslevel=6)),
    ".nii": (("volume",), _encode_nifti),
    ".csv": (("ecg", "image"), _encode_csv),
}
