"""Hand-derived passes through the modulated SIREN: forward, backward, and their tangents (duals), without an autograd graph.

Written out for one layer, with omega folded into weights, biases and shifts (W' = omega W), a dot for the tangent in the latent's
direction, and `c`, `s` the scale and shift modulations of a signal (c = 1, s = 0 where a layer has none):

    a = W' h + b'            u = c a + s              h+ = [h] + sin u
    da = W' dh               du = c da + dc a + ds    dh+ = [dh] + cos(u) du
    g_u = cos(u) g_h         dg_u = cos(u) dg_h - sin(u) du g_h
    g_a = c g_u              dg_a = c dg_u + dc g_u   dW' = dg_a^T h + g_a^T dh

[.] only with residual connections. Primal and tangent travel stacked, so that each layer is one product forward and one back, and
signals and points are worked through in tiles whose activations stay in a CPU's cache. Source: DESIGN.md, "The meta-gradient".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.fields.siren import ModulatedSIREN
from medfuncta_core.grids import ContextSet

Gradients = dict[str, Tensor]


class Modulations(NamedTuple):
    """Shift and scale of every modulated layer, `(b, M, L)`, or gradients and tangents of them; None where a field has none."""

    shift: Tensor | None
    scale: Tensor | None

    def layer(self, m: int, signals: slice) -> tuple[Tensor | None, Tensor | None]:
        """The m-th modulated layer's shift and scale `(b, 1, L)`, None for an unmodulated layer (m < 0)."""
        pick = lambda x: None if x is None or m < 0 else x[signals, m, None]  # noqa: E731
        return pick(self.shift), pick(self.scale)


class LossGradient(NamedTuple):
    """Loss `(b,)`, loss of values clamped to [0, 1] `(b,)`, and the former's gradient in the modulations."""

    loss: Tensor
    clamped_loss: Tensor
    gradient: Modulations


