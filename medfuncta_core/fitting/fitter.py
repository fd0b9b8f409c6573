"""From a signal to its latent, the shared parameters frozen, and from a latent to values at any shape.

result = Fitter(load_checkpoint("checkpoints/ecg")).fit(read_signal("beat.csv", spec=...))
result.latent, result.psnr, result.reconstruction
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from medfuncta_core import metrics
from medfuncta_core.checkpoint import Checkpoint
from medfuncta_core.config import FitConfig
from medfuncta_core.errors import ConfigError, SignalError
from medfuncta_core.fields import LatentGradients, ModulatedSIREN, passes_for
from medfuncta_core.fields.modulating import modulate
from medfuncta_core.fitting.descent import Descent
from medfuncta_core.fitting.results import FitBatch, FitResult, FitStep
from medfuncta_core.fitting.stopping import Stopping
from medfuncta_core.grids import ContextSet, grid_context, grid_coords, select_points
from medfuncta_core.signals import Signal, prepare_signal


def choose_device(device: str) -> torch.device:
    """`auto` is CUDA where there is a GPU, else the CPU.

    Raises:
        ConfigError: for a device that this machine does not have.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ConfigError(f"device {device!r} is not available here; use auto or cpu")
    return torch.device(device)


class Fitter:
    """Fits latents of one field; threads may share a fitter, each with fits of its own.

    Args:
        field: A checkpoint (its fit settings are the default) or a bare field.
        config: Fit settings; the checkpoint's, or the paper's, when None.
        device: auto, cpu or cuda.
    """

    def __init__(self, field: Checkpoint | ModulatedSIREN, config: FitConfig | None = None, device: str = "auto") -> None:
        self.checkpoint = field if isinstance(field, Checkpoint) else None
        self.device = choose_device(device)
        bare = field.field if isinstance(field, Checkpoint) else field
        self.field = bare if bare.first_weight.device.type == self.device.type else _copy_to(bare, self.device)
        self.config = config or (field.config.fit if isinstance(field, Checkpoint) else FitConfig())
        self._dtype = self.field.first_weight.dtype
        self._passes = passes_for(self.field)
        self._gradients = LatentGradients(self._passes)

    def prepare(self, signal: Signal) -> Signal:
        """The signal as this checkpoint expects it: of its shape and channels, brought there as its training data was.

        A signal prepared for it, or a row of a data set of its grid, is returned as it is, and so is every signal of a fitter
        that knows no checkpoint. To fit another grid with a checkpoint, give its points as a `ContextSet`.
        """
        spec = self.checkpoint.config.signal if self.checkpoint else None
        return signal if spec is None else prepare_signal(signal, spec)

    def steps(self, signal: Signal | ContextSet, *, mask: Bool[np.ndarray, "*shape"] | None = None) -> Iterator[FitStep]:
        """Fit one signal step by step (Sec. 2, "Fitting Neural Fields at Test Time").

        Args:
            signal: A signal, prepared for the checkpoint first, or any set of coordinates with values (irregular samples).
            mask: With a `Signal`: points to fit, of the prepared signal's shape; the field fills in the others.

        Yields:
            H + 1 states, the learned initialisation first; every state's loss is computed before the step that follows it.

        Raises:
            SignalError: when axes, channels, mask or values do not fit the field, before the first step.
        """
        prepared = self.prepare(signal) if isinstance(signal, Signal) else signal
        full = self._context(prepared)
        if len(full.values) != 1:
            raise SignalError(f"steps() fits one signal, not {len(full.values)}; use fit_batch for more")
        if mask is not None and isinstance(prepared, ContextSet):
            raise SignalError("a mask goes with a signal on a grid; leave points out of the context set instead")
        if mask is not None and isinstance(prepared, Signal) and (mask.dtype != bool or mask.shape != prepared.shape):
            raise SignalError(f"a mask is boolean and has the signal's shape {prepared.shape}, not {mask.dtype} {mask.shape}")
        fitted = full if mask is None else select_points(full, mask)
        return self._steps(fitted, None if mask is None else full)

    def _steps(self, fitted: ContextSet, full: ContextSet | None) -> Iterator[FitStep]:
        start = time.perf_counter()
        descent, stopping, seconds = self.descent(fitted, full), Stopping(self.config), 0.0
        for index in range(self.config.steps + 1):
            place = descent.look()
            loss, psnr = float(place.loss), -10 * torch.log10(place.clamped_loss)
            if not math.isfinite(loss):
                raise SignalError(f"the fit diverged at step {index}; {self._calmer}")
            done = bool(stopping(psnr)) or index == self.config.steps
            if not done:
                descent.move()
            seconds += time.perf_counter() - start
            yield FitStep(index, place.latents[0].float().cpu(), loss, float(psnr), seconds)
            if done:
                return
            start = time.perf_counter()

    def descent(self, fitted: ContextSet, full: ContextSet | None = None) -> Descent:
        """A fit of all signals of a context set, to be walked by hand; `full` where they are only a part of it."""
        return Descent(self._passes, self._gradients, self.config, fitted, full)

    @property
    def _calmer(self) -> str:
        return f"lower the inner learning rate (now {self.config.inner_lr:g})"

    def fit(self, signal: Signal | ContextSet, *, mask: Bool[np.ndarray, "*shape"] | None = None) -> FitResult:
        """All steps of a fit; arguments and errors as `steps`."""
        return self.finish(signal, tuple(self.steps(signal, mask=mask)))

    def finish(self, signal: Signal | ContextSet, history: Sequence[FitStep]) -> FitResult:
        """The result of a fit whose steps were drained before.

        Args:
            signal: As given to `steps`.
            history: What `steps` yielded, possibly cut short.

        Raises:
            SignalError: when the history is empty.
        """
        if not history:
            raise SignalError("a fit that has not begun has no result; take at least one step")
        last = history[-1]
        signal = self.prepare(signal) if isinstance(signal, Signal) else signal
        if isinstance(signal, Signal):
            reconstruction = self.decode(last.latent, signal.shape)
            whole, axes = torch.from_numpy(reconstruction)[None], len(signal.shape)
            truth = torch.from_numpy(signal.values)[None]
            ssim = float(metrics.ssim(whole, truth, axes))
            perceptual = metrics.lpips(whole, truth) if axes == 2 else None
            lpips = None if perceptual is None else float(perceptual)
        else:
            modulations = modulate(self.field, last.latent[None].to(self.device, self._dtype))
            context = self._context(signal)
            whole = self._passes.values(context.coords, modulations).clamp(0, 1).float().cpu()
            reconstruction, truth, ssim, lpips = whole[0].numpy(), context.values.cpu(), None, None
        mse = float((whole - truth).square().mean())
        psnr = float(metrics.psnr(whole, truth))
        return FitResult(
            last.latent.numpy(), reconstruction, mse, psnr, ssim, lpips, tuple(history), last.seconds, last.index, signal
        )

    def fit_batch(self, values: Float[np.ndarray, "b *shape c"] | Float[Tensor, "b *shape c"]) -> FitBatch:
        """Fit b signals of one shape together; no signal's result depends on the others.

        Args:
            values: In [0, 1].

        Raises:
            SignalError: when there are no signals, they do not fit the field, or a fit diverged.
        """
        batch = torch.as_tensor(values, dtype=torch.float32)
        if len(batch) == 0:
            raise SignalError("a batch needs at least one signal")
        context = self._context(grid_context(batch))
        latents = self._fit_latents(context)
        if not torch.isfinite(latents).all():
            raise SignalError(f"a fit of the batch diverged; {self._calmer}")
        reconstructions = (
            self._passes.values(context.coords, modulate(self.field, latents)).clamp(0, 1).float().cpu().view(batch.shape)
        )
        axes = batch.ndim - 2
        mse = metrics.mse(reconstructions, batch, axes)
        return FitBatch(
            latents.float().cpu(), reconstructions, mse, -10 * torch.log10(mse), metrics.ssim(reconstructions, batch, axes)
        )

    def _fit_latents(self, context: ContextSet) -> Tensor:
        """Latents `(b, p)` after all steps; a signal that stops early stays where it was, whatever the others do."""
        descent, stopping = self.descent(context), Stopping(self.config)
        for _ in range(self.config.steps):
            done = stopping(-10 * torch.log10(descent.look().clamped_loss))
            if done.all():
                break
            descent.move(done)
        return descent.look().latents if descent.method.compares else descent.latents

    def decode(
        self,
        latent: Float[np.ndarray, " p"] | Float[Tensor, " p"],
        shape: Sequence[int],
        *,
        chunk_points: int = 2**16,
        clamp: bool = True,
    ) -> Float[np.ndarray, "*shape c"]:
        """The field of a latent on a regular grid of any shape; memory beyond the result is bounded by `chunk_points`.

        Args:
            latent: phi.
            shape: Points per axis.
            chunk_points: Points computed at once.
            clamp: Keep values in [0, 1]; off gives the network's output.

        Raises:
            ConfigError: when latent or shape do not belong to this field.
        """
        return self.decode_batch(torch.as_tensor(latent)[None], shape, chunk_points=chunk_points, clamp=clamp)[0]

    def decode_batch(
        self,
        latents: Float[np.ndarray, "b p"] | Float[Tensor, "b p"],
        shape: Sequence[int],
        *,
        chunk_points: int = 2**16,
        clamp: bool = True,
    ) -> Float[np.ndarray, "b *shape c"]:
        """The fields of b latents on one grid, together; arguments and errors as `decode`, `chunk_points` of all b together."""
        config = self.field.config
        phi = torch.as_tensor(latents, dtype=self._dtype, device=self.device)
        if phi.shape[1:] != (config.latent_dim,):
            raise ConfigError(f"this field takes latents of length {config.latent_dim}, not of shape {tuple(phi.shape[1:])}")
        if len(shape) != config.coord_dim or min(shape) < 1:
            raise ConfigError(
                f"this field has {config.coord_dim} axes; give that many positive numbers of points, not {tuple(shape)}"
            )
        modulations = modulate(self.field, phi)
        points, chunk = math.prod(shape), max(1, chunk_points // max(1, len(phi)))
        out = np.empty((len(phi), points, config.channels), dtype=np.float32)
        for first in range(0, points, chunk):
            span = range(first, min(first + chunk, points))
            coords = grid_coords(shape, span, device=self.device, dtype=self._dtype)
            values = self._passes.values(coords, modulations)
            out[:, span.start : span.stop] = (values.clamp(0, 1) if clamp else values).cpu().numpy()
        return out.reshape(len(phi), *shape, config.channels)

    def decode_at(
        self,
        latent: Float[np.ndarray, " p"] | Float[Tensor, " p"],
        coords: Float[np.ndarray, "n d"],
        *,
        chunk_points: int = 2**16,
        clamp: bool = True,
    ) -> Float[np.ndarray, "n c"]:
        """The field of a latent at any points: planes at any angle, the voxels of another grid, irregular samples.

        Args:
            latent: phi.
            coords: In [-1, 1], where the field was trained; axis order is the array's.
            chunk_points: Points computed at once.
            clamp: As in `decode`.

        Raises:
            ConfigError: when latent or coordinates do not belong to this field.
        """
        config = self.field.config
        phi = torch.as_tensor(latent, dtype=self._dtype, device=self.device)
        if phi.shape != (config.latent_dim,) or coords.shape[-1] != config.coord_dim:
            raise ConfigError(
                f"this field takes latents of length {config.latent_dim} and points of {config.coord_dim} coordinates, "
                f"not {tuple(phi.shape)} and {coords.shape[-1]}"
            )
        modulations = modulate(self.field, phi[None])
        out = np.empty((len(coords), config.channels), dtype=np.float32)
        for first in range(0, len(coords), chunk_points):
            span = slice(first, first + chunk_points)
            points = torch.from_numpy(np.ascontiguousarray(coords[span])).to(self.device, self._dtype)
            chunk = self._passes.values(points, modulations)[0]
            out[span] = (chunk.clamp(0, 1) if clamp else chunk).cpu().numpy()
        return out

    def _context(self, signal: Signal | ContextSet) -> ContextSet:
        """The full context on this fitter's device, checked against the field."""
        context = signal if isinstance(signal, ContextSet) else grid_context(torch.from_numpy(signal.values)[None])
        config, name = self.field.config, signal.name if isinstance(signal, Signal) else "the context set"
        axes, channels = context.coords.shape[-1], context.values.shape[-1]
        if (axes, channels) != (config.coord_dim, config.channels):
            raise SignalError(
                f"{name} has {axes} axes and {channels} channels, this field {config.coord_dim} and {config.channels}; "
                "choose a checkpoint of its kind, or read the file with the checkpoint's spec"
            )
        if not (torch.isfinite(context.values).all() and torch.isfinite(context.coords).all()):
            raise SignalError(f"{name} contains NaN or infinite numbers; leave those points out")
        return ContextSet(context.coords.to(self.device, self._dtype), context.values.to(self.device, self._dtype))


def _copy_to(field: ModulatedSIREN, device: torch.device) -> ModulatedSIREN:
    copy = ModulatedSIREN(field.config)
    copy.load_state_dict(field.state_dict())
    return copy.to(device).requires_grad_(False)
