"""Hessian-vector products of a tile: its tangent in the latents' direction forwards, and the gradients' derivatives backwards.

`tiles.py` has the formulas, and the passes that come before.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from medfuncta_core.fields.products import add_gram, product
from medfuncta_core.fields.tiles import Activations, Folded, FoldedGradients, Modulations, Workspace, pass_below


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
    width = folded.config.width
    d_last = d_hs[-1]
    assert tile.g_y is not None
    assert d_last is not None  # some layer is modulated
    dg_y = torch.mm(d_last, folded.last_weight.mT).mul_(factor)
    into.last_weight.addmm_(dg_y.mT, tile.h[-1]).addmm_(tile.g_y.mT, d_last)
    into.last_bias += dg_y.sum(0)
    dg = torch.mm(dg_y, folded.last_weight, out=space.take("dg0", dg_y.shape[0], width))
    layers = modulations.layers(tile.signals, folded.first_modulated)
    changes = tangent.layers(tile.signals, folded.first_modulated)
    for k in reversed(range(len(folded.weights))):
        m, g = k - folded.first_modulated, tile.g[k]
        dg_u = torch.mul(dg, tile.cosine[k], out=space.take("dg_u", *dg.shape))
        sine_du, d_h, da = sine_dus[k], d_hs[k], d_as[k]
        if sine_du is not None and g is not None:
            dg_u.addcmul_(sine_du, g, value=-1)
        _, scale = layers[k]
        g_u = None
        if g is not None and (d_h is not None or scale is not None):
            g_u = torch.mul(g, tile.cosine[k], out=space.take("g_u", *g.shape))
        dual_sum = tile.by_signal(dg_u).sum(1)
        if m >= 0 and sums.shift is not None:
            sums.shift[tile.signals, m] += dual_sum
        if scale is not None:
            _, d_scale = changes[k]
            assert g_u is not None
            assert sums.scale is not None
            assert d_scale is not None
            products = tile.by_signal(dg_u) * tile.by_signal(tile.kept[k])
            if da is not None:
                products.addcmul_(tile.by_signal(g_u), tile.by_signal(da))
            sums.scale[tile.signals, m] += products.sum(1)
            tile.by_signal(dg_u).mul_(scale).addcmul_(tile.by_signal(g_u), d_scale)
            tile.by_signal(g_u).mul_(scale)
            dual_sum = dg_u.sum(0, keepdim=True)
        into.biases[k] += dual_sum.sum(0)
        dg_a = tile.as_inputs_of(k, dg_u)
        add_gram(into.weights[k], dg_a, tile.h[k], folded.products)
        if d_h is not None and g_u is not None:
            add_gram(into.weights[k], g_u, d_h, folded.products)
        if k == 0:
            break
        below = partial(space.take, f"dg{1 + k % 2}", dg_a.shape[0], width)
        dg = pass_below(folded, k, tile.as_inputs_of(k, dg), dg_a, below)


def _tangent_forward(
    folded: Folded, modulations: Modulations, tangent: Modulations, tile: Activations, space: Workspace
) -> tuple[list[Tensor | None], list[Tensor | None], list[Tensor | None]]:
    """dh of layers' inputs, sin(u) du, and da where a scale multiplies it; None stands for zero, at coordinates to begin with."""
    rows, width = tile.count * tile.points, folded.config.width
    d_h: Tensor | None = None
    d_hs: list[Tensor | None] = [None]
    sine_dus: list[Tensor | None] = []
    d_as: list[Tensor | None] = []
    layers = modulations.layers(tile.signals, folded.first_modulated)
    changes = tangent.layers(tile.signals, folded.first_modulated)
    for k, (weight, (d_shift, d_scale)) in enumerate(zip(folded.weights, changes, strict=True)):
        if d_h is None and d_shift is None and d_scale is None:
            d_hs.append(None)
            sine_dus.append(None)
            d_as.append(None)
            continue
        joined = d_shift[0, 0] if d_shift is not None and d_scale is None and tile.count == 1 else None
        lasting = d_scale is not None
        memory = partial(space.take, f"da{k}" if lasting else "du", rows, width)
        da = None if d_h is None else product(d_h, weight, joined, folded.products, memory, lasting=lasting)
        d_as.append(None if d_scale is None else da)
        du = da
        if d_scale is not None:
            _, scale = layers[k]
            assert scale is not None
            du = space.take("du", rows, width)
            torch.mul(tile.by_signal(tile.kept[k]), d_scale, out=tile.by_signal(du))
            if da is not None:
                tile.by_signal(du).addcmul_(tile.by_signal(da), scale)
        elif du is None:
            du = memory().zero_()
        if d_shift is not None and (joined is None or da is None):
            tile.by_signal(du).add_(d_shift)
        sine_du = space.take(f"sine_du{k}", rows, width)
        if folded.config.residual and k > 0:
            h = tile.by_signal(tile.h[k + 1])
            torch.sub(h, tile.by_signal(tile.h[k]), out=tile.by_signal(sine_du))  # h+ - h = sin u
            sine_du.mul_(du)
        else:
            torch.mul(tile.h[k + 1], du, out=sine_du)
        below, d_h = d_h, torch.mul(tile.cosine[k], du, out=space.take(f"dh{k}", rows, width))
        if folded.config.residual and k > 0 and below is not None:
            d_h.add_(below)
        d_hs.append(d_h)
        sine_dus.append(sine_du)
    return d_hs, sine_dus, d_as
