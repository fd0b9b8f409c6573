"""Triton kernels: a sine layer's product, modulation, sine and cosine in one launch, forward, backward and their tangents.

One program works on `BLOCK_M` points of one signal, so that modulations are rows and sums over points need no atomics: every
program writes its own partial sums, which makes results repeat bit for bit. Value and tangent share each loaded tile of weights.
Arguments that are None are not there at compile time. The twins in `plain.py` say the same in PyTorch, `layers.py` in formulas.
"""

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl

SIZES = ["points", "stride", "count", "span"]  # vary from batch to batch, and are no reason to compile anew
# Triton reads a kernel's source; `no_type_check` keeps type checkers from wrapping it.


@triton.jit
@no_type_check
def sine_and_cosine(u):
    """sin u and cos u, float32, off by at most 1.2e-7 for |u| up to 8,000 (Cody and Waite's reduction, Cephes' polynomials)."""
    quarter = tl.floor(u * 0.6366197723675814 + 0.5)
    r = u - quarter * 1.5703125  # pi/2 in three parts; the first two products are exact, with or without a fused multiply-add
    r = r - quarter * 4.837512969970703e-4
    r = r - quarter * 7.549789948768648e-8
    z = r * r
    sine = r + r * z * (-1.6666654611e-1 + z * (8.3321608736e-3 - z * 1.9515295891e-4))
    cosine = 1.0 - 0.5 * z + z * z * (4.166664568298827e-2 + z * (-1.388731625493765e-3 + z * 2.443315711809948e-5))
    turn = quarter.to(tl.int32)
    swapped = (turn & 1) != 0
    first, second = tl.where(swapped, cosine, sine), tl.where(swapped, sine, cosine)
    return tl.where((turn & 2) != 0, -first, first), tl.where(((turn + 1) & 2) != 0, -second, second)


@triton.jit
@no_type_check
def rows_of_program(points, BLOCK_M: tl.constexpr):
    """Signal, its rows and which of them exist, for this program of the first grid axis."""
    tiles = tl.cdiv(points, BLOCK_M)
    signal = tl.program_id(0) // tiles
    point = (tl.program_id(0) % tiles) * BLOCK_M + tl.arange(0, BLOCK_M)
    return signal, signal * points + point, point < points


