"""Muon (Jordan et al. 2024) for a stack of square matrices: momentum, made orthogonal, every matrix at its own rate.

As `torch.optim.Muon` with `match_rms_adamw`, whose update has the size of AdamW's, but without importing `torch.optim`, for all
layers in one batched product, and in float32.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

MOMENTUM = 0.95
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration
_ITERATIONS = 5
_TINY = 1e-7


def orthogonalise(matrices: Float[Tensor, "k l l"]) -> Float[Tensor, "k l l"]:
    """Matrices with the same singular vectors and singular values near 1 (about 0.7 to 1.2), by Newton-Schulz iterations."""
    a, b, c = _COEFFICIENTS
    x = matrices / torch.linalg.matrix_norm(matrices, keepdim=True).clamp(min=_TINY)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@torch.no_grad()
def muon_step(
    matrices: Float[Tensor, "k l l"],
    gradients: Float[Tensor, "k l l"],
    momentum: Float[Tensor, "k l l"],
    *,
    rates: Float[Tensor, " k"],
    weight_decay: float,
) -> None:
    """One update in place, of matrices and momentum.

    Args:
        matrices: One a layer.
        gradients: Of the same shape.
        momentum: Zeros at first.
        rates: Learning rate of every layer; the entries of its update have a root mean square of about 0.2 times that.
        weight_decay: Decoupled.
    """
    momentum.lerp_(gradients, 1 - MOMENTUM)
    update = orthogonalise(gradients.lerp(momentum, MOMENTUM))  # Nesterov's
    rates = rates[:, None, None]
    matrices.mul_(1 - rates * weight_decay).sub_(rates * (0.2 * matrices.shape[-1] ** 0.5) * update)
