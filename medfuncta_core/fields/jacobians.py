"""Jacobians of a field's values in its modulations, point by point, and Gauss-Newton steps in the latent that they give.

The backward pass that sums gradients over points gives, unsummed, how every value depends on every shift and scale: D numbers a
value, D = kinds x M x L. The latent enters through one affine map W of D rows, so J W is formed only where latents are short.
Source: Nocedal and Wright, Numerical Optimization (2006), Sec. 7.1 and 10.3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.fields.arithmetic import cosine, sine
from medfuncta_core.fields.cores import conduct, cores, spread
from medfuncta_core.fields.siren import ModulatedSIREN

SHORT_LATENT = 256  # up to here one product with W costs less than two in every iteration
JACOBIAN_BYTES = {"cpu": 2**22, "cuda": 2**28}  # of the signals worked on at once; on a CPU they stay in the cache
TILE_POINTS = 256


@torch.no_grad()
def modulation_jacobian(
    field: ModulatedSIREN, coords: Float[Tensor, "b n d"], latents: Float[Tensor, "b p"]
) -> Float[Tensor, "b m q"]:
    """Derivatives of the values in the modulations, shifts before scales, layer by layer, as `modulation_weight` orders them.

    Args:
        field: At its present parameters.
        coords: Points of each signal.
        latents: Where.

    Returns:
        `(b, n c, D)`, a point's channels side by side.
    """
    config, layers = field.config, field.config.depth - 1
    shift, scale = field.modulations(latents)
    first = 0 if config.modulate_first else 1
    h, slopes, products = coords, [], []
    for k, omega in enumerate(config.omegas[:-1]):
        a = h @ _layer(field, k).mT + (field.first_bias if k == 0 else field.hidden_bias[k - 1])
        u = a if k < first or scale is None else a * scale[:, k - first, None]
        u = u if k < first or shift is None else u + shift[:, k - first, None]
        u = (omega * u).contiguous()
        slopes.append(cosine(u, torch.empty_like(u)).mul_(omega))
        products.append(a)
        wave = sine(u, torch.empty_like(u))
        h = h + wave if config.residual and k > 0 else wave
    kinds, width = (shift is not None) + (scale is not None), config.width
    jacobian = coords.new_empty(*coords.shape[:2], config.channels, kinds, config.modulated_layers, width)
    for channel in range(config.channels):
        g = field.last_weight[channel].expand_as(h)
        for k in reversed(range(layers)):
            g_u = g * slopes[k]
            if k >= first:
                if shift is not None:
                    jacobian[:, :, channel, 0, k - first] = g_u
                if scale is not None:
                    torch.mul(g_u, products[k], out=jacobian[:, :, channel, -1, k - first])
                    g_u = g_u * scale[:, k - first, None]
            if k > 0:
                g = g + g_u @ _layer(field, k) if config.residual else g_u @ _layer(field, k)
    return jacobian.view(len(coords), -1, kinds * config.modulated_layers * width)


def modulation_weight(field: ModulatedSIREN) -> Float[Tensor, "q p"]:
    """The map W from latents to modulations `(D, P)`, without its bias."""
    weights = [getattr(field, f"{kind}_weight", None) for kind in ("shift", "scale")]
    return torch.cat([weight.detach().flatten(0, 1) for weight in weights if weight is not None])


@torch.no_grad()
def damped_steps(
    field: ModulatedSIREN,
    weight: Float[Tensor, "q u"],
    coords: Float[Tensor, "b n d"],
    latents: Float[Tensor, "b p"],
    gradient: Float[Tensor, "b u"],
    damping: Float[Tensor, " b"],
    iterations: int,
) -> Float[Tensor, "b u"]:
    """Solve (H + damping) x = gradient for every signal, H = 2/m (J W)^T J W its Gauss-Newton matrix at some of its points.

    Conjugate gradients; few iterations already are a good step. On a CPU every core works on signals of its own, or, where there
    are fewer signals than cores, on points of its own.

    Args:
        field: At its present parameters.
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
    numbers = coords.shape[1] * field.config.channels * weight.shape[0]
    together = max(1, JACOBIAN_BYTES[coords.device.type] // (numbers * coords.element_size()))
    groups, shared = -(-len(latents) // together), together == 1 and coords.device.type == "cpu"
    inside = workers if shared and groups < workers else 1
    step = torch.empty_like(gradient)

    def work(_: int, group: int) -> None:
        part = slice(group * together, (group + 1) * together)
        if shared:
            multiply = _SharedMatrix(field, weight, coords[group], latents[group], inside).multiply
            step[part] = _conjugate_gradients(multiply, gradient[part], damping[part], iterations)
        else:
            jacobian = modulation_jacobian(field, coords[part], latents[part])
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
    """As `damped_steps`, from Jacobians at hand."""
    factor, formed = 2 / jacobian.shape[1], weight.shape[1] <= SHORT_LATENT
    rows = jacobian @ weight if formed else jacobian

    def multiply(direction: Tensor) -> Tensor:
        moved = torch.bmm(rows, (direction if formed else direction @ weight.mT)[..., None])
        back = torch.bmm(rows.mT, moved)[..., 0]
        return (back if formed else back @ weight) * factor

    return _conjugate_gradients(multiply, gradient, damping, iterations)


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


class _SharedMatrix:
    """One signal's Gauss-Newton matrix, its rows shared among cores tile by tile, each read once a product.

    Tiles do not depend on the number of cores and their sums are added in order, so neither does any product, to the last bit.
    """

    def __init__(self, field: ModulatedSIREN, weight: Tensor, coords: Tensor, latent: Tensor, cores: int) -> None:
        self._weight, self._cores, self._formed = weight, cores, weight.shape[1] <= SHORT_LATENT
        points, channels, length = len(coords), field.config.channels, weight.shape[1] if self._formed else len(weight)
        spans = _spans(points, TILE_POINTS)
        self._jacobian = coords.new_empty(points * channels, length)
        self._tiles = [slice(span.start * channels, span.stop * channels) for span in spans]
        self._parts = _spans(length, TILE_POINTS)
        self._sums = coords.new_empty(len(self._tiles), length)
        self._moved = coords.new_empty(length)
        self._products = coords.new_empty(len(self._parts), weight.shape[1])

        def fill(_: int, tile: int) -> None:
            rows = modulation_jacobian(field, coords[None, spans[tile]], latent[None])[0]
            self._jacobian[self._tiles[tile]] = rows @ weight if self._formed else rows

        self._spread(fill, len(spans))

    def multiply(self, direction: Float[Tensor, "1 p"]) -> Float[Tensor, "1 p"]:
        """2/m W^T J^T J W times a direction."""

        def forward(_: int, part: int) -> None:
            torch.mv(self._weight[self._parts[part]], direction[0], out=self._moved[self._parts[part]])

        def through(_: int, tile: int) -> None:
            rows = self._jacobian[self._tiles[tile]]
            torch.mv(rows.mT, torch.mv(rows, moved), out=self._sums[tile])

        def backward(_: int, part: int) -> None:
            torch.mv(self._weight[self._parts[part]].mT, back[self._parts[part]], out=self._products[part])

        moved = direction[0] if self._formed else self._moved
        if not self._formed:
            self._spread(forward, len(self._parts))
        self._spread(through, len(self._tiles))
        back = self._sums.sum(0)
        if not self._formed:
            self._spread(backward, len(self._parts))
            back = self._products.sum(0)
        return back[None] * (2 / len(self._jacobian))

    def _spread(self, work: Callable[[int, int], None], tiles: int) -> None:
        spread(tiles, min(self._cores, tiles), work)


def _spans(length: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, length)) for first in range(0, length, size)]


def _layer(field: ModulatedSIREN, k: int) -> Tensor:
    return field.first_weight if k == 0 else field.hidden_weight[k - 1]
