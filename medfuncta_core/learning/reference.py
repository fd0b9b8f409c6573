"""The meta-gradient as Algorithm 1 reads, differentiated by autograd through every inner step: slow, hungry, and easy to check.

`meta_gradient.py` computes the same numbers; tests compare the two, and both with finite differences.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.fields.siren import ModulatedSIREN
from medfuncta_core.grids import ContextSet, reduce_context
from medfuncta_core.learning.meta_gradient import MetaGradient, StepIndices


def signal_losses(field: ModulatedSIREN, latents: Float[Tensor, "b p"], context: ContextSet) -> Float[Tensor, " b"]:
    """Mean squared error of every signal over its points and channels (Eq. 5); differentiable in latents and parameters."""
    return (field(context.coords, latents) - context.values).square().mean((1, 2))


def meta_gradient_autograd(
    field: ModulatedSIREN,
    context: ContextSet,
    indices: StepIndices,
    *,
    inner_lr: float,
    second_order: bool = True,
    loss_weights: Sequence[float] | None = None,
) -> MetaGradient:
    """The meta-gradient through autograd's double backward; arguments and result as `meta_gradient`."""
    weights = [0.0] * (len(indices) - 1) + [1.0] if loss_weights is None else loss_weights
    latents = context.values.new_zeros(len(context.values), field.config.latent_dim, requires_grad=True)
    losses, objective, after = [], context.values.new_zeros(()), context.values.new_zeros(len(context.values))
    with torch.enable_grad():
        for drawn, weight in zip(indices, weights, strict=True):
            loss = signal_losses(field, latents, reduce_context(context, drawn))
            losses.append(loss.detach())
            (gradient,) = torch.autograd.grad(loss.sum(), latents, create_graph=second_order)
            latents = latents - inner_lr * gradient
            latents = latents if second_order else latents.detach().requires_grad_()
            if weight > 0:
                after = signal_losses(field, latents, context)
                objective = objective + weight * after.mean()
        names, parameters = zip(*field.named_parameters(), strict=True)
        gradients = torch.autograd.grad(objective, parameters)
    return MetaGradient(dict(zip(names, gradients, strict=True)), after.detach(), losses[0], latents.detach())
