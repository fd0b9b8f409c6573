"""A field's passes through the compiled kernels of `kernels/native_code/`: the CPU's counterpart of `cuda_passes.py`.

Each core takes a run of tiles through all layers within one call. Where signals share their points and the first layer is not
modulated, that layer and the second one's product are computed once for all of them, and so are their gradients.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.errors import ConfigError
from medfuncta_core.fields.cores import spread
from medfuncta_core.fields.passes import SMALLEST_SHARE, TAPE_BYTES, FieldPasses, Gradients, LossGradient, Tape
from medfuncta_core.fields.siren import ModulatedSIREN
from medfuncta_core.fields.tiles import Modulations
from medfuncta_core.grids import ContextSet
from medfuncta_core.kernels.native import Network, Pass, address

TILE_NUMBERS = 3 * 2**13  # points times width of a tile: long enough for the weights to be read seldom
SHARED_NUMBERS = 2**21  # points times width of what signals share, at most: three arrays of 8 MiB
VALUES, GRADIENT, HESSIAN = range(3)  # of tiles.h
_NOTHING = Modulations(None, None)


@dataclass(frozen=True, eq=False)
class _Shared:
    """The first layer and the second one's product at points that signals share, `(points, L)` with room for a block more."""

    coords: Tensor  # as they were given
    h: Tensor
    cosine: Tensor
    product: Tensor


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What a pass reads, as fields of `Pass`; `tensors` keeps their memory."""

    fields: dict[str, Any]
    tensors: tuple[Tensor | None, ...]
    modulations: Modulations
    shared: _Shared | None
    tiles: int
    workers: int


@dataclass(frozen=True, eq=False)
class _Sums:
    """What one core adds up: losses `(2, b)` in float64, gradients and dual gradients in modulations and in parameters."""

    loss: Tensor
    gradient: Modulations
    dual: Modulations
    own: dict[str, Tensor]  # by the names of `Pass`, nothing where they are not wanted

    @property
    def fields(self) -> dict[str, Any]:
        """As fields of `Pass`."""
        names = ("loss", "shift_sum", "scale_sum", "d_shift_sum", "d_scale_sum")
        tensors = dict(zip(names, (self.loss, *self.gradient, *self.dual), strict=True)) | self.own
        return {name: address(tensor) for name, tensor in tensors.items()}


class NativePasses(FieldPasses):
    """As `FieldPasses`, for fields that `can_take` accepts.

    Args:
        field: Its parameters are read, never written.
        library: What `kernels.native.library` gives.
        tile_numbers: Points times width of a tile.
        tape_bytes: What all tapes of a meta-step may hold.
    """

    def __init__(
        self, field: ModulatedSIREN, library: ctypes.CDLL, *, tile_numbers: int = TILE_NUMBERS, tape_bytes: int = TAPE_BYTES
    ) -> None:
        panel = library.panel_width()
        self._library, self._tile_numbers = library, tile_numbers
        self._width = -(-field.config.width // panel) * panel
        self._shared: _Shared | None = None
        self._all_omegas = torch.tensor(field.config.omegas[:-1])
        super().__init__(field, tape_bytes=tape_bytes)

    @staticmethod
    def can_take(field: ModulatedSIREN, library: ctypes.CDLL) -> bool:
        """Whether a field is in float32, on a CPU, and not deeper than the kernels' tables."""
        weight = field.first_weight
        return weight.dtype == torch.float32 and weight.device.type == "cpu" and field.config.depth <= library.most_layers()

    @torch.no_grad()
    def refresh(self) -> None:
        """Fold omega into the current weights and biases, and lay the weights out in panels."""
        super().refresh()
        folded, width, panel = self._folded, self._width, self._library.panel_width()
        more = width - self.config.width
        hidden = F.pad(torch.stack(folded.weights[1:]), (0, more, 0, more))  # (layers - 1, outputs, inputs)
        self._parameters = {
            "first_weight": F.pad(folded.weights[0].mT, (0, more)).contiguous(),
            "biases": F.pad(torch.stack(folded.biases), (0, more)),
            "ahead": hidden.unflatten(1, (-1, panel)).transpose(2, 3).contiguous(),
            "back": hidden.unflatten(2, (-1, panel)).transpose(1, 2).contiguous(),
            "last_weight": F.pad(folded.last_weight, (0, more)).contiguous(),
            "last_bias": folded.last_bias.contiguous(),
        }
        self._network = Network(
            layers=len(folded.weights),
            width=width,
            coords=self.config.coord_dim,
            channels=self.config.channels,
            first_modulated=folded.first_modulated,
            residual=self.config.residual,
            **{name: address(tensor) for name, tensor in self._parameters.items()},
        )
        self._shared = None

    def _tape_size(self, rows: int) -> int:
        return super()._tape_size(rows) // self.config.width * self._width

    @torch.no_grad()
    def values(self, coords: Float[Tensor, "*b n d"], modulations: Modulations) -> Float[Tensor, "b n c"]:
        """As `FieldPasses.values`."""
        inputs = self._inputs(coords, None, modulations)
        out = torch.empty(inputs.fields["signals"], coords.shape[-2], self.config.channels, dtype=self._dtype)
        self._run(VALUES, inputs, [{"values": address(out)}] * inputs.workers)
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
        """As `FieldPasses.loss_gradient`."""
        inputs = self._inputs(context.coords, context.values, modulations, share=into is None and tape is None)
        sums = [self._zeros(inputs, own=into is not None, dual=False) for _ in range(inputs.workers)]
        memory = self._tape_memory(tape, inputs)
        self._run(GRADIENT, inputs, [part.fields | {"tape": address(memory)} for part in sums])
        if into is not None:
            self._add_own(inputs, sums, weight, into)
        gradient = self._total([part.gradient for part in sums])
        if tape is not None:
            tape.gradient = gradient
        loss, clamped_loss = torch.stack([part.loss for part in sums]).sum(0).to(self._dtype)
        return LossGradient(loss, clamped_loss, gradient)

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
        """As `FieldPasses.hessian_product`."""
        inputs = self._inputs(context.coords, context.values, modulations, tangent, share=False)
        sums = [self._zeros(inputs, own=True, dual=True) for _ in range(inputs.workers)]
        kept = None if tape is None else tape.gradient
        memory = None if kept is None else self._tape_memory(tape, inputs)
        self._run(HESSIAN, inputs, [part.fields | {"tape": address(memory)} for part in sums])
        self._add_own(inputs, sums, weight, into)
        gradient = self._total([part.gradient for part in sums]) if kept is None else kept
        return gradient, self._total([part.dual for part in sums])

    @torch.no_grad()
    def jacobian(self, coords: Float[Tensor, "b n d"], modulations: Modulations) -> Float[Tensor, "b m q"]:
        """As `FieldPasses.jacobian`, on the calling thread's core."""
        inputs = self._inputs(coords, None, modulations, share=False)
        width, channels = self.config.width, self.config.channels
        unknowns = sum(x is not None for x in modulations) * self.config.modulated_layers * width
        out = torch.empty(len(coords), coords.shape[1] * channels, unknowns, dtype=self._dtype)
        floats = self._library.scratch_floats(self._network, Pass(**inputs.fields), GRADIENT)
        record = Pass(**inputs.fields, scratch=address(self._space.take("scratch", floats)))
        self._library.pass_jacobian(self._network, record, address(self._omegas), width, address(out), 0, inputs.tiles)
        return out

    def _inputs(
        self,
        coords: Tensor,
        values: Tensor | None,
        modulations: Modulations,
        tangent: Modulations | None = None,
        *,
        share: bool = True,
    ) -> _Inputs:
        """Contiguous inputs; as many tiles for each core; what signals share, and with `share`, what a fit's steps do."""
        signals, points = next(len(x) for x in modulations if x is not None), coords.shape[-2]
        workers = self._cores if signals * points * self._width >= 2 * SMALLEST_SHARE else 1
        parts = -(-points // max(1, self._tile_numbers // self._width))
        if signals * parts % workers:
            parts = min(-(-parts // workers) * workers, points)
        rows = -(-points // parts)
        tiles = signals * -(-points // rows)
        together = coords.ndim == 2 or len(coords) == 1
        # behind this, nothing looks at shapes
        if coords.shape[-1] != self.config.coord_dim or not (together or len(coords) == signals):
            raise ConfigError(f"{signals} fields of {self.config.coord_dim} axes cannot be taken at coords {tuple(coords.shape)}")
        if values is not None and values.shape != (signals, points, self.config.channels):
            raise ConfigError(f"{signals} fields at {points} points cannot be compared with values {tuple(values.shape)}")
        at, targets = (None if x is None else x.to(self._dtype).contiguous() for x in (coords, values))
        changes = (self._padded(modulations), _NOTHING if tangent is None else self._padded(tangent))
        fields = {
            "signals": signals,
            "points": points,
            "rows": rows,
            "coords": address(at),
            "coords_stride": 0 if together else points * self.config.coord_dim,
            "targets": address(targets),
        }
        fields |= zip(("shift", "scale", "d_shift", "d_scale"), map(address, changes[0] + changes[1]), strict=True)
        shared = self._share(coords, fields) if coords.ndim == 2 and (share or signals > 1) else None
        if shared is not None:
            fields |= {f"first_{name}": address(getattr(shared, name)) for name in ("h", "cosine", "product")}
        return _Inputs(fields, (at, targets, *changes[0], *changes[1]), modulations, shared, tiles, min(workers, tiles))

    def _padded(self, modulations: Modulations) -> Modulations:
        """Modulations or tangents with omega folded in, of the kernels' width."""
        more = self._width - self.config.width
        shift = None if modulations.shift is None else modulations.shift * self._omegas
        return Modulations(*(None if x is None else F.pad(x, (0, more)).contiguous() for x in (shift, modulations.scale)))

    def _share(self, coords: Tensor, fields: dict[str, Any]) -> _Shared | None:
        """What signals at the same points have in common; kept for the next call, since a fit's steps take the same points."""
        points = len(coords)
        if self._folded.first_modulated == 0 or self._network.layers < 2 or points * self._width > SHARED_NUMBERS:
            return None
        shared = self._shared
        if shared is None or shared.coords is not coords:
            shared = _Shared(coords, *self._rows(points, 3))
            memory = [address(x) for x in (shared.h, shared.cosine, shared.product)]
            self._library.share_first(self._network, Pass(**fields), *memory)
            self._shared = shared
        return shared

    def _rows(self, points: int, arrays: int) -> Tensor:
        """Zeros `(arrays, rows, L)` with room for a whole block of rows at the end."""
        return torch.zeros(arrays, points + self._library.block_rows(), self._width)

    def _zeros(self, inputs: _Inputs, *, own: bool, dual: bool) -> _Sums:
        """Sums to begin with."""
        signals, width, config = inputs.fields["signals"], self._width, self.config
        modulated = config.modulated_layers
        zeros = lambda: Modulations(  # noqa: E731
            *(None if x is None else torch.zeros(signals, modulated, width) for x in inputs.modulations)
        )
        parameters: dict[str, Tensor] = {}
        if own:
            layers = self._network.layers
            shapes = {
                "first_weight_sum": (config.coord_dim, width),
                "weight_sum": (layers - 1, width, width),
                "bias_sum": (layers, width),
                "last_weight_sum": (config.channels, width),
                "last_bias_sum": (config.channels,),
            }
            parameters = {name: torch.zeros(shape) for name, shape in shapes.items()}
            if inputs.shared is not None and signals > 1:
                parameters |= zip(("tail", "tail_g"), self._rows(inputs.fields["points"], 1 + config.residual), strict=False)
        return _Sums(torch.zeros(2, signals, dtype=torch.float64), zeros(), zeros() if dual else _NOTHING, parameters)

    def _tape_memory(self, tape: Tape | None, inputs: _Inputs) -> Tensor | None:
        if tape is None:
            return None
        return tape.space.take("tape", self._library.tape_floats(self._network, Pass(**inputs.fields)))

    def _run(self, kind: int, inputs: _Inputs, sums: Sequence[dict[str, Any]]) -> None:
        """Every core takes its run of tiles."""
        library, tiles, workers = self._library, inputs.tiles, inputs.workers
        work_on = (library.pass_values, library.pass_gradient, library.pass_hessian)[kind]
        floats = library.scratch_floats(self._network, Pass(**inputs.fields), kind)

        def work(worker: int, _: int) -> None:
            scratch = self._space.take("scratch", floats)
            record = Pass(**inputs.fields, **sums[worker], scratch=address(scratch))
            work_on(self._network, record, tiles * worker // workers, tiles * (worker + 1) // workers)

        spread(workers, workers, work)

    def _total(self, parts: Sequence[Modulations]) -> Modulations:
        """All cores' sums in the field's own modulations."""
        shift, scale = (_sum([part[at] for part in parts]) for at in range(2))
        width = self.config.width
        return Modulations(
            None if shift is None else shift[..., :width] * self._omegas,
            None if scale is None else scale[..., :width].contiguous(),
        )

    def _add_own(self, inputs: _Inputs, sums: Sequence[_Sums], weight: float, into: Gradients) -> None:
        """Add weight times all cores' gradients in the parameters to those of the field."""
        own = {name: _sum([part.own[name] for part in sums]) for name in sums[0].own}
        if "tail" in own:
            floats = self._library.tail_floats(self._network, Pass(**inputs.fields))
            fields = {name: address(tensor) for name, tensor in own.items()}
            record = Pass(**inputs.fields, **fields, scratch=address(self._space.take("scratch", floats)))
            self._library.pass_tail(self._network, record)
        width, omegas = self.config.width, weight * self._all_omegas
        into["first_weight"].add_(own["first_weight_sum"][:, :width].mT, alpha=float(omegas[0]))
        into["hidden_weight"].add_(own["weight_sum"][:, :width, :width] * omegas[1:, None, None])
        biases = own["bias_sum"][:, :width] * omegas[:, None]
        into["first_bias"].add_(biases[0])
        into["hidden_bias"].add_(biases[1:])
        into["last_weight"].add_(own["last_weight_sum"][:, :width], alpha=weight)
        into["last_bias"].add_(own["last_bias_sum"], alpha=weight)


def _sum(parts: Sequence[Any]) -> Any:
    """Their sum, in their order and in the first one's memory; None where they are not there."""
    for part in parts[1:]:
        if part is not None:
            parts[0].add_(part)
    return parts[0]
