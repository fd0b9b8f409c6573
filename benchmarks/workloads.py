"""What `speed.py` measures: a preset's meta-step and 20-step fit, once as this library does it and once as `baseline.py` does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.baseline import PlainField, plain_fit, plain_meta_gradient, plain_meta_step
from medfuncta_core.config import PRESETS, FieldConfig, FitConfig, MetaConfig
from medfuncta_core.fields import ModulatedSIREN, passes_for
from medfuncta_core.fitting import Fitter
from medfuncta_core.grids import ContextSet, grid_context
from medfuncta_core.learning.meta_gradient import meta_gradient
from medfuncta_core.learning.outer_step import MetaLearner
from medfuncta_core.learning.schedule import context_indices

BATCHES = {  # signals a step: on a CPU, on a GPU
    "ecg-187": ((64,), (64,)),
    "image-64": ((2,), (12, 24)),
    "volume-32": ((1,), (1, 4)),
    "image-224": ((1,), (1, 4)),
}
TASKS = ("meta-step", "fit")
SIDES = ("plain", "ours")


@dataclass(frozen=True)
class Workload:
    """A preset with what is measured of it.

    Args:
        name: Preset.
        shape: Points per axis.
        batch: Signals.
        inner_steps: G.
        fit_steps: H.
        selection_ratio: gamma; the preset's, or less where the baseline would not fit into memory.
    """

    name: str
    shape: tuple[int, ...]
    batch: int
    inner_steps: int
    fit_steps: int
    selection_ratio: float

    @classmethod
    def of(cls, name: str, batch: int, *, quick: bool = False, selection_ratio: float | None = None) -> Workload:
        """The preset's own numbers; `quick` keeps architecture and batch and takes two steps of a coarse grid."""
        preset = PRESETS[name]
        shape = tuple(min(n, 12) for n in preset.shape) if quick else preset.shape
        ratio = preset.meta.selection_ratio if selection_ratio is None else selection_ratio
        steps = (2, 2) if quick else (preset.meta.inner_steps, preset.fit.steps)
        return cls(name, shape, batch, *steps, ratio)

    @property
    def field(self) -> FieldConfig:
        """Architecture."""
        return PRESETS[self.name].field

    @property
    def meta(self) -> MetaConfig:
        """Algorithm 1 with AdamW and nothing more."""
        changes = {"selection_ratio": self.selection_ratio, "inner_steps": self.inner_steps, "clip_norm": None}
        return PRESETS[self.name].meta.model_copy(update={**changes, "batch_size": self.batch})

    def values(self, device: torch.device) -> Tensor:
        """Smooth signals with noise `(b, *shape, c)` in [0, 1]; the time does not depend on what they show."""
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(self.batch, *self.shape, self.field.channels, generator=generator)
        return (0.25 + 0.25 * torch.linspace(-1, 1, self.shape[-1])[:, None].sin() + 0.5 * noise).clamp(0, 1).to(device)

    def plain_bytes(self) -> int:
        """About what the baseline's graph holds: six to seven arrays a layer and inner step, four a layer of the outer pass."""
        points = self.batch * self.values_per_signal
        arrays = 6.5 * self.inner_steps * self.selection_ratio + 4
        return int(arrays * points * self.field.width * (self.field.depth - 1) * 4)

    @property
    def values_per_signal(self) -> int:
        """Points n."""
        return math.prod(self.shape)

    def within(self, limit: int) -> Workload:
        """The same with gamma halved until the baseline's graph takes at most `limit` bytes."""
        workload = self
        while workload.plain_bytes() > limit and workload.selection_ratio > 1e-3:
            workload = replace(workload, selection_ratio=workload.selection_ratio / 2)
        return workload


def prepare(workload: Workload, task: str, side: str, device: torch.device) -> Callable[[], object]:
    """One run of a task as a function without arguments; both sides start from the same weights, signals and points."""
    field = ModulatedSIREN(workload.field, generator=torch.Generator().manual_seed(0)).requires_grad_(False).to(device)
    meta, values = workload.meta, workload.values(device)
    context, fit = grid_context(values), FitConfig(steps=workload.fit_steps, inner_lr=meta.inner_lr)
    indices = context_indices(meta, 1, workload.batch, context.points)
    if side == "ours" and task == "meta-step":
        learner = MetaLearner(field, meta)
        return lambda: learner.outer_step(context, indices, step=1, lr=meta.outer_lr)
    if side == "ours":
        fitter, whole = Fitter(field, fit, device=device.type), values.cpu().numpy()
        return lambda: fitter.fit_batch(whole)
    plain = PlainField(field)
    del field
    if task == "meta-step":
        optimiser = torch.optim.AdamW(plain.parameters(), lr=meta.outer_lr)
        return lambda: plain_meta_step(plain, optimiser, context, indices, meta.inner_lr)
    return lambda: plain_fit(plain, context, fit.steps, fit.inner_lr)


def gradient_difference(workload: Workload, device: torch.device) -> float:
    """Largest relative difference of a parameter's meta-gradient from the baseline's in float64, on at most 400 points."""
    side = max(2, int(400 ** (1 / len(workload.shape))))
    small = replace(workload, shape=tuple(min(n, side) for n in workload.shape), batch=min(workload.batch, 2))
    field = ModulatedSIREN(small.field, generator=torch.Generator().manual_seed(0)).requires_grad_(False).to(device)
    context = grid_context(small.values(device))
    indices = context_indices(small.meta, 1, small.batch, context.points)
    found = meta_gradient(passes_for(field), context, indices, inner_lr=small.meta.inner_lr).gradients
    exact = PlainField(field).double()
    plain_meta_gradient(exact, ContextSet(context.coords.double(), context.values.double()), indices, small.meta.inner_lr)
    differences = []
    for name, gradient in found.items():
        expected = plain_gradient(exact, name)
        differences.append(float((gradient.double() - expected).norm() / expected.norm()))
    return max(differences)


def plain_gradient(plain: PlainField, name: str) -> Tensor:
    """The baseline's gradient of the parameter that `ModulatedSIREN` calls `name`, stacked as it is there."""
    part, kind = name.split("_")
    if part in ("shift", "scale"):
        layers = range(plain.config.modulated_layers)
        return torch.stack([plain.modulations[f"{name}_{layer}"].grad for layer in layers])
    parameters = list(plain.weights if kind == "weight" else plain.biases)
    if part == "hidden":
        return torch.stack([parameter.grad for parameter in parameters[1:-1] if parameter.grad is not None])
    gradient = parameters[0 if part == "first" else -1].grad
    assert gradient is not None
    return gradient
