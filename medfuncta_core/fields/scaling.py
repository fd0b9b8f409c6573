"""The metric in which Gauss-Newton steps are damped: latents as they were learned, or the modulations by what they do.

Where latents are short, meta-learning has chosen what each does, and damping a step by its length keeps them short, which is
good for comparing them. Where they are nearly as long as the modulations, the map W between them is a nearly square matrix that
training hardly changes: its weakest directions do almost nothing, and damping would hold back just those that have to go far.
There a step is measured by the modulations, each scaled by how much it moves the values (Marquardt). That scaling is taken where
every fit starts, at latents of zero, so it belongs to the field alone.
Source: Marquardt, An Algorithm for Least-Squares Estimation of Nonlinear Parameters (1963); Moré 1978 for the scaling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.fields.jacobians import TILE_POINTS, modulation_jacobian, modulation_weight
from medfuncta_core.fields.siren import ModulatedSIREN
from medfuncta_core.fields.tiles import Modulations

SCALING_POINTS = 2048  # where a modulation's effect is measured
FLOOR = 8  # rounding errors of the mean curvature
NEARLY_SQUARE = 0.75  # numbers of a latent for each modulation, from which on the modulations are the measure
FAINTEST = 1e-3  # of the root mean square effect: modulations of less count as this much


@dataclass(frozen=True)
class ScaledLatents:
    """Coordinates y in which a step's length is its effect, |y| = |C W phi|, C^2 the mean squared effects of the modulations.

    Short latents: y = s phi, s^2 the mean of what a unit of each does. Nearly square W: y = F^T phi with F F^T = W^T C^2 W.
    Latents longer than the modulations: y = C W phi, one number a modulation, and the shortest latent with that effect is meant.

    Args:
        weight: The map from y to the modulations.
        factor: s, or F, or the lower Cholesky factor of C W W^T C.
        effect: C W where latents are longer.
    """

    weight: Float[Tensor, "q u"]
    factor: Float[Tensor, "*u_u"]
    effect: Float[Tensor, "q p"] | None = None

    def gradient(self, gradient: Float[Tensor, "b p"]) -> Float[Tensor, "b u"]:
        """From a gradient in latents to that in y."""
        if self.factor.ndim == 0:
            return gradient / self.factor
        if self.effect is None:
            return torch.linalg.solve_triangular(self.factor, gradient.mT, upper=False).mT
        return torch.cholesky_solve(self.effect @ gradient.mT, self.factor).mT

    def latents(self, scaled: Float[Tensor, "b u"]) -> Float[Tensor, "b p"]:
        """From y to latents."""
        if self.factor.ndim == 0:
            return scaled / self.factor
        if self.effect is None:
            return torch.linalg.solve_triangular(self.factor.mT, scaled.mT, upper=True).mT
        return torch.cholesky_solve(scaled.mT, self.factor).mT @ self.effect


def count_unknowns(field: ModulatedSIREN) -> int:
    """Numbers that a step in scaled latents has: those of the latent, or of the modulations where these are fewer."""
    config = field.config
    kinds = config.modulate_shift + config.modulate_scale
    return min(config.latent_dim, kinds * config.modulated_layers * config.width)


_State = tuple[tuple[int, int], ...]
_known: WeakKeyDictionary[ModulatedSIREN, tuple[_State, ScaledLatents]] = WeakKeyDictionary()


def scale_latents(field: ModulatedSIREN) -> ScaledLatents:
    """The scaled coordinates of a field's latents; the same numbers every time.

    Costs about 2 D P min(D, P) multiplications, once: they are kept, as many numbers as D P and the square of the shorter, until
    the field changes.
    """
    state = tuple((parameter.data_ptr(), parameter._version) for parameter in field.parameters())
    before = _known.get(field)
    if before is None or before[0] != state:
        before = _known[field] = state, _scale(field)
    return before[1]


@torch.no_grad()
def _scale(field: ModulatedSIREN) -> ScaledLatents:
    weight, squares = modulation_weight(field), _mean_squares(field)
    effects = squares.clamp_min(FAINTEST**2 * float(squares.mean())).sqrt()
    effect = effects[:, None] * weight
    if weight.shape[1] < NEARLY_SQUARE * weight.shape[0]:
        factor = effect.square().sum(0).mean().sqrt()
        return ScaledLatents(weight / factor, factor)
    if weight.shape[1] > weight.shape[0]:
        return ScaledLatents(torch.diag(1 / effects), _factor(effect @ effect.mT), effect)
    factor = _factor(effect.mT @ effect)
    return ScaledLatents(torch.linalg.solve_triangular(factor, weight.mT, upper=False).mT.contiguous(), factor)


def _factor(metric: Float[Tensor, "u u"]) -> Float[Tensor, "u u"]:
    """Lower Cholesky factor; directions that change no modulation weigh as much as rounding hides, so that there is one."""
    diagonal = metric.diagonal().clone()
    floor = FLOOR * torch.finfo(metric.dtype).eps * float(diagonal.mean())
    while True:
        metric.diagonal().copy_(diagonal + floor)
        factor, failed = torch.linalg.cholesky_ex(metric)
        if not failed or not math.isfinite(floor):
            return factor
        floor *= 10


def _mean_squares(field: ModulatedSIREN) -> Float[Tensor, " q"]:
    """2 E[J^2] of every modulation at latents of zero: the diagonal of a mean square's Gauss-Newton matrix."""
    first, config = field.first_weight, field.config
    generator = torch.Generator().manual_seed(0)
    coords = 2 * torch.rand(1, SCALING_POINTS, config.coord_dim, generator=generator, dtype=first.dtype) - 1
    modulations, total = Modulations(*field.modulations(first.new_zeros(1, config.latent_dim))), None
    for part in coords.to(first.device).split(TILE_POINTS, dim=1):
        squares = modulation_jacobian(field, part, modulations)[0].square_().sum(0)
        total = squares if total is None else total + squares
    assert total is not None
    return total * (2 / (SCALING_POINTS * config.channels))
