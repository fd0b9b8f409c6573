"""How a fit moves: the paper's gradient descent, and Gauss-Newton steps that get more out of the same time.

Both see one loss and gradient a step and say where to look next. A signal's path never depends on its batch-mates, except that
points drawn at random are drawn signal after signal.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.config import FitConfig
from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.fields.jacobians import modulation_jacobian, modulation_weight, solve_damped
from medfuncta_core.grids import ContextSet, draw_indices, reduce_context

CG_ITERATIONS = 8  # more cost more than they bring: measured on the shipped checkpoints' validation splits
MANY_UNKNOWNS, CG_ITERATIONS_OF_MANY = 2048, 16  # beyond so many, more iterations bring more than they cost, measured likewise
ROWS_PER_UNKNOWN = 2  # values behind a Gauss-Newton matrix, for every independent unknown of a latent
FEWEST_POINTS = 256
FIRST_DAMPING = 0.02  # as a share of 1 / inner_lr, the curvature that gradient descent supposes everywhere
JACOBIAN_BYTES = {"cpu": 2**22, "cuda": 2**28}  # of the signals worked on at once; on a CPU they stay in the cache
GOOD, FAIR = 0.75, 0.25  # shares of the promised decrease that lower the damping, or leave it
DAMPING_FACTOR = 4.0


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

    The Gauss-Newton matrix is taken at points drawn anew, about two values for every unknown, and only ever multiplied; the
    gradient and the loss are of all fitted points. A step that does not lower a signal's loss is not taken. Damping follows the
    ratio of the decrease to the promised one.

    Args:
        field: Of the latents.
        config: Plain steps and their rate.
        context: What is fitted; the same at every step, since losses are compared.
        generator: Source of the drawn points.

    Source: Nocedal and Wright, Numerical Optimization (2006), Sec. 4.1, 7.1 and 10.3.
    """

    compares = True

    def __init__(self, field: ModulatedSIREN, config: FitConfig, context: ContextSet, generator: torch.Generator) -> None:
        self._field, self._config, self._context, self._generator = field, config, context, generator
        self._weight = modulation_weight(field)
        signals, points, channels = context.values.shape
        unknowns = min(self._weight.shape)
        self._iterations = CG_ITERATIONS if unknowns <= MANY_UNKNOWNS else CG_ITERATIONS_OF_MANY
        self._share = max(FEWEST_POINTS, -(-ROWS_PER_UNKNOWN * unknowns // channels)) / points
        self._damping = context.values.new_full((signals,), FIRST_DAMPING / config.inner_lr)
        self._plain_left = config.plain_steps
        self._promised: Tensor | None = None  # decrease that the last Gauss-Newton step promised; None before the first

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
        step = torch.empty_like(place.latents)
        signals = len(step)
        points = self._draw(signals)
        rows = points.coords.shape[-2] * self._context.values.shape[2] * self._weight.shape[0] * step.element_size()
        together = max(1, JACOBIAN_BYTES[step.device.type] // rows)
        for start in range(0, signals, together):
            part = slice(start, start + together)
            coords = points.coords.expand(signals, *points.coords.shape[-2:])[part]
            jacobian = modulation_jacobian(self._field, coords, place.latents[part])
            step[part] = solve_damped(jacobian, self._weight, place.gradient[part], self._damping[part], self._iterations)
        self._promised = 0.5 * ((place.gradient + self._damping[:, None] * step) * step).sum(1)
        return place.latents - step

    def _draw(self, signals: int) -> ContextSet:
        drawn = draw_indices(signals, self._context.points, self._share, self._generator)
        return reduce_context(self._context, drawn)


def _choose(better: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(better if new.ndim == 1 else better[:, None], new, old)
