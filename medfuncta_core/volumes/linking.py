"""Planes that share a crosshair, and regions drawn on one of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from medfuncta_core.geometry import Cut, VolumeGeometry, match_axes, orthogonal_cuts
from medfuncta_core.volumes.viewing import match_index

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a rectangle on a picture, as shares of its width and height."""
Index = tuple[float, float, float]
"""A place in a volume: voxel indices, whole numbers at voxel centres."""


@dataclass(frozen=True, eq=False)
class LinkedPlane:
    """One of three planes through a crosshair.

    Args:
        cut: The plane.
        across: The array axis it is perpendicular to.
        right: Array axis that the picture's width runs along, and 1 or -1 for its direction.
        down: The same for its height.
        cross: Where the crosshair is, as shares of width and height.
        place: Where the plane lies, in words.
    """

    cut: Cut
    across: int
    right: tuple[int, int]
    down: tuple[int, int]
    cross: tuple[float, float]
    place: str


def middle_index(geometry: VolumeGeometry) -> Index:
    """The voxel in the middle."""
    x, y, z = (float(count // 2) for count in geometry.shape)
    return x, y, z


def clamp_index(geometry: VolumeGeometry, index: Sequence[float]) -> Index:
    """The nearest place between the centres of the outermost voxels."""
    x, y, z = (min(max(float(place), 0.0), count - 1.0) for place, count in zip(index, geometry.shape, strict=True))
    return x, y, z


def point_at(geometry: VolumeGeometry, index: Index) -> Float[np.ndarray, " 3"]:
    """A place in millimetres."""
    return geometry.index_to_mm(np.array(index))


def link_planes(geometry: VolumeGeometry, index: Index) -> tuple[LinkedPlane, ...]:
    """The three planes of voxels through a place, in the order of `orthogonal_cuts`.

    Args:
        geometry: Where the volume lies.
        index: The crosshair.
    """
    point = point_at(geometry, index)
    return tuple(_link(geometry, cut, point, index) for cut in orthogonal_cuts(geometry, point))


def _link(geometry: VolumeGeometry, cut: Cut, point: np.ndarray, index: Index) -> LinkedPlane:
    across = cut.across or 0
    sides = [_along(geometry, side) for side in (cut.right, cut.down)]
    return LinkedPlane(cut, across, sides[0], sides[1], cut.place(point), _words(geometry, point, index, across))


def _along(geometry: VolumeGeometry, side: np.ndarray) -> tuple[int, int]:
    steps = np.linalg.inv(geometry.matrix[:3, :3]) @ side
    axis = int(np.argmax(np.abs(steps)))
    return axis, 1 if steps[axis] > 0 else -1


def _words(geometry: VolumeGeometry, point: np.ndarray, index: Index, across: int) -> str:
    slices = f"slice {index[across] + 1:.1f} of {geometry.shape[across]}".replace(".0 ", " ")
    if not geometry.oriented:
        return slices
    axis = match_axes(geometry.matrix)[across]
    return f"{'xyz'[axis]} = {point[axis]:.1f} mm, {slices}"


def picked_index(geometry: VolumeGeometry, cut: Cut, x: float, y: float) -> Index:
    """The place under a point of any cut's picture, by shares of its width and height; the nearest in the volume."""
    return clamp_index(geometry, geometry.mm_to_index(cut.at(x, y)).tolist())


def place_on(geometry: VolumeGeometry, cut: Cut, index: Index) -> tuple[float, float]:
    """Where a place lies on any cut's picture, as shares of its width and height."""
    return cut.place(point_at(geometry, index))


def depth_of(geometry: VolumeGeometry, plane: LinkedPlane, index: Index, box: Box) -> tuple[int, int]:
    """A depth that makes a rectangle on a plane a block: as deep as its sides are long on average, around the plane.

    Returns:
        First and last slice along the axis across.
    """
    sides = (box[2] - box[0]) * plane.cut.width, (box[3] - box[1]) * plane.cut.height
    half = (sides[0] + sides[1]) / 4 / geometry.spacing[plane.across]
    last = geometry.shape[plane.across] - 1
    low = max(0, min(round(index[plane.across] - half), last - 1))
    return low, min(last, max(round(index[plane.across] + half), low + 1))


def region_voxels(
    geometry: VolumeGeometry, plane: LinkedPlane, box: Box, depth: tuple[int, int], target: VolumeGeometry
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The voxels of a grid that hold a rectangle drawn on a plane and its depth.

    Args:
        geometry: Of the planes.
        plane: The rectangle was drawn on it.
        box: The rectangle.
        depth: First and last slice across.
        target: The grid whose voxels are wanted; the same volume, or the file that it was prepared from.

    Returns:
        First voxel, and first one beyond, per axis of `target`; at least two voxels long where it has them.
    """
    shares = {plane.across: ((depth[0]) / geometry.shape[plane.across], (depth[1] + 1) / geometry.shape[plane.across])}
    for (axis, sign), low, high in ((plane.right, box[0], box[2]), (plane.down, box[1], box[3])):
        shares[axis] = (low, high) if sign > 0 else (1 - high, 1 - low)
    edges = [[share * geometry.shape[axis] - 0.5 for share in shares[axis]] for axis in range(3)]
    corners = geometry.index_to_mm(np.array(list(itertools.product(*edges))))
    found = match_index(geometry, target, corners)
    return _whole_voxels(found, target)


def _whole_voxels(corners: Float[np.ndarray, "8 3"], target: VolumeGeometry) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    low = np.floor(corners.min(axis=0) + 0.5 + 1e-6).astype(int)
    high = np.ceil(corners.max(axis=0) + 0.5 - 1e-6).astype(int)
    last = np.array(target.shape)
    low = np.clip(low, 0, np.maximum(last - 2, 0))
    high = np.clip(high, np.minimum(low + 2, last), last)
    a, b, c = (int(voxel) for voxel in low)
    d, e, f = (int(voxel) for voxel in high)
    return (a, b, c), (d, e, f)
