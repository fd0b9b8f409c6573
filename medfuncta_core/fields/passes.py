"""Hand-derived passes of a field over whole contexts, tile by tile: values, loss gradients and Hessian-vector products.

`tiles.py` has the arithmetic. Nothing here makes an autograd graph; buffers are reused from call to call, a set for each thread.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.fields.cores import cores, spread
from medfuncta_core.fields.duals import dual
from medfuncta_core.fields.jacobians import modulation_jacobian
from medfuncta_core.fields.products import Products, chosen_products
from medfuncta_core.fields.siren import ModulatedSIREN
from medfuncta_core.fields.tiles import Activations, Folded, FoldedGradients, Modulations, Workspace, backward, forward, restore
from medfuncta_core.grids import ContextSet

Gradients = dict[str, Tensor]

TILE_ELEMENTS = {"cuda": 2**23}  # points times width worked on at once; on a CPU 2**17, half a MiB an array
SMALLEST_SHARE = 2**15  # points times width for which a second core is woken
TAPE_BYTES = 2**26  # kept for the Hessian products: image-64 stays at a quarter of autograd's peak; the rest is computed again


class LossGradient(NamedTuple):
    """Loss `(b,)`, loss of values clamped to [0, 1] `(b,)`, and the former's gradient in the modulations."""

    loss: Tensor
    clamped_loss: Tensor
    gradient: Modulations


@dataclass(eq=False)
class Tape:
    """What one context's passes at one place have computed, kept so that a Hessian product there need not compute it again."""

    space: Workspace
    tiles: list[Activations] = field(default_factory=list)
    gradient: Modulations | None = None


