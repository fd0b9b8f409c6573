"""What the kernels and their twins work on: layers with omega folded in, and the activations of a chunk of points.

Rows are the points of a chunk's signals, signal by signal, each with equally many points. The arithmetic is that of
`fields/tiles.py`: with a dot for the tangent in the latents' direction, c and s for a signal's scale and shift,

    a = W' h + b'            u = c a + s              h+ = [h] + sin u
    da = W' dh               du = c da + dc a + ds    dh+ = [dh] + cos(u) du
    g_u = cos(u) g_h         dg_u = cos(u) dg_h - sin(u) du g_h
    g_a = c g_u              dg_a = c dg_u + dc g_u   dW' = dg_a^T h + g_a^T dh

Since c and dc do not change within a signal, sums over its points of g_u, g_u a, dg_u and dg_u a + g_u da are all that the
gradients of shift, scale and bias need: its moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from medfuncta_core.kernels.precision import Precision


class Pair(NamedTuple):
    """A value and its tangent, `(rows, .)` each; the tangent is None where there is none or where it is zero."""

    value: Tensor
    tangent: Tensor | None = None


class Modulation(NamedTuple):
    """One layer's shift and scale `(b, L)`, float32, contiguous within a signal, or their changes; None where it has none."""

    shift: Tensor | None = None
    scale: Tensor | None = None


@dataclass(frozen=True, eq=False)
class SineLayer:
    """A sine layer's own parameters.

    Args:
        weight: W', `(L, inputs)`; in the storage dtype, the first layer's in float32.
        transposed: Its transpose, contiguous: matrix units read both operands along the summed axis.
        bias: b', `(L,)` float32.
        residual: Whether the layer's input is added to its output.
        precision: Of its products.
    """

    weight: Tensor
    transposed: Tensor
    bias: Tensor
    residual: bool
    precision: Precision


@dataclass(frozen=True, eq=False)
class Kept:
    """What a sine layer's forward pass writes, `(rows, L)` each in the storage dtype.

    Args:
        h: Its output.
        cosine: cos u; None when no backward pass follows.
        a: Value before the modulation, where a scale multiplies it.
        d_h: Tangent of the output; None without a tangent.
        sine_du: sin(u) du; None without a tangent.
        d_a: Tangent of `a`, where a scale multiplies it.
    """

    h: Tensor
    cosine: Tensor | None = None
    a: Tensor | None = None
    d_h: Tensor | None = None
    sine_du: Tensor | None = None
    d_a: Tensor | None = None

    @property
    def output(self) -> Pair:
        return Pair(self.h, self.d_h)


class Output(NamedTuple):
    """What the last layer and the loss give, float32.

    Args:
        losses: `(b, 2)`: sums over points and channels of squared errors, as they are and of values clamped to [0, 1].
        weight: Gradient `(c, L)` of the last weight, or the derivative of it in a dual pass.
        bias: The same of the last bias, `(c,)`.
    """

    losses: Tensor
    weight: Tensor
    bias: Tensor


def moment_kinds(*, scale: bool, dual: bool, axes: int = 0) -> int:
    """How many sums over points a layer's backward pass makes for every signal.

    In this order: g_u; g_u a with a scale; g_u x_j for the coordinates of a first layer; then the tangents of all of these.
    """
    return (1 + int(dual)) * (1 + int(scale) + axes)
