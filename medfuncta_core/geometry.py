"""Where a volume lies: voxel indices, the field's coordinates and millimetres, and flat cuts through it as people look at them.

index --matrix--> millimetres (RAS+ where the affine is known), index <--> field, where -1 and 1 are the centres of the first and
last voxel of an axis. Directions get letters from the affine alone; without one they have none, and nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Num

from medfuncta_core.errors import SignalError
from medfuncta_core.signals import Signal
from medfuncta_core.signals.regions import check_box, shift_affine
from medfuncta_core.signals.volume_file import VolumeFile

PLANE_NAMES = ("Sagittal", "Coronal", "Axial")
POSITIVE, NEGATIVE = "RAS", "LPI"
SECOND_LETTER = 0.26
"""A direction within 15 degrees of an axis is named by that axis alone; beyond, the next one is named too."""

Points = Num[np.ndarray, "*n 3"]


@dataclass(frozen=True, eq=False)
class VolumeGeometry:
    """A volume's grid and where it lies.

    Args:
        shape: Voxels per axis.
        matrix: `(4, 4)` voxel index to millimetres; RAS+ where `oriented`, else along the array's own axes.
        oriented: Whether `matrix` is the file's affine, so that directions have names.
        unit: "mm", or "voxels" where not even the spacing is known.
    """

    shape: tuple[int, int, int]
    matrix: Float[np.ndarray, "4 4"]
    oriented: bool
    unit: str = "mm"

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbouring voxels per axis, in `unit`."""
        return tuple(float(step) for step in np.linalg.norm(self.matrix[:3, :3], axis=0))

    @property
    def centre(self) -> Float[np.ndarray, " 3"]:
        """The middle of the grid, in millimetres."""
        return self.index_to_mm((np.array(self.shape) - 1) / 2)

    def index_to_mm(self, index: Points) -> Points:
        """Voxel indices, whole numbers at voxel centres, to millimetres."""
        return index @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def mm_to_index(self, points: Points) -> Points:
        """Millimetres to voxel indices."""
        return (points - self.matrix[:3, 3]) @ np.linalg.inv(self.matrix[:3, :3]).T

    def index_to_field(self, index: Points) -> Points:
        """Voxel indices to the field's coordinates; an axis of one voxel lies at 0."""
        steps = np.array(self.shape) - 1
        return np.where(steps > 0, 2 * index / np.maximum(steps, 1) - 1, 0.0)

    def field_to_index(self, coords: Points) -> Points:
        """The field's coordinates to voxel indices."""
        return (coords + 1) / 2 * (np.array(self.shape) - 1)

    def mm_to_field(self, points: Points) -> Points:
        """Millimetres to the field's coordinates."""
        return self.index_to_field(self.mm_to_index(points))

    def field_to_mm(self, coords: Points) -> Points:
        """The field's coordinates to millimetres."""
        return self.index_to_mm(self.field_to_index(coords))

    def contains(self, index: Points) -> Bool[np.ndarray, " *n"]:
        """Whether voxel indices lie inside the outer faces of the outermost voxels."""
        return np.all((index >= -0.5 - 1e-6) & (index <= np.array(self.shape) - 0.5 + 1e-6), axis=-1)

    def letters(self, direction: Float[np.ndarray, " 3"]) -> str:
        """The anatomical name of a direction in millimetres: "R", or "RA" where it runs between two; "" when not known."""
        length = float(np.linalg.norm(direction))
        if not self.oriented or length == 0:
            return ""
        parts = direction / length
        order = np.argsort(-np.abs(parts), kind="stable")[:2]
        kept = [axis for rank, axis in enumerate(order) if rank == 0 or abs(parts[axis]) > SECOND_LETTER]
        return "".join(POSITIVE[axis] if parts[axis] > 0 else NEGATIVE[axis] for axis in kept)

    def resampled(self, shape: tuple[int, int, int]) -> VolumeGeometry:
        """The same extent on another number of voxels; the centres of the corner voxels stay where they are."""
        old, new = np.array(self.shape), np.array(shape)
        factors = np.where((old > 1) & (new > 1), (old - 1) / np.maximum(new - 1, 1), 1.0)
        return replace(self, shape=shape, matrix=self.matrix @ np.diag([*factors, 1.0]))


def geometry_of(signal: Signal) -> VolumeGeometry:
    """Where a volume lies, as far as its file says.

    Raises:
        SignalError: when the signal is no volume.
    """
    if signal.kind != "volume":
        raise SignalError(f"{signal.name}: is of kind {signal.kind}; only volumes have planes")
    x, y, z = signal.shape
    return _make_geometry((x, y, z), signal.affine, signal.spacing)


