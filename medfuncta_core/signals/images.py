"""Pictures: PNG, JPEG, TIFF and their kin, at the depth they were stored in."""

from __future__ import annotations

from typing import IO, Any, cast

import numpy as np

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.guarding import check_size, format_shape, guarded
from medfuncta_core.signals.normalising import make_signal
from medfuncta_core.signals.readings import Reading, check_index
from medfuncta_core.signals.sources import Source

# Left out on purpose: formats that Pillow hands to other programs (EPS) and those no scanner writes.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")

_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258


def read_image(source: Source, index: int, *, stack: bool = False) -> Reading:
    """A picture, or one page of several.

    Args:
        source: The file.
        index: Which page.
        stack: Make a volume of all grey pages instead.

    Returns:
        The image `(height, width, 1 or 3)`; 8 and 16 bits as stored, alpha laid over black, turned as its EXIF data says.

    Raises:
        SignalError: if it is damaged, too large, or no picture at all.
    """
    from PIL import Image

    with guarded(source.name, "an image"), source.open() as stream:
        try:
            picture = Image.open(cast(IO[bytes], stream), formats=FORMATS)
        except Image.UnidentifiedImageError:
            raise SignalError(
                f"{source.name}: is not a picture, whatever its name says; export it as PNG, JPEG or TIFF"
            ) from None
        except Image.DecompressionBombError as error:
            raise SignalError(
                f"{source.name}: claims more pixels than any scanner makes ({error}); crop or downsample it first"
            ) from error
        pages = int(getattr(picture, "n_frames", 1))
        check_size(source.name, (picture.height, picture.width, pages if stack else 1), 12)
        if stack and pages > 1:
            return _read_stack(source, picture, pages)
        check_index(source.name, index, pages, "page")
        picture.seek(index if pages > 1 else 0)
        pixels, notes = _decode(source, picture, index)
    if pages > 1:
        notes = (f"Page {index + 1} of {pages}.", *notes)
    shape = pixels.shape[:2] if pixels.ndim == 2 else pixels.shape
    values = pixels[..., None] if pixels.ndim == 2 else pixels
    nominal = (0.0, 65535.0) if pixels.dtype == np.int32 and picture.format == "PNG" else None
    signal = make_signal(values, "image", source.name, nominal_range=nominal, original_shape=shape, notes=notes)
    return Reading(signal, pages)


def _read_stack(source: Source, picture: Any, pages: int) -> Reading:
    """All pages as a volume `(page, height, width)`."""
    first = None
    for page in range(pages):
        picture.seek(page)
        check_size(source.name, (picture.height, picture.width, pages), 4)
        pixels, _ = _decode(source, picture, page)
        if pixels.ndim == 3:
            pixels = pixels[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
        if first is None:
            first = np.empty((pages, *pixels.shape, 1), pixels.dtype)
        if pixels.shape != first.shape[1:3]:
            raise SignalError(
                f"{source.name}: page {page + 1} is {format_shape(pixels.shape)}, the first {format_shape(first.shape[1:3])}; "
                "a volume needs pages of one shape"
            )
        first[page, ..., 0] = pixels
    assert first is not None
    notes = (f"Stacked {pages} pages to a volume.",)
    return Reading(make_signal(first, "volume", source.name, original_shape=first.shape[:-1], notes=notes), 1)


def _decode(source: Source, picture: Any, page: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels `(h, w)` or `(h, w, 3)` at their stored depth, and what was done to them."""
    from PIL import Image, ImageOps

    notes: list[str] = []
    orientation = picture.getexif().get(_ORIENTATION, 1)
    deep_colour = _is_deep_colour(picture)
    if deep_colour and picture.format == "TIFF" and orientation == 1:
        pixels = _decode_deep_tiff(source, page)
        if pixels is not None:
            return pixels, ()
    if deep_colour:
        notes.append("Its 16-bit colours were read with 8 bits.")
    picture.load()
    turned = ImageOps.exif_transpose(picture)
    if orientation in range(2, 9):
        notes.append("Turned upright as its EXIF orientation says.")
    if turned.mode == "P" or turned.mode == "PA":
        turned = turned.convert("RGBA" if "transparency" in turned.info or turned.mode == "PA" else "RGB")
        red, green, blue = (turned.getchannel(band) for band in "RGB")
        if red.tobytes() == green.tobytes() == blue.tobytes():
            turned = Image.merge("LA", (red, turned.getchannel("A"))) if turned.mode == "RGBA" else red
        notes.append("Its palette was replaced by the colours it stands for.")
    if turned.mode in ("LA", "La", "RGBA", "RGBa"):
        turned = _lay_over_black(turned, notes)
    if turned.mode in ("L", "I", "F", "RGB", *_SIXTEEN_BITS):
        pixels = np.asarray(turned)
        return (pixels.astype(np.uint16) if turned.mode in _SIXTEEN_BITS else pixels), tuple(notes)
    if turned.mode == "1":
        return np.asarray(turned.convert("L")), tuple(notes)
    notes.append(f"Its {turned.mode} colours were converted to RGB.")
    return np.asarray(turned.convert("RGB")), tuple(notes)


def _lay_over_black(picture: Any, notes: list[str]) -> Any:
    """The picture without its alpha channel; transparent parts become black."""
    from PIL import Image

    colour = "L" if picture.mode in ("LA", "La") else "RGB"
    straight = picture.convert("LA" if colour == "L" else "RGBA")
    alpha = straight.getchannel("A")
    if alpha.getextrema() == (255, 255):
        notes.append("Its alpha channel, opaque everywhere, was dropped.")
        return straight.convert(colour)
    notes.append("Its alpha channel was laid over black.")
    background = Image.new(colour, straight.size)
    background.paste(straight.convert(colour), mask=alpha)
    return background


def _is_deep_colour(picture: Any) -> bool:
    """Whether the file stores colours of 16 bits, which Pillow reads with 8."""
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(_BITS_PER_SAMPLE, (8,))
        return len(bits) >= 3 and max(bits) > 8
    tile = picture.tile[0] if picture.tile else None
    return picture.mode in ("RGB", "RGBA") and tile is not None and "16" in str(tile[3])


def _decode_deep_tiff(source: Source, page: int) -> np.ndarray | None:
    """16-bit RGB pixels `(h, w, 3)`, or None where only Pillow knows the compression or layout."""
    import tifffile

    with source.open() as stream:
        try:
            with tifffile.TiffFile(cast(IO[bytes], stream)) as file:
                plane = file.pages[page]
                check_size(source.name, tuple(plane.shape), 4)
                pixels = plane.asarray()
        except (ValueError, ImportError, KeyError, IndexError, tifffile.TiffFileError):
            return None
    return pixels[..., :3] if pixels.ndim == 3 and pixels.shape[-1] == 3 and pixels.dtype == np.uint16 else None
