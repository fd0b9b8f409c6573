"""The exact meta-gradient by Hessian-vector products, last inner step first; its memory does not grow with the inner steps.

    lambda <- dL_outer/dphi_G;   theta_bar <- dL_outer/dtheta
    for g = G-1 ... 0:
        (h_phi, h_theta) = d/de [ grad_{phi,theta} L_g(phi_g + e lambda, theta) ] at e = 0
        theta_bar <- theta_bar - alpha h_theta
        lambda    <- lambda    - alpha h_phi

and, where the losses after earlier steps count too, their gradients join lambda and theta_bar when their step's turn comes.
Only phi_0 ... phi_G and the drawn points are kept, and each step's activations while they are few (`TAPE_BYTES`), to save
computing them again. The readable version, through autograd, is `reference.py`; both agree to 1e-10 in float64.
Sources: Eq. 28 to 32; DESIGN.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medfuncta_core.errors import ConfigError
from medfuncta_core.fields.modulating import ModulationGradients, latent_gradient, modulate, modulate_tangent
from medfuncta_core.fields.passes import FieldPasses, Gradients, Tape
from medfuncta_core.grids import ContextSet, reduce_context

StepIndices = list[Int[Tensor, "b m"] | None]


@dataclass(frozen=True, eq=False)
class MetaGradient:
    """What one outer step needs.

    Args:
        gradients: Parameter name to gradient of the meta-objective (Eq. 29), shaped like the parameter.
        loss: Outer loss per signal `(b,)`, on the full context after the inner steps.
        first_loss: Loss per signal `(b,)` of the learned initialisation on the first inner context.
        latents: phi_G, `(b, p)`.
    """

    gradients: Gradients
    loss: Float[Tensor, " b"]
    first_loss: Float[Tensor, " b"]
    latents: Float[Tensor, "b p"]


@torch.no_grad()
def inner_loop(
    passes: FieldPasses, context: ContextSet, indices: StepIndices, inner_lr: float, tapes: Sequence[Tape | None] | None = None
) -> tuple[list[Float[Tensor, "b p"]], list[Float[Tensor, " b"]]]:
    """Plain gradient descent on the latents from zero (Eq. 27, 28).

    Args:
        passes: Of the field.
        context: Full context of b signals.
        indices: For every step, the points of its reduced context (None: all).
        inner_lr: alpha.
        tapes: One a step, filled where not None.

    Returns:
        phi_0 ... phi_G, `(b, p)` each, and the loss `(b,)` at phi_0 ... phi_{G-1} on each step's context.
    """
    latents = [context.values.new_zeros(len(context.values), passes.config.latent_dim)]
    losses = []
    for drawn, tape in zip(indices, tapes or [None] * len(indices), strict=True):
        reduced = reduce_context(context, drawn)
        loss, _, gradient = passes.loss_gradient(reduced, modulate(passes.field, latents[-1]), tape=tape)
        latents.append(latents[-1] - inner_lr * latent_gradient(passes.field, gradient))
        losses.append(loss)
    return latents, losses


@torch.no_grad()
def meta_gradient(
    passes: FieldPasses,
    context: ContextSet,
    indices: StepIndices,
    *,
    inner_lr: float,
    second_order: bool = True,
    loss_weights: Sequence[float] | None = None,
) -> MetaGradient:
    """Gradient of the mean outer loss (Eq. 30) through all inner steps, in the field's parameters.

    Args:
        passes: Of the field, refreshed after the last parameter change.
        context: Full contexts `(b, n)`; the outer loss is taken on all of them.
        indices: One entry an inner step, as `inner_loop` takes them; G is their number.
        inner_lr: alpha.
        second_order: Off keeps only the direct effect (first-order MAML, App. H).
        loss_weights: The outer loss is the sum of the full contexts' losses after inner steps 1 ... G with these weights
            (MAML++); None: the last one alone. The loss in the result is the last one all the same.

    Raises:
        ConfigError: when there is no inner step, or there are more or fewer weights than steps.
    """
    if not indices:
        raise ConfigError("the meta-gradient needs at least one inner step; set inner_steps to 1 or more")
    weights = [0.0] * (len(indices) - 1) + [1.0] if loss_weights is None else list(loss_weights)
    if len(weights) != len(indices):
        raise ConfigError(f"{len(indices)} inner steps need as many loss weights, not {len(weights)}")
    field, signals = passes.field, len(context.values)
    gradients = {name: torch.zeros_like(parameter) for name, parameter in field.named_parameters()}
    modulation_gradients = ModulationGradients(field)
    points = max(context.points if drawn is None else drawn.shape[1] for drawn in indices)
    tapes = passes.tapes(len(indices), signals, points) if second_order else [None] * len(indices)
    latents, losses = inner_loop(passes, context, indices, inner_lr, tapes)

    def outer_gradient(latent: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        """Loss `(b,)` on the full context at a latent, and the gradient `(b, p)` of its weighted mean; that of theta is added."""
        loss, _, outer = passes.loss_gradient(context, modulate(field, latent), weight=weight / signals, into=gradients)
        modulation_gradients.add(outer, latent, weight / signals)
        return loss, latent_gradient(field, outer) * (weight / signals)

    loss, adjoint = outer_gradient(latents[-1], weights[-1])  # lambda
    for g in reversed(range(len(indices))):
        if second_order:
            gradient, dual = passes.hessian_product(
                reduce_context(context, indices[g]),
                modulate(field, latents[g]),
                modulate_tangent(field, adjoint),
                weight=-inner_lr,
                into=gradients,
                tape=tapes[g],
            )
            modulation_gradients.add(dual, latents[g], -inner_lr)
            modulation_gradients.add(gradient, adjoint, -inner_lr, bias=False)
            adjoint = adjoint - inner_lr * latent_gradient(field, dual)
        if g > 0 and weights[g - 1] > 0:
            adjoint = adjoint + outer_gradient(latents[g], weights[g - 1])[1]
    modulation_gradients.finish(gradients)
    return MetaGradient(gradients, loss, losses[0], latents[-1])
