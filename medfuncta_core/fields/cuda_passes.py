"""The passes of `passes.py` through the fused kernels of `kernels/`: the same numbers, layer by layer over chunks of points.

Activations of one chunk are all that lives (`kernels/planning.py`). A Hessian product computes value and tangent together from
the same weights instead of keeping tapes, since on a GPU memory is dearer than products. Nothing waits for the device, so that
whole meta-steps can be recorded as CUDA graphs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.fields.passes import FieldPasses, Gradients, LossGradient, Tape
from medfuncta_core.fields.siren import ModulatedSIREN
from medfuncta_core.fields.tiles import Modulations
from medfuncta_core.grids import ContextSet
from medfuncta_core.kernels.layers import Kept, Modulation, Pair, SineLayer, moment_kinds
from medfuncta_core.kernels.planning import CHUNK_BYTES, plan
from medfuncta_core.kernels.precision import Precision, storage_dtype


@dataclass(eq=False)
class _Sums:
    """What a pass's chunks add up: moments `(kinds, b, L)` and `(K-2, kinds, b, L)`, losses, and parts of weight gradients."""

    first: Tensor
    hidden: Tensor
    losses: Tensor
    weights: Tensor | None
    last_weight: Tensor
    last_bias: Tensor


class CudaPasses(FieldPasses):
    """Passes of one float32 field at fixed parameters; call `refresh` after the parameters have changed.

    Args:
        field: Its parameters are read, never written.
        precision: Of the hidden layers' products.
        chunk_bytes: Activations that may live at once.
        kernels: `kernels.launching` when None, or its twin `kernels.plain`.
    """

    def __init__(
        self,
        field: ModulatedSIREN,
        *,
        precision: Precision = "float32",
        chunk_bytes: int = CHUNK_BYTES,
        kernels: ModuleType | None = None,
    ) -> None:
        if kernels is None:
            from medfuncta_core.kernels import launching as kernels
        self.field, self.config = field, field.config  # the tiles' state is not needed
        self.precision: Precision = precision
        self._kernels, self._chunk_bytes = kernels, chunk_bytes
        config, new = field.config, field.first_weight.new_empty
        self._modulated_from = 0 if config.modulate_first else 1
        self._frequencies = field.first_weight.new_tensor(config.omegas)
        hidden = (config.depth - 2, config.width, config.width)
        self._storage = torch.float64 if field.first_weight.dtype == torch.float64 else storage_dtype(precision)
        weights, transposed = new(hidden, dtype=self._storage), new(hidden, dtype=self._storage)
        self._biases = new(config.depth - 1, config.width)
        first = new(config.width, config.coord_dim)
        self._layers = [SineLayer(first, first.mT, self._biases[0], False, precision)]
        self._layers += [
            SineLayer(weights[k], transposed[k], self._biases[k + 1], config.residual, precision) for k in range(config.depth - 2)
        ]
        self._stacks = (first, weights, transposed)
        self._last_weight, self._last_bias = new(config.channels, config.width), new(config.channels)
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Fold omega into the current weights and biases, in the memory that recorded graphs read."""
        field, (first, weights, transposed) = self.field, self._stacks
        omegas = self._frequencies[1:-1]
        torch.mul(field.first_weight, self._frequencies[0], out=first)
        weights.copy_(field.hidden_weight * omegas[:, None, None])
        transposed.copy_(weights.mT)
        torch.mul(field.first_bias, self._frequencies[0], out=self._biases[0])
        torch.mul(field.hidden_bias, omegas[:, None], out=self._biases[1:])
        self._last_weight.copy_(field.last_weight)
        torch.add(field.last_bias, self.config.output_offset, out=self._last_bias)

    def together(self, steps: int, signals: int, points: int) -> int:
        """All of them, since no tapes are kept."""
        return signals

    def tapes(self, steps: int, signals: int, points: int) -> list[Tape | None]:
        """None for every step: activations are computed again."""
        return [None] * steps

    @torch.no_grad()
    def values(self, coords: Float[Tensor, "*b n d"], modulations: Modulations) -> Float[Tensor, "b n c"]:
        """Values of the fields, in chunks of bounded memory; equals `ModulatedSIREN.forward`."""
        folded = self._with_omega(modulations)
        signals, points = _signals(modulations), coords.shape[-2]
        coords = coords.expand(signals, *coords.shape[-2:])
        out = coords.new_empty(signals, points, self.config.channels)
        for i, j in self._plan(signals, points, dual=False):
            part = coords[i, j]
            rows = part.reshape(-1, part.shape[-1])
            last = self._forward(rows, part.shape[1], _cut(folded, i), None, keep=False)[-1]
            values = out.new_empty(len(rows), self.config.channels)
            self._kernels.output_layer(self._last_weight, self._last_bias, Pair(last.h), part.shape[1], values=values)
            out[i, j] = values.view(out[i, j].shape)
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
        """As `FieldPasses.loss_gradient`; a tape is left as it is."""
        folded = self._with_omega(modulations)
        scale = self._gradient_scale(context)
        sums = self._run_chunks(context, folded, None, scale, own=into is not None)
        if into is not None:
            self._add_own(
                sums, folded, None, into, sums.first.new_full((), weight / scale)
            )  # no copy from the host while recording
        losses = sums.losses / context.values[0].numel()
        return LossGradient(losses[:, 0], losses[:, 1], self._modulation_gradient(sums, 0, 1 / scale))

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
        """As `FieldPasses.hessian_product`; activations are computed again, together with their tangents."""
        folded, scale = self._with_omega(modulations), self._gradient_scale(context)
        change, size = self._normalised(self._with_omega(tangent))
        sums = self._run_chunks(context, folded, change, scale, own=True)
        self._add_own(sums, folded, change, into, size * (weight / scale))
        return self._modulation_gradient(sums, 0, 1 / scale), self._modulation_gradient(sums, 1, size / scale)

    def _run_chunks(
        self, context: ContextSet, modulations: Modulations, tangent: Modulations | None, scale: float, *, own: bool
    ) -> _Sums:
        """Forward and backward pass of every chunk, with tangents when one is given."""
        values, config, dual = context.values, self.config, tangent is not None
        signals, points, channels = values.shape
        coords = context.coords.expand(signals, *context.coords.shape[-2:])
        new = values.new_zeros
        hidden, width = config.depth - 2, config.width
        kinds = moment_kinds(scale=config.modulate_scale, dual=dual)
        first_kinds = moment_kinds(scale=config.modulate_scale and config.modulate_first, dual=dual, axes=config.coord_dim)
        chunks = list(self._plan(signals, points, dual=dual))
        splits = self._kernels.weight_splits(max(len(values[i, j]) * values[i, j].shape[1] for i, j in chunks), width)
        sums = _Sums(
            new(first_kinds, signals, width),
            new(hidden, kinds, signals, width),
            new(signals, 2),
            new(hidden, splits, width, width) if own else None,
            new(channels, width),
            new(channels),
        )
        for i, j in chunks:
            part, target = coords[i, j], values[i, j]
            rows, here = part.reshape(-1, part.shape[-1]).contiguous(), part.shape[1]
            cut, change = _cut(modulations, i), None if tangent is None else _cut(tangent, i)
            kept = self._forward(rows, here, cut, change, keep=True)
            g = self._pair(len(rows), dual)
            output = self._kernels.output_layer(
                self._last_weight, self._last_bias, kept[-1].output, here,
                target=target.reshape(-1, channels).contiguous(), factor=scale * 2 / (points * channels), g=g, own_gradient=own,
            )  # fmt: skip
            assert output is not None
            sums.losses[i] += output.losses
            if own:
                sums.last_weight += output.weight
                sums.last_bias += output.bias
            self._backward(rows, here, kept, g, cut, change, sums, i)
        return sums

    def _forward(
        self, coords: Tensor, points: int, modulations: Modulations, tangent: Modulations | None, *, keep: bool
    ) -> list[Kept]:
        """All sine layers of a chunk; without `keep`, what is not needed again is given back at once."""
        x, out = Pair(coords), []
        rows, width = len(coords), self.config.width
        new = lambda: coords.new_empty(rows, width, dtype=self._storage)  # noqa: E731
        for k, layer in enumerate(self._layers):
            modulation, change = self._layer(modulations, k), None if tangent is None else self._layer(tangent, k)
            dual = change is not None and change != (None, None)
            scaled = keep and modulation.scale is not None
            kept = Kept(
                new(),
                new() if keep else None,
                new() if scaled else None,
                new() if dual else None,
                new() if dual else None,
                new() if dual and scaled else None,
            )
            self._kernels.sine_layer(layer, x, modulation, change, points, kept, first=k == 0)
            x = kept.output
            out = [*out, kept] if keep else [kept]
        return out

    def _backward(
        self,
        coords: Tensor,
        points: int,
        kept: list[Kept],
        g: Pair,
        modulations: Modulations,
        tangent: Modulations | None,
        sums: _Sums,
        signals: slice,
    ) -> None:
        """All sine layers of a chunk, last one first, added to `sums`."""
        tiles, width = self._kernels.row_tiles(points), self.config.width
        count, dual = len(coords) // points, tangent is not None
        hidden = sums.hidden.new_empty(*sums.hidden.shape[:2], count, tiles, width)
        first = sums.first.new_empty(len(sums.first), count, tiles, width)
        for k in reversed(range(len(self._layers))):
            layer, modulation = self._layers[k], self._layer(modulations, k)
            change = None if tangent is None else self._layer(tangent, k)
            of = (layer, kept[k], g)
            if k == 0:
                self._kernels.sine_layer_backward(*of, modulation, change, points, first, coords=coords)
                break
            below = self._pair(len(coords), dual)
            self._kernels.sine_layer_backward(*of, modulation, change, points, hidden[k - 1], below=below)
            if sums.weights is not None:
                self._kernels.weight_gradient(*of, kept[k - 1].output, modulation, change, points, sums.weights[k - 1])
            kept.pop()
            g = below
        sums.hidden[:, :, signals] += hidden.sum(3)
        sums.first[:, signals] += first.sum(2)

    def _modulation_gradient(self, sums: _Sums, order: int, factor: float | Tensor) -> Modulations:
        """Gradient (order 0) or its derivative (1) in shift and scale, `(b, M, L)`."""
        of = self._moments(sums, order)
        omegas = self._frequencies[self._modulated_from : -1, None] * factor
        shift = (
            torch.stack([layer[0] for layer in of[self._modulated_from :]], 1) * omegas if self.config.modulate_shift else None
        )
        scale = (
            torch.stack([layer[1] for layer in of[self._modulated_from :]], 1) * factor if self.config.modulate_scale else None
        )
        return Modulations(shift, scale)

    def _moments(self, sums: _Sums, order: int) -> list[Tensor]:
        """Every layer's moments of one order, `(kinds, b, L)`."""
        orders = 1 + int(sums.hidden.shape[1] == moment_kinds(scale=self.config.modulate_scale, dual=True))
        return [layer.unflatten(0, (orders, -1))[order] for layer in (sums.first, *sums.hidden)]

    def _add_own(
        self, sums: _Sums, modulations: Modulations, tangent: Modulations | None, into: Gradients, factor: Tensor
    ) -> None:
        """Add factor times the gradients in the field's own parameters, with a tangent their derivatives: d/dW = omega d/dW'."""
        primal = self._moments(sums, 0)
        top = primal if tangent is None else self._moments(sums, 1)
        biases = []
        for k in range(len(self._layers)):
            scale = self._layer(modulations, k).scale
            change = None if tangent is None else self._layer(tangent, k).scale
            total = top[k] if scale is None else top[k] * scale
            if change is not None:
                total = total + primal[k] * change
            biases.append(total.sum(1))
        omegas = self._frequencies * factor
        axes = self.config.coord_dim
        into["first_weight"].addcmul_(biases[0][-axes:].mT, omegas[0])
        into["first_bias"].addcmul_(biases[0][0], omegas[0])
        into["hidden_bias"].addcmul_(torch.stack([bias[0] for bias in biases[1:]]), omegas[1:-1, None])
        assert sums.weights is not None
        into["hidden_weight"].addcmul_(sums.weights.sum(1), omegas[1:-1, None, None])
        into["last_weight"].addcmul_(sums.last_weight, factor)
        into["last_bias"].addcmul_(sums.last_bias, factor)

    def _gradient_scale(self, context: ContextSet) -> float:
        """What gradients are multiplied by on their way down, a power of two: float16 would lose them as they are.

        It undoes the mean over points and the last weights' initial size, sqrt(6 / L) / omega_K.
        """
        if self._storage != torch.float16:
            return 1.0
        size = context.values[0].numel() / 2 * self.config.omegas[-1] / math.sqrt(6 / self.config.width)
        return 2.0 ** round(math.log2(size))

    def _normalised(self, tangent: Modulations) -> tuple[Modulations, Tensor]:
        """The tangent with its largest number near 1, and what it was divided by, a power of two; the product is linear in it."""
        parts = [part for part in tangent if part is not None]
        if self._storage != torch.float16:
            return tangent, parts[0].new_ones(())
        largest = torch.stack([part.abs().amax() for part in parts]).amax().clamp_min(1e-30)
        size = torch.exp2(torch.log2(largest).round())
        return Modulations(*(None if part is None else part / size for part in tangent)), size

    def _with_omega(self, modulations: Modulations) -> Modulations:
        """omega times the shift; the scale as it is."""
        shift = None if modulations.shift is None else modulations.shift * self._frequencies[self._modulated_from : -1, None]
        return Modulations(shift, modulations.scale)

    def _layer(self, modulations: Modulations, k: int) -> Modulation:
        m = k - self._modulated_from
        return Modulation(*(None if part is None or m < 0 else part[:, m] for part in modulations))

    def _pair(self, rows: int, dual: bool) -> Pair:
        new = lambda: self._biases.new_empty(rows, self.config.width, dtype=self._storage)  # noqa: E731
        return Pair(new(), new() if dual else None)

    def _plan(self, signals: int, points: int, *, dual: bool) -> list[tuple[slice, slice]]:
        chosen = plan(self.config, self.precision, signals, points, dual=dual, chunk_bytes=self._chunk_bytes)
        return list(chosen.chunks(signals, points))


def _cut(modulations: Modulations, signals: slice) -> Modulations:
    return Modulations(*(None if part is None else part[signals] for part in modulations))


def _signals(modulations: Modulations) -> int:
    some = modulations.shift if modulations.shift is not None else modulations.scale
    assert some is not None
    return len(some)
