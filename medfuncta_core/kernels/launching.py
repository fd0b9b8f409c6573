"""What starts the Triton kernels: the signatures of `plain.py`, block shapes, grids. Importing this imports Triton.

Tensors may be on a CPU when TRITON_INTERPRET=1 was set before Triton was imported: the kernels then run in Triton's interpreter.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medfuncta_core.kernels import fused
from medfuncta_core.kernels.blocks import INPUT_PRECISION, OUTPUT_ROWS, ROWS, SPLITS, column_block, first_blocks, product_blocks
from medfuncta_core.kernels.layers import Kept, Modulation, Output, Pair, SineLayer, moment_kinds


def row_tiles(points: int) -> int:
    """In how many parts each signal's sums over points are formed."""
    return -(-points // ROWS)


def weight_splits(rows: int, width: int) -> int:
    """In how many parts a weight gradient's sum over rows is formed: enough programs for every multiprocessor."""
    return max(1, min(SPLITS, rows // ROWS))


def sine_layer(
    layer: SineLayer, x: Pair, modulation: Modulation, tangent: Modulation | None, points: int, kept: Kept, *, first: bool = False
) -> None:
    """As `plain.sine_layer`."""
    width, inputs = layer.weight.shape
    change = Modulation() if tangent is None or kept.d_h is None else tangent
    rest = (layer.weight, layer.bias, *modulation, *change)
    outputs = (kept.h, kept.cosine, kept.a, kept.d_h, kept.sine_du, kept.d_a)
    sizes = (points, _stride(modulation))
    if first:
        blocks = first_blocks(width)
        grid = _grid(x.value, points, width, blocks)
        _launch(fused.first_forward, grid, x.value, *rest, *outputs, *sizes, WIDTH=width, AXES=inputs, **blocks)
        return
    blocks = product_blocks("forward", layer.precision, width, dual=kept.d_h is not None)
    grid, fixed = _grid(x.value, points, width, blocks), _fixed(layer)
    _launch(fused.hidden_forward, grid, *x, *rest, *outputs, *sizes, RESIDUAL=layer.residual, **fixed, **blocks)


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
    """As `plain.output_layer`."""
    channels, width = weight.shape
    signals, tiles = len(x.value) // points, -(-points // OUTPUT_ROWS)
    programs = signals * tiles
    losses = None if target is None else weight.new_empty(signals, tiles, 2)
    own = (weight.new_empty(programs, channels, width), weight.new_empty(programs, channels)) if own_gradient else (None, None)
    d_h = x.tangent if g is not None and g.tangent is not None else None
    arrays = (x.value, d_h, weight, bias, target, values, *(g or (None, None)), losses, *own)
    blocks = {"BLOCK_M": OUTPUT_ROWS, "BLOCK_N": column_block(width, limit=None)}
    _launch(fused.output_layer, (programs,), *arrays, points, factor, WIDTH=width, CHANNELS=channels, **blocks)
    if losses is None:
        return None
    return Output(losses.sum(1), *(weight.new_empty(0) if part is None else part.sum(0) for part in own))


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
    """As `plain.sine_layer_backward`."""
    width, dual = layer.weight.shape[0], g.tangent is not None
    arrays = (*g, kept.cosine, kept.sine_du if dual else None, kept.a, kept.d_a if dual else None)
    kinds = moment_kinds(scale=kept.a is not None, dual=False, axes=0 if coords is None else coords.shape[1])
    if coords is not None:
        blocks, axes = first_blocks(width), coords.shape[1]
        grid = _grid(g.value, points, width, blocks)
        _launch(fused.first_backward, grid, *arrays, coords, moments, points, WIDTH=width, AXES=axes, KINDS=kinds, **blocks)
    elif below is not None:
        blocks = product_blocks("backward", layer.precision, width, dual=dual)
        arrays = (*arrays, *_scales(modulation, tangent, dual), layer.transposed, *below, moments)
        sizes, fixed = (points, _stride(modulation)), _fixed(layer)
        grid = _grid(g.value, points, width, blocks)
        _launch(fused.hidden_backward, grid, *arrays, *sizes, KINDS=kinds, RESIDUAL=layer.residual, **fixed, **blocks)


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
    """As `plain.weight_gradient`."""
    width, rows, dual = layer.weight.shape[0], len(g.value), g.tangent is not None
    blocks = product_blocks("weight", layer.precision, width, dual=dual)
    splits, deep = len(partial), blocks["BLOCK_K"]
    span = -(-rows // (splits * deep)) * deep  # whole blocks for all programs but the last
    grid = (-(-width // blocks["BLOCK_M"]), -(-width // blocks["BLOCK_N"]), splits)
    arrays = (*g, kept.cosine, kept.sine_du if dual else None, *_scales(modulation, tangent, dual), x.value)
    sizes = (rows, points, span, _stride(modulation))
    _launch(fused.weight_gradient, grid, *arrays, x.tangent if dual else None, partial, *sizes, **_fixed(layer), **blocks)


def _launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Start a kernel on the device of its first argument."""
    with torch.cuda.device_of(arguments[0]):
        kernel[grid](*arguments, **constants)


def _grid(rows: Tensor, points: int, width: int, blocks: dict[str, int]) -> tuple[int, int]:
    """Programs over all signals' tiles of rows, and over columns."""
    return len(rows) // points * row_tiles(points), -(-width // blocks["BLOCK_N"])


def _fixed(layer: SineLayer) -> dict[str, Any]:
    return {"WIDTH": layer.weight.shape[0], "PRECISION": INPUT_PRECISION[layer.precision]}


def _scales(modulation: Modulation, tangent: Modulation | None, dual: bool) -> tuple[Tensor | None, Tensor | None]:
    return modulation.scale, tangent.scale if dual and tangent is not None else None


def _stride(modulation: Modulation) -> int:
    """Numbers between two signals' rows; shift, scale and their changes are cut from equally shaped, contiguous arrays."""
    some = modulation.shift if modulation.shift is not None else modulation.scale
    return 0 if some is None else some.stride(0)
