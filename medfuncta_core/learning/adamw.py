"""AdamW by torch's fused kernel, one sweep over memory, and without `torch.optim`: its import holds 150 MB and takes a second.

Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization (2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

EPSILON = 1e-8
KEYS = ("step", "exp_avg", "exp_avg_sq")  # as torch.optim names them

Moments = dict[str, Tensor]


def start_moments(parameter: Tensor) -> Moments:
    """The state of a parameter that was never updated."""
    step = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return dict(zip(KEYS, (step, torch.zeros_like(parameter), torch.zeros_like(parameter)), strict=True))


@torch.no_grad()
def adamw_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    moments: Sequence[Moments],
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> None:
    """One update in place, of parameters and moments.

    Args:
        parameters: Contiguous, on one device.
        gradients: Of the same shapes.
        moments: Of each parameter.
        lr: Learning rate.
        betas: Of the first and second moment.
        weight_decay: Decoupled.
    """
    steps, first, second = ([state[key] for state in moments] for key in KEYS)
    for step in steps:
        step += 1
    torch.ops.aten._fused_adamw_(
        list(parameters),
        list(gradients),
        first,
        second,
        [],
        steps,
        lr=lr,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=weight_decay,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
    )
