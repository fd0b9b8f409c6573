"""The kernels' twins in plain PyTorch: same signatures, any device, float64 too. `fused.py` is compared with them.

`layers.py` has the formulas. Products are rounded as the layer's precision says, whatever the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medfuncta_core.kernels.layers import Kept, Modulation, Output, Pair, SineLayer, moment_kinds
from medfuncta_core.kernels.precision import Precision, product


def row_tiles(points: int) -> int:
    """In how many parts each signal's sums over points are formed."""
    return 1


def weight_splits(rows: int, width: int) -> int:
    """In how many parts a weight gradient's sum over rows is formed."""
    return 1


def sine_layer(
    layer: SineLayer, x: Pair, modulation: Modulation, tangent: Modulation | None, points: int, kept: Kept, *, first: bool = False
) -> None:
    """Fill `kept` with a sine layer's output and what its backward pass needs; with tangents where `kept` has room for them.

    Args:
        layer: Its parameters.
        x: Inputs `(rows, inputs)`, with the tangent where it is not zero.
        modulation: Folded, of the signals of these rows.
        tangent: Change of it; needed with `kept.d_h` where the layer is modulated.
        points: Rows of each signal.
        kept: Overwritten.
        first: The layer on the coordinates: always in float32, never residual.
    """
    transposed = layer.transposed if layer.weight.dtype == torch.float64 else layer.transposed.to(layer.bias.dtype)
    precision: Precision = "float32" if first else layer.precision
    a = product(x.value, transposed, precision) + layer.bias
    u = _modulated(a, modulation, points)
    sine, cosine = torch.sin(u), torch.cos(u)
    residual = layer.residual and not first
    kept.h.copy_(sine + x.value if residual else sine)
    _write(kept.cosine, cosine)
    _write(kept.a, a)
    if kept.d_h is None:
        return
    tangent = tangent or Modulation()
    d_a = torch.zeros_like(a) if x.tangent is None else product(x.tangent, transposed, precision)
    d_u = _modulated(d_a, Modulation(tangent.shift, modulation.scale), points)
    if tangent.scale is not None:
        d_u = d_u + a * _by_row(tangent.scale, points)
    kept.d_h.copy_(cosine * d_u + x.tangent if residual and x.tangent is not None else cosine * d_u)
    _write(kept.sine_du, sine * d_u)
    _write(kept.d_a, d_a)


def output_layer(
    weight: Tensor,
    bias: Tensor,
    x: Pair,
    points: int,
    *,
    target: Tensor | None = None,
    factor: float = 1.0,
    g: Pair | None = None,
    own_gradient: bool = False,
    values: Tensor | None = None,
) -> Output | None:
    """The linear last layer, float32: values into `values`, or with a target its loss and the gradient that goes back into `g`.

    Args:
        weight: `(c, L)`.
        bias: `(c,)`.
        x: Inputs `(rows, L)`; with a tangent, the pass is a dual one.
        points: Rows of each signal.
        target: True values `(rows, c)`.
        factor: Second derivative of a signal's loss in one value.
        g: Overwritten with the gradient in the inputs, and its tangent.
        own_gradient: Whether the layer's own gradient (in a dual pass: its derivative) is wanted.
        values: Overwritten with the values `(rows, c)`; without a target.
    """
    h = x.value.to(bias.dtype)
    y = h @ weight.mT + bias
    if values is not None:
        values.copy_(y)
    if target is None or g is None:
        return None
    error = y - target
    g_y = error * factor
    g.value.copy_(g_y @ weight)
    losses = torch.stack([e.square().view(-1, points * e.shape[1]).sum(1) for e in (error, y.clamp(0, 1) - target)], dim=1)
    into, summand = g_y.mT @ h, g_y
    if x.tangent is not None and g.tangent is not None:
        d_h = x.tangent.to(bias.dtype)
        dg_y = d_h @ weight.mT * factor
        g.tangent.copy_(dg_y @ weight)
        into, summand = dg_y.mT @ h + g_y.mT @ d_h, dg_y
    empty = weight.new_empty(0)
    return Output(losses, into, summand.sum(0)) if own_gradient else Output(losses, empty, empty)


