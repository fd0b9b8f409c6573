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
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from medfuncta_core.config import FieldConfig


class Modulations(NamedTuple):
    """Shift and scale of every modulated layer, `(b, M, L)`, or gradients and tangents of them; None where a field has none."""

    shift: Tensor | None
    scale: Tensor | None

    def layer(self, m: int, signals: slice) -> tuple[Tensor | None, Tensor | None]:
        """The m-th modulated layer's shift and scale `(b, 1, L)`, None for an unmodulated layer (m < 0)."""
        shift, scale = (None if x is None or m < 0 else x[signals, m, None] for x in self)
        return shift, scale

    def zeros_like(self) -> Modulations:
        """Zeros to add to."""
        shift, scale = (None if x is None else torch.zeros_like(x) for x in self)
        return Modulations(shift, scale)


class Workspace:
    """Buffers that are allocated once and reused by name: fresh memory costs more than the arithmetic done in it."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype, self._device = dtype, device
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """An uninitialised contiguous tensor of `shape`; the previous one of this name is overwritten."""
        count = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < count:
            buffer = self._buffers[name] = torch.empty(count, dtype=self._dtype, device=self._device)
        return buffer[:count].view(shape)


@dataclass(frozen=True, eq=False)
class Folded:
    """A field's own parameters with omega folded in, layer by layer; `first_modulated` is the first modulated layer's number."""

    config: FieldConfig
    weights: list[Tensor]
    biases: list[Tensor]
    last_weight: Tensor
    last_bias: Tensor  # output offset included
    first_modulated: int


@dataclass(eq=False)
class Activations:
    """What the backward and dual passes of a tile need; rows are the points of its signals, signal by signal.

    Args:
        signals: Of the batch.
        points: Of each of these signals in this tile.
        h: Inputs of layers 1 ... K, `(rows, .)`.
        cosine: cos u of layers 1 ... K-1, `(rows, L)`.
        a: Values before the modulation, where a scale multiplies them.
        g: Gradients in the outputs of layers 1 ... K-1, after the backward pass.
        g_y: Gradient in the values.
    """

    signals: slice
    points: int
    h: list[Tensor] = field(default_factory=list)
    cosine: list[Tensor] = field(default_factory=list)
    a: list[Tensor | None] = field(default_factory=list)
    g: list[Tensor] = field(default_factory=list)
    g_y: Tensor | None = None

    def by_signal(self, rows: Tensor) -> Tensor:
        """`(rows, L)` as `(b, n, L)`."""
        return rows.view(-1, self.points, rows.shape[-1])


class FoldedGradients:
    """Gradients in the folded parameters, accumulated over tiles."""

    def __init__(self, folded: Folded) -> None:
        self.weights = [torch.zeros_like(weight) for weight in folded.weights]
        self.biases = [torch.zeros_like(bias) for bias in folded.biases]
        self.last_weight = torch.zeros_like(folded.last_weight)
        self.last_bias = torch.zeros_like(folded.last_bias)


def forward(
    folded: Folded, coords: Tensor, modulations: Modulations, tile: Activations, space: Workspace, tag: str | None
) -> Tensor:
    """Values `(rows, c)` of a tile.

    Args:
        folded: Parameters.
        coords: `(rows, d)`.
        modulations: Folded, of all signals.
        tile: Filled with activations.
        space: Where they live; `tag` tells tiles apart, None keeps two layers only (no backward pass then).
    """
    h, rows, width = coords, len(coords), folded.config.width
    tile.h.append(h)
    for k, weight in enumerate(folded.weights):
        name = str(k % 2) if tag is None else f"{tag}.{k}"
        shift, scale = modulations.layer(k - folded.first_modulated, tile.signals)
        a = space.take("u" if scale is None else f"a{name}", rows, width)
        torch.mm(h, weight.mT, out=a)
        if scale is not None or shift is None:  # elsewhere the bias is part of the folded shift
            a.add_(folded.biases[k])
        u = a
        if scale is not None:
            u = space.take("u", rows, width)
            torch.mul(tile.by_signal(a), scale, out=tile.by_signal(u))
        if shift is not None:
            tile.by_signal(u).add_(shift)
        out = space.take(f"h{name}", rows, width)
        torch.sin(u, out=out)
        if tag is not None:
            tile.cosine.append(torch.cos(u, out=space.take(f"cos{name}", rows, width)))
            tile.a.append(a if scale is not None else None)
        if folded.config.residual and k > 0:
            out.add_(h)
        h = out
        tile.h.append(h)
    return torch.mm(h, folded.last_weight.mT).add_(folded.last_bias)


def backward(
    folded: Folded,
    g_y: Tensor,
    modulations: Modulations,
    tile: Activations,
    space: Workspace,
    tag: str,
    sums: Modulations,
    into: FoldedGradients | None,
) -> None:
    """Gradients of a tile: added to `sums` (modulations) and `into` (parameters); `tile.g` is filled, layer 1 first.

    Args:
        g_y: Gradient with respect to the values, `(rows, c)`.
    """
    rows, width = len(g_y), folded.config.width
    tile.g_y = g_y
    if into is not None:
        into.last_weight.addmm_(g_y.mT, tile.h[-1])
        into.last_bias += g_y.sum(0)
    depth = len(folded.weights)
    g = torch.mm(g_y, folded.last_weight, out=space.take(f"g{tag}.{depth - 1}", rows, width))
    tile.g = [g]
    for k in reversed(range(depth)):
        m = k - folded.first_modulated
        g_u = torch.mul(g, tile.cosine[k], out=space.take("g_u", rows, width))
        if m >= 0 and sums.shift is not None:
            sums.shift[tile.signals, m] += tile.by_signal(g_u).sum(1)
        a = tile.a[k]
        if a is not None:
            _, scale = modulations.layer(m, tile.signals)
            assert scale is not None
            assert sums.scale is not None
            sums.scale[tile.signals, m] += tile.by_signal(g_u * a).sum(1)
            tile.by_signal(g_u).mul_(scale)
        if into is not None:
            into.weights[k].addmm_(g_u.mT, tile.h[k])
            into.biases[k] += g_u.sum(0)
        if k == 0:
            break
        below = space.take(f"g{tag}.{k - 1}", rows, width)
        g = _pass_below(folded, k, g, g_u, below)
        tile.g.insert(0, g)


def dual(
    folded: Folded,
    modulations: Modulations,
    tangent: Modulations,
    tile: Activations,
    space: Workspace,
    factor: float,
    sums: Modulations,
    into: FoldedGradients,
) -> None:
    """Tangent forward and dual backward pass of a tile whose activations and gradients are there.

    Args:
        tangent: Folded change of the modulations.
        factor: Second derivative of a signal's loss in one value, 2 / (n c).
        sums: The modulations' dual gradient is added here.
        into: The parameters' dual gradient is added here.
    """
    d_hs, sine_dus, d_as = _tangent_forward(folded, modulations, tangent, tile, space)
    rows, width = tile.h[0].shape[0], folded.config.width
    d_last = d_hs[-1]
    assert tile.g_y is not None
    assert d_last is not None  # some layer is modulated
    dg_y = torch.mm(d_last, folded.last_weight.mT).mul_(factor)
    into.last_weight.addmm_(dg_y.mT, tile.h[-1]).addmm_(tile.g_y.mT, d_last)
    into.last_bias += dg_y.sum(0)
    dg = torch.mm(dg_y, folded.last_weight, out=space.take("dg0", rows, width))
    for k in reversed(range(len(folded.weights))):
        m, g = k - folded.first_modulated, tile.g[k]
        dg_u = torch.mul(dg, tile.cosine[k], out=space.take("dg_u", rows, width))
        sine_du, d_h, da = sine_dus[k], d_hs[k], d_as[k]
        if sine_du is not None:
            dg_u.addcmul_(sine_du, g, value=-1)
        g_u = torch.mul(g, tile.cosine[k], out=space.take("g_u", rows, width))
        dual_sum = tile.by_signal(dg_u).sum(1)
        if m >= 0 and sums.shift is not None:
            sums.shift[tile.signals, m] += dual_sum
        a = tile.a[k]
        if a is not None:
            _, scale = modulations.layer(m, tile.signals)
            _, d_scale = tangent.layer(m, tile.signals)
            assert scale is not None
            assert sums.scale is not None
            assert d_scale is not None
            products = dg_u * a if da is None else torch.addcmul(dg_u * a, g_u, da)
            sums.scale[tile.signals, m] += tile.by_signal(products).sum(1)
            tile.by_signal(dg_u).mul_(scale).addcmul_(tile.by_signal(g_u), d_scale)
            tile.by_signal(g_u).mul_(scale)
            dual_sum = dg_u.sum(0, keepdim=True)
        into.biases[k] += dual_sum.sum(0)
        into.weights[k].addmm_(dg_u.mT, tile.h[k])
        if d_h is not None:
            into.weights[k].addmm_(g_u.mT, d_h)
        if k == 0:
            break
        below = space.take(f"dg{1 + k % 2}", rows, width)
        dg = _pass_below(folded, k, dg, dg_u, below)


def _pass_below(folded: Folded, k: int, g: Tensor, g_a: Tensor, out: Tensor) -> Tensor:
    """Gradient in the input of layer k from the gradients in its output and in its product, `(rows, L)` each; fills `out`."""
    if folded.config.residual:
        return torch.addmm(g, g_a, folded.weights[k], out=out)
    return torch.mm(g_a, folded.weights[k], out=out)


def _tangent_forward(
    folded: Folded, modulations: Modulations, tangent: Modulations, tile: Activations, space: Workspace
) -> tuple[list[Tensor | None], list[Tensor | None], list[Tensor | None]]:
    """dh of layers' inputs, sin(u) du, and da where a scale multiplies it; None stands for zero, at coordinates to begin with."""
    rows, width = tile.h[0].shape[0], folded.config.width
    d_h: Tensor | None = None
    d_hs: list[Tensor | None] = [None]
    sine_dus: list[Tensor | None] = []
    d_as: list[Tensor | None] = []
    for k, weight in enumerate(folded.weights):
        m = k - folded.first_modulated
        d_shift, d_scale = tangent.layer(m, tile.signals)
        if d_h is None and d_shift is None and d_scale is None:
            d_hs.append(None)
            sine_dus.append(None)
            d_as.append(None)
            continue
        name = f"da{k}" if d_scale is not None else "du"
        du = space.take(name, rows, width)
        if d_h is None:
            du.zero_()
        else:
            torch.mm(d_h, weight.mT, out=du)
        d_as.append(None if d_scale is None or d_h is None else du)
        if d_scale is not None:
            _, scale = modulations.layer(m, tile.signals)
            a, da = tile.a[k], du
            assert a is not None
            assert scale is not None
            du = space.take("du", rows, width)
            torch.mul(tile.by_signal(da), scale, out=tile.by_signal(du)).addcmul_(tile.by_signal(a), d_scale)
        if d_shift is not None:
            tile.by_signal(du).add_(d_shift)
        sine_du = space.take(f"sine_du{k}", rows, width)
        if folded.config.residual and k > 0:
            torch.sub(tile.h[k + 1], tile.h[k], out=sine_du).mul_(du)  # h+ - h = sin u
        else:
            torch.mul(tile.h[k + 1], du, out=sine_du)
        below, d_h = d_h, torch.mul(tile.cosine[k], du, out=space.take(f"dh{k}", rows, width))
        if folded.config.residual and k > 0 and below is not None:
            d_h.add_(below)
        d_hs.append(d_h)
        sine_dus.append(sine_du)
    return d_hs, sine_dus, d_as