@dataclass(eq=False)
class _Sums:
    """What one worker's tiles add up."""

    loss: Tensor  # (2, b), as it is and of clamped values
    gradient: Modulations
    dual: Modulations
    parameters: FoldedGradients | None

    def add_(self, other: _Sums) -> None:
        self.loss += other.loss
        self.gradient.add_(other.gradient)
        self.dual.add_(other.dual)
        if self.parameters is not None and other.parameters is not None:
            self.parameters.add_(other.parameters)


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
        self._products = chosen_products() if self._device.type == "cpu" else Products.TORCH
        self._tile_elements = tile_elements or TILE_ELEMENTS.get(self._device.type, 2**17)
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
            self._products,
        )

    def together(self, steps: int, signals: int, points: int) -> int:
        """How many signals should go through a whole meta-step at once: as many as have room for all their tapes.

        Args:
            steps: G.
            signals: b.
            points: Of each step's context.
        """
        room = max(1, self._tape_bytes // (steps * self._tape_size(points)))
        return -(-signals // -(-signals // room))

    def _tape_size(self, rows: int) -> int:
        """Bytes of one step's tape: u and g of every sine layer."""
        return 2 * (self.config.depth - 1) * rows * self.config.width * self._dtype.itemsize

    def tapes(self, steps: int, signals: int, points: int) -> list[Tape | None]:
        """Tapes for the inner steps of one meta-step, None for the first ones where all would hold too much.

        Args:
            steps: G.
            signals: b.
            points: Of each step's context.
        """
        room = self._tape_bytes // self._tape_size(signals * points)
        kept = min(steps, room)
        while len(self._tape_spaces) < kept:
            self._tape_spaces.append(Workspace(self._dtype, self._device))
        return [None] * (steps - kept) + [Tape(space) for space in self._tape_spaces[:kept]]

    @torch.no_grad()
    def values(self, coords: Float[Tensor, "*b n d"], modulations: Modulations) -> Float[Tensor, "b n c"]:
        """Values of the fields, in tiles of bounded memory; equals `ModulatedSIREN.forward`."""
        signals, points = _signals(modulations), coords.shape[-2]
        out = coords.new_empty(signals, points, self.config.channels)
        folded, tiles = self._fold(modulations), self._tiles(signals, points)

        def work(_: int, number: int) -> None:
            i, j = tiles[number]
            tile, part = self._tile(coords, i, j, signals)
            out[i, j] = forward(self._folded, part, folded, tile, self._space, backward=False).view(out[i, j].shape)

        spread(len(tiles), self._workers(tiles), work)
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
        folded, tiles = self._fold(modulations), self._tiles(*context.values.shape[:2])
        workers = self._workers(tiles)
        sums = [self._sums(context, modulations, own=into is not None) for _ in range(workers)]
        kept: dict[int, Activations] = {}

        def work(worker: int, number: int) -> None:
            kept[number] = self._sweep(context, folded, tiles[number], sums[worker], tape, number)

        spread(len(tiles), workers, work)
        total = _total(sums)
        if into is not None and total.parameters is not None:
            self._unfold(total.parameters, weight, into)
        gradient = self._unfold_modulations(total.gradient)
        if tape is not None:
            tape.tiles, tape.gradient = [kept[number] for number in range(len(tiles))], gradient
        return LossGradient(total.loss[0], total.loss[1], gradient)

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
        folded, change = self._fold(modulations), self._fold(tangent, tangent=True)
        tiles, factor = self._tiles(*context.values.shape[:2]), 2 / context.values[0].numel()
        workers = self._workers(tiles)
        sums = [self._sums(context, modulations, own=True) for _ in range(workers)]

        def work(worker: int, number: int) -> None:
            mine, space = sums[worker], self._space
            assert mine.parameters is not None
            if tape is not None and tape.tiles:
                tile = tape.tiles[number]
                restore(self._folded, folded, tile, space)
            else:
                own, mine.parameters = mine.parameters, None  # the gradient itself is not wanted in the parameters
                tile = self._sweep(context, folded, tiles[number], mine, None, number)
                mine.parameters = own
            dual(self._folded, folded, change, tile, space, factor, mine.dual, mine.parameters)

        spread(len(tiles), workers, work)
        total = _total(sums)
        assert total.parameters is not None
        self._unfold(total.parameters, weight, into)
        gradient = self._unfold_modulations(total.gradient) if tape is None or tape.gradient is None else tape.gradient
        return gradient, self._unfold_modulations(total.dual)

    @torch.no_grad()
    def jacobian(self, coords: Float[Tensor, "b n d"], modulations: Modulations) -> Float[Tensor, "b m q"]:
        """`modulation_jacobian` of the field: for its points one by one, how the values depend on the modulations."""
        return modulation_jacobian(self.field, coords, modulations)

    def _sweep(
        self,
        context: ContextSet,
        modulations: Modulations,
        place: tuple[slice, slice],
        sums: _Sums,
        tape: Tape | None,
        number: int,
    ) -> Activations:
        """Forward and backward pass of a tile, added up in `sums`.

        Without a tape, the tile's activations are valid until this thread's next one.
        """
        (signals, points, channels), (i, j) = context.values.shape, place
        target, space = context.values[i, j], self._space
        tile, part = self._tile(context.coords, i, j, signals)
        keep = None if tape is None else partial(_take, tape.space, number, self.config.width)
        y = forward(self._folded, part, modulations, tile, space, keep=keep).view(target.shape)
        error = y - target
        sums.loss[0, i] += error.square().sum((1, 2)) / (points * channels)
        sums.loss[1, i] += (y.clamp(0, 1) - target).square().sum((1, 2)) / (points * channels)
        g_y = error.mul_(2 / (points * channels)).view(-1, channels)
        backward(self._folded, g_y, modulations, tile, space, sums.gradient, sums.parameters, keep=keep)
        return tile

    def _tile(self, coords: Tensor, i: slice, j: slice, signals: int) -> tuple[Activations, Tensor]:
        """An empty tile and its coordinates, once for all signals where these share them."""
        part = coords[..., j, :] if coords.ndim == 2 or len(coords) == 1 < signals else coords[i, j]
        tile = Activations(i, min(i.stop, signals) - i.start, part.shape[-2])
        return tile, part.reshape(-1, part.shape[-1])

    def _sums(self, context: ContextSet, modulations: Modulations, *, own: bool) -> _Sums:
        loss = context.values.new_zeros(2, len(context.values))
        zeros = modulations.zeros_like
        return _Sums(loss, zeros(), zeros(), FoldedGradients(self._folded) if own else None)

    def _tiles(self, signals: int, points: int) -> list[tuple[slice, slice]]:
        """Whole signals while they are small, else parts of one; of even sizes, and as many for each core."""
        width, workers = self.config.width, self._cores
        rows = max(1, self._tile_elements // width)
        total = signals * points
        if workers > 1 and total * width >= workers * SMALLEST_SHARE:
            rows = max(1, min(rows, -(-total // workers)))
        if points > rows:
            pieces = -(-points // rows)
            pieces = -(-pieces // workers) * workers if signals % workers else pieces
            together, span = 1, -(-points // pieces)
        else:
            parts = -(-signals // (rows // points))
            parts = min(signals, -(-parts // workers) * workers) if parts > 1 else parts
            together, span = -(-signals // parts), points
        return [
            (slice(start, min(start + together, signals)), slice(first, min(first + span, points)))
            for start in range(0, signals, together)
            for first in range(0, points, span)
        ]

    @property
    def _cores(self) -> int:
        return cores() if self._device.type == "cpu" else 1

    def _workers(self, tiles: list[tuple[slice, slice]]) -> int:
        return min(self._cores, len(tiles))

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


def _take(space: Workspace, tile: int, width: int, name: str, rows: int) -> Tensor:
    return space.take(f"{tile}.{name}", rows, width)


def _total(sums: list[_Sums]) -> _Sums:
    """All workers' sums, in their order."""
    for other in sums[1:]:
        sums[0].add_(other)
    return sums[0]


def _signals(modulations: Modulations) -> int:
    some = modulations.shift if modulations.shift is not None else modulations.scale
    assert some is not None
    return len(some)
