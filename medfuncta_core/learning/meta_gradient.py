"""The exact meta-gradient by Hessian-vector products, last inner step first; its memory does not grow with the inner steps.

    lambda <- dL_outer/dphi_G;   theta_bar <- dL_outer/dtheta
    for g = G-1 ... 0:
        (h_phi, h_theta) = d/de [ grad_{phi,theta} L_g(phi_g + e lambda, theta) ] at e = 0
        theta_bar <- theta_bar - alpha h_theta
        lambda    <- lambda    - alpha h_phi

and, where the losses after earlier steps count too, their gradients join lambda and theta_bar when their step's turn comes.
Only phi_0 ... phi_G and the drawn points are kept, and each step's activations while they are few (`TAPE_BYTES`), to save
computing them again; for the sake of these, a batch goes through the whole loop in groups of a few signals. The readable version,
through autograd, is `reference.py`; both agree to 1e-10 in float64.
Sources: Eq. 28 to 32; DESIGN.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medfuncta_core.errors import ConfigError
from medfuncta_core.fields.modulating import ModulationGradients, first_modulations, latent_gradient, modulate, modulate_tangent
from medfuncta_core.fields.passes import FieldPasses, Gradients, Tape
from medfuncta_core.fields.tiles import Modulations
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


class InnerLoop(NamedTuple):
    """phi_0 ... phi_G `(b, p)`; of phi_0 ... phi_{G-1}, the modulations and the loss `(b,)` on each step's context."""

    latents: list[Tensor]
    modulations: list[Modulations]
    losses: list[Tensor]


@torch.no_grad()
def inner_loop(
    passes: FieldPasses, context: ContextSet, indices: StepIndices, inner_lr: float, tapes: Sequence[Tape | None] | None = None
) -> InnerLoop:
    """Plain gradient descent on the latents from zero (Eq. 27, 28).

    Args:
        passes: Of the field.
        context: Full context of b signals.
        indices: For every step, the points of its reduced context (None: all).
        inner_lr: alpha.
        tapes: One a step, filled where not None.
    """
    signals = len(context.values)
    loop = InnerLoop([context.values.new_zeros(signals, passes.config.latent_dim)], [], [])
    for drawn, tape in zip(indices, tapes or [None] * len(indices), strict=True):
        latents = loop.latents[-1]
        modulations = modulate(passes.field, latents) if loop.losses else first_modulations(passes.field, signals)
        loss, _, gradient = passes.loss_gradient(reduce_context(context, drawn), modulations, tape=tape)
        loop.latents.append(latents - inner_lr * latent_gradient(passes.field, gradient))
        loop.modulations.append(modulations)
        loop.losses.append(loss)
    return loop


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
    signals = len(context.values)
    gradients = {name: torch.zeros_like(parameter) for name, parameter in passes.field.named_parameters()}
    share = [weight / signals for weight in weights]
    loop = _WholeLoop(passes, inner_lr, second_order, share, gradients, ModulationGradients(passes.field))
    points = max(context.points if drawn is None else drawn.shape[1] for drawn in indices)
    together = passes.together(len(indices), signals, points) if second_order else signals
    found = []
    for start in range(0, signals, together):
        group = slice(start, start + together)
        coords = context.coords if context.coords.ndim == 2 else context.coords[group]
        drawn = [None if step is None else step[group] for step in indices]
        found.append(loop.add(ContextSet(coords, context.values[group]), drawn, points))
    loop.modulations.finish(gradients)
    return MetaGradient(gradients, *(torch.cat(parts) for parts in zip(*found, strict=True)))


class _WholeLoop(NamedTuple):
    """There and back through all inner steps, for some signals after others; `weights` are those of one signal's outer losses."""

    passes: FieldPasses
    inner_lr: float
    second_order: bool
    weights: list[float]
    own: Gradients
    modulations: ModulationGradients

    def add(self, context: ContextSet, indices: StepIndices, points: int) -> tuple[Tensor, Tensor, Tensor]:
        """Add a group's meta-gradient; its last outer losses, first inner losses and phi_G."""
        passes, field, inner_lr = self.passes, self.passes.field, self.inner_lr
        steps, signals = len(indices), len(context.values)
        tapes: list[Tape | None] = passes.tapes(steps, signals, points) if self.second_order else [None] * steps
        latents, modulations, losses = inner_loop(passes, context, indices, inner_lr, tapes)
        loss, adjoint = self._outer(context, latents[-1], self.weights[-1])  # lambda
        for g in reversed(range(steps)):
            if self.second_order:
                gradient, dual = passes.hessian_product(
                    reduce_context(context, indices[g]),
                    modulations[g],
                    modulate_tangent(field, adjoint),
                    weight=-inner_lr,
                    into=self.own,
                    tape=tapes[g],
                )
                self.modulations.add(dual, latents[g], -inner_lr)
                self.modulations.add(gradient, adjoint, -inner_lr, bias=False)
                if g > 0:
                    adjoint = adjoint - inner_lr * latent_gradient(field, dual)
            if g > 0 and self.weights[g - 1] > 0:
                adjoint = adjoint + self._outer(context, latents[g], self.weights[g - 1])[1]
        return loss, losses[0], latents[-1]

    def _outer(self, context: ContextSet, latents: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        """Losses `(b,)` on the full context, and the weighted gradient `(b, p)`; the parameters' is added."""
        field = self.passes.field
        loss, _, outer = self.passes.loss_gradient(context, modulate(field, latents), weight=weight, into=self.own)
        self.modulations.add(outer, latents, weight)
        return loss, latent_gradient(field, outer) * weight
