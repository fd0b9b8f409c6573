"""DICOM files: one slice, one picture or several frames, in the units that their rescale gives."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.guarding import MAX_DECODED_BYTES, check_size, guarded, one_line
from medfuncta_core.signals.normalising import make_signal
from medfuncta_core.signals.readings import Reading, check_index
from medfuncta_core.signals.sources import Source

_DEFLATED = "1.2.840.10008.1.2.1.99"
_REMEDY = "check that the file is whole, or export it again"


def read_dicom(source: Source, index: int, *, stack: bool | None = None) -> Reading:
    """A DICOM file's picture.

    Args:
        source: The file.
        index: Which frame, when frames are not stacked.
        stack: Make a volume `(column, row, frame)` of all frames; None does so when the file gives their distance.

    Returns:
        The image `(rows, columns, c)` after modality rescale, with the file's display window as its nominal range;
        MONOCHROME1 is turned so that larger values are brighter.

    Raises:
        SignalError: if it is damaged, too large, has no pixels, or is compressed in a way that cannot be decoded here.
    """
    with guarded(source.name, "a DICOM file", _REMEDY):
        dataset = open_dataset(source)
        frames = frame_count(dataset)
        spacing = pixel_spacing(dataset)
        depth = frame_distance(dataset)
        grey = int(dataset.get("SamplesPerPixel", 1)) == 1
        stack = frames > 1 and grey and (depth is not None if stack is None else stack)
        if not stack:
            check_index(source.name, index, frames, "frame")
        pixels = decode(source.name, dataset, None if stack or frames == 1 else index)
        nominal, unit, inverted = display_window(dataset), value_unit(dataset), is_inverted(dataset)
    notes = [f"Frame {index + 1} of {frames}."] if frames > 1 and not stack else []
    if nominal is not None:
        notes.append(f"Its display window is {nominal[0]:g} to {nominal[1]:g}{f' {unit}' if unit else ''}.")
    if inverted:
        notes.append("MONOCHROME1: inverted so that larger values are brighter.")
    if pixels.dtype == np.uint8 and pixels.ndim > 2 and not grey:
        nominal = (0.0, 255.0)
    shared: dict[str, Any] = {
        "nominal_range": nominal,
        "inverted": inverted,
        "full_depth": False,
        "unit": unit,
        "spacing_unit": "mm" if spacing else "",
    }
    if stack:
        volume = np.moveaxis(pixels, (0, 1, 2), (2, 1, 0))
        steps = (*reversed(spacing or (1.0, 1.0)), depth or 1.0)
        warnings = ["The file does not say where its frames lie in the patient: left and right are unknown."]
        if depth is None:
            warnings.append("The file does not say how far apart its frames lie; 1 mm was assumed.")
        notes += [f"Stacked {frames} frames to a volume.", *warnings]
        shared |= {"spacing": steps, "spacing_unit": "mm", "warnings": tuple(warnings), "original_shape": pixels.shape}
        return Reading(make_signal(volume[..., None], "volume", source.name, notes=tuple(notes), **shared), 1)
    values = pixels[..., None] if pixels.ndim == 2 else pixels
    signal = make_signal(values, "image", source.name, notes=tuple(notes), spacing=spacing, original_shape=pixels.shape, **shared)
    return Reading(signal, frames)


def open_dataset(source: Source) -> Any:
    """The file's tags, pixels not yet decoded; every size it claims is within the limits.

    Raises:
        SignalError: if there are no pixels, or it claims too many.
    """
    import pydicom

    _check_deflated(source)
    with source.open() as stream:
        dataset = pydicom.dcmread(stream, force=source.head(132)[128:] != b"DICM")
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if not rows or not columns or not any(key in dataset for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise SignalError(
            f"{source.name}: is DICOM without a picture (a report, structure or truncated file); choose an image file"
        )
    samples, bits = int(dataset.get("SamplesPerPixel", 1)), int(dataset.get("BitsAllocated", 16))
    check_size(source.name, (frame_count(dataset), int(rows), int(columns), samples), max(bits // 8, 4))
    return dataset


def decode(name: str, dataset: Any, frame: int | None) -> np.ndarray:
    """Pixels of one frame (or all) in the unit that the modality rescale gives, `(…, rows, columns[, 3])`.

    Raises:
        SignalError: if no decoder for their compression is installed, or the data is shorter than announced.
    """
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import UID

    syntax = UID(str(getattr(dataset.file_meta, "TransferSyntaxUID", ""))) if hasattr(dataset, "file_meta") else UID("")
    if not syntax:
        dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2")
    try:
        pixels = pixel_array(dataset, index=frame)
    except (RuntimeError, NotImplementedError) as error:
        compressed = bool(syntax) and not syntax.is_private and syntax.is_compressed
        how = f"compressed as {syntax.name}" if compressed else "stored in a way"
        raise SignalError(
            f"{name}: {how} that cannot be decoded here ({one_line(error, 80)}); save it uncompressed (dcmdjpeg, gdcmconv --raw)"
        ) from error
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        coloured = apply_color_lut(pixels, dataset)
        return (coloured >> 8).astype(np.uint8) if coloured.dtype == np.uint16 else coloured
    if int(dataset.get("SamplesPerPixel", 1)) > 1:
        return pixels[..., :3]
    if "ModalityLUTSequence" in dataset or "RescaleSlope" in dataset:
        slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
        if "ModalityLUTSequence" not in dataset and (slope, intercept) == (1, 0):
            return pixels
        return np.asarray(apply_modality_lut(pixels, dataset))
    return pixels


def frame_count(dataset: Any) -> int:
    """Frames in the file, at least 1."""
    return max(int(dataset.get("NumberOfFrames") or 1), 1)


def pixel_spacing(dataset: Any) -> tuple[float, float] | None:
    """Millimetres between rows and between columns, or None."""
    for key in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        steps = [float(step) for step in dataset.get(key) or ()]
        if len(steps) == 2 and all(np.isfinite(step) and step > 0 for step in steps):
            return steps[0], steps[1]
    return None


def frame_distance(dataset: Any) -> float | None:
    """Millimetres between frames, or None."""
    for key in ("SpacingBetweenSlices", "SliceThickness"):
        value = dataset.get(key)
        if value not in (None, "") and np.isfinite(float(value)) and float(value) > 0:
            return float(value)
    return None


def display_window(dataset: Any) -> tuple[float, float] | None:
    """The first display window's ends in rescaled units (DICOM PS3.3 C.11.2.1.2.1), or None."""
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if centre is None or width is None or not np.isfinite(centre + width) or width <= 1:
        return None
    return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2


