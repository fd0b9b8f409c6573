"""Arrays -> pictures a browser shows: grey or RGB values, errors in magma, the middle planes of a volume, thumbnails.

Pictures keep one pixel per point, so that enlarging them stays the viewer's decision (and an honest one: nearest neighbour).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from medfuncta_core.config import Kind
from medfuncta_core.geometry import NEGATIVE, PLANE_NAMES, POSITIVE, match_axes

MAGMA = ("#000004", "#180f3d", "#440f76", "#721f81", "#9e2f7f", "#cd4071", "#f1605d", "#fd9668", "#feca8d", "#fcfdbf")
"""Evenly spaced stops of matplotlib's magma: perceptually uniform, readable in grey and with colour blindness."""

HIDDEN_COLOUR = np.array([0x3B, 0x82, 0xC4], dtype=np.uint8)
ERROR_LIMITS = (0.05, 0.1, 0.2, 0.5, 1.0)


def error_values(
    signal: Float[np.ndarray, "*shape c"], reconstruction: Float[np.ndarray, "*shape c"]
) -> Float[np.ndarray, "*shape"]:
    """Absolute error, averaged over channels, in shares of the value range."""
    return np.abs(signal - reconstruction).mean(axis=-1)


def to_pixels(values: Float[np.ndarray, "h w c"], hidden: Bool[np.ndarray, "h w"] | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """8-bit RGB of values in [0, 1]: one channel as grey, three as RGB, otherwise the channels' mean as grey.

    Args:
        values: Clamped to [0, 1]; the window is always the whole range, so that pictures can be compared.
        hidden: Points that a fit did not see; drawn in a blue that greys do not have.
    """
    levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    if values.shape[-1] != 3:
        grey = levels if values.shape[-1] == 1 else np.rint(np.clip(values, 0, 1).mean(-1, keepdims=True) * 255).astype(np.uint8)
        levels = np.repeat(grey, 3, axis=-1)
    if hidden is not None:
        levels = np.where(hidden[..., None], HIDDEN_COLOUR, levels)
    return levels


def to_magma(error: Float[np.ndarray, "h w"], limit: float) -> UInt8[np.ndarray, "h w 3"]:
    """8-bit RGB of errors in magma: 0 is black, `limit` and above the brightest colour."""
    stops = np.array([[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in MAGMA], dtype=np.float64)
    positions = np.clip(error / limit, 0, 1) * (len(stops) - 1)
    channels = [np.interp(positions, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def encode_png(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """A PNG file with one pixel per point; grey pixels as a grey PNG."""
    grey = bool((pixels[..., :1] == pixels).all())
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if grey else pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def to_data_url(content: bytes, mime: str = "image/png") -> str:
    """A file's bytes as a `data:` address that HTML can show and download."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


@dataclass(frozen=True, eq=False)
class Plane:
    """A cut through a volume, turned the way it is shown.

    Args:
        values: `(h, w, c)`, first row at the top.
        name: "Axial", "Coronal", "Sagittal", or the array axis it is perpendicular to when the orientation is not known.
        letters: Anatomical directions at the (top, bottom, left, right) edge; empty strings when not known.
        height_mm: Height, outer pixel edge to outer pixel edge; in points when the spacing is not known.
        width_mm: Width, likewise.
        place: Where the cut lies, such as "z = 12.5 mm", or "" when not known.
    """

    values: np.ndarray
    name: str
    letters: tuple[str, str, str, str]
    height_mm: float
    width_mm: float
    place: str


def cut_planes(values: Float[np.ndarray, "x y z c"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The middle plane perpendicular to each array axis; remaining axes keep their order."""
    x, y, z = (points // 2 for points in values.shape[:3])
    return values[x], values[:, y], values[:, :, z]


def turn_planes(
    planes: Sequence[np.ndarray],
    shape: tuple[int, ...],
    affine: Float[np.ndarray, "4 4"] | None = None,
    spacing: tuple[float, ...] | None = None,
) -> tuple[Plane, ...]:
    """Turn what `cut_planes` returns as radiologists look at it: axial, coronal, sagittal; right on the left, front or head up.

    Args:
        planes: `(h, w, c)` perpendicular to array axis 0, 1 and 2; any resolution, all over the whole extent of the volume.
        shape: Points per axis of the volume that `affine` and `spacing` belong to.
        affine: Voxel index to RAS+ millimetres. Without it, planes are shown in array order and carry no letters.
        spacing: Millimetres per axis, when there is no affine.
    """
    if affine is None:
        sides = [points * step for points, step in zip(shape, spacing or (1.0, 1.0, 1.0), strict=True)]
        rest = ((1, 2), (0, 2), (0, 1))
        return tuple(
            Plane(plane, f"Across axis {axis + 1}", ("", "", "", ""), sides[rows], sides[columns], "")
            for axis, (plane, (rows, columns)) in enumerate(zip(planes, rest, strict=True))
        )
    world = match_axes(affine)
    centre = affine @ np.array([*(points // 2 for points in shape), 1.0])
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    turned = [_turn(plane, axis, world, affine, shape, steps, centre) for axis, plane in enumerate(planes)]
    return tuple(sorted(turned, key=lambda plane: plane.name))


def _turn(
    plane: np.ndarray,
    axis: int,
    world: list[int],
    affine: np.ndarray,
    shape: tuple[int, ...],
    steps: np.ndarray,
    centre: np.ndarray,
) -> Plane:
    normal = world[axis]
    first, second = (other for other in range(3) if other != axis)
    row_world = 1 if normal == 2 else 2  # up is the front in an axial plane, the head in the others
    rows, columns = (first, second) if world[first] == row_world else (second, first)
    turned = plane if rows == first else plane.swapaxes(0, 1)
    if affine[world[rows], rows] > 0:
        turned = turned[::-1]
    if affine[world[columns], columns] > 0:
        turned = turned[:, ::-1]
    top, left = world[rows], world[columns]
    return Plane(
        turned,
        PLANE_NAMES[normal],
        (POSITIVE[top], NEGATIVE[top], POSITIVE[left], NEGATIVE[left]),
        float(shape[rows] * steps[rows]),
        float(shape[columns] * steps[columns]),
        f"{'xyz'[normal]} = {centre[normal]:.1f} mm",
    )


def thumbnail(values: Float[np.ndarray, "*shape c"], kind: Kind) -> str:
    """A small picture of a signal as a `data:` address: the image, a volume's last middle plane, or an ECG's trace on paper."""
    if kind == "ecg":
        return to_data_url(_trace_svg(values[:, 0]), "image/svg+xml")
    pixels = to_pixels(values if kind == "image" else values[:, :, values.shape[2] // 2].swapaxes(0, 1)[::-1])
    return to_data_url(encode_png(pixels))


def _trace_svg(trace: Float[np.ndarray, " n"]) -> bytes:
    """An ECG as a line on pink paper, 64 by 64 units."""
    x = np.linspace(3, 61, len(trace))
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, 58 - 52 * np.clip(trace, 0, 1), strict=True))
    grid = "".join(f'<path d="M{p} 0V64M0 {p}H64"/>' for p in range(8, 64, 8))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" fill="#fff5f0"/>'
        f'<g stroke="#f3c4b1" stroke-width=".6">{grid}</g>'
        f'<polyline points="{points}" fill="none" stroke="#1b2733" stroke-width="1.6" stroke-linejoin="round"/></svg>'
    ).encode()
