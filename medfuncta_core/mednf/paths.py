"""Walking in a latent space: paths between signals, grids of four, means of classes and directions between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from medfuncta_core.errors import SetError

PathKind = Literal["linear", "spherical"]

SMALLEST_ANGLE = 1e-4  # radians; below it, a great circle and a straight line are the same numbers


def even_shares(frames: int) -> Float[np.ndarray, " f"]:
    """Places on a path from A (0) to B (1), both among them.

    Raises:
        SetError: for fewer than two.
    """
    if frames < 2:
        raise SetError(f"a path needs at least 2 frames, its two ends, not {frames}")
    return np.linspace(0, 1, frames)


def walk(
    first: Float[np.ndarray, " p"], last: Float[np.ndarray, " q"], shares: Float[np.ndarray, " f"], path: PathKind = "linear"
) -> Float[np.ndarray, "f p"]:
    """Latents on the way from one to another.

    Args:
        first: A, where the share is 0.
        last: B, where the share is 1.
        shares: Places on the path.
        path: linear, the straight line; spherical, the directions along their great circle and the lengths in between linearly,
            so that no latent on the way is shorter than both ends (a straight line passes nearer to the origin).

    Returns:
        float32 `(f, p)`; the ends are A and B to the last bit.

    Raises:
        SetError: when the ends differ in length, or point in opposite directions, which no single great circle joins.

    Source: Shoemake, "Animating rotation with quaternion curves", 1985.
    """
    if first.shape != last.shape:
        raise SetError(f"A has {len(first)} numbers, B {len(last)}; choose two latents of one network")
    a, b = first.astype(np.float64), last.astype(np.float64)
    place = np.asarray(shares, dtype=np.float64)[:, None]
    between = (1 - place) * a + place * b if path == "linear" else _walk_sphere(a, b, place)
    between = np.where(place == 0, a, np.where(place == 1, b, between))
    return between.astype(np.float32)


def _walk_sphere(a: np.ndarray, b: np.ndarray, place: np.ndarray) -> np.ndarray:
    long_a, long_b = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if min(long_a, long_b) == 0:
        return (1 - place) * a + place * b  # the origin has no direction
    unit_a, unit_b = a / long_a, b / long_b
    angle = 2 * math.atan2(float(np.linalg.norm(unit_a - unit_b)), float(np.linalg.norm(unit_a + unit_b)))
    if angle > math.pi - SMALLEST_ANGLE:
        raise SetError("A and B point in opposite directions, so there is no shortest way around; choose the linear path")
    if angle < SMALLEST_ANGLE:
        return (1 - place) * a + place * b
    directions = (np.sin((1 - place) * angle) * unit_a + np.sin(place * angle) * unit_b) / math.sin(angle)
    return ((1 - place) * long_a + place * long_b) * directions


def angle_between(first: Float[np.ndarray, " p"], last: Float[np.ndarray, " p"]) -> float:
    """Angle between two latents in degrees, 0 to 180; NaN where one is the origin."""
    lengths = float(np.linalg.norm(first)) * float(np.linalg.norm(last))
    cosine = float(first.astype(np.float64) @ last.astype(np.float64)) / lengths if lengths else math.nan
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine)))) if lengths else math.nan


def blend_corners(corners: Sequence[Float[np.ndarray, " p"]], rows: int, columns: int) -> Float[np.ndarray, "r c p"]:
    """Latents of a grid whose corners are A (top left), B (top right), C (bottom left) and D, mixed bilinearly in between."""
    across, down = even_shares(columns)[None, :, None], even_shares(rows)[:, None, None]
    a, b, c, d = (corner.astype(np.float64) for corner in corners)
    return ((1 - down) * ((1 - across) * a + across * b) + down * ((1 - across) * c + across * d)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """Mean latents of classes.

    Args:
        labels: Of the classes that occur, rising.
        means: `(c, p)` float32.
        counts: Signals behind each.
    """

    labels: tuple[int, ...]
    means: Float[np.ndarray, "c p"]
    counts: tuple[int, ...]

    def of(self, label: int) -> Float[np.ndarray, " p"]:
        """Mean of a class.

        Raises:
            SetError: when no signal has this label.
        """
        if label not in self.labels:
            raise SetError(f"no signal has label {label}; there are {', '.join(map(str, self.labels)) or 'no labels'}")
        return self.means[self.labels.index(label)]

    def direction(self, source: int, target: int) -> Float[np.ndarray, " p"]:
        """From the mean of one class to the mean of another; adding it once goes the whole way between them."""
        return self.of(target) - self.of(source)


def class_means(blocks: Iterable[tuple[int, np.ndarray]], labels: Int[np.ndarray, " n"]) -> ClassMeans:
    """Mean latent of every class, summed block by block, so that a set of any size needs a block's memory.

    Args:
        blocks: First row and latents `(b, p)`, such as `MednfSet.blocks()`.
        labels: Class of every row; rows of -1 have none and are left out.

    Raises:
        SetError: when no row has a label.
    """
    known = np.unique(labels[labels >= 0])
    if not len(known):
        raise SetError("none of these signals has a class; choose a set with labels")
    sums: np.ndarray | None = None
    for first, latents in blocks:
        own = labels[first : first + len(latents)]
        if sums is None:
            sums = np.zeros((len(known), latents.shape[1]))
        for place, label in enumerate(known):
            sums[place] += latents[own == label].sum(0, dtype=np.float64)
    counts = [int((labels == label).sum()) for label in known]
    assert sums is not None  # there are labels, so there are rows
    means = (sums / np.array(counts)[:, None]).astype(np.float32)
    return ClassMeans(tuple(int(label) for label in known), means, tuple(counts))


def even_strengths(frames: int, strongest: float) -> Float[np.ndarray, " s"]:
    """Strengths from -`strongest` to `strongest`, 0 in the middle among them: one more than asked for where that is even."""
    return np.linspace(-strongest, strongest, frames + 1 - frames % 2)


def place_along(latent: Float[np.ndarray, " p"], start: Float[np.ndarray, " p"], direction: Float[np.ndarray, " p"]) -> float:
    """How far along a direction a latent lies: 0 at `start`, 1 at `start + direction`; NaN for no direction."""
    squared = float(direction.astype(np.float64) @ direction)
    return float((latent - start).astype(np.float64) @ direction) / squared if squared else math.nan


def add_direction(
    latent: Float[np.ndarray, " p"], direction: Float[np.ndarray, " p"], strengths: Sequence[float] | Float[np.ndarray, " s"]
) -> Float[np.ndarray, "s p"]:
    """A latent moved along a direction, once for each strength; 0 leaves it where it is."""
    return (latent[None] + np.asarray(strengths, dtype=np.float32)[:, None] * direction[None]).astype(np.float32)
