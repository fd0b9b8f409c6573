"""Jacobians of a field's values in its modulations, point by point.

The backward pass that sums gradients over points gives, unsummed, how every value depends on every shift and scale: D numbers a
value, D = kinds x M x L. The latent enters through one affine map W of D rows.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.fields.arithmetic import cosine, sine
from medfuncta_core.fields.siren import ModulatedSIREN
from medfuncta_core.fields.tiles import Modulations

TILE_POINTS = 256  # whose Jacobian is worked on at once


@torch.no_grad()
def modulation_jacobian(
    field: ModulatedSIREN, coords: Float[Tensor, "b n d"], modulations: Modulations
) -> Float[Tensor, "b m q"]:
    """Derivatives of the values in the modulations, shifts before scales, layer by layer, as `modulation_weight` orders them.

    Args:
        field: At its present parameters.
        coords: Points of each signal.
        modulations: Where.

    Returns:
        `(b, n c, D)`, a point's channels side by side.
    """
    config, layers = field.config, field.config.depth - 1
    shift, scale = modulations
    first = 0 if config.modulate_first else 1
    h, slopes, products = coords, [], []
    for k, omega in enumerate(config.omegas[:-1]):
        a = h @ _layer(field, k).mT + (field.first_bias if k == 0 else field.hidden_bias[k - 1])
        u = a if k < first or scale is None else a * scale[:, k - first, None]
        u = u if k < first or shift is None else u + shift[:, k - first, None]
        u = (omega * u).contiguous()
        slopes.append(cosine(u, torch.empty_like(u)).mul_(omega))
        products.append(a)
        wave = sine(u, torch.empty_like(u))
        h = h + wave if config.residual and k > 0 else wave
    kinds, width = (shift is not None) + (scale is not None), config.width
    jacobian = coords.new_empty(*coords.shape[:2], config.channels, kinds, config.modulated_layers, width)
    for channel in range(config.channels):
        g = field.last_weight[channel].expand_as(h)
        for k in reversed(range(layers)):
            g_u = g * slopes[k]
            if k >= first:
                if shift is not None:
                    jacobian[:, :, channel, 0, k - first] = g_u
                if scale is not None:
                    torch.mul(g_u, products[k], out=jacobian[:, :, channel, -1, k - first])
                    g_u = g_u * scale[:, k - first, None]
            if k > 0:
                g = g + g_u @ _layer(field, k) if config.residual else g_u @ _layer(field, k)
    return jacobian.view(len(coords), -1, kinds * config.modulated_layers * width)


def modulation_weight(field: ModulatedSIREN) -> Float[Tensor, "q p"]:
    """The map W from latents to modulations `(D, P)`, without its bias."""
    weights = [getattr(field, f"{kind}_weight", None) for kind in ("shift", "scale")]
    return torch.cat([weight.detach().flatten(0, 1) for weight in weights if weight is not None])


def _layer(field: ModulatedSIREN, k: int) -> Tensor:
    return field.first_weight if k == 0 else field.hidden_weight[k - 1]