class Workspace:
    """Buffers that are allocated once and reused by name: fresh memory costs more than the arithmetic done in it."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype, self._device = dtype, device
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """An uninitialised contiguous tensor of `shape`; the previous one of this name is overwritten."""
        count = 1
        for n in shape:
            count *= n
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < count:
            buffer = self._buffers[name] = torch.empty(count, dtype=self._dtype, device=self._device)
        return buffer[:count].view(shape)


class FieldPasses:
    """Passes of one field at fixed parameters; make a new one (or `refresh`) after the parameters have changed.

    Args:
        field: Its parameters are read, never written; its dtype and device are used.
        tile_elements: Points times width that are worked on at once; chosen for the device when None.
    """

    def __init__(self, field: ModulatedSIREN, *, tile_elements: int | None = None) -> None:
        self.field, self.config = field, field.config
        device = field.first_weight.device
        self._workspace = Workspace(field.first_weight.dtype, device)
        self._tile_elements = tile_elements or (2**23 if device.type == "cuda" else 2**18 * torch.get_num_threads())
        self._unmodulated = 0 if self.config.modulate_first else 1
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Fold omega into the current weights and biases."""
        field, omegas = self.field, self.config.omegas
        self._weights = [field.first_weight * omegas[0], *(w * omega for w, omega in zip(field.hidden_weight, omegas[1:-1], strict=True))]
        self._biases = [field.first_bias * omegas[0], *(b * omega for b, omega in zip(field.hidden_bias, omegas[1:-1], strict=True))]
        modulated = omegas[self._unmodulated : -1]
        self._omegas = torch.tensor(modulated, dtype=field.first_weight.dtype, device=field.first_weight.device)[:, None]

    @torch.no_grad()
    def values(self, coords: Float[Tensor, "*b n d"], modulations: Modulations) -> Float[Tensor, "b n c"]:
        """Values of the fields, in tiles of bounded memory; equals `ModulatedSIREN.forward`."""
        signals = _signals(modulations)
        shared = coords.expand(signals, *coords.shape[-2:])
        out = coords.new_empty(signals, shared.shape[1], self.config.channels)
        folded = self._fold(modulations)
        for i, j in self._tiles(signals, shared.shape[1]):
            y, _, _ = self._forward(shared[i, j], folded, None, i, keep=False)
            out[i, j] = y[0].view(out[i, j].shape)
        return out

    @torch.no_grad()
    def loss_gradient(
        self, context: ContextSet, modulations: Modulations, *, weight: float = 1.0, into: Gradients | None = None
    ) -> LossGradient:
        """Per-signal mean squared error (Eq. 5, mean over points and channels) and its gradient.

        Args:
            context: b signals.
            modulations: Of the same signals.
            weight: Factor of the gradients, not of the loss.
            into: Gradients of the network's own parameters (modulation layers excluded) are added here when given.

        Returns:
            Loss `(b,)`, the same of values clamped to [0, 1], and the gradient in shift and scale.
        """
        loss, gradient, _ = self._sweep(context, modulations, None, weight, into)
        return LossGradient(loss[0], loss[1], gradient)

    @torch.no_grad()
    def hessian_product(
        self, context: ContextSet, modulations: Modulations, tangent: Modulations, *, weight: float = 1.0, into: Gradients
    ) -> tuple[Modulations, Modulations]:
        """Derivative of the summed losses' gradient along a change of the modulations: one dual forward and one dual backward pass.

        Args:
            context: b signals, the context at which the gradient was taken.
            modulations: Where it was taken.
            tangent: Direction.
            weight: Factor of what is added to `into`.
            into: weight times the derivative of the gradient of the network's own parameters is added here.

        Returns:
            The gradient in shift and scale, and its derivative; the modulation layers' share follows from these alone.
        """
        _, gradient, dual = self._sweep(context, modulations, tangent, weight, into)
        assert dual is not None
        return gradient, dual

    # ---------------------------------------------------------------------------------------------------------- one tile after another

    def _sweep(
        self, context: ContextSet, modulations: Modulations, tangent: Modulations | None, weight: float, into: Gradients | None
    ) -> tuple[Tensor, Modulations, Modulations | None]:
        values = context.values
        signals, points, channels = values.shape
        coords = context.coords.expand(signals, *context.coords.shape[-2:])
        loss = values.new_zeros(2, signals)  # as it is, and of clamped values
        stack = 1 if tangent is None else 2
        zeros = lambda x: None if x is None else x.new_zeros(stack, *x.shape)  # noqa: E731
        sums = Modulations(zeros(modulations.shift), zeros(modulations.scale))
        folded, folded_tangent = self._fold(modulations), None if tangent is None else self._fold(tangent, tangent=True)
        scaled = _FoldedGradients(self, into) if into is not None else None
        for i, j in self._tiles(signals, points):
            y, hs, saved = self._forward(coords[i, j], folded, folded_tangent, i, keep=True)
            tile = y[0].view(i.stop - i.start, -1, channels)
            error = tile - values[i, j]
            loss[0, i] += error.square().sum((1, 2)) / (points * channels)
            loss[1, i] += (tile.clamp(0, 1) - values[i, j]).square().sum((1, 2)) / (points * channels)
            g = self._workspace.take("g_y", stack, len(y[0]), channels)
            factor = 2 / (points * channels)
            torch.mul(error.reshape(-1, channels), factor, out=g[-1])
            if tangent is not None:
                torch.mul(y[1], factor, out=g[0])
            self._backward(g, hs, saved, folded, folded_tangent, i, sums, scaled)
        if scaled is not None:
            scaled.finish(weight)
        split = lambda x, at: None if x is None else x[at]  # noqa: E731
        shift = None if sums.shift is None else sums.shift * self._omegas
        gradient = Modulations(split(shift, -1), split(sums.scale, -1))
        dual = None if tangent is None else Modulations(split(shift, 0), split(sums.scale, 0))
        return loss, gradient, dual

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
            shift = shift + torch.stack(self._biases[self._unmodulated :])
        return Modulations(shift, modulations.scale)

    def _forward(
        self, coords: Tensor, modulations: Modulations, tangent: Modulations | None, signals: slice, *, keep: bool
    ) -> tuple[Tensor, list[Tensor], list[_Saved]]:
        """Values `(stack, rows, c)`, inputs of every layer `(stack, rows, L)` and what the backward pass needs of it."""
        tile_signals, tile_points, width = *coords.shape[:2], self.config.width
        rows, stack, take = tile_signals * tile_points, 1 if tangent is None else 2, self._workspace.take
        h = coords.reshape(1, rows, -1)
        hs, saved = [h], []
        for k, weight in enumerate(self._weights):
            tag = k if keep else k % 2
            shift, scale = modulations.layer(k - self._unmodulated, signals)
            a = take(f"a{tag}" if scale is not None else "a", stack, rows, width)
            torch.mm(h.view(-1, h.shape[-1]), weight.mT, out=a[: len(h)].view(-1, width))
            if tangent is not None and k == 0:
                a[1].zero_()  # coordinates have no tangent
            by_signal = lambda x: x.view(-1, tile_signals, tile_points, width)  # noqa: E731
            if scale is not None or shift is None:
                a[0].add_(self._biases[k])
            u = a
            if scale is not None:
                u = take("u", stack, rows, width)
                torch.mul(by_signal(a), scale, out=by_signal(u))
            if shift is not None:
                by_signal(u)[0].add_(shift)
            out, cosine = take(f"h{tag}", stack, rows, width), take(f"cos{tag}", rows, width)
            torch.sin(u[0], out=out[0])
            torch.cos(u[0], out=cosine)
            sine_du = None
            if tangent is not None:
                d_shift, d_scale = tangent.layer(k - self._unmodulated, signals)
                if d_scale is not None:
                    by_signal(u)[1].addcmul_(by_signal(a)[0], d_scale)
                if d_shift is not None:
                    by_signal(u)[1].add_(d_shift)
                sine_du = take(f"sine_du{tag}", rows, width)
                torch.mul(out[0], u[1], out=sine_du)
                torch.mul(cosine, u[1], out=out[1])
            if self.config.residual and k > 0:
                out.add_(h)
            h = out
            hs.append(h)
            saved.append(_Saved(cosine, sine_du, a if scale is not None else None))
        y = take("y", stack, rows, self.config.channels)
        torch.mm(h.view(-1, width), self.field.last_weight.mT, out=y.view(-1, self.config.channels))
        y[0].add_(self.field.last_bias + self.config.output_offset)
        return y, hs, saved

    def _backward(
        self,
        g_y: Tensor,
        hs: list[Tensor],
        saved: list[_Saved],
        modulations: Modulations,
        tangent: Modulations | None,
        signals: slice,
        sums: Modulations,
        gradients: _FoldedGradients | None,
    ) -> None:
        """Backward pass of a tile; `g_y` is `(stack, rows, c)` with the dual first, so that one product pairs it with [h, dh]."""
        stack, rows, width = len(g_y), g_y.shape[1], self.config.width
        count, take = signals.stop - signals.start, self._workspace.take
        by_signal = lambda x: x.view(-1, count, rows // count, width)  # noqa: E731
        if gradients is not None:
            gradients.add_last(g_y, hs[-1])
        g = take("g0", stack, rows, width)
        torch.mm(g_y.view(-1, g_y.shape[-1]), self.field.last_weight, out=g.view(-1, width))
        for k in reversed(range(len(self._weights))):
            m, (cosine, sine_du, a) = k - self._unmodulated, saved[k]
            g_u = take("g_u", stack, rows, width)
            torch.mul(g, cosine, out=g_u)
            if sine_du is not None:
                g_u[0].addcmul_(sine_du, g[-1], value=-1)
            g_sum = by_signal(g_u).sum(2) if m >= 0 and sums.shift is not None else None
            if g_sum is not None:
                assert sums.shift is not None
                sums.shift[:, signals, m] += g_sum
            if a is not None:
                g_u = self._through_scale(g_u, a, modulations, tangent, m, signals, sums, by_signal)
                g_sum = None  # the bias sits below the scale, the shift above it
            if gradients is not None:
                gradients.add(k, g_u, hs[k], g_sum)
            if k == 0:
                break
            below = take(f"g{1 + k % 2}", stack, rows, width)
            if self.config.residual:
                torch.addmm(g.view(-1, width), g_u.view(-1, width), self._weights[k], out=below.view(-1, width))
            else:
                torch.mm(g_u.view(-1, width), self._weights[k], out=below.view(-1, width))
            g = below

    def _through_scale(self, g_u, a, modulations, tangent, m, signals, sums, by_signal):
        """g_a from g_u, adding the scale's gradient (sum of g_u a) and its dual to the sums."""
        scale = modulations.scale[signals, m, None]
        products = g_u * a[0]
        g_a = (by_signal(g_u) * scale).view(g_u.shape)
        if tangent is not None:
            products[0].addcmul_(g_u[1], a[1])
            by_signal(g_a)[0].addcmul_(by_signal(g_u)[1], tangent.scale[signals, m, None])
        sums.scale[:, signals, m] += by_signal(products).sum(2)
        return g_a


class _Saved(NamedTuple):
    """Per layer: cos u `(rows, L)`, sin(u) du in dual passes, and a `(stack, rows, L)` where a scale multiplies it."""

    cosine: Tensor
    sine_du: Tensor | None
    a: Tensor | None


class _FoldedGradients:
    """Gradients in the folded weights, accumulated over tiles and unfolded once."""

    def __init__(self, passes: FieldPasses, into: Gradients) -> None:
        self._into, self._config = into, passes.config
        self._weights = [torch.zeros_like(weight) for weight in passes._weights]
        self._biases = [torch.zeros_like(bias) for bias in passes._biases]
        self._last_weight = torch.zeros_like(passes.field.last_weight)
        self._last_bias = torch.zeros_like(passes.field.last_bias)

    def add(self, k: int, g_a: Tensor, h: Tensor, g_sum: Tensor | None) -> None:
        """Layer k's `g_a^T h`, primal and dual paired; `g_sum` `(stack, b, L)` saves summing g_a again."""
        g_pairs = g_a[: len(h)].reshape(-1, g_a.shape[-1])
        self._weights[k].addmm_(g_pairs.mT, h.reshape(-1, h.shape[-1]))
        self._biases[k] += g_a[0].sum(0) if g_sum is None else g_sum[0].sum(0)

    def add_last(self, g_y: Tensor, h: Tensor) -> None:
        """The linear last layer."""
        self._last_weight.addmm_(g_y.reshape(-1, g_y.shape[-1]).mT, h.reshape(-1, h.shape[-1]))
        self._last_bias += g_y[0].sum(0)

    def finish(self, weight: float) -> None:
        """Add weight times the gradients in the field's own parameters (d/dW = omega d/dW') to the target."""
        omegas, into = self._config.omegas, self._into
        into["first_weight"].add_(self._weights[0], alpha=weight * omegas[0])
        into["first_bias"].add_(self._biases[0], alpha=weight * omegas[0])
        for k, omega in enumerate(omegas[1:-1]):
            into["hidden_weight"][k].add_(self._weights[k + 1], alpha=weight * omega)
            into["hidden_bias"][k].add_(self._biases[k + 1], alpha=weight * omega)
        into["last_weight"].add_(self._last_weight, alpha=weight)
        into["last_bias"].add_(self._last_bias, alpha=weight)


def _signals(modulations: Modulations) -> int:
    some = modulations.shift if modulations.shift is not None else modulations.scale
    assert some is not None
    return len(some)