def geometry_of_file(volume: VolumeFile) -> VolumeGeometry:
    """Where the voxels of an opened file lie, as far as it says."""
    return _make_geometry(volume.shape, volume.affine, volume.spacing)


def _make_geometry(shape: tuple[int, int, int], affine: np.ndarray | None, spacing: tuple[float, ...] | None) -> VolumeGeometry:
    if affine is not None:
        return VolumeGeometry(shape, np.asarray(affine, np.float64), True)
    matrix = np.diag([*(spacing or (1.0, 1.0, 1.0)), 1.0])
    return VolumeGeometry(shape, matrix, False, "mm" if spacing else "voxels")


def match_axes(matrix: Float[np.ndarray, "4 4"]) -> list[int]:
    """The world axis (0 right, 1 front, 2 head) that each array axis runs along best; every one is used once."""
    strength = np.abs(matrix[:3, :3]) / np.linalg.norm(matrix[:3, :3], axis=0)
    world = [-1, -1, -1]
    for _ in range(3):
        target, axis = np.unravel_index(np.argmax(strength), strength.shape)
        world[int(axis)] = int(target)
        strength[target, :] = strength[:, axis] = -1
    return world


@dataclass(frozen=True, eq=False)
class Cut:
    """A flat piece of a volume, the way round that it is shown.

    Args:
        name: "Axial", "Coronal", "Sagittal", "Oblique", or the array axis it is perpendicular to.
        corner: Outer top left corner, in millimetres.
        right: From there to the top right corner.
        down: From there to the bottom left corner.
        letters: Directions at the (top, bottom, left, right) edge; "" where not known.
        voxels: Rows and columns of pixels at resolution 1.
        across: The array axis it is perpendicular to; None for an oblique one.
    """

    name: str
    corner: Float[np.ndarray, " 3"]
    right: Float[np.ndarray, " 3"]
    down: Float[np.ndarray, " 3"]
    letters: tuple[str, str, str, str]
    voxels: tuple[int, int]
    across: int | None = None

    @property
    def width(self) -> float:
        """Millimetres, outer pixel edge to outer pixel edge."""
        return float(np.linalg.norm(self.right))

    @property
    def height(self) -> float:
        """Millimetres, likewise."""
        return float(np.linalg.norm(self.down))

    def pixels(self, factor: float, most: int = 1024) -> tuple[int, int]:
        """Rows and columns at a resolution, neither above `most`."""
        rows, columns = (min(most, max(1, round(count * factor))) for count in self.voxels)
        return rows, columns

    def at(self, x: float, y: float) -> Float[np.ndarray, " 3"]:
        """The point at shares of the width (from the left) and the height (from the top)."""
        return self.corner + x * self.right + y * self.down

    def place(self, point: Float[np.ndarray, " 3"]) -> tuple[float, float]:
        """The shares of width and height nearest to which a point lies; what `at` undoes for points in the plane."""
        x, y = np.linalg.lstsq(np.stack([self.right, self.down], axis=1), point - self.corner, rcond=None)[0]
        return float(x), float(y)

    def points(self, pixels: tuple[int, int]) -> Float[np.ndarray, "h w 3"]:
        """The centres of a grid of pixels, in millimetres."""
        rows, columns = ((np.arange(count) + 0.5) / count for count in pixels)
        return self.corner + columns[None, :, None] * self.right + rows[:, None, None] * self.down

    def part(self, left: float, top: float, right: float, bottom: float) -> Cut:
        """A rectangle of it, by shares of width and height."""
        rows, columns = self.voxels
        voxels = max(1, round(rows * (bottom - top))), max(1, round(columns * (right - left)))
        across, along = (right - left) * self.right, (bottom - top) * self.down
        return replace(self, corner=self.at(left, top), right=across, down=along, voxels=voxels)


def orthogonal_cuts(geometry: VolumeGeometry, point: Float[np.ndarray, " 3"]) -> tuple[Cut, Cut, Cut]:
    """The planes of voxels through a point: axial, coronal, sagittal, as radiologists look at them; right on the left.

    Without orientation they are perpendicular to the first, second and third array axis, in the array's own order.

    Args:
        geometry: Where the volume lies.
        point: In millimetres, inside the volume.
    """
    index = geometry.mm_to_index(point)
    world = match_axes(geometry.matrix) if geometry.oriented else None
    cuts = [_orthogonal_cut(geometry, index, axis, world) for axis in range(3)]
    first, second, third = sorted(cuts, key=lambda cut: cut.name)
    return first, second, third


