"""The exact meta-gradient by Hessian-vector products, last inner step first; its memory does not grow with the inner steps.

    lambda <- dL_outer/dphi_G;   theta_bar <- dL_outer/dtheta
    for g = G-1 ... 0:
        (h_phi, h_theta) = d/de [ grad_{phi,theta} L_g(phi_g + e lambda, theta) ] at e = 0
        theta_bar <- theta_bar - alpha h_theta
        lambda    <- lambda    - alpha h_phi

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
    passes: FieldPasses, context: ContextSet, indices: StepIndices, *, inner_lr: float, second_order: bool = True
) -> MetaGradient:
    """Gradient of the mean outer loss (Eq. 30) through all inner steps, in the field's parameters.

    Args:
        passes: Of the field, refreshed after the last parameter change.
        context: Full contexts `(b, n)`; the outer loss is taken on all of them.
        indices: One entry an inner step, as `inner_loop` takes them; G is their number.
        inner_lr: alpha.
        second_order: Off keeps only the direct effect (first-order MAML, App. H).

    Raises:
        ConfigError: when there is no inner step.
    """
    if not indices:
        raise ConfigError("the meta-gradient needs at least one inner step; set inner_steps to 1 or more")
    field, signals = passes.field, len(context.values)
    gradients = {name: torch.zeros_like(parameter) for name, parameter in field.named_parameters()}
    modulation_gradients = ModulationGradients(field)
    points = max(context.points if drawn is None else drawn.shape[1] for drawn in indices)
    tapes = passes.tapes(len(indices), signals, points) if second_order else [None] * len(indices)
    latents, losses = inner_loop(passes, context, indices, inner_lr, tapes)

    loss, _, outer = passes.loss_gradient(context, modulate(field, latents[-1]), weight=1 / signals, into=gradients)
    modulation_gradients.add(outer, latents[-1], 1 / signals)
    adjoint = latent_gradient(field, outer) / signals  # lambda
    for drawn, latent, tape in zip(reversed(indices), reversed(latents[:-1]), reversed(tapes), strict=True):
        if not second_order:
            break
        gradient, dual = passes.hessian_product(
            reduce_context(context, drawn),
            modulate(field, latent),
            modulate_tangent(field, adjoint),
            weight=-inner_lr,
            into=gradients,
            tape=tape,
        )
        modulation_gradients.add(dual, latent, -inner_lr)
        modulation_gradients.add(gradient, adjoint, -inner_lr, bias=False)
        adjoint = adjoint - inner_lr * latent_gradient(field, dual)
    modulation_gradients.finish(gradients)
    return MetaGradient(gradients, loss, losses[0], latents[-1])
