"""Where signals are sampled: coordinate grids in [-1, 1], context sets of (coordinate, value) pairs, and their reduction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from medfuncta_core.errors import ConfigError, SignalError


@dataclass(frozen=True, eq=False)
class ContextSet:
    """Coordinate-value pairs of a batch of signals (the paper's C, Sec. 2); a grid is only one way to have them.

    Args:
        coords: `(n, d)` when all signals are sampled at the same places, else `(b, n, d)`; [-1, 1] is inside the signal.
        values: `(b, n, c)`.

    Raises:
        SignalError: when the numbers of points or signals differ, or when there are no points.
    """

    coords: Float[Tensor, " ..."]
    values: Float[Tensor, " ..."]

    def __post_init__(self) -> None:
        shared = self.coords.ndim == 2
        if self.coords.ndim not in (2, 3) or self.values.ndim != 3:
            raise SignalError(f"a context set takes coords (n, d) or (b, n, d) and values (b, n, c), not {self._shapes()}")
        if self.coords.shape[-2] != self.values.shape[1] or not (shared or len(self.coords) == len(self.values)):
            raise SignalError(f"coords and values of a context set differ in points or signals: {self._shapes()}")
        if self.values.shape[1] == 0:
            raise SignalError("a context set needs at least one point; the mask or selection left none")

    def _shapes(self) -> str:
        return f"{tuple(self.coords.shape)} and {tuple(self.values.shape)}"

    @property
    def points(self) -> int:
        """Points per signal, n."""
        return self.values.shape[1]


def make_grid(
    shape: Sequence[int], *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "n d"]:
    """Coordinates of a regular grid: every axis runs from -1 (first sample) to 1 (last sample), both included.

    Axis order is the array's axis order and points are in row-major order, so that `values.reshape(n, c)` belongs to them.
    An axis of one point lies at 0. Changing `shape` samples the same interval more or less densely.

    Args:
        shape: Points per axis, each at least 1.

    Returns:
        `(n, d)` with n the product of `shape` and d its length.

    Source: the published implementation's grid, which its weights depend on.
    """
    if not shape or min(shape) < 1:
        raise ConfigError(f"a grid needs at least one point on every axis, not shape {tuple(shape)}")
    axes = [
        torch.linspace(-1, 1, n, device=device, dtype=dtype) if n > 1 else torch.zeros(1, device=device, dtype=dtype)
        for n in shape
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(shape))


def grid_coords(
    shape: Sequence[int], points: range, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "n d"]:
    """A run of `make_grid(shape)`'s rows without making the others, for grids too large to hold.

    Args:
        shape: Points per axis.
        points: Contiguous row numbers.
    """
    rest = torch.arange(points.start, points.stop, device=device)
    axes = []
    for n in reversed(shape):
        axis = make_grid((n,), device=device, dtype=dtype)[:, 0]
        axes.append(axis[rest % n])
        rest = rest // n
    return torch.stack(axes[::-1], dim=-1)


def grid_context(values: Float[Tensor, "b *shape c"]) -> ContextSet:
    """The full context of signals sampled on a grid.

    Args:
        values: `(b, *shape, c)`.

    Returns:
        Shared coords `(n, d)` and values `(b, n, c)`, on the values' device and in their dtype.
    """
    grid = make_grid(values.shape[1:-1], device=values.device, dtype=values.dtype)
    return ContextSet(grid, rearrange(values, "b ... c -> b (...) c"))


def sampled_context(coords: Float[np.ndarray, "n d"], values: Float[np.ndarray, "n c"]) -> ContextSet:
    """The context of one signal that was sampled at any places, such as some voxels of a volume.

    Args:
        coords: In [-1, 1].
        values: In [0, 1], one a place.
    """
    return ContextSet(torch.from_numpy(coords), torch.from_numpy(values)[None])


def select_points(context: ContextSet, mask: Bool[np.ndarray, "*shape"]) -> ContextSet:
    """The part of a grid context where `mask` is True: holes, regions and irregular samples.

    Args:
        context: Shared coords `(n, d)`.
        mask: n booleans in the grid's order, any shape; True keeps the point.

    Raises:
        SignalError: when the mask has another number of points than the context, or keeps none.
    """
    keep = torch.from_numpy(np.ascontiguousarray(mask).reshape(-1)).to(context.values.device)
    if len(keep) != context.points or context.coords.ndim != 2:
        raise SignalError(
            f"a mask of {len(keep)} points cannot select from a context of {context.points}; give it the signal's shape"
        )
    return ContextSet(context.coords[keep], context.values[:, keep])


def draw_indices(signals: int, points: int, ratio: float, generator: torch.Generator) -> Int[Tensor, "b m"] | None:
    """Random points for a reduced context, without replacement and independently for every signal (Algorithm 1).

    Args:
        signals: b.
        points: n, points to draw from.
        ratio: gamma in (0, 1]; m = max(1, floor(ratio * n)).
        generator: CPU generator; the draw does not depend on the device that computes.

    Returns:
        `(b, m)`, or None at ratio 1, where the full context is used as it is.
    """
    if ratio >= 1:
        return None
    m = max(1, int(ratio * points))
    return torch.stack([torch.randperm(points, generator=generator)[:m] for _ in range(signals)])


def reduce_context(context: ContextSet, indices: Int[Tensor, "b m"] | None) -> ContextSet:
    """The reduced context C_red at the drawn points; None returns the context itself."""
    if indices is None:
        return context
    indices = indices.to(context.values.device)
    values = torch.take_along_dim(context.values, indices[..., None], dim=1)
    if context.coords.ndim == 2:
        return ContextSet(context.coords[indices], values)
    return ContextSet(torch.take_along_dim(context.coords, indices[..., None], dim=1), values)


def random_mask(shape: Sequence[int], share: float, seed: int = 0) -> Bool[np.ndarray, "*shape"]:
    """A mask that keeps a random `share` of a grid's points, at least one.

    Args:
        shape: Points per axis.
        share: Of points kept, in (0, 1].
        seed: Same seed, same mask.

    Returns:
        Booleans of `shape`, True where a point is used.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"the share of points to keep must be above 0 and at most 1, not {share}")
    points = int(np.prod(shape))
    kept = np.zeros(points, dtype=bool)
    kept[np.random.default_rng(seed).permutation(points)[: max(1, round(share * points))]] = True
    return kept.reshape(tuple(shape))


def box_mask(shape: Sequence[int], low: Sequence[float], high: Sequence[float]) -> Bool[np.ndarray, "*shape"]:
    """A mask that hides a box: an interval of an ECG, a rectangle of an image, a cuboid of a volume.

    Args:
        shape: Points per axis.
        low: Where the box starts per axis, as a share of the axis in [0, 1].
        high: Where it ends, above `low`.

    Returns:
        Booleans of `shape`, False inside the box.

    Raises:
        ConfigError: when the box is empty, leaves the signal, or hides all of it.
    """
    if not len(shape) == len(low) == len(high) or not all(0 <= a < b <= 1 for a, b in zip(low, high, strict=True)):
        raise ConfigError("a box needs, for every axis, a start below its end, both between 0 and 1")
    mask = np.ones(tuple(shape), dtype=bool)
    mask[tuple(slice(round(a * n), max(round(a * n) + 1, round(b * n))) for a, b, n in zip(low, high, shape, strict=True))] = (
        False
    )
    if not mask.any():
        raise ConfigError("the box hides the whole signal; make it smaller")
    return mask
