"""Gauss-Newton steps in the latents, from the Jacobians of many signals or, on all cores, of one.

Source: Nocedal and Wright, Numerical Optimization (2006), Sec. 7.1 and 10.3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.fields.cores import conduct, cores, spread
from medfuncta_core.fields.jacobians import TILE_POINTS
from medfuncta_core.fields.modulating import modulate
from medfuncta_core.fields.passes import FieldPasses
from medfuncta_core.fields.tiles import Modulations

SHORT_LATENT = 256  # up to here J W is formed: one product with W costs less than two in every iteration
FLOOR, TRIES = 8, 6  # rounding errors of the mean curvature that damp at least; tenfold damping, so many times at most
JACOBIAN_BYTES = {"cpu": 2**22, "cuda": 2**28}  # of the signals worked on at once; on a CPU they stay in the cache


@torch.no_grad()
def damped_steps(
    passes: FieldPasses,
    weight: Float[Tensor, "q u"],
    coords: Float[Tensor, "b n d"],
    latents: Float[Tensor, "b p"],
    gradient: Float[Tensor, "b u"],
    damping: Float[Tensor, " b"],
    iterations: int,
) -> Float[Tensor, "b u"]:
    """Solve (H + damping) x = gradient for every signal, H = 2/m (J W)^T J W its Gauss-Newton matrix at some of its points.

    Conjugate gradients, of which few iterations already are a good step, or a factorisation where latents are short. On a CPU
    every core works on signals of its own, or, where there are fewer signals than cores, on points of its own.

    Args:
        passes: Of the field, at its present parameters.
        weight: W, the map from what is solved for to the modulations: `modulation_weight`'s, or scaled latents'.
        coords: The points.
        latents: Where.
        gradient: Right side.
        damping: Above zero, one a signal.
        iterations: Of the conjugate gradients.

    Returns:
        x, one row a signal; none depends on another's.
    """
    workers = cores() if coords.device.type == "cpu" else 1
    numbers = coords.shape[1] * passes.config.channels * weight.shape[0]
    room = max(1, JACOBIAN_BYTES[coords.device.type] // (numbers * coords.element_size()))
    together = min(room, -(-len(latents) // workers))
    groups, shared = -(-len(latents) // together), room == 1 and coords.device.type == "cpu"
    inside = workers if shared and groups < workers else 1
    step = torch.empty_like(gradient)

    def work(_: int, group: int) -> None:
        part = slice(group * together, (group + 1) * together)
        modulations = modulate(passes.field, latents[part])
        if shared and weight.shape[1] <= SHORT_LATENT:
            matrix = _shared_gram(passes, weight, coords[group], modulations, inside)
            step[part] = _solve(matrix[None], gradient[part], damping[part])
        elif shared:
            multiply = _SharedMatrix(passes, weight, coords[group], modulations, inside).multiply
            step[part] = _conjugate_gradients(multiply, gradient[part], damping[part], iterations)
        else:
            jacobian = passes.jacobian(coords[part], modulations)
            step[part] = solve_damped(jacobian, weight, gradient[part], damping[part], iterations)

    run = partial(spread, groups, 1 if inside > 1 else min(workers, groups), work)
    if coords.device.type == "cpu":
        conduct(run)
    else:
        run()
    return step


@torch.no_grad()
def solve_damped(
    jacobian: Float[Tensor, "b m q"],
    weight: Float[Tensor, "q p"],
    gradient: Float[Tensor, "b p"],
    damping: Float[Tensor, " b"],
    iterations: int,
) -> Float[Tensor, "b p"]:
    """As `damped_steps`, from Jacobians at hand; exactly where latents are short, whatever the iterations."""
    factor = 2 / jacobian.shape[1]
    if weight.shape[1] <= SHORT_LATENT:
        rows = jacobian @ weight
        return _solve(torch.bmm(rows.mT, rows) * factor, gradient, damping)

    def multiply(direction: Tensor) -> Tensor:
        moved = torch.bmm(jacobian, (direction @ weight.mT)[..., None])
        return torch.bmm(jacobian.mT, moved)[..., 0] @ weight * factor

    return _conjugate_gradients(multiply, gradient, damping, iterations)


def _solve(matrix: Float[Tensor, "b p p"], gradient: Tensor, damping: Tensor) -> Float[Tensor, "b p"]:
    """(H + damping)^-1 gradient by Cholesky factors, with as much more damping as rounding makes necessary."""
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    floor = FLOOR * torch.finfo(matrix.dtype).eps * diagonal.mean(1)
    curvature = diagonal.clone()
    factor = matrix
    for _ in range(TRIES):
        diagonal.copy_(curvature + torch.maximum(damping, floor)[:, None])
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if not failed.any():
            break
        floor = torch.where(failed > 0, floor * 10, floor)
    return torch.cholesky_solve(gradient[..., None], factor)[..., 0]


def _conjugate_gradients(
    multiply: Callable[[Tensor], Tensor], gradient: Tensor, damping: Tensor, iterations: int
) -> Float[Tensor, "b p"]:
    tiny = torch.finfo(gradient.dtype).tiny
    x, rest = torch.zeros_like(gradient), gradient.clone()
    direction, norm = rest.clone(), rest.square().sum(1)
    for _ in range(iterations):
        product = multiply(direction) + damping[:, None] * direction
        length = norm / (direction * product).sum(1).clamp_min(tiny)
        x.addcmul_(length[:, None], direction)
        rest.addcmul_(length[:, None], product, value=-1)
        norm, before = rest.square().sum(1), norm
        direction = rest + (norm / before.clamp_min(tiny))[:, None] * direction
    return x


def _shared_gram(
    passes: FieldPasses, weight: Float[Tensor, "q p"], coords: Float[Tensor, "n d"], modulations: Modulations, cores: int
) -> Float[Tensor, "p p"]:
    """2/m W^T J^T J W of one signal, its points shared among cores as those of `_SharedMatrix`."""
    spans = _spans(len(coords), TILE_POINTS)
    sums = coords.new_empty(len(spans), weight.shape[1], weight.shape[1])

    def fill(_: int, tile: int) -> None:
        rows = passes.jacobian(coords[None, spans[tile]], modulations)[0] @ weight
        torch.mm(rows.mT, rows, out=sums[tile])

    spread(len(spans), min(cores, len(spans)), fill)
    return sums.sum(0) * (2 / (len(coords) * passes.config.channels))


class _SharedMatrix:
    """One signal's Gauss-Newton matrix, its rows shared among cores tile by tile, each read once a product.

    Tiles do not depend on the number of cores and their sums are added in order, so neither does any product, to the last bit.
    """

    def __init__(self, passes: FieldPasses, weight: Tensor, coords: Tensor, modulations: Modulations, cores: int) -> None:
        self._weight, self._cores = weight, cores
        points, channels, length = len(coords), passes.config.channels, len(weight)
        spans = _spans(points, TILE_POINTS)
        self._jacobian = coords.new_empty(points * channels, length)
        self._tiles = [slice(span.start * channels, span.stop * channels) for span in spans]
        self._parts = _spans(length, TILE_POINTS)
        self._sums = coords.new_empty(len(self._tiles), length)
        self._moved = coords.new_empty(length)
        self._products = coords.new_empty(len(self._parts), weight.shape[1])

        def fill(_: int, tile: int) -> None:
            self._jacobian[self._tiles[tile]] = passes.jacobian(coords[None, spans[tile]], modulations)[0]

        self._spread(fill, len(spans))

    def multiply(self, direction: Float[Tensor, "1 p"]) -> Float[Tensor, "1 p"]:
        """2/m W^T J^T J W times a direction."""

        def forward(_: int, part: int) -> None:
            torch.mv(self._weight[self._parts[part]], direction[0], out=self._moved[self._parts[part]])

        def through(_: int, tile: int) -> None:
            rows = self._jacobian[self._tiles[tile]]
            torch.mv(rows.mT, torch.mv(rows, self._moved), out=self._sums[tile])

        def backward(_: int, part: int) -> None:
            torch.mv(self._weight[self._parts[part]].mT, back[self._parts[part]], out=self._products[part])

        self._spread(forward, len(self._parts))
        self._spread(through, len(self._tiles))
        back = self._sums.sum(0)
        self._spread(backward, len(self._parts))
        return self._products.sum(0)[None] * (2 / len(self._jacobian))

    def _spread(self, work: Callable[[int, int], None], tiles: int) -> None:
        spread(tiles, min(self._cores, tiles), work)


def _spans(length: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, length)) for first in range(0, length, size)]
