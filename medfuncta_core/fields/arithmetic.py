"""The three operations that take the time on a CPU, each by the fastest of what is installed: products, sines and cosines.

Measured on one core of a Zen 4 EPYC with torch 2.14 and numpy 2.4: numpy's float32 sine takes 0.55 ns a number, torch's 1.28;
products of 64 wide rows run at 98 GFLOP/s in oneDNN and 85 in the library behind `torch.mm`, of 256 wide ones at 97 and 90.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SHORTEST_SUM = 16  # below this, oneDNN's preparation costs more than the product


def _linear_of_onednn() -> object | None:
    """oneDNN's linear layer, which torch has on most processors but does not use for float32."""
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


_linear = _linear_of_onednn()


def product(x: Tensor, weight: Tensor, transposed: Tensor, out: Tensor | None = None) -> Tensor:
    """x weight^T.

    Args:
        x: `(rows, i)`.
        weight: `(o, i)`, contiguous.
        transposed: Its transpose, contiguous.
        out: Filled with the result `(rows, o)` when given.
    """
    if _linear is None or x.dtype != torch.float32 or x.device.type != "cpu" or x.shape[1] < SHORTEST_SUM:
        return torch.mm(x, transposed, out=out)
    y: Tensor = _linear(x, weight, None, "none", [], "")  # type: ignore[operator]
    return y if out is None else out.copy_(y)


def sine(u: Tensor, out: Tensor) -> Tensor:
    """sin u, contiguous tensors of one shape; off by less than 1e-7 in float32."""
    if u.dtype != torch.float32 or u.device.type != "cpu":
        return torch.sin(u, out=out)
    np.sin(u.numpy(), out=out.numpy())
    return out


def cosine(u: Tensor, out: Tensor) -> Tensor:
    """cos u, as `sine`."""
    if u.dtype != torch.float32 or u.device.type != "cpu":
        return torch.cos(u, out=out)
    np.cos(u.numpy(), out=out.numpy())
    return out
