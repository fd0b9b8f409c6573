"""What a cut through a volume shows: the input's voxels, the field decoded at the very same points, and their difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from medfuncta_core.geometry import Cut, VolumeGeometry, geometry_of, orthogonal_cuts
from medfuncta_core.signals import Signal

Decode = Callable[[np.ndarray], np.ndarray]
"""Points `(n, 3)` in [-1, 1] to values `(n, c)` in [0, 1]: a latent's field."""


@dataclass(frozen=True)
class Window:
    """Which values, in the file's unit, are shown from black to white.

    Args:
        level: The value in the middle.
        width: From black to white, above 0.
    """

    level: float
    width: float

    def shares(self, value_range: tuple[float, float]) -> tuple[float, float]:
        """Black and white as shares of a signal's value range."""
        low, high = value_range
        return (self.level - self.width / 2 - low) / (high - low), (self.level + self.width / 2 - low) / (high - low)

    def apply(self, values: Float[np.ndarray, "*shape c"], value_range: tuple[float, float]) -> Float[np.ndarray, "*shape c"]:
        """Values of a signal, in [0, 1], as shares of the window; below and above it they are clipped."""
        black, white = self.shares(value_range)
        return np.clip((values - black) / (white - black), 0, 1)


CT_WINDOWS = {
    "Soft tissue": Window(40, 400),
    "Lung": Window(-600, 1500),
    "Mediastinum": Window(50, 350),
    "Bone": Window(400, 1800),
    "Brain": Window(40, 80),
    "Liver": Window(60, 160),
}
"""Customary windows of computed tomography, in Hounsfield units."""


def whole_window(value_range: tuple[float, float]) -> Window:
    """The window that shows all of a value range."""
    low, high = value_range
    return Window((low + high) / 2, high - low)


@dataclass(frozen=True, eq=False)
class CutView:
    """One cut's pixels.

    Args:
        input: `(h, w, c)` in [0, 1], each pixel the voxel it lies in, or linear between voxels.
        reconstruction: `(h, w, c)` in [0, 1], the field at the pixels' centres.
        error: `(h, w)` mean absolute difference of the reconstruction from the input, linear between its voxels.
        inside: `(h, w)` whether a pixel lies in the volume; elsewhere everything is 0.
    """

    input: Float[np.ndarray, "h w c"]
    reconstruction: Float[np.ndarray, "h w c"]
    error: Float[np.ndarray, "h w"]
    inside: Bool[np.ndarray, "h w"]

    @property
    def mean_error(self) -> float:
        """The mean error of the pixels inside the volume."""
        return float(self.error[self.inside].mean()) if self.inside.any() else 0.0


def view_cut(
    signal: Signal, decode: Decode, cut: Cut, pixels: tuple[int, int], *, truth: Signal | None = None, smooth: bool = False
) -> CutView:
    """Input, reconstruction and error on a cut; only the cut's points are decoded.

    The field was trained between the centres of the outermost voxels; the half voxel beyond them shows the value there.

    Args:
        signal: The volume that was fitted; the field's coordinates are its grid's.
        decode: The field.
        cut: In millimetres of the signal.
        pixels: Rows and columns.
        truth: Shown as the input instead of `signal`, such as the file before it was resampled; same units (`in_units_of`).
        smooth: Linear between voxels in the input too.
    """
    geometry = geometry_of(signal)
    points = cut.points(pixels).reshape(-1, 3)
    decoded, inside = decode_points(signal, decode, points)
    shown = truth or signal
    index = match_index(geometry, geometry_of(shown), points)
    linear = sample_values(shown.values, index, linear=True)
    shown_values = linear if smooth else sample_values(shown.values, index, linear=False)
    error = np.abs(linear - decoded).mean(axis=-1) * inside
    return CutView(
        (shown_values * inside[:, None]).reshape(*pixels, -1),
        decoded.reshape(*pixels, -1),
        error.reshape(pixels),
        inside.reshape(pixels),
    )


def decode_points(
    signal: Signal, decode: Decode, points: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "n c"], Bool[np.ndarray, " n"]]:
    """A field at points in a volume's millimetres: values, 0 outside the volume, and which points lie inside it."""
    geometry = geometry_of(signal)
    inside = geometry.contains(geometry.mm_to_index(points))
    decoded = np.zeros((len(points), signal.channels), np.float32)
    if inside.any():
        coords = np.clip(geometry.mm_to_field(points[inside]), -1, 1)
        decoded[inside] = decode(coords.astype(np.float32))
    return decoded, inside


def view_between(
    signal: Signal, decodes: Sequence[Decode], cut: Cut, pixels: tuple[int, int]
) -> tuple[Float[np.ndarray, "h w c"], ...]:
    """The same cut through several fields, such as two volumes and what lies between them.

    Args:
        signal: Gives the grid of all of them.
        decodes: The fields.
        cut: In millimetres of the signal.
        pixels: Rows and columns.
    """
    points = cut.points(pixels).reshape(-1, 3)
    return tuple(decode_points(signal, decode, points)[0].reshape(*pixels, -1) for decode in decodes)


def match_index(geometry: VolumeGeometry, other: VolumeGeometry, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Points in a volume's millimetres as voxel indices of another volume, which may lie elsewhere or have other voxels.

    Where either has no orientation, both are taken to be the same array at two resolutions.
    """
    if geometry.oriented and other.oriented:
        return other.mm_to_index(points)
    return other.field_to_index(geometry.mm_to_field(points))


def sample_values(values: np.ndarray, index: Float[np.ndarray, "n 3"], *, linear: bool) -> Float[np.ndarray, "n c"]:
    """Values of a grid at voxel indices: of the nearest voxel, or linear between voxels; outside, the nearest inside.

    Args:
        values: `(x, y, z, c)`.
        index: Voxel indices, not necessarily whole.
        linear: Interpolate.
    """
    from scipy import ndimage

    limits = np.array(values.shape[:3]) - 1
    places = np.clip(index, 0, limits)
    if not linear:
        # The small shift keeps pixels that lie exactly between two voxels from alternating by rounding to even.
        x, y, z = np.clip(np.floor(places + (0.5 - 1e-6)).astype(np.int64), 0, limits).T
        return values[x, y, z].astype(np.float32)
    channels = [ndimage.map_coordinates(values[..., c], places.T, order=1, mode="nearest") for c in range(values.shape[-1])]
    return np.stack(channels, axis=-1).astype(np.float32)


def in_units_of(original: Signal, prepared: Signal) -> Signal:
    """A file's volume with [0, 1] meaning what it means in the volume prepared from it, so that both take the same window."""
    (low, high), (black, white) = original.value_range, prepared.value_range
    values = original.values * np.float32((high - low) / (white - black)) + np.float32((low - black) / (white - black))
    return replace(original, values=np.clip(values, 0, 1), value_range=prepared.value_range, prepared_for=None)


def fly_cuts(geometry: VolumeGeometry, plane: int, frames: int) -> Iterator[Cut]:
    """A flight through a volume: parallel planes from its first voxel to its last.

    Args:
        geometry: Where the volume lies.
        plane: Which of `orthogonal_cuts`, 0 to 2.
        frames: How many cuts, at least 2.
    """
    across = orthogonal_cuts(geometry, geometry.centre)[plane].across
    index = (np.array(geometry.shape) - 1) / 2
    for place in np.linspace(0, geometry.shape[across or 0] - 1, frames):
        index[across or 0] = place
        yield orthogonal_cuts(geometry, geometry.index_to_mm(index))[plane]