def _orthogonal_cut(geometry: VolumeGeometry, index: np.ndarray, across: int, world: list[int] | None) -> Cut:
    rows, columns = (axis for axis in range(3) if axis != across)
    signs, name = (1, 1), f"Across axis {across + 1}"
    if world is not None:
        normal = world[across]
        up = 1 if normal == 2 else 2  # up is the front in an axial plane, the head in the others
        if world[columns] == up:
            rows, columns = columns, rows
        signs = (_sign(-geometry.matrix[world[rows], rows]), _sign(-geometry.matrix[world[columns], columns]))
        name = PLANE_NAMES[normal]
    corner = index.copy()
    for axis, sign in ((rows, signs[0]), (columns, signs[1])):
        corner[axis] = -0.5 if sign > 0 else geometry.shape[axis] - 0.5
    down, right = (
        sign * geometry.shape[axis] * geometry.matrix[:3, axis] for axis, sign in ((rows, signs[0]), (columns, signs[1]))
    )
    voxels = geometry.shape[rows], geometry.shape[columns]
    return Cut(name, geometry.index_to_mm(corner), right, down, _edges(geometry, right, down), voxels, across)


def _sign(number: float) -> int:
    return 1 if number >= 0 else -1


def _edges(geometry: VolumeGeometry, right: np.ndarray, down: np.ndarray) -> tuple[str, str, str, str]:
    return geometry.letters(-down), geometry.letters(down), geometry.letters(-right), geometry.letters(right)


def oblique_cut(
    geometry: VolumeGeometry,
    point: Float[np.ndarray, " 3"],
    *,
    tilt: float = 0.0,
    turn: float = 0.0,
    spin: float = 0.0,
    offset: float = 0.0,
) -> Cut:
    """A plane at any angle, all of the volume that it meets.

    At angles 0 it is the axial plane (without orientation, the one across the first axis), and it stays a rotation of it,
    so nothing is ever mirrored.

    Args:
        geometry: Where the volume lies.
        point: A point of the plane when `offset` is 0, in millimetres.
        tilt: Degrees about the picture's own horizontal axis.
        turn: Degrees about its vertical axis.
        spin: Degrees within the picture, clockwise.
        offset: Millimetres along the plane's normal, which points away from the viewer.
    """
    base = orthogonal_cuts(geometry, point)[0]
    right = base.right / base.width
    down = base.down - (base.down @ right) * right  # sheared axes are no frame
    down /= np.linalg.norm(down)
    frame = np.stack([right, down, np.cross(right, down)], axis=1) @ _rotation(tilt, turn, spin)
    corners = geometry.index_to_mm(
        np.stack(np.meshgrid(*([-0.5, count - 0.5] for count in geometry.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    )
    anchor = point + offset * frame[:, 2]
    flat = (corners - anchor) @ frame[:, :2]
    low, high = flat.min(axis=0), flat.max(axis=0)
    across, along = (high[0] - low[0]) * frame[:, 0], (high[1] - low[1]) * frame[:, 1]
    step = min(geometry.spacing)
    voxels = max(1, round((high[1] - low[1]) / step)), max(1, round((high[0] - low[0]) / step))
    return Cut("Oblique", anchor + frame[:, :2] @ low, across, along, _edges(geometry, across, along), voxels)


def _rotation(tilt: float, turn: float, spin: float) -> Float[np.ndarray, "3 3"]:
    """Columns: where the picture's right, down and away go."""
    (a, b, c), (i, j, k) = np.cos(np.deg2rad([tilt, turn, spin])), np.sin(np.deg2rad([tilt, turn, spin]))
    about_right = np.array([[1, 0, 0], [0, a, -i], [0, i, a]])
    about_down = np.array([[b, 0, j], [0, 1, 0], [-j, 0, b]])
    about_away = np.array([[c, -k, 0], [k, c, 0], [0, 0, 1]])
    return about_down @ about_right @ about_away


def crop_box(signal: Signal, low: tuple[int, int, int], high: tuple[int, int, int]) -> Signal:
    """The part of a volume between two corners, lying where it lay.

    Args:
        signal: A volume.
        low: First voxel kept per axis.
        high: First voxel no longer kept.

    Raises:
        SignalError: when the box holds fewer than two voxels along an axis, or leaves the volume.
    """
    note = check_box(signal.name, signal.shape, low, high)
    values = np.ascontiguousarray(signal.values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))])
    affine = shift_affine(signal.affine, low)
    return replace(signal, values=values, affine=affine, prepared_for=None, notes=(*signal.notes, note))
