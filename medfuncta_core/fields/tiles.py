"""The arithmetic of one tile: a few signals, or a part of one, through all layers and back, with its activations in the cache.

Written out for one layer, with omega folded into weights, biases and shifts (W' = omega W), a dot for the tangent in the latents'
direction, and `c`, `s` the scale and shift modulations of a signal (c = 1, s = 0 where a layer has none):

    a = W' h + b'            u = c a + s              h+ = [h] + sin u
    da = W' dh               du = c da + dc a + ds    dh+ = [dh] + cos(u) du
    g_u = cos(u) g_h         dg_u = cos(u) dg_h - sin(u) du g_h
    g_a = c g_u              dg_a = c dg_u + dc g_u   dW' = dg_a^T h + g_a^T dh

[.] only with residual connections. Source: DESIGN.md, "The meta-gradient".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from medfuncta_core.config import FieldConfig
from medfuncta_core.fields.arithmetic import cosine, sine
from medfuncta_core.fields.products import Products, add_gram, product


class Modulations(NamedTuple):
    """Shift and scale of every modulated layer, `(b, M, L)`, or gradients and tangents of them; None where a field has none."""

    shift: Tensor | None
    scale: Tensor | None

    def layers(self, signals: slice, first_modulated: int) -> list[tuple[Tensor | None, Tensor | None]]:
        """Every layer's shift and scale `(b, 1, L)`, None before the first modulated one."""
        count = max(x.shape[1] for x in self if x is not None)
        shift, scale = ([None] * count if x is None else x[signals].unsqueeze(2).unbind(1) for x in self)
        return [(None, None)] * first_modulated + list(zip(shift, scale, strict=True))

    def zeros_like(self) -> Modulations:
        """Zeros to add to."""
        shift, scale = (None if x is None else torch.zeros_like(x) for x in self)
        return Modulations(shift, scale)

    def add_(self, other: Modulations) -> None:
        """Add in place."""
        for mine, theirs in zip(self, other, strict=True):
            if mine is not None and theirs is not None:
                mine.add_(theirs)


