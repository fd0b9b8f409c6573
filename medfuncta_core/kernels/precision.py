"""In which numbers a matrix product is formed, and what that does to its operands, on any device.

float32   plain float32.
tf32x3    each operand split in two TF32 numbers, three products on the tensor cores: float32's accuracy within a few roundings.
tf32      operands rounded to 10 bits behind the point, products and sums in float32.
float16   operands, and everything that is kept from pass to pass, in float16; products and sums in float32.

Sines, modulations, the first and the last layer and all sums over points are float32 in each of them.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Precision = Literal["float32", "tf32x3", "tf32", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_TF32_DROPPED = 13  # of float32's 23 bits


def storage_dtype(precision: Precision) -> torch.dtype:
    """Of weights, activations and gradients in memory."""
    return torch.float16 if precision == "float16" else torch.float32


def rounded_to_tf32(x: Tensor) -> Tensor:
    """float32 numbers rounded to TF32's 10 bits, to nearest, ties away from zero as `cvt.rna` does."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + (1 << (_TF32_DROPPED - 1))) & -(1 << _TF32_DROPPED)).view(torch.float32)


def product(first: Tensor, second: Tensor, precision: Precision) -> Tensor:
    """Matrix product of operands rounded as the tensor cores round them, summed in float32; float64 stays as it is.

    Args:
        first: `(m, k)`, any floating dtype.
        second: `(k, n)`.
        precision: Emulated here with ordinary products, on any device.
    """
    if first.dtype == torch.float64 or second.dtype == torch.float64:
        return first @ second
    if precision == "float16":
        return first.half().float() @ second.half().float()
    first, second = first.float(), second.float()
    if precision == "float32":
        return first @ second
    high, other_high = rounded_to_tf32(first), rounded_to_tf32(second)
    if precision == "tf32":
        return high @ other_high
    low, other_low = rounded_to_tf32(first - high), rounded_to_tf32(second - other_high)
    return (high @ other_low + low @ other_high) + high @ other_high
