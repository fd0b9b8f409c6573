"""The outer step: AdamW on the exact meta-gradient (Eq. 33), with clipping, skipping and a running average of the weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from medfuncta_core.config import MetaConfig
from medfuncta_core.fields import FieldPasses, ModulatedSIREN, passes_for
from medfuncta_core.grids import ContextSet
from medfuncta_core.learning.adamw import KEYS, Moments, adamw_step, start_moments
from medfuncta_core.learning.captured import MetaGradients
from medfuncta_core.learning.meta_gradient import MetaGradient, StepIndices
from medfuncta_core.learning.ranks import ALONE, Ranks

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
        self._groups = _groups(self.field, meta.scale_lr_by_omega)
        # detached views share the field's memory, so the optimiser's in-place updates are the field's
        weights = {name: parameter.detach() for name, parameter in self.field.named_parameters()}
        self._slots = {slot: slot.of(weights) for _, slots in self._groups for slot in slots}
        self._meta_gradient = MetaGradients(self.passes or passes_for(self.field))
        self._moments: dict[_Slot, Moments] = {}
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
            step: 1 for the first, for the average's warm-up.
            lr: Outer learning rate of this step.
        """
        meta = self.meta
        found = self._meta_gradient(context, indices, inner_lr=meta.inner_lr, second_order=meta.second_order)
        found = _average(found, self.ranks, meta.batch_size)
        norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in found.gradients.values()])))
        skipped = self._too_steep(norm)
        if math.isfinite(norm):
            self.norms = [*self.norms[-NORM_WINDOW + 1 :], norm]
        if not skipped and math.isfinite(norm):
            factor = min(1.0, meta.clip_norm / norm) if meta.clip_norm is not None and norm > 0 else 1.0
            self._apply(found.gradients, factor, lr)
            if self.average is not None and meta.average_decay is not None:
                decay = min(meta.average_decay, (1 + step) / (10 + step))
                for mean, parameter in zip(self.average.parameters(), self.field.parameters(), strict=True):
                    mean.lerp_(parameter.detach(), 1 - decay)
        return OuterStep(float(found.loss.mean()), float(found.first_loss.mean()), norm, skipped)

    def _too_steep(self, norm: float) -> bool:
        ratio = self.meta.skip_ratio
        return ratio is not None and len(self.norms) >= NORM_WINDOW // 4 and norm > ratio * median(self.norms)

    @torch.no_grad()
    def _apply(self, gradients: dict[str, Tensor], factor: float, lr: float) -> None:
        """Update the field; the gradients are scaled in place."""
        if factor != 1:
            for gradient in gradients.values():
                gradient.mul_(factor)
        for scale, slots in self._groups:
            for slot in slots:
                if slot not in self._moments:
                    self._moments[slot] = start_moments(self._slots[slot])
            adamw_step(
                [self._slots[slot] for slot in slots],
                [slot.of(gradients) for slot in slots],
                [self._moments[slot] for slot in slots],
                lr=lr * scale,
                betas=(0.9, self.meta.adam_beta2),
                weight_decay=self.meta.weight_decay,
            )

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs besides `scalars`, by name: weights, average, and AdamW's moments."""
        state = {f"field.{name}": value.detach() for name, value in self.field.named_parameters()}
        if self.average is not None:
            state |= {f"average.{name}": value.detach() for name, value in self.average.named_parameters()}
        for slot, moments in self._moments.items():
            for key, value in moments.items():
                state[f"adam.{key}.{slot.name}.{slot.layer}"] = value
        return state

    def load(self, tensors: dict[str, Tensor], norms: list[float]) -> None:
        """Put back what `tensors` and `norms` gave, bit for bit.

        Raises:
            KeyError: when a tensor of this architecture is missing.
        """
        with torch.no_grad():
            for prefix, module in (("field", self.field), ("average", self.average)):
                for name, parameter in module.named_parameters() if module is not None else ():
                    parameter.copy_(tensors[f"{prefix}.{name}"])
        self.norms = list(norms)
        self._moments.clear()
        for slot, tensor in self._slots.items():
            moments = {key: tensors.get(f"adam.{key}.{slot.name}.{slot.layer}") for key in KEYS}
            if moments["step"] is not None:
                self._moments[slot] = {
                    key: value.to(tensor.device, copy=True) for key, value in moments.items() if value is not None
                }


def _average(found: MetaGradient, ranks: Ranks, signals: int) -> MetaGradient:
    """The meta-gradient and mean losses of the whole batch, from every rank's share of its signals."""
    if ranks.world == 1:
        return found
    weight = len(found.loss) / signals
    means = [found.loss.mean()[None], found.first_loss.mean()[None]]
    loss, first_loss, *gradients = ranks.total([part * weight for part in (*means, *found.gradients.values())])
    return MetaGradient(dict(zip(found.gradients, gradients, strict=True)), loss, first_loss, found.latents)


class _Slot(NamedTuple):
    """A parameter, or one layer of a stacked one."""

    name: str
    layer: int | None

    def of(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return tensors[self.name] if self.layer is None else tensors[self.name][self.layer]


def _groups(field: ModulatedSIREN, scale_by_omega: bool) -> list[tuple[float, list[_Slot]]]:
    """Factors of the learning rate with the parameters they hold for.

    With `scale_by_omega`, hidden layer k gets omega_1 / omega_k: AdamW's step does not depend on the gradient's size, so App. E's
    1/omega^2 of plain gradient descent becomes 1/omega.
    """
    names = [name for name, _ in field.named_parameters()]
    if not scale_by_omega:
        return [(1.0, [_Slot(name, None) for name in names])]
    omegas = field.config.omegas
    plain = [_Slot(name, None) for name in names if not name.startswith("hidden")]
    layers = [(omegas[0] / omega, [_Slot("hidden_weight", k), _Slot("hidden_bias", k)]) for k, omega in enumerate(omegas[1:-1])]
    return [(1.0, plain), *layers]