class Workspace:
    """Buffers that are allocated once and reused by name: fresh memory costs more than the arithmetic done in it."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype, self._device = dtype, device
        self._buffers: dict[str, Tensor] = {}
        self._taken: dict[str, tuple[tuple[int, ...], Tensor]] = {}  # the last of each name

    def take(self, name: str, *shape: int) -> Tensor:
        """An uninitialised contiguous tensor of `shape`; the previous one of this name is overwritten."""
        last = self._taken.get(name)
        if last is not None and last[0] == shape:
            return last[1]
        count = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < count:
            buffer = self._buffers[name] = torch.empty(count, dtype=self._dtype, device=self._device)
        taken = buffer[:count].view(shape)
        self._taken[name] = shape, taken
        return taken


@dataclass(frozen=True, eq=False)
class Folded:
    """A field's own parameters with omega folded in, layer by layer; `first_modulated` is the first modulated layer's number."""

    config: FieldConfig
    weights: list[Tensor]
    biases: list[Tensor]
    last_weight: Tensor
    last_bias: Tensor  # output offset included
    first_modulated: int
    products: Products


@dataclass(eq=False)
class Activations:
    """What the backward and dual passes of a tile need; rows are the points of its signals, signal by signal.

    Where all signals are sampled at the same points and the first layer is not modulated, that layer's rows, and those of the
    second layer's product, are the same for every signal: they are there once, `(points, .)`, and broadcast.

    Args:
        signals: Of the batch.
        count: How many these are.
        points: Of each of these signals in this tile.
        h: Inputs of layers 1 ... K, `(rows, .)`.
        cosine: cos u of layers 1 ... K-1, `(rows, L)`.
        kept: What a tape keeps of layers 1 ... K-1: u, or the value before the modulation where a scale multiplies it.
        g: Gradients in the outputs of layers 1 ... K-1, after the backward pass; None where nothing needs it.
        g_y: Gradient in the values.
    """

    signals: slice
    count: int
    points: int
    h: list[Tensor] = field(default_factory=list)
    cosine: list[Tensor] = field(default_factory=list)
    kept: list[Tensor] = field(default_factory=list)
    g: list[Tensor | None] = field(default_factory=list)
    g_y: Tensor | None = None

    def by_signal(self, rows: Tensor) -> Tensor:
        """`(rows, L)` as `(b, n, L)`; `(1, n, L)` where the rows are the same for every signal."""
        return rows.view(-1, self.points, rows.shape[-1])

    def as_inputs_of(self, k: int, rows: Tensor) -> Tensor:
        """Gradients in a layer's rows as they belong to its input's rows: summed over signals where they share these."""
        return rows if rows.shape[0] == self.h[k].shape[0] else self.by_signal(rows).sum(0)


class FoldedGradients:
    """Gradients in the folded parameters, accumulated over tiles."""

    def __init__(self, folded: Folded) -> None:
        self.weights = [torch.zeros_like(weight) for weight in folded.weights]
        self.biases = [torch.zeros_like(bias) for bias in folded.biases]
        self.last_weight = torch.zeros_like(folded.last_weight)
        self.last_bias = torch.zeros_like(folded.last_bias)

    def add_(self, other: FoldedGradients) -> None:
        """Add in place."""
        self.last_weight += other.last_weight
        self.last_bias += other.last_bias
        for mine, theirs in zip(self.weights + self.biases, other.weights + other.biases, strict=True):
            mine += theirs


def forward(
    folded: Folded,
    coords: Tensor,
    modulations: Modulations,
    tile: Activations,
    space: Workspace,
    *,
    keep: Callable[[str, int], Tensor] | None = None,
    backward: bool = True,
) -> Tensor:
    """Values `(rows, c)` of a tile.

    Args:
        folded: Parameters.
        coords: `(rows, d)`, or `(points, d)` for all signals alike.
        modulations: Folded, of all signals.
        tile: Filled with activations.
        space: Where they live.
        keep: Gives a tape's memory for a name and a number of rows, None without a tape.
        backward: Off keeps two layers only, no backward pass then.
    """
    tile.h.append(coords)
    rows, width = tile.count * tile.points, folded.config.width
    layers = modulations.layers(tile.signals, folded.first_modulated)
    for k, (weight, (shift, scale)) in enumerate(zip(folded.weights, layers, strict=True)):
        h, bias = tile.h[k], folded.biases[k]
        if scale is None and shift is not None:  # a folded shift has the bias in it
            bias = shift[0, 0] if tile.count == 1 else None
        name, lasting = ("u", keep is not None) if scale is None else ("a", backward)
        memory = partial(_memory, keep, space, f"{name}{k}" if lasting else name, width)
        if bias is not None:
            a = u = product(h, weight, bias, folded.products, partial(memory, h.shape[0]), lasting=lasting)
        else:
            assert shift is not None
            a = product(h, weight, None, folded.products, partial(space.take, "a", h.shape[0], width))
            a = u = torch.add(tile.by_signal(a), shift, out=tile.by_signal(memory(rows))).view(rows, width)
        if scale is not None:
            u = _scaled(tile, a, scale, shift, space)
        if backward:
            tile.kept.append(a)
        _wave(folded, k, u, tile, space, backward)
    return torch.addmm(folded.last_bias, tile.h[-1], folded.last_weight.mT)


def _memory(keep: Callable[[str, int], Tensor] | None, space: Workspace, name: str, width: int, rows: int) -> Tensor:
    return keep(name, rows) if keep else space.take(name, rows, width)


def restore(folded: Folded, modulations: Modulations, tile: Activations, space: Workspace) -> None:
    """Sines and cosines of a tile from what its tape has kept, into `space`."""
    del tile.h[1:], tile.cosine[:]
    layers = modulations.layers(tile.signals, folded.first_modulated)
    for k, (u, (shift, scale)) in enumerate(zip(tile.kept, layers, strict=True)):
        _wave(folded, k, u if scale is None else _scaled(tile, u, scale, shift, space), tile, space, True)


def _scaled(tile: Activations, a: Tensor, scale: Tensor, shift: Tensor | None, space: Workspace) -> Tensor:
    """u = c a + s, `(rows, L)`."""
    u = space.take("u", tile.count * tile.points, a.shape[1])
    torch.mul(tile.by_signal(a), scale, out=tile.by_signal(u))
    if shift is not None:
        tile.by_signal(u).add_(shift)
    return u


def _wave(folded: Folded, k: int, u: Tensor, tile: Activations, space: Workspace, backward: bool) -> None:
    """Layer k's output from u, and its cosine where a backward pass follows."""
    out = space.take(f"h{k if backward else k % 2}", *u.shape)
    sine(u, out)
    if backward:
        tile.cosine.append(cosine(u, space.take(f"cos{k}", *u.shape)))
    if folded.config.residual and k > 0:
        tile.by_signal(out).add_(tile.by_signal(tile.h[k]))
    tile.h.append(out)


