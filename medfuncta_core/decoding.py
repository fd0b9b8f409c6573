"""Decoding large grids piece by piece: a progress bar while it runs, and nothing lost when it is given up half-way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.errors import ConfigError
from medfuncta_core.fitting import Fitter
from medfuncta_core.grids import grid_coords


@dataclass(frozen=True, eq=False)
class DecodedChunk:
    """A run of a grid's points.

    Args:
        points: Which ones, in row-major order.
        total: How many the grid has.
        values: `(n, c)`.
    """

    points: range
    total: int
    values: Float[np.ndarray, "n c"]


def decode_chunks(
    fitter: Fitter,
    latent: Float[np.ndarray, " p"] | Float[Tensor, " p"],
    shape: Sequence[int],
    *,
    chunk_points: int = 2**18,
    clamp: bool = True,
) -> Iterator[DecodedChunk]:
    """The field of a latent on a regular grid, as `Fitter.decode` gives it, one run of points after the other.

    Args:
        fitter: Of the latent's field.
        latent: phi.
        shape: Points per axis.
        chunk_points: Points in a run.
        clamp: Keep values in [0, 1].

    Yields:
        Runs that follow each other and cover the grid; whoever stops pulling has cancelled the rest.

    Raises:
        ConfigError: when latent or shape do not belong to the field, before the first run.
    """
    if len(shape) != fitter.field.config.coord_dim or min(shape) < 1:
        raise ConfigError(
            f"this field has {fitter.field.config.coord_dim} axes; give that many positive numbers of points, not {tuple(shape)}"
        )
    total = math.prod(shape)
    for first in range(0, total, chunk_points):
        span = range(first, min(first + chunk_points, total))
        yield DecodedChunk(span, total, fitter.decode_at(latent, grid_coords(shape, span).numpy(), clamp=clamp))


def watched_decoder(
    fitter: Fitter,
    latent: Float[np.ndarray, " p"] | Float[Tensor, " p"],
    watch: Callable[[int], None],
    *,
    chunk_points: int = 2**13,
) -> Callable[[np.ndarray], np.ndarray]:
    """The field of a latent as a function of points that tells how far it is.

    Args:
        fitter: Of the latent's field.
        latent: phi.
        watch: Called after every chunk with the number of points in it; what it raises ends the decoding.
        chunk_points: Points computed at once.

    Returns:
        Points `(n, d)` in [-1, 1] to values `(n, c)` in [0, 1].
    """

    def decode(coords: np.ndarray) -> np.ndarray:
        values = np.empty((len(coords), fitter.field.config.channels), np.float32)
        for first in range(0, len(coords), chunk_points):
            span = slice(first, min(first + chunk_points, len(coords)))
            values[span] = fitter.decode_at(latent, coords[span])
            watch(span.stop - span.start)
        return values

    return decode


def assemble(chunks: Iterator[DecodedChunk], shape: Sequence[int]) -> Float[np.ndarray, "*shape c"]:
    """All runs of a grid in one array; what was not drawn when the runs end early stays zero.

    Args:
        chunks: Of `decode_chunks`, possibly through a progress bar.
        shape: Points per axis.
    """
    values: np.ndarray | None = None
    for chunk in chunks:
        if values is None:
            values = np.zeros((chunk.total, chunk.values.shape[1]), np.float32)
        values[chunk.points.start : chunk.points.stop] = chunk.values
    if values is None:
        raise ConfigError("no part of the grid was decoded; draw at least one run")
    return values.reshape(*shape, values.shape[1])
