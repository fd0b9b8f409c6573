"""Hand-derived passes of a field over whole contexts, tile by tile: values, loss gradients and Hessian-vector products.

`tiles.py` has the arithmetic. Nothing here makes an autograd graph; buffers are reused from call to call, a set for each thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.fields.siren import ModulatedSIREN
from medfuncta_core.fields.tiles import Activations, Folded, FoldedGradients, Modulations, Workspace, backward, dual, forward
from medfuncta_core.grids import ContextSet

Gradients = dict[str, Tensor]

TILE_ELEMENTS = {"cuda": 2**23}  # points times width worked on at once; on a CPU 2**18 for every thread
TAPE_BYTES = 2**29  # activations kept for the Hessian products; beyond this they are computed again


class LossGradient(NamedTuple):
    """Loss `(b,)`, loss of values clamped to [0, 1] `(b,)`, and the former's gradient in the modulations."""

    loss: Tensor
    clamped_loss: Tensor
    gradient: Modulations


@dataclass(eq=False)
class Tape:
    """Activations of one context at one place, kept so that a Hessian product there need not compute them again."""

    space: Workspace
    tiles: list[Activations] = field(default_factory=list)
    gradient: Modulations | None = None


class FieldPasses:
    """Passes of one field at fixed parameters; call `refresh` after the parameters have changed.

    Args:
        field: Its parameters are read, never written; its dtype and device are used.
        tile_elements: Points times width that are worked on at once; chosen for the device when None.
        tape_bytes: What all tapes of a meta-step may hold.
    """

    def __init__(self, field: ModulatedSIREN, *, tile_elements: int | None = None, tape_bytes: int = TAPE_BYTES) -> None:
        self.field, self.config = field, field.config
        self._dtype, self._device = field.first_weight.dtype, field.first_weight.device
        self._local = threading.local()
        self._tape_spaces: list[Workspace] = []
        self._tape_bytes = tape_bytes
        self._tile_elements = tile_elements or TILE_ELEMENTS.get(self._device.type, 2**18 * torch.get_num_threads())
        first_modulated = 0 if self.config.modulate_first else 1
        self._omegas = torch.tensor(self.config.omegas[first_modulated:-1], dtype=self._dtype, device=self._device)[:, None]
        self.refresh()

    @property
    def _space(self) -> Workspace:
        """Buffers of the calling thread, so that visitors of one server who share a field never share a buffer."""
        if not hasattr(self._local, "space"):
            self._local.space = Workspace(self._dtype, self._device)
        return self._local.space

    @torch.no_grad()
    def refresh(self) -> None:
        """Fold omega into the current weights and biases."""
        field, omegas = self.field, self.config.omegas
        hidden = list(zip(field.hidden_weight, field.hidden_bias, omegas[1:-1], strict=True))
        self._folded = Folded(
            self.config,
            [field.first_weight * omegas[0], *(weight * omega for weight, _, omega in hidden)],
            [field.first_bias * omegas[0], *(bias * omega for _, bias, omega in hidden)],
            field.last_weight.detach(),
            field.last_bias + self.config.output_offset,
            0 if self.config.modulate_first else 1,
        )

    def tapes(self, steps: int, signals: int, points: int) -> list[Tape | None]:
        """Tapes for the inner steps of one meta-step, or Nones where they would hold too much.

        Args:
            steps: G.
            signals: b.
            points: Of each step's context.
        """
        arrays = (4 if self.config.modulate_scale else 3) * (self.config.depth - 1)
        if steps * arrays * signals * points * self.config.width * self._dtype.itemsize > self._tape_bytes:
            return [None] * steps
        while len(self._tape_spaces) < steps:
            self._tape_spaces.append(Workspace(self._dtype, self._device))
        return [Tape(space) for space in self._tape_spaces[:steps]]

    @torch.no_grad()
    def values(self, coords: Float[Tensor, "*b n d"], modulations: Modulations) -> Float[Tensor, "b n c"]:
        """Values of the fields, in tiles of bounded memory; equals `ModulatedSIREN.forward`."""
        signals = _signals(modulations)
        shared = coords.expand(signals, *coords.shape[-2:])
        out = coords.new_empty(signals, shared.shape[1], self.config.channels)
        folded_modulations = self._fold(modulations)
        for i, j in self._tiles(signals, shared.shape[1]):
            part = shared[i, j]
            tile = Activations(i, part.shape[1])
            out[i, j] = forward(self._folded, part.reshape(-1, part.shape[-1]), folded_modulations, tile, self._space, None).view(
                out[i, j].shape
            )
        return out

    @torch.no_grad()
    def loss_gradient(
        self,
        context: ContextSet,
        modulations: Modulations,
        *,
        weight: float = 1.0,
        into: Gradients | None = None,
        tape: Tape | None = None,
    ) -> LossGradient:
        """Per-signal mean squared error (Eq. 5, mean over points and channels) and its gradient.

        Args:
            context: b signals.
            modulations: Of the same signals.
            weight: Factor of what is added to `into`, not of the result.
            into: Gradients of the network's own parameters (modulation layers excluded) are added here when given.
            tape: Filled for a later `hessian_product` when given.
        """
        if tape is not None:
            tape.tiles.clear()
        loss = context.values.new_zeros(2, len(context.values))  # as it is, and of clamped values
        sums = modulations.zeros_like()
        parameters = None if into is None else FoldedGradients(self._folded)
        for tile in self._sweep(context, self._fold(modulations), loss, sums, parameters, tape):
            if tape is not None:
                tape.tiles.append(tile)
        if into is not None and parameters is not None:
            self._unfold(parameters, weight, into)
        gradient = self._unfold_modulations(sums)
        if tape is not None:
            tape.gradient = gradient
        return LossGradient(loss[0], loss[1], gradient)

    @torch.no_grad()
    def hessian_product(
        self,
        context: ContextSet,
        modulations: Modulations,
        tangent: Modulations,
        *,
        weight: float = 1.0,
        into: Gradients,
        tape: Tape | None = None,
    ) -> tuple[Modulations, Modulations]:
        """Derivative of the summed losses' gradient along a change of the modulations: a tangent and a dual backward pass.

        Args:
            context: b signals, the context at which the gradient was taken.
            modulations: Where it was taken.
            tangent: Direction.
            weight: Factor of what is added to `into`.
            into: weight times the derivative of the gradient of the network's own parameters is added here.
            tape: Of that gradient; without it, forward and backward pass are repeated.

        Returns:
            The gradient in shift and scale, and its derivative; the modulation layers' share follows from these alone.
        """
        folded_modulations, folded_tangent = self._fold(modulations), self._fold(tangent, tangent=True)
        dual_sums, parameters = modulations.zeros_like(), FoldedGradients(self._folded)
        factor = 2 / context.values[0].numel()
        sums = modulations.zeros_like()
        if tape is not None and tape.gradient is not None:
            gradient, tiles = tape.gradient, iter(tape.tiles)
        else:
            tiles = self._sweep(context, folded_modulations, context.values.new_zeros(2, len(context.values)), sums, None, None)
            gradient = None
        for tile in tiles:
            dual(self._folded, folded_modulations, folded_tangent, tile, self._space, factor, dual_sums, parameters)
        self._unfold(parameters, weight, into)
        return gradient or self._unfold_modulations(sums), self._unfold_modulations(dual_sums)

    def _sweep(
        self,
        context: ContextSet,
        modulations: Modulations,
        loss: Tensor,
        sums: Modulations,
        parameters: FoldedGradients | None,
        tape: Tape | None,
    ) -> Iterator[Activations]:
        """Forward and backward pass of every tile, added up in `loss`, `sums` and `parameters`.

        Without a tape, a tile's activations are valid until the next one.
        """
        values = context.values
        signals, points, channels = values.shape
        coords = context.coords.expand(signals, *context.coords.shape[-2:])
        space = self._space if tape is None else tape.space
        for number, (i, j) in enumerate(self._tiles(signals, points)):
            tag = "" if tape is None else str(number)
            part, target = coords[i, j], values[i, j]
            tile = Activations(i, part.shape[1])
            y = forward(self._folded, part.reshape(-1, part.shape[-1]), modulations, tile, space, tag).view(target.shape)
            error = y - target
            loss[0, i] += error.square().sum((1, 2)) / (points * channels)
            loss[1, i] += (y.clamp(0, 1) - target).square().sum((1, 2)) / (points * channels)
            g_y = error.mul_(2 / (points * channels)).view(-1, channels)
            backward(self._folded, g_y, modulations, tile, space, tag, sums, parameters)
            yield tile

    def _tiles(self, signals: int, points: int) -> Iterator[tuple[slice, slice]]:
        """Whole signals while they are small, else parts of one."""
        rows = max(1, self._tile_elements // self.config.width)
        together, span = max(1, rows // points), min(points, rows)
        for start in range(0, signals, together):
            for first in range(0, points, span):
                yield slice(start, min(start + together, signals)), slice(first, min(first + span, points))

    def _fold(self, modulations: Modulations, *, tangent: bool = False) -> Modulations:
        """omega (shift + b), the bias joined in where no scale stands between them; tangents and scales carry no bias."""
        shift = None if modulations.shift is None else modulations.shift * self._omegas
        if shift is not None and modulations.scale is None and not tangent:
            shift = shift + torch.stack(self._folded.biases[self._folded.first_modulated :])
        return Modulations(shift, modulations.scale)

    def _unfold_modulations(self, sums: Modulations) -> Modulations:
        return Modulations(None if sums.shift is None else sums.shift * self._omegas, sums.scale)

    def _unfold(self, gradients: FoldedGradients, weight: float, into: Gradients) -> None:
        """Add weight times the gradients in the field's own parameters, d/dW = omega d/dW'."""
        for k, omega in enumerate(self.config.omegas[:-1]):
            at = (
                (into["first_weight"], into["first_bias"])
                if k == 0
                else (into["hidden_weight"][k - 1], into["hidden_bias"][k - 1])
            )
            at[0].add_(gradients.weights[k], alpha=weight * omega)
            at[1].add_(gradients.biases[k], alpha=weight * omega)
        into["last_weight"].add_(gradients.last_weight, alpha=weight)
        into["last_bias"].add_(gradients.last_bias, alpha=weight)


def _signals(modulations: Modulations) -> int:
    some = modulations.shift if modulations.shift is not None else modulations.scale
    assert some is not None
    return len(some)