def backward(
    folded: Folded,
    g_y: Tensor,
    modulations: Modulations,
    tile: Activations,
    space: Workspace,
    sums: Modulations,
    into: FoldedGradients | None,
    *,
    keep: Callable[[str, int], Tensor] | None = None,
) -> None:
    """Gradients of a tile: added to `sums` (modulations) and `into` (parameters); `tile.g` is filled, layer 1 first.

    Args:
        g_y: Gradient with respect to the values, `(rows, c)`.
        keep: As `forward` takes it.
    """
    width, depth = folded.config.width, len(folded.weights)
    memory = keep or (lambda name, rows: space.take(name, rows, width))
    tile.g_y, tile.g = g_y, [None] * depth
    if into is not None:
        into.last_weight.addmm_(g_y.mT, tile.h[-1])
        into.last_bias += g_y.sum(0)
    g = torch.mm(g_y, folded.last_weight, out=memory(f"g{depth - 1}", g_y.shape[0]))
    layers = modulations.layers(tile.signals, folded.first_modulated)
    for k in reversed(range(0 if into is not None else folded.first_modulated, depth)):
        m = k - folded.first_modulated
        tile.g[k] = g
        g_u = torch.mul(g, tile.cosine[k], out=space.take("g_u", *g.shape))
        if m >= 0 and sums.shift is not None:
            sums.shift[tile.signals, m] += tile.by_signal(g_u).sum(1)
        _, scale = layers[k]
        if scale is not None:
            assert sums.scale is not None
            sums.scale[tile.signals, m] += (tile.by_signal(g_u) * tile.by_signal(tile.kept[k])).sum(1)
            tile.by_signal(g_u).mul_(scale)
        if into is None and k == folded.first_modulated:
            break
        g_a = tile.as_inputs_of(k, g_u)
        if into is not None:
            add_gram(into.weights[k], g_a, tile.h[k], folded.products)
            into.biases[k] += g_a.sum(0)
        if k == 0:
            break
        g = pass_below(folded, k, tile.as_inputs_of(k, g), g_a, partial(memory, f"g{k - 1}", g_a.shape[0]), lasting=True)


def pass_below(folded: Folded, k: int, g: Tensor, g_a: Tensor, out: Callable[[], Tensor], *, lasting: bool = False) -> Tensor:
    """Gradient in the input of layer k from the gradients in its output and in its product, `(rows, L)` each.

    `out` and `lasting` are those of `product`.
    """
    below = product(g_a, folded.weights[k].mT, None, folded.products, out, lasting=lasting)
    return below.add_(g) if folded.config.residual else below
