"""A learned inner rate for every coordinate of the latent (Meta-SGD, Li et al. 2017), folded into the modulation.

A step of Meta-SGD is `phi <- phi - alpha r * grad`, with r = exp(l) one number a coordinate. A latent acts through a linear map M
alone and starts at zero, so with `phi' = phi / sqrt(r)` and `M' = M diag(sqrt(r))` the same step is the plain
`phi' <- phi' - alpha grad'` of a field that has M' for M: the fields at every step are equal. Training therefore keeps M and l,
gives the field M' after every update, and moves both by the chain rule:

    dL/dM = dL/dM' diag(sqrt(r))          dL/dl = 1/2 sum over rows of dL/dM' * M'

What is validated, averaged and shipped is a plain field: nothing about it says how its inner rates were learned. By the same
argument no other learned, constant preconditioner of the latent's gradient can do what the modulation could not.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from medfuncta_core.fields import MODULATION_MATRICES, ModulatedSIREN

LOG_RATES = "log_rates"


class InnerRates:
    """The modulation without its rates, and their logarithms `(p,)`, of which the field's own modulation is made.

    Args:
        field: Kept up to date by `fold`; its present modulation is the one of rates 1.
    """

    def __init__(self, field: ModulatedSIREN) -> None:
        self._field = {name: value.detach() for name, value in field.named_parameters() if name in MODULATION_MATRICES}
        weight = field.first_weight
        self.tensors = {name: value.clone() for name, value in self._field.items()}
        self.tensors[LOG_RATES] = torch.zeros(field.config.latent_dim, dtype=weight.dtype, device=weight.device)

    @torch.no_grad()
    def gradients(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The field's gradients turned into those of all that is learned."""
        roots = self._roots()
        unfolded = {name: gradients[name] * roots for name in self._field}
        parts = [(gradients[name] * value).sum((0, 1)) for name, value in self._field.items()]
        return {**gradients, **unfolded, LOG_RATES: 0.5 * torch.stack(parts).sum(0)}

    @torch.no_grad()
    def fold(self) -> None:
        """Give the field the modulation that the rates make."""
        roots = self._roots()
        for name, value in self._field.items():
            torch.mul(self.tensors[name], roots, out=value)

    def _roots(self) -> Tensor:
        return (self.tensors[LOG_RATES] / 2).exp()
