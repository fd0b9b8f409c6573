"""What a fit yields and ends with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from medfuncta_core.grids import ContextSet
from medfuncta_core.signals import Signal


@dataclass(frozen=True, eq=False)
class FitStep:
    """State of a fit after `index` steps; 0 is the learned initialisation.

    Args:
        index: Steps done, 0 ... H.
        latent: phi, `(p,)`, on the CPU.
        loss: Mean squared error on the points that are fitted, not clamped.
        psnr: In dB, of the whole signal, clamped to [0, 1]; infinite for a perfect reconstruction.
        seconds: Computing time since the start, without the consumer's.
    """

    index: int
    latent: Float[Tensor, " p"]
    loss: float
    psnr: float
    seconds: float


@dataclass(frozen=True, eq=False)
class FitResult:
    """A fitted signal.

    Args:
        latent: `(p,)` float32.
        reconstruction: `(*shape, c)` float32 in [0, 1] on the signal's grid; `(n, c)` at the points of a `ContextSet`.
        mse, psnr, ssim, lpips: Of the whole signal; None where a metric is not defined or its weights are not there.
        history: Every step, the initialisation first.
        seconds: Computing time of the steps.
        fit_steps: Steps taken; fewer than H where the fit stopped early.
        signal: What was fitted, after preparation.
    """

    latent: Float[np.ndarray, " p"]
    reconstruction: Float[np.ndarray, "*shape c"]
    mse: float
    psnr: float
    ssim: float | None
    lpips: float | None
    history: tuple[FitStep, ...]
    seconds: float
    fit_steps: int
    signal: Signal | ContextSet


@dataclass(frozen=True, eq=False)
class FitBatch:
    """Fits of b signals of one shape, on the CPU: latents `(b, p)`, clamped reconstructions `(b, *shape, c)`, metrics `(b,)`."""

    latents: Float[Tensor, "b p"]
    reconstructions: Float[Tensor, "b *shape c"]
    mse: Float[Tensor, " b"]
    psnr: Float[Tensor, " b"]
    ssim: Float[Tensor, " b"]
