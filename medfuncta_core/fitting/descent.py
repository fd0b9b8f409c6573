"""A fit on its way: look at a place, settle, move on."""

from __future__ import annotations

import torch
from torch import Tensor

from medfuncta_core.config import FitConfig
from medfuncta_core.fields import FieldPasses, LatentGradients
from medfuncta_core.fields.cores import conduct
from medfuncta_core.fields.modulating import modulate
from medfuncta_core.fitting.methods import GaussNewton, GradientDescent, Method, Place
from medfuncta_core.grids import ContextSet, draw_indices, reduce_context


class Descent:
    """A fit of b signals from zero latents: where it looks next, and the method that moves it.

    Args:
        passes: Of the field.
        gradients: Of the same field's losses.
        config: Method, rate, share of points.
        fitted: Points that are fitted.
        full: The whole signals, where only a part of them is fitted.
    """

    def __init__(
        self, passes: FieldPasses, gradients: LatentGradients, config: FitConfig, fitted: ContextSet, full: ContextSet | None
    ) -> None:
        self._passes, self._gradients, self._ratio = passes, gradients, config.selection_ratio
        self._generator = torch.Generator().manual_seed(config.seed)
        signals = len(fitted.values)
        self.latents = fitted.values.new_zeros(signals, passes.config.latent_dim)
        self.method: Method = GradientDescent(config.inner_lr)
        if config.method == "gauss_newton":
            if self._ratio < 1:  # it compares losses, so the points are drawn once
                drawn = draw_indices(signals, fitted.points, self._ratio, self._generator)
                full, fitted, self._ratio = full or fitted, reduce_context(fitted, drawn), 1.0
            self.method = GaussNewton(passes, config, fitted, self._generator)
        self._fitted, self._full = fitted, full

    def look(self) -> Place:
        """Evaluate the next place; where the fit stands then."""
        conducted = self.latents.device.type == "cpu"
        return self.method.settle(Place(self.latents, *(conduct(self._evaluate) if conducted else self._evaluate())))

    def move(self, done: Tensor | None = None) -> None:
        """Choose the next place; signals that are `done` `(b,)` keep theirs."""
        moved = self.method.propose()
        self.latents = moved if done is None else torch.where(done[:, None], self.method.place.latents, moved)

    def _evaluate(self) -> tuple[Tensor, Tensor, Tensor]:
        """Loss of the fitted points, clamped loss of the whole signals, gradient in the latents."""
        fitted = self._fitted
        drawn = draw_indices(len(self.latents), fitted.points, self._ratio, self._generator)
        loss, clamped, gradient = self._gradients(reduce_context(fitted, drawn), self.latents)
        whole = self._full or (fitted if drawn is not None else None)
        if whole is not None:
            values = self._passes.values(whole.coords, modulate(self._passes.field, self.latents))
            clamped = (values.clamp(0, 1) - whole.values).square().mean((1, 2))
        return loss, clamped, gradient
