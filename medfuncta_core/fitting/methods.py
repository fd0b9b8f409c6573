"""How a fit moves: the paper's gradient descent, and Gauss-Newton steps that get more out of the same time.

Both see one loss and gradient a step and say where to look next. A signal's path never depends on its batch-mates, except that
points drawn at random are drawn signal after signal.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.config import FitConfig
from medfuncta_core.fields import FieldPasses
from medfuncta_core.fields.gauss_newton import damped_steps
from medfuncta_core.fields.scaling import ScaledLatents, count_unknowns, scale_latents
from medfuncta_core.grids import ContextSet, draw_indices, reduce_context

MANY_UNKNOWNS = 2048
FEWEST_POINTS = 256
FIRST_DAMPING = 0.4  # of the curvature that a modulation has alone
GOOD, FAIR = 0.75, 0.25  # shares of the promised decrease that lower the damping, or leave it
DAMPING_FACTOR = 4.0


class Effort(NamedTuple):
    """Behind a Gauss-Newton step: iterations of conjugate gradients, and values in its matrix for every unknown."""

    iterations: int
    rows: int


FEW, MANY = Effort(24, 3), Effort(16, 2)  # more of either brings less than the time it takes


class Place(NamedTuple):
    """Latents of b signals with what was found there: losses on fitted points, clamped ones of the whole signal, gradients."""

    latents: Float[Tensor, "b p"]
    loss: Float[Tensor, " b"]
    clamped_loss: Float[Tensor, " b"]
    gradient: Float[Tensor, "b p"]


class Method(Protocol):
    """A fit's way downhill. `place` is where it stands; `compares` is whether its last proposal must be looked at before use."""

    place: Place
    compares: bool

    def settle(self, found: Place) -> Place:
        """Where the fit stands after looking at a place: there, or where it was if that is better."""
        ...

    def propose(self) -> Float[Tensor, "b p"]:
        """Where to look next, from where the fit stands."""
        ...


class GradientDescent:
    """Plain steps against the gradient (Eq. 28), the same that the network was meta-learned for.

    Args:
        inner_lr: alpha.
    """

    compares = False

    def __init__(self, inner_lr: float) -> None:
        self._inner_lr = inner_lr

    def settle(self, found: Place) -> Place:
        """There, always."""
        self.place = found
        return found

    def propose(self) -> Float[Tensor, "b p"]:
        """One step down."""
        return self.place.latents - self._inner_lr * self.place.gradient


class GaussNewton:
    """Levenberg-Marquardt steps with truncated conjugate gradients, after a few plain steps.

    The Gauss-Newton matrix is taken at points drawn anew, a few values for every unknown, and only ever multiplied; the
    gradient and the loss are of all fitted points. A step that does not lower a signal's loss is not taken. Damping is of the
    length of a step in scaled latents (`scale_latents`), and follows the ratio of the decrease to the promised one.

    Args:
        passes: Of the field.
        config: Plain steps and their rate.
        context: What is fitted; the same at every step, since losses are compared.
        generator: Source of the drawn points.

    Source: Nocedal and Wright, Numerical Optimization (2006), Sec. 4.1, 7.1 and 10.3.
    """

    compares = True

    def __init__(self, passes: FieldPasses, config: FitConfig, context: ContextSet, generator: torch.Generator) -> None:
        self._passes, self._config, self._context, self._generator = passes, config, context, generator
        signals, points, channels = context.values.shape
        unknowns = count_unknowns(passes.field)
        effort = FEW if unknowns <= MANY_UNKNOWNS else MANY
        self._iterations = effort.iterations
        self._share = max(FEWEST_POINTS, -(-effort.rows * unknowns // channels)) / points
        self._damping = context.values.new_full((signals,), FIRST_DAMPING)
        self._plain_left = config.plain_steps
        self._promised: Tensor | None = None  # decrease that the last Gauss-Newton step promised; None before the first

    @cached_property
    def _scaled(self) -> ScaledLatents:
        """Computed behind the first plain steps, which need not wait for it."""
        return scale_latents(self._passes.field)

    def settle(self, found: Place) -> Place:
        """There, except for signals whose loss a Gauss-Newton step did not lower."""
        if self._promised is None:
            self.place = found
            return found
        before, promised = self.place, self._promised
        better = found.loss < before.loss  # NaN is not
        ratio = torch.where(better, (before.loss - found.loss) / promised.clamp_min(torch.finfo(promised.dtype).tiny), 0)
        worse = torch.where(ratio < FAIR, self._damping * DAMPING_FACTOR, self._damping)
        self._damping = torch.where(ratio > GOOD, self._damping / DAMPING_FACTOR, worse)
        self.place = Place(*(_choose(better, new, old) for new, old in zip(found, before, strict=True)))
        return self.place

    def propose(self) -> Float[Tensor, "b p"]:
        """A plain step while there are any left, then a damped Gauss-Newton step."""
        place = self.place
        if self._plain_left > 0:
            self._plain_left -= 1
            return place.latents - self._config.inner_lr * place.gradient
        signals = len(place.latents)
        points = self._draw(signals).coords
        coords = points.expand(signals, *points.shape[-2:])
        gradient = self._scaled.gradient(place.gradient)
        step = damped_steps(self._passes, self._scaled.weight, coords, place.latents, gradient, self._damping, self._iterations)
        self._promised = 0.5 * ((gradient + self._damping[:, None] * step) * step).sum(1)
        return place.latents - self._scaled.latents(step)

    def _draw(self, signals: int) -> ContextSet:
        drawn = draw_indices(signals, self._context.points, self._share, self._generator)
        return reduce_context(self._context, drawn)


def _choose(better: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(better if new.ndim == 1 else better[:, None], new, old)
