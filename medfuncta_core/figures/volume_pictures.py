"""Cuts through volumes -> pictures: input, reconstruction and error through one window, labels over them, surfaces in space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int, UInt8

from medfuncta_core.figures.pictures import to_magma, to_pixels
from medfuncta_core.figures.plots import INPUT_COLOUR, OKABE_ITO, RECONSTRUCTION_COLOUR, TEMPLATE
from medfuncta_core.geometry import VolumeGeometry
from medfuncta_core.volumes import CutView, Window

GAP = 4
"""Black pixels between the pictures of a frame."""
LARGEST_SURFACE = 64
"""Voxels along the longest axis that a surface is made of; more triangles do not show on a page."""


@dataclass(frozen=True, eq=False)
class CutPictures:
    """The three pictures of a cut, `(h, w, 3)` each, 8-bit RGB."""

    input: UInt8[np.ndarray, "h w 3"]
    reconstruction: UInt8[np.ndarray, "h w 3"]
    error: UInt8[np.ndarray, "h w 3"]


def cut_pictures(
    view: CutView,
    window: Window,
    value_range: tuple[float, float],
    error_limit: float,
    *,
    labels: Int[np.ndarray, "h w"] | None = None,
    opacity: float = 0.5,
) -> CutPictures:
    """Input and reconstruction through the same window, the error in magma up to `error_limit`, black outside the volume.

    Args:
        view: Of one cut.
        window: In the file's unit.
        value_range: File values that 0 and 1 stand for.
        error_limit: Error of the brightest colour, as a share of the value range.
        labels: Laid over input and reconstruction where above 0; a label has the same colour everywhere.
        opacity: Of the labels, 0 to 1.
    """
    grey = [grey_picture(values, window, value_range) for values in (view.input, view.reconstruction)]
    if labels is not None:
        grey = [_lay_over(pixels, labels, opacity) for pixels in grey]
    first, second, error = (
        pixels * view.inside[..., None].astype(np.uint8) for pixels in (*grey, to_magma(view.error, error_limit))
    )
    return CutPictures(first, second, error)


def grey_picture(
    values: Float[np.ndarray, "h w c"], window: Window, value_range: tuple[float, float]
) -> UInt8[np.ndarray, "h w 3"]:
    """Values in [0, 1] through a window of the file's unit, 8-bit RGB."""
    return to_pixels(window.apply(values, value_range))


def label_colour(number: int) -> str:
    """The colour of a label, `#RRGGBB`; the first seven numbers have one of their own."""
    return OKABE_ITO[1:-1][(number - 1) % len(OKABE_ITO[1:-1])]


def _lay_over(pixels: np.ndarray, labels: np.ndarray, opacity: float) -> np.ndarray:
    mixed = pixels.astype(np.float32)
    for number in np.unique(labels[labels != 0]):
        colour = np.array([int(label_colour(int(number))[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
        covered = labels == number
        mixed[covered] = (1 - opacity) * mixed[covered] + opacity * colour
    return np.rint(mixed).astype(np.uint8)


def join_pictures(pictures: Sequence[UInt8[np.ndarray, "h w 3"]], aspect: float, height: int = 240) -> UInt8[np.ndarray, "a b 3"]:
    """Pictures beside each other as one frame of a film: square pixels, nearest neighbour, even sides.

    Args:
        pictures: Of one size.
        aspect: Width by height in millimetres, which decides how far pixels are repeated each way.
        height: Of the frame, in pixels.
    """
    rows, columns = pictures[0].shape[:2]
    width = max(2, 2 * round(height * aspect / 2))
    height = max(2, 2 * round(height / 2))
    row, column = np.arange(height) * rows // height, np.arange(width) * columns // width
    gap = np.zeros((height, GAP, 3), np.uint8)
    parts = [part for picture in pictures for part in (picture[row][:, column], gap)]
    return np.concatenate(parts[:-1], axis=1)


def surface_figure(
    volumes: Mapping[str, Float[np.ndarray, "x y z c"]], geometry: VolumeGeometry, level: float, opacity: float = 0.55
) -> go.Figure:
    """Surfaces of equal value in millimetres, such as of input and reconstruction, one over the other.

    Args:
        volumes: By name; each over the whole extent of `geometry`, at any resolution.
        geometry: Where they lie.
        level: The value of the surface, in [0, 1].
        opacity: Of every surface.
    """
    colours = (INPUT_COLOUR, RECONSTRUCTION_COLOUR, *OKABE_ITO[2:])
    figure = go.Figure(layout={"template": TEMPLATE, "margin": {"l": 0, "r": 0, "t": 28, "b": 0}})
    for (name, values), colour in zip(volumes.items(), colours, strict=False):
        points, triangles = _surface(values, geometry, level)
        x, y, z = points.T
        i, j, k = triangles.T
        figure.add_mesh3d(
            x=x, y=y, z=z, i=i, j=j, k=k, name=name, color=colour, opacity=opacity, showlegend=True, hoverinfo="name",
            lighting={"ambient": 0.45, "diffuse": 0.75, "specular": 0.15},
        )  # fmt: skip
    axis = {"backgroundcolor": "rgba(0,0,0,0)", "gridcolor": "rgba(128,128,128,.3)", "zeroline": False}
    names = [f"{word} ({geometry.unit})" for word in _axis_words(geometry)]
    scene = {f"{letter}axis": {**axis, "title": {"text": name}} for letter, name in zip("xyz", names, strict=True)}
    figure.update_layout(scene={**scene, "aspectmode": "data"}, hovermode="closest")
    return figure


def _axis_words(geometry: VolumeGeometry) -> tuple[str, str, str]:
    return ("L → R", "P → A", "I → S") if geometry.oriented else ("Axis 1", "Axis 2", "Axis 3")


def _surface(values: np.ndarray, geometry: VolumeGeometry, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners `(n, 3)` in millimetres and triangles `(m, 3)`; empty where the volume never crosses the level."""
    from skimage.measure import marching_cubes

    step = max(1, round(max(values.shape[:3]) / LARGEST_SURFACE))
    grid = np.asarray(values[::step, ::step, ::step].mean(axis=-1), np.float32)
    if min(grid.shape) < 2 or not grid.min() < level < grid.max():
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    corners, triangles, _, _ = marching_cubes(grid, level)
    scaled = geometry.resampled((values.shape[0], values.shape[1], values.shape[2]))
    return scaled.index_to_mm(corners.astype(np.float64) * step), triangles
