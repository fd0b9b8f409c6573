"""Signals as plain pictures of pixels, for filmstrips, contact sheets and films: what a GIF or a PNG can hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from medfuncta_core.config import Kind
from medfuncta_core.figures.pictures import cut_planes, encode_png, to_data_url, to_pixels

PAPER, GRID, INK = (255, 245, 240), (243, 196, 177), (27, 39, 51)


def render_frame(values: Float[np.ndarray, "*shape c"], kind: Kind, height: int = 192) -> UInt8[np.ndarray, "h w 3"]:
    """A signal as a picture: an image enlarged pixel by pixel, a volume's three middle planes, an ECG's trace on paper.

    Args:
        values: In [0, 1].
        height: At least this many pixels high for images and volumes (a whole multiple of their points), exactly for an ECG.
    """
    if kind == "ecg":
        return _draw_trace(values[:, 0], height)
    if kind == "image":
        return _enlarge(to_pixels(values), math.ceil(height / len(values)))
    return render_planes(cut_planes(values), height)


def render_planes(planes: Sequence[Float[np.ndarray, "_ _ c"]], height: int = 192, gap: int = 4) -> UInt8[np.ndarray, "h w 3"]:
    """The middle planes of a volume, side by side with so many pixels between them; arguments as in `render_frame`."""
    cuts = [to_pixels(plane.swapaxes(0, 1)[::-1]) for plane in planes]
    factor = math.ceil(height / max(len(cut) for cut in cuts))
    enlarged = [_enlarge(cut, factor) for cut in cuts]
    tallest = max(len(cut) for cut in enlarged)
    padded = [np.pad(cut, ((0, tallest - len(cut)), (0, gap), (0, 0))) for cut in enlarged]
    return np.concatenate(padded, axis=1)[:, : -gap or None]


def _enlarge(pixels: np.ndarray, factor: int) -> np.ndarray:
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def _draw_trace(trace: np.ndarray, height: int) -> np.ndarray:
    """Drawn twice as large and reduced, so that the line is smooth."""
    width, scale = int(1.6 * height), 2
    image = Image.new("RGB", (width * scale, height * scale), PAPER)
    draw = ImageDraw.Draw(image)
    for step in range(0, width * scale, height * scale // 10):
        draw.line([(step, 0), (step, height * scale)], fill=GRID)
    for step in range(0, height * scale, height * scale // 10):
        draw.line([(0, step), (width * scale, step)], fill=GRID)
    x = np.linspace(0.03, 0.97, len(trace)) * width * scale
    y = (0.94 - 0.88 * np.clip(trace, 0, 1)) * height * scale
    draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=INK, width=3 * scale // 2, joint="curve")
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def frame_url(values: Float[np.ndarray, "*shape c"], kind: Kind, height: int = 96) -> str:
    """`render_frame` as a `data:` address."""
    return to_data_url(encode_png(render_frame(values, kind, height)))


def contact_sheet(frames: Sequence[UInt8[np.ndarray, "h w 3"]], columns: int = 10) -> bytes:
    """Pictures of one size in rows, as a PNG file."""
    height, width = frames[0].shape[:2]
    columns = min(columns, len(frames))
    rows = math.ceil(len(frames) / columns)
    sheet = np.full((rows * (height + 4) - 4, columns * (width + 4) - 4, 3), 255, dtype=np.uint8)
    for index, frame in enumerate(frames):
        top, left = index // columns * (height + 4), index % columns * (width + 4)
        sheet[top : top + height, left : left + width] = frame
    return encode_png(sheet)