def value_unit(dataset: Any) -> str:
    """HU for CT, or the unit of the rescale where it is one, or ""."""
    kind = str(dataset.get("RescaleType") or ("HU" if dataset.get("Modality") == "CT" else ""))
    return "" if kind == "US" else kind


def is_inverted(dataset: Any) -> bool:
    """Whether the file shows its smallest value as white."""
    return dataset.get("PhotometricInterpretation") == "MONOCHROME1"


def _first(value: Any) -> float | None:
    """The first number of a DICOM value that may hold several, or None."""
    values = list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    return None if not values or values[0] in (None, "") else float(values[0])


def _check_deflated(source: Source) -> None:
    """Refuse a deflated data set that would inflate beyond the limit, which pydicom would do in one go.

    Raises:
        SignalError: if it does.
    """
    if _DEFLATED.encode() not in source.head(4096):
        return
    with source.open() as stream:
        content = stream.read()
    inflated = 0
    from pydicom.filereader import read_file_meta_info

    with source.open() as stream:
        meta = read_file_meta_info(stream)  # pyright: ignore[reportArgumentType]
    start = 128 + 4 + 12 + int(meta.FileMetaInformationGroupLength)
    inflater, pending = zlib.decompressobj(-zlib.MAX_WBITS), io.BytesIO(content[start:])
    while piece := pending.read(1 << 16):
        while piece:
            inflated += len(inflater.decompress(piece, 1 << 24))
            piece = inflater.unconsumed_tail
            if inflated > MAX_DECODED_BYTES:
                raise SignalError(f"{source.name}: inflates to more than {MAX_DECODED_BYTES / 2**30:g} GiB; save it uncompressed")