def sine_layer_backward(
    layer: SineLayer,
    kept: Kept,
    g: Pair,
    modulation: Modulation,
    tangent: Modulation | None,
    points: int,
    moments: Tensor,
    *,
    below: Pair | None = None,
    coords: Tensor | None = None,
) -> None:
    """Moments of a sine layer, and the gradient that goes on to the layer below.

    Args:
        layer: Its parameters.
        kept: Of the forward pass.
        g: Gradient in the layer's outputs; with a tangent, the pass is a dual one.
        modulation: As in the forward pass.
        tangent: As in the forward pass.
        points: Rows of each signal.
        moments: Overwritten, `(moment_kinds, b, row_tiles, L)`: sums over points, in `layers.moment_kinds`' order.
        below: Overwritten with the gradient in the layer's inputs, and its tangent; None for the first layer.
        coords: `(rows, d)`, for the first layer.
    """
    g_u, dg_u = _through_sine(kept, g, moments.dtype)
    factors = [torch.ones_like(g_u), *([] if kept.a is None else [kept.a.to(g_u.dtype)])]
    factors += [] if coords is None else list(coords[:, :, None].unbind(1))
    sums = [(g_u * factor) for factor in factors]
    if dg_u is not None:
        sums += [dg_u * factor for factor in factors]
        if kept.a is not None and kept.d_a is not None:
            sums[len(factors) + 1] += g_u * kept.d_a
    assert len(sums) == moment_kinds(
        scale=kept.a is not None, dual=dg_u is not None, axes=0 if coords is None else coords.shape[1]
    )
    moments.copy_(torch.stack([rows.view(-1, points, rows.shape[1]).sum(1) for rows in sums])[:, :, None])
    if below is None:
        return
    g_a, dg_a = _through_modulation(g_u, dg_u, modulation, tangent, points)
    weight = layer.transposed.mT
    below_value = product(g_a, weight, layer.precision)
    below.value.copy_(below_value + g.value if layer.residual else below_value)
    if below.tangent is not None and g.tangent is not None and dg_a is not None:
        below_tangent = product(dg_a, weight, layer.precision)
        below.tangent.copy_(below_tangent + g.tangent if layer.residual else below_tangent)


def weight_gradient(
    layer: SineLayer,
    kept: Kept,
    g: Pair,
    x: Pair,
    modulation: Modulation,
    tangent: Modulation | None,
    points: int,
    partial: Tensor,
) -> None:
    """Add the gradient of a hidden layer's W' to `partial` `(weight_splits, L, L)`; in a dual pass, the gradient's derivative.

    Args:
        layer: For its precision.
        kept: Of the forward pass.
        g: Gradient in the layer's outputs.
        x: The layer's inputs.
        modulation: As in the forward pass.
        tangent: As in the forward pass.
        points: Rows of each signal.
        partial: Parts of a sum, one a split.
    """
    g_u, dg_u = _through_sine(kept, g, partial.dtype)
    g_a, dg_a = _through_modulation(g_u, dg_u, modulation, tangent, points)
    if dg_a is None:
        partial[0] += product(g_a.mT, x.value, layer.precision)
        return
    partial[0] += product(dg_a.mT, x.value, layer.precision)
    if x.tangent is not None:
        partial[0] += product(g_a.mT, x.tangent, layer.precision)


def _by_row(modulation: Tensor, points: int) -> Tensor:
    return modulation.repeat_interleave(points, 0)


def _modulated(a: Tensor, modulation: Modulation, points: int) -> Tensor:
    u = a if modulation.scale is None else a * _by_row(modulation.scale, points)
    return u if modulation.shift is None else u + _by_row(modulation.shift, points)


def _through_sine(kept: Kept, g: Pair, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """g_u and dg_u from the gradients in the outputs."""
    assert kept.cosine is not None
    cosine, above = kept.cosine.to(dtype), g.value.to(dtype)
    if g.tangent is None:
        return above * cosine, None
    dg_u = g.tangent.to(dtype) * cosine
    return above * cosine, dg_u if kept.sine_du is None else dg_u - kept.sine_du.to(dtype) * above


def _through_modulation(
    g_u: Tensor, dg_u: Tensor | None, modulation: Modulation, tangent: Modulation | None, points: int
) -> tuple[Tensor, Tensor | None]:
    """g_a and dg_a from g_u and dg_u."""
    if modulation.scale is None:
        return g_u, dg_u
    scale = _by_row(modulation.scale, points)
    if dg_u is None or tangent is None or tangent.scale is None:
        return g_u * scale, dg_u
    return g_u * scale, dg_u * scale + g_u * _by_row(tangent.scale, points)


def _write(buffer: Tensor | None, x: Tensor) -> None:
    if buffer is not None:
        buffer.copy_(x)
