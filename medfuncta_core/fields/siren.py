"""The modulated SIREN: one shared sine network, conditioned by a latent through shift (and scale) modulations.

Sources: Eq. 1 and 2, Sec. 2 and Table 6 of the paper; Sitzmann et al. 2020 for the sine layers; the switches of
`FieldConfig` reproduce the published implementation, whose weights depend on them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from medfuncta_core.config import FieldConfig

MODULATION_MATRICES = ("shift_weight", "scale_weight")
"""Parameters that a latent is multiplied by; a field has one of them or both."""


class ModulatedSIREN(nn.Module):
    """Shared parameters theta of a field; the latent phi is an argument of every call.

    Layer k computes `u = scale * (W h + b) + shift`, `h = sin(omega_k u)` (plus the previous h with `residual`, from the second
    layer on), where shift and scale are affine maps of the latent in layers 2 ... K-1 (from the first with `modulate_first`) and
    absent elsewhere. Layer K is linear. Hidden layers and modulations are stacked, so that a step is a few large products.

    Args:
        config: Architecture and switches.
        generator: Source of the initial weights; torch's global one when None.

    Shapes: first_weight `(L, d)`, hidden_weight `(K-2, L, L)`, last_weight `(c, L)`, shift_weight and scale_weight `(M, L, P)`
    with M modulated layers, and their biases.
    """

    def __init__(self, config: FieldConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        width, modulated = config.width, config.modulated_layers
        self.first_weight = nn.Parameter(torch.empty(width, config.coord_dim))
        self.first_bias = nn.Parameter(torch.empty(width))
        self.hidden_weight = nn.Parameter(torch.empty(config.depth - 2, width, width))
        self.hidden_bias = nn.Parameter(torch.empty(config.depth - 2, width))
        self.last_weight = nn.Parameter(torch.empty(config.channels, width))
        self.last_bias = nn.Parameter(torch.empty(config.channels))
        for kind, present in (("shift", config.modulate_shift), ("scale", config.modulate_scale)):
            if present:
                self.register_parameter(f"{kind}_weight", nn.Parameter(torch.empty(modulated, width, config.latent_dim)))
                self.register_parameter(f"{kind}_bias", nn.Parameter(torch.empty(modulated, width)))
        self.initialise(generator)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw all parameters anew.

        Layers: U(-1/n, 1/n) for the first, else Eq. 2, U(-sqrt(6/n)/omega_k, sqrt(6/n)/omega_k), weights and biases alike.
        Modulations: U(-1/sqrt(P), 1/sqrt(P)), the default of a linear layer, as in the published implementation; a scale's bias
        is 1, since a field whose layers all start multiplied by almost nothing does not learn.
        """
        config = self.config
        draw = lambda parameter, bound: parameter.uniform_(-bound, bound, generator=generator)  # noqa: E731
        draw(self.first_weight, 1 / config.coord_dim)
        draw(self.first_bias, 1 / config.coord_dim)
        spread = math.sqrt(6 / config.width)
        for k, omega in enumerate(config.omegas[1:-1]):
            draw(self.hidden_weight[k], spread / omega)
            draw(self.hidden_bias[k], spread / omega)
        draw(self.last_weight, spread / config.omegas[-1])
        draw(self.last_bias, spread / config.omegas[-1])
        for name, parameter in self.named_parameters():
            if name.startswith(("shift", "scale")):
                draw(parameter, 1 / math.sqrt(config.latent_dim))
                if name == "scale_bias":
                    parameter.fill_(1.0)

    def forward(self, coords: Float[Tensor, "*b n d"], latent: Float[Tensor, "b p"]) -> Float[Tensor, "b n c"]:
        """Values of the fields at coordinates; differentiable in parameters, coordinates and latent, twice.

        Args:
            coords: `(n, d)` for all fields alike or `(b, n, d)`, axis order of the arrays, [-1, 1] inside the signal.
            latent: One row a field.

        Returns:
            `(b, n, c)`, not clamped.
        """
        config = self.config
        shift, scale = self.modulations(latent)
        unmodulated = 0 if config.modulate_first else 1
        h = coords if coords.ndim == 3 else coords.expand(len(latent), *coords.shape)
        for k, omega in enumerate(config.omegas[:-1]):
            weight, bias = (
                (self.first_weight, self.first_bias) if k == 0 else (self.hidden_weight[k - 1], self.hidden_bias[k - 1])
            )
            u = h @ weight.mT + bias
            if k >= unmodulated and scale is not None:
                u = u * scale[:, k - unmodulated, None, :]
            if k >= unmodulated and shift is not None:
                u = u + shift[:, k - unmodulated, None, :]
            wave = torch.sin(omega * u)
            h = h + wave if config.residual and k > 0 else wave
        return h @ self.last_weight.mT + self.last_bias + config.output_offset

    def modulations(self, latent: Float[Tensor, "b p"]) -> tuple[Float[Tensor, "b m l"] | None, Float[Tensor, "b m l"] | None]:
        """Shift and scale of every modulated layer, `(b, M, L)` each, None where the field has none (m_k of Eq. 1)."""
        affine = lambda weight, bias: F.linear(latent, weight.flatten(0, 1)).unflatten(1, bias.shape) + bias  # noqa: E731
        shift = affine(self.shift_weight, self.shift_bias) if self.config.modulate_shift else None
        scale = affine(self.scale_weight, self.scale_bias) if self.config.modulate_scale else None
        return shift, scale
