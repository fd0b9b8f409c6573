"""Algorithm 1 as it reads, in plain PyTorch: the yardstick of `speed.py`, written as anybody would write it without tricks.

One `F.linear` a layer, one sine, autograd through the inner loop (`create_graph=True`), AdamW as torch has it. Nothing is done
that the algorithm does not ask for: no gradient of a parameter during the inner steps, no clipping, no metric, no copy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.grids import ContextSet, reduce_context
from medfuncta_core.learning.meta_gradient import StepIndices


class PlainField(nn.Module):
    """The field of Eq. 1 with one parameter a layer, as modules of a PyTorch network would hold them.

    Args:
        field: Whose weights are copied.
    """

    def __init__(self, field: ModulatedSIREN) -> None:
        super().__init__()
        copies = lambda tensors: nn.ParameterList(nn.Parameter(tensor.detach().clone()) for tensor in tensors)  # noqa: E731
        self.config = field.config
        self.weights = copies([field.first_weight, *field.hidden_weight, field.last_weight])
        self.biases = copies([field.first_bias, *field.hidden_bias, field.last_bias])
        self.modulations = nn.ParameterDict(
            {
                f"{name}_{layer}": nn.Parameter(tensor.detach().clone())
                for name, parameter in field.named_parameters()
                if name.startswith(("shift", "scale"))
                for layer, tensor in enumerate(parameter)
            }
        )

    def modulation(self, kind: str, layer: int, latent: Tensor) -> Tensor:
        """m_k of the latents for every point, `(b, 1, L)`."""
        return F.linear(latent, self.modulations[f"{kind}_weight_{layer}"], self.modulations[f"{kind}_bias_{layer}"])[:, None]

    def forward(self, coords: Tensor, latent: Tensor) -> Tensor:
        """Values `(b, n, c)` at coords `(b, n, d)`."""
        config, h = self.config, coords
        for k, omega in enumerate(config.omegas[:-1]):
            u = F.linear(h, self.weights[k], self.biases[k])
            layer = k if config.modulate_first else k - 1
            if layer >= 0 and config.modulate_scale:
                u = u * self.modulation("scale", layer, latent)
            if layer >= 0 and config.modulate_shift:
                u = u + self.modulation("shift", layer, latent)
            wave = torch.sin(omega * u)
            h = h + wave if config.residual and k > 0 else wave
        values = F.linear(h, self.weights[-1], self.biases[-1])
        return values + config.output_offset if config.output_offset else values


def plain_meta_gradient(field: PlainField, context: ContextSet, indices: StepIndices, inner_lr: float) -> Tensor:
    """Meta-loss of a batch, its gradient left in the parameters' `.grad` (Algorithm 1 without the update)."""
    latents = context.values.new_zeros(len(context.values), field.config.latent_dim, requires_grad=True)
    for drawn in indices:
        reduced = reduce_context(context, drawn)
        loss = (field(_coords(reduced), latents) - reduced.values).square().mean((1, 2)).sum()
        (gradient,) = torch.autograd.grad(loss, latents, create_graph=True)
        latents = latents - inner_lr * gradient
    loss = (field(_coords(context), latents) - context.values).square().mean()
    loss.backward()
    return loss.detach()


def plain_meta_step(
    field: PlainField, optimiser: torch.optim.Optimizer, context: ContextSet, indices: StepIndices, inner_lr: float
) -> float:
    """One pass through Algorithm 1's loop; returns the meta-loss."""
    optimiser.zero_grad(set_to_none=True)
    loss = plain_meta_gradient(field, context, indices, inner_lr)
    optimiser.step()
    return float(loss)


def plain_fit(field: PlainField, context: ContextSet, steps: int, inner_lr: float) -> tuple[Tensor, Tensor]:
    """Latents `(b, p)` after gradient descent with the shared parameters frozen, and the values they decode to."""
    field.requires_grad_(False)
    latents = context.values.new_zeros(len(context.values), field.config.latent_dim, requires_grad=True)
    coords = _coords(context)
    for _ in range(steps):
        loss = (field(coords, latents) - context.values).square().mean((1, 2)).sum()
        (gradient,) = torch.autograd.grad(loss, latents)
        latents = (latents - inner_lr * gradient).detach().requires_grad_()
    with torch.no_grad():
        return latents.detach(), field(coords, latents)


def _coords(context: ContextSet) -> Tensor:
    """Every signal's coordinates, a view where they are shared."""
    return context.coords.expand(len(context.values), *context.coords.shape[-2:])
