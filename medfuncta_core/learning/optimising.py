"""What moves the shared parameters: AdamW, or Muon for the hidden matrices beside it, each layer at its own rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from medfuncta_core.config import MetaConfig
from medfuncta_core.learning.adamw import KEYS, Moments, adamw_step, start_moments
from medfuncta_core.learning.inner_rates import LOG_RATES
from medfuncta_core.learning.muon import muon_step

_MUON, _MOMENTUM = "hidden_weight", "muon.momentum"
_MODULATIONS = ("shift", "scale")


class Slot(NamedTuple):
    """A parameter, or one layer of a stacked one."""

    name: str
    layer: int | None = None

    def of(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return tensors[self.name] if self.layer is None else tensors[self.name][self.layer]


class Group(NamedTuple):
    """Slots that AdamW moves at one multiple of the step's learning rate."""

    scale: float
    slots: list[Slot]
    decays: bool = True


class Optimiser:
    """AdamW, and Muon where the recipe has a rate for it, with what they carry from step to step.

    Args:
        weights: By name, updated in place.
        meta: Recipe.
        omegas: omega_1 ... omega_K of the field.
    """

    def __init__(self, weights: Mapping[str, Tensor], meta: MetaConfig, omegas: tuple[float, ...]) -> None:
        self._weights, self._meta = weights, meta
        layers = {name: len(weight) for name, weight in weights.items()}
        self._groups = make_groups(layers, meta, omegas)
        self._slots = {slot: slot.of(weights) for group in self._groups for slot in group.slots}
        self._moments: dict[Slot, Moments] = {}
        self._momentum = torch.zeros_like(weights[_MUON]) if meta.muon_lr is not None else None
        self._muon_scales = weights[_MUON].new_tensor(omega_scales(omegas)) * (meta.muon_lr or 0) / meta.outer_lr

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], factor: float, lr: float) -> None:
        """One update.

        Args:
            gradients: By name, as the weights; scaled in place.
            factor: They are multiplied by.
            lr: AdamW's rate at this step; all others keep their ratio to it.
        """
        decay = self._meta.weight_decay
        if factor != 1:
            for gradient in gradients.values():
                gradient.mul_(factor)
        for group in self._groups:
            for slot in group.slots:
                if slot not in self._moments:
                    self._moments[slot] = start_moments(self._slots[slot])
            adamw_step(
                [self._slots[slot] for slot in group.slots],
                [slot.of(gradients) for slot in group.slots],
                [self._moments[slot] for slot in group.slots],
                lr=lr * group.scale,
                betas=(0.9, self._meta.adam_beta2),
                weight_decay=decay if group.decays else 0.0,
            )
        if self._momentum is not None:
            rates = lr * self._muon_scales
            muon_step(self._weights[_MUON], gradients[_MUON], self._momentum, rates=rates, weight_decay=decay)

    def tensors(self) -> dict[str, Tensor]:
        """All moments by name."""
        state = {} if self._momentum is None else {_MOMENTUM: self._momentum}
        for slot, moments in self._moments.items():
            state |= {f"adam.{key}.{slot.name}.{slot.layer}": value for key, value in moments.items()}
        return state

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave; AdamW's moments that are not there begin anew.

        Raises:
            KeyError: when Muon's are not there.
        """
        if self._momentum is not None:
            self._momentum.copy_(tensors[_MOMENTUM])
        self._moments.clear()
        for slot, tensor in self._slots.items():
            moments = {key: tensors.get(f"adam.{key}.{slot.name}.{slot.layer}") for key in KEYS}
            if moments["step"] is not None:
                self._moments[slot] = {
                    key: value.to(tensor.device, copy=True) for key, value in moments.items() if value is not None
                }


def omega_scales(omegas: tuple[float, ...]) -> list[float]:
    """omega_1 / omega_k of the hidden layers, k = 2 ... K-1: their weights are of size 1 / omega_k (Eq. 2)."""
    return [omegas[0] / omega for omega in omegas[1:-1]]


def make_groups(layers: Mapping[str, int], meta: MetaConfig, omegas: tuple[float, ...]) -> list[Group]:
    """What AdamW moves, at which multiple of the outer rate.

    With `scale_lr_by_omega`, hidden layer k gets omega_1 / omega_k: AdamW's step does not depend on the gradient's size, so
    App. E's 1/omega^2 of plain gradient descent becomes 1/omega. Muon's does not either, and its layers always have that factor.
    A modulation is added before the multiplication by omega_k, so the same holds for it (`scale_modulation_lr_by_omega`).

    Args:
        layers: Length of each parameter by name: the layers, where it is a stack of them.
        meta: Recipe.
        omegas: omega_1 ... omega_K.
    """
    kinds = ("hidden",) * meta.scale_lr_by_omega + _MODULATIONS * meta.scale_modulation_lr_by_omega
    moved = [name for name in layers if name != LOG_RATES and (name != _MUON or meta.muon_lr is None)]
    stacked = [name for name in moved if name.startswith(kinds)]
    groups = [Group(1.0, [Slot(name) for name in moved if name not in stacked])]
    for k, omega in enumerate(omegas[:-1]):  # stacks end at layer K - 1, and begin at the second or, modulated, at the first
        slots = [Slot(name, at) for name in stacked if (at := k - (len(omegas) - 1 - layers[name])) >= 0]
        groups += [Group(omegas[0] / omega, slots)] if slots else []
    if meta.meta_sgd_lr is not None:
        groups.append(Group(meta.meta_sgd_lr / meta.outer_lr, [Slot(LOG_RATES)], decays=False))
    return groups
