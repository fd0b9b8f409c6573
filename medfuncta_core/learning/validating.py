"""Validation: how well latents fitted with the current shared parameters reconstruct signals that training never sees."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from medfuncta_core.config import FitConfig
from medfuncta_core.errors import SignalError
from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.fitting import Fitter
from medfuncta_core.learning.ranks import ALONE, Ranks
from medfuncta_core.learning.state import Validation
from medfuncta_core.signals import DataSet

VALIDATION_BATCH = 16  # signals fitted at once
MAX_PSNR = 100.0  # dB of one signal in a mean (MSE 1e-10): a blank signal, reconstructed perfectly, must not make it infinite


def validate(
    field: ModulatedSIREN,
    fit: FitConfig,
    signals: DataSet,
    *,
    step: int = 0,
    best_psnr: float = -math.inf,
    ranks: Ranks = ALONE,
) -> Validation:
    """Fit every signal of a data set and average the metrics (clamped reconstructions; a signal's PSNR counts as 100 dB at most).

    Args:
        field: Shared parameters.
        fit: Fit settings.
        signals: All of them are used.
        step: Copied into the result.
        best_psnr: What a PSNR must exceed to be the best.
        ranks: Each fits its share of the signals.

    Raises:
        SignalError: when a fit diverged, on whichever rank.
    """
    start = time.perf_counter()
    columns, error = _measure(field, fit, signals, ranks.share(len(signals)))
    if ranks.highest(int(error is not None)):
        raise error or SignalError("a fit diverged in another process")
    of = {key: ranks.gather(column, len(signals)) for key, column in columns.items()}
    mse, psnr, ssim = (float(column.mean()) for column in (of["mse"], of["psnr"].clamp(max=MAX_PSNR), of["ssim"]))
    return Validation(step, mse, psnr, ssim, len(signals), fit.steps, psnr > best_psnr, time.perf_counter() - start)


def _measure(
    field: ModulatedSIREN, fit: FitConfig, signals: DataSet, share: slice
) -> tuple[dict[str, Tensor], SignalError | None]:
    """Metrics `(m,)` of a share of the signals, or why they could not be fitted."""
    fitter = Fitter(field, fit, device=field.first_weight.device.type)
    columns: dict[str, list[Tensor]] = {key: [torch.empty(0)] for key in ("mse", "psnr", "ssim")}
    try:
        for first in range(share.start, share.stop, VALIDATION_BATCH):
            batch = fitter.fit_batch(signals.batch(slice(first, min(first + VALIDATION_BATCH, share.stop))))
            for key, parts in columns.items():
                parts.append(getattr(batch, key))
    except SignalError as error:
        return {}, error
    return {key: torch.cat(parts) for key, parts in columns.items()}, None