@triton.jit
@no_type_check
def finish_layer(
    a, d_a, h, d_h, bias, shift, scale, d_shift, d_scale, out_h, out_cosine, out_a, out_d_h, out_sine_du, out_d_a,
    signal, stride, rows, columns, mask, inside, WIDTH: tl.constexpr, RESIDUAL: tl.constexpr,
):  # fmt: skip
    """Everything of a layer behind its product: bias, modulation, sine and cosine, residual, and the same of the tangent."""
    a += tl.load(bias + columns, mask=inside, other=0.0)[None, :]
    at = rows[:, None] * WIDTH + columns[None, :]
    u = a
    if scale is not None:
        factor = tl.load(scale + signal * stride + columns, mask=inside, other=0.0)[None, :]
        u = a * factor
        if out_a is not None:
            tl.store(out_a + at, a, mask=mask)
    if shift is not None:
        u += tl.load(shift + signal * stride + columns, mask=inside, other=0.0)[None, :]
    sine, cosine = sine_and_cosine(u)
    wave = sine
    if RESIDUAL:
        wave += tl.load(h + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out_h + at, wave, mask=mask)
    if out_cosine is not None:
        tl.store(out_cosine + at, cosine, mask=mask)
    if out_d_h is not None:
        d_u = d_a
        if scale is not None:
            d_u = d_a * factor + a * tl.load(d_scale + signal * stride + columns, mask=inside, other=0.0)[None, :]
            tl.store(out_d_a + at, d_a, mask=mask)
        if shift is not None:
            d_u += tl.load(d_shift + signal * stride + columns, mask=inside, other=0.0)[None, :]
        tl.store(out_sine_du + at, sine * d_u, mask=mask)
        d_wave = cosine * d_u
        if RESIDUAL:
            if d_h is not None:
                d_wave += tl.load(d_h + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(out_d_h + at, d_wave, mask=mask)


@triton.jit(do_not_specialize=SIZES)
@no_type_check
def first_forward(
    coords, weight, bias, shift, scale, d_shift, d_scale, out_h, out_cosine, out_a, out_d_h, out_sine_du, out_d_a,
    points, stride, WIDTH: tl.constexpr, AXES: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The layer on the coordinates: too short a sum for matrix units, and too large an omega for less than float32."""
    signal, rows, exist = rows_of_program(points, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = columns < WIDTH
    a = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for axis in tl.static_range(AXES):
        x = tl.load(coords + rows * AXES + axis, mask=exist, other=0.0)
        a += x[:, None] * tl.load(weight + columns * AXES + axis, mask=inside, other=0.0)[None, :]
    finish_layer(
        a, tl.zeros((BLOCK_M, BLOCK_N), tl.float32), None, None, bias, shift, scale, d_shift, d_scale,
        out_h, out_cosine, out_a, out_d_h, out_sine_du, out_d_a,
        signal, stride, rows, columns, exist[:, None] & inside[None, :], inside, WIDTH, False,
    )  # fmt: skip


@triton.jit(do_not_specialize=SIZES)
@no_type_check
def hidden_forward(
    h, d_h, weight, bias, shift, scale, d_shift, d_scale, out_h, out_cosine, out_a, out_d_h, out_sine_du, out_d_a,
    points, stride, WIDTH: tl.constexpr, RESIDUAL: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """W' h and W' dh from the same tiles of W', then the rest of the layer."""
    signal, rows, exist = rows_of_program(points, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = columns < WIDTH
    a = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    d_a = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, WIDTH, BLOCK_K):
        inputs = start + tl.arange(0, BLOCK_K)
        valid = inputs < WIDTH
        at = rows[:, None] * WIDTH + inputs[None, :]
        weights = tl.load(weight + columns[None, :] * WIDTH + inputs[:, None], mask=inside[None, :] & valid[:, None], other=0.0)
        a = tl.dot(tl.load(h + at, mask=exist[:, None] & valid[None, :], other=0.0), weights, a, input_precision=PRECISION)
        if d_h is not None:
            d_x = tl.load(d_h + at, mask=exist[:, None] & valid[None, :], other=0.0)
            d_a = tl.dot(d_x, weights, d_a, input_precision=PRECISION)
    finish_layer(
        a, d_a, h, d_h, bias, shift, scale, d_shift, d_scale, out_h, out_cosine, out_a, out_d_h, out_sine_du, out_d_a,
        signal, stride, rows, columns, exist[:, None] & inside[None, :], inside, WIDTH, RESIDUAL,
    )  # fmt: skip


@triton.jit
@no_type_check
def load_gradients(g, d_g, cosine, sine_du, at, mask):
    """g_u and dg_u of a tile, float32; zero where the mask is False, and dg_u zero without a tangent."""
    cos_u = tl.load(cosine + at, mask=mask, other=0.0).to(tl.float32)
    above = tl.load(g + at, mask=mask, other=0.0).to(tl.float32)
    g_u, dg_u = above * cos_u, tl.zeros_like(cos_u)
    if d_g is not None:
        dg_u = tl.load(d_g + at, mask=mask, other=0.0).to(tl.float32) * cos_u
        if sine_du is not None:
            dg_u -= above * tl.load(sine_du + at, mask=mask, other=0.0).to(tl.float32)
    return g_u, dg_u


@triton.jit
@no_type_check
def add_moments(
    g_u, dg_u, d_g, a, d_a, moments, at, mask, columns, keep, WIDTH: tl.constexpr, KINDS: tl.constexpr, AXES: tl.constexpr
):
    """This program's sums over its points, in `layers.moment_kinds`' order up to the coordinates', to its row of each kind."""
    step = tl.num_programs(0) * WIDTH
    target = moments + tl.program_id(0) * WIDTH + columns
    tl.store(target, tl.sum(g_u, 0), mask=keep)
    if d_g is not None:
        tl.store(target + KINDS * step, tl.sum(dg_u, 0), mask=keep)
    if a is not None:
        value = tl.load(a + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(target + step, tl.sum(g_u * value, 0), mask=keep)
        if d_g is not None:
            products = dg_u * value
            if d_a is not None:
                products += g_u * tl.load(d_a + at, mask=mask, other=0.0).to(tl.float32)
            tl.store(target + (KINDS + 1) * step, tl.sum(products, 0), mask=keep)


@triton.jit(do_not_specialize=SIZES)
@no_type_check
def first_backward(
    g, d_g, cosine, sine_du, a, d_a, coords, moments,
    points, WIDTH: tl.constexpr, AXES: tl.constexpr, KINDS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Moments of the layer on the coordinates, those with the coordinates themselves included."""
    _, rows, exist = rows_of_program(points, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = columns < WIDTH
    at, mask = rows[:, None] * WIDTH + columns[None, :], exist[:, None] & inside[None, :]
    g_u, dg_u = load_gradients(g, d_g, cosine, sine_du, at, mask)
    add_moments(g_u, dg_u, d_g, a, d_a, moments, at, mask, columns, inside, WIDTH, KINDS, AXES)
    step = tl.num_programs(0) * WIDTH
    target = moments + (KINDS - AXES) * step + tl.program_id(0) * WIDTH + columns
    for axis in tl.static_range(AXES):
        x = tl.load(coords + rows * AXES + axis, mask=exist, other=0.0)[:, None]
        tl.store(target + axis * step, tl.sum(g_u * x, 0), mask=inside)
        if d_g is not None:
            tl.store(target + (KINDS + axis) * step, tl.sum(dg_u * x, 0), mask=inside)


@triton.jit(do_not_specialize=SIZES)
@no_type_check
def hidden_backward(
    g, d_g, cosine, sine_du, a, d_a, scale, d_scale, transposed, out_g, out_d_g, moments,
    points, stride, WIDTH: tl.constexpr, KINDS: tl.constexpr, RESIDUAL: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """g_a W' and dg_a W' from the same tiles of W', g_a and dg_a formed as they are loaded; the layer's moments on the way."""
    signal, rows, exist = rows_of_program(points, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = columns < WIDTH
    below = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    d_below = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, WIDTH, BLOCK_K):
        outputs = start + tl.arange(0, BLOCK_K)
        valid = outputs < WIDTH
        at, mask = rows[:, None] * WIDTH + outputs[None, :], exist[:, None] & valid[None, :]
        g_u, dg_u = load_gradients(g, d_g, cosine, sine_du, at, mask)
        add_moments(g_u, dg_u, d_g, a, d_a, moments, at, mask, outputs, valid & (tl.program_id(1) == 0), WIDTH, KINDS, 0)
        if scale is not None:
            factor = tl.load(scale + signal * stride + outputs, mask=valid, other=0.0)[None, :]
            dg_u *= factor
            if d_g is not None:
                dg_u += g_u * tl.load(d_scale + signal * stride + outputs, mask=valid, other=0.0)[None, :]
            g_u *= factor
        weights = tl.load(
            transposed + columns[None, :] * WIDTH + outputs[:, None], mask=inside[None, :] & valid[:, None], other=0.0
        )
        below = tl.dot(g_u.to(weights.dtype), weights, below, input_precision=PRECISION)
        if d_g is not None:
            d_below = tl.dot(dg_u.to(weights.dtype), weights, d_below, input_precision=PRECISION)
    at, mask = rows[:, None] * WIDTH + columns[None, :], exist[:, None] & inside[None, :]
    if RESIDUAL:
        below += tl.load(g + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out_g + at, below, mask=mask)
    if d_g is not None:
        if RESIDUAL:
            d_below += tl.load(d_g + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(out_d_g + at, d_below, mask=mask)


@triton.jit(do_not_specialize=SIZES)
@no_type_check
def weight_gradient(
    g, d_g, cosine, sine_du, scale, d_scale, h, d_h, partial,
    count, points, span, stride, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """g_a^T h, or dg_a^T h + g_a^T dh, summed over `span` rows and added to this program's share of `partial`."""
    outputs = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    inputs = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    valid, inside = outputs < WIDTH, inputs < WIDTH
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    begin = tl.program_id(2) * span
    end = tl.minimum(begin + span, count)
    for start in range(begin, end, BLOCK_K):
        rows = start + tl.arange(0, BLOCK_K)
        mask = (rows < end)[:, None] & valid[None, :]
        g_a, dg_a = load_gradients(g, d_g, cosine, sine_du, rows[:, None] * WIDTH + outputs[None, :], mask)
        if scale is not None:
            at = (rows // points)[:, None] * stride + outputs[None, :]
            factor = tl.load(scale + at, mask=mask, other=0.0)
            dg_a *= factor
            if d_g is not None:
                dg_a += g_a * tl.load(d_scale + at, mask=mask, other=0.0)
            g_a *= factor
        mask, at = (rows < end)[:, None] & inside[None, :], rows[:, None] * WIDTH + inputs[None, :]
        x = tl.load(h + at, mask=mask, other=0.0)
        if d_g is None:
            total = tl.dot(tl.trans(g_a.to(x.dtype)), x, total, input_precision=PRECISION)
        else:
            total = tl.dot(tl.trans(dg_a.to(x.dtype)), x, total, input_precision=PRECISION)
            if d_h is not None:
                d_x = tl.load(d_h + at, mask=mask, other=0.0)
                total = tl.dot(tl.trans(g_a.to(x.dtype)), d_x, total, input_precision=PRECISION)
    mask = valid[:, None] & inside[None, :]
    target = partial + (tl.program_id(2) * WIDTH + outputs[:, None]) * WIDTH + inputs[None, :]
    tl.store(target, total + tl.load(target, mask=mask, other=0.0), mask=mask)


@triton.jit(do_not_specialize=SIZES)
@no_type_check
def output_layer(
    h, d_h, weight, bias, target, values, out_g, out_d_g, losses, weight_partial, bias_partial,
    points, factor, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Values of the linear last layer; with a target the loss, the gradient it sends back, and the layer's own gradient.

    `factor` is the loss's second derivative in a value. Losses and partial sums have a row a program.
    """
    _, rows, exist = rows_of_program(points, BLOCK_M)
    columns = tl.arange(0, BLOCK_N)
    inside = columns < WIDTH
    at, mask = rows[:, None] * WIDTH + columns[None, :], exist[:, None] & inside[None, :]
    x = tl.load(h + at, mask=mask, other=0.0).to(tl.float32)
    g = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    if d_h is not None:
        d_x = tl.load(d_h + at, mask=mask, other=0.0).to(tl.float32)
        d_g = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    loss, clamped_loss = 0.0, 0.0
    for channel in tl.static_range(CHANNELS):
        w = tl.load(weight + channel * WIDTH + columns, mask=inside, other=0.0)[None, :]
        y = tl.sum(x * w, 1) + tl.load(bias + channel)
        if target is None:
            tl.store(values + rows * CHANNELS + channel, y, mask=exist)
        else:
            truth = tl.load(target + rows * CHANNELS + channel, mask=exist, other=0.0)
            error = tl.where(exist, y - truth, 0.0)
            clamped = tl.where(exist, tl.minimum(tl.maximum(y, 0.0), 1.0) - truth, 0.0)
            loss += tl.sum(error * error, 0)
            clamped_loss += tl.sum(clamped * clamped, 0)
            g_y = error * factor
            g += g_y[:, None] * w
            into, summand = g_y[:, None] * x, g_y
            if d_h is not None:
                dg_y = tl.where(exist, tl.sum(d_x * w, 1) * factor, 0.0)
                d_g += dg_y[:, None] * w
                into, summand = dg_y[:, None] * x + g_y[:, None] * d_x, dg_y
            if weight_partial is not None:
                own = tl.program_id(0) * CHANNELS + channel
                tl.store(weight_partial + own * WIDTH + columns, tl.sum(into, 0), mask=inside)
                tl.store(bias_partial + own, tl.sum(summand, 0))
    if target is not None:
        tl.store(losses + tl.program_id(0) * 2, loss)
        tl.store(losses + tl.program_id(0) * 2 + 1, clamped_loss)
        tl.store(out_g + at, g, mask=mask)
        if d_h is not None:
            tl.store(out_d_g + at, d_g, mask=mask)
