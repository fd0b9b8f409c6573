"""The outer step on the exact meta-gradient (Eq. 33), with clipping, skipping and a running average of the weights."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from medfuncta_core.config import MetaConfig
from medfuncta_core.fields import FieldPasses, ModulatedSIREN, passes_for
from medfuncta_core.grids import ContextSet
from medfuncta_core.learning.captured import MetaGradients
from medfuncta_core.learning.inner_rates import InnerRates
from medfuncta_core.learning.meta_gradient import MetaGradient, StepIndices
from medfuncta_core.learning.optimising import Optimiser
from medfuncta_core.learning.ranks import ALONE, Ranks
from medfuncta_core.learning.schedule import loss_weights

NORM_WINDOW = 100  # steps whose meta-gradient norms make the running median


@dataclass(frozen=True)
class OuterStep:
    """What one outer step did.

    Args:
        loss: Mean outer loss of the batch, after the inner steps.
        first_loss: Mean loss of the learned initialisation.
        gradient_norm: Of the whole meta-gradient, before clipping.
        skipped: True when the parameters were left as they were.
    """

    loss: float
    first_loss: float
    gradient_norm: float
    skipped: bool


@dataclass
class MetaLearner:
    """Shared parameters with everything that is carried from one outer step to the next.

    Args:
        field: Trained in place.
        meta: Recipe.
        ranks: Who else trains it; gradients are averaged over the signals of all of them.
        passes: Of the field; `passes_for` chooses when None.
    """

    field: ModulatedSIREN
    meta: MetaConfig
    ranks: Ranks = ALONE
    passes: FieldPasses | None = None
    average: ModulatedSIREN | None = dataclasses.field(init=False, default=None)
    norms: list[float] = dataclasses.field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        meta = self.meta
        # detached views share the field's memory, so the optimiser's in-place updates are the field's
        weights = {name: parameter.detach() for name, parameter in self.field.named_parameters()}
        self._rates = InnerRates(self.field) if meta.meta_sgd_lr is not None else None
        self._optimiser = Optimiser(weights | (self._rates.tensors if self._rates else {}), meta, self.field.config.omegas)
        self._meta_gradient = MetaGradients(self.passes or passes_for(self.field))
        if meta.average_decay is not None:
            self.average = ModulatedSIREN(self.field.config).to(self.field.first_weight.device).requires_grad_(False)
            self.average.load_state_dict(self.field.state_dict())

    @property
    def learned(self) -> ModulatedSIREN:
        """The weights to validate and to ship: the average where there is one."""
        return self.field if self.average is None else self.average

    def outer_step(self, context: ContextSet, indices: StepIndices, *, step: int, lr: float) -> OuterStep:
        """One update of the shared parameters.

        Args:
            context: Full contexts of the batch, or of this rank's share of it.
            indices: Reduced contexts of the inner steps.
            step: 1 for the first, for the average's warm-up and the weights of the losses.
            lr: Outer learning rate of this step.
        """
        meta = self.meta
        found = self._meta_gradient(
            context,
            indices,
            inner_lr=meta.inner_lr,
            second_order=meta.second_order,
            loss_weights=loss_weights(meta, step, len(indices)),
        )
        found = _average(found, self.ranks, meta.batch_size)
        norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in found.gradients.values()])))
        usual = median(self.norms) if len(self.norms) >= NORM_WINDOW // 4 else math.inf
        skipped = meta.skip_ratio is not None and norm > meta.skip_ratio * usual
        if math.isfinite(norm):
            self.norms = [*self.norms[-NORM_WINDOW + 1 :], norm]
        if not skipped and math.isfinite(norm):
            self._apply(found.gradients, self._clipping(norm, usual), lr)
            if self.average is not None and meta.average_decay is not None:
                decay = min(meta.average_decay, (1 + step) / (10 + step))
                for mean, parameter in zip(self.average.parameters(), self.field.parameters(), strict=True):
                    mean.lerp_(parameter.detach(), 1 - decay)
        return OuterStep(float(found.loss.mean()), float(found.first_loss.mean()), norm, skipped)

    def _clipping(self, norm: float, usual: float) -> float:
        """What a meta-gradient of a norm is multiplied by."""
        bounds = [self.meta.clip_norm or math.inf, (self.meta.clip_ratio or math.inf) * usual]
        return min(1.0, *(bound / norm for bound in bounds)) if norm > 0 else 1.0

    @torch.no_grad()
    def _apply(self, gradients: dict[str, Tensor], factor: float, lr: float) -> None:
        """Update the field; the gradients are scaled in place."""
        if self._rates is None:
            self._optimiser.step(gradients, factor, lr)
        else:
            self._optimiser.step(self._rates.gradients(gradients), factor, lr)
            self._rates.fold()

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed run needs besides `norms`, by name: weights, average, inner rates, and the optimisers' moments."""
        state = {f"field.{name}": value.detach() for name, value in self.field.named_parameters()}
        if self.average is not None:
            state |= {f"average.{name}": value.detach() for name, value in self.average.named_parameters()}
        if self._rates is not None:
            state |= {f"rates.{name}": value for name, value in self._rates.tensors.items()}
        return state | self._optimiser.tensors()

    def load(self, tensors: dict[str, Tensor], norms: list[float]) -> None:
        """Put back what `tensors` and `norms` gave, bit for bit.

        Raises:
            KeyError: when a tensor of this architecture is missing.
        """
        with torch.no_grad():
            for prefix, module in (("field", self.field), ("average", self.average)):
                for name, parameter in module.named_parameters() if module is not None else ():
                    parameter.copy_(tensors[f"{prefix}.{name}"])
            for name, value in self._rates.tensors.items() if self._rates is not None else ():
                value.copy_(tensors[f"rates.{name}"])
        self.norms = list(norms)
        self._optimiser.load(tensors)


def _average(found: MetaGradient, ranks: Ranks, signals: int) -> MetaGradient:
    """The meta-gradient and mean losses of the whole batch, from every rank's share of its signals."""
    if ranks.world == 1:
        return found
    weight = len(found.loss) / signals
    means = [found.loss.mean()[None], found.first_loss.mean()[None]]
    loss, first_loss, *gradients = ranks.total([part * weight for part in (*means, *found.gradients.values())])
    return MetaGradient(dict(zip(found.gradients, gradients, strict=True)), loss, first_loss, found.latents)
