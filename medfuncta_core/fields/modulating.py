"""From latents to modulations and back: the affine maps m_k of Eq. 1, their tangents and their transposes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.fields.passes import Gradients
from medfuncta_core.fields.siren import ModulatedSIREN
from medfuncta_core.fields.tiles import Modulations

KINDS = ("shift", "scale")


@torch.no_grad()
def modulate(field: ModulatedSIREN, latent: Float[Tensor, "b p"]) -> Modulations:
    """Shift and scale `(b, M, L)` that the latents give."""
    return Modulations(*field.modulations(latent))


@torch.no_grad()
def first_modulations(field: ModulatedSIREN, signals: int) -> Modulations:
    """What latents of zero give: the biases, `(signals, M, L)`, without reading the weights."""
    biases = (getattr(field, f"{kind}_bias", None) for kind in KINDS)
    return Modulations(*(None if bias is None else bias.detach().repeat(signals, 1, 1) for bias in biases))


@torch.no_grad()
def modulate_tangent(field: ModulatedSIREN, direction: Float[Tensor, "b p"]) -> Modulations:
    """Change of the modulations when the latents move along `direction`: the affine maps without their biases."""
    return Modulations(*(None if weight is None else _linear(direction, weight) for weight in _weights(field)))


@torch.no_grad()
def latent_gradient(field: ModulatedSIREN, gradient: Modulations) -> Float[Tensor, "b p"]:
    """Gradient in the latents from the gradient in the modulations."""
    parts = [
        g.flatten(1) @ weight.flatten(0, 1)
        for g, weight in zip(gradient, _weights(field), strict=True)
        if g is not None and weight is not None
    ]
    return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


class ModulationGradients:
    """Gradients of the modulation layers: sums of outer products, kept as their small factors until one product at the end.

    They are most of a field's parameters, and a product per inner step would cost more than the passes themselves.

    Args:
        field: Whose modulation layers.
    """

    def __init__(self, field: ModulatedSIREN) -> None:
        self._field = field
        self._pairs: list[tuple[Modulations, Tensor, float]] = []
        self._biases: list[tuple[Modulations, float]] = []

    def add(self, gradient: Modulations, latent: Float[Tensor, "b p"], weight: float, *, bias: bool = True) -> None:
        """Add weight times gradient^T latent; with `bias`, the gradient itself to the biases."""
        self._pairs.append((gradient, latent, weight))
        if bias:
            self._biases.append((gradient, weight))

    @torch.no_grad()
    def finish(self, into: Gradients) -> None:
        """Form the products and add them to `into`."""
        latents = torch.cat([latent for _, latent, _ in self._pairs])
        for at, kind in enumerate(KINDS):
            if f"{kind}_weight" not in into:
                continue
            factors = [g[at] * weight for g, _, weight in self._pairs]  # type: ignore[operator]
            into[f"{kind}_weight"].flatten(0, 1).addmm_(torch.cat(factors).flatten(1).mT, latents)
            for g, weight in self._biases:
                into[f"{kind}_bias"].add_(g[at].sum(0), alpha=weight)  # type: ignore[union-attr]


def _weights(field: ModulatedSIREN) -> tuple[Tensor | None, Tensor | None]:
    return tuple(getattr(field, f"{kind}_weight", None) for kind in KINDS)  # type: ignore[return-value]


def _linear(latent: Tensor, weight: Tensor) -> Tensor:
    return F.linear(latent, weight.flatten(0, 1)).unflatten(1, weight.shape[:2])
