"""Losses with their gradients in the latents, as one CUDA graph for each shape where a field lies on a GPU."""

from __future__ import annotations

import threading
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.fields.cuda_passes import CudaPasses
from medfuncta_core.fields.modulating import latent_gradient, modulate
from medfuncta_core.fields.passes import FieldPasses
from medfuncta_core.grids import ContextSet
from medfuncta_core.kernels.graphs import Graphs


class LatentGradient(NamedTuple):
    """Loss `(b,)`, loss of values clamped to [0, 1] `(b,)`, and the former's gradient in the latents `(b, p)`."""

    loss: Tensor
    clamped_loss: Tensor
    gradient: Tensor


class LatentGradients:
    """Losses and gradients in the latents of one field at fixed parameters, step after step; threads may share it.

    Args:
        passes: Of the field; recorded where they are `CudaPasses` on a GPU, else computed each time.
    """

    def __init__(self, passes: FieldPasses) -> None:
        self._passes = passes
        self._graphs: Graphs[LatentGradient] = Graphs()
        self._lock = threading.Lock()

    def __call__(self, context: ContextSet, latents: Float[Tensor, "b p"]) -> LatentGradient:
        """Per-signal mean squared error (Eq. 5) and its gradient.

        Args:
            context: b signals.
            latents: phi of each.
        """
        if not isinstance(self._passes, CudaPasses) or latents.device.type != "cuda":
            return self._compute(context.coords, context.values, latents)
        with self._lock:  # a recording has one set of inputs and results; others may have them after the copy
            found = self._graphs.run(self._compute, context.coords, context.values, latents, device=latents.device)
            return LatentGradient(*(part.clone() for part in found))

    @torch.no_grad()
    def _compute(self, coords: Tensor, values: Tensor, latents: Tensor) -> LatentGradient:
        loss, clamped_loss, gradient = self._passes.loss_gradient(
            ContextSet(coords, values), modulate(self._passes.field, latents)
        )
        return LatentGradient(loss, clamped_loss, latent_gradient(self._passes.field, gradient))
