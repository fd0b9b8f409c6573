"""Fitting whole splits in batches of bounded memory: what `evaluate` averages and `gallery` keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from medfuncta_core import metrics
from medfuncta_core.config import FitConfig, Metrics
from medfuncta_core.errors import CheckpointError
from medfuncta_core.fitting import Fitter
from medfuncta_core.learning.validating import MAX_PSNR
from medfuncta_core.mednf.choosing import choose_batch_size
from medfuncta_core.signals import DataSet


@dataclass(frozen=True, eq=False)
class FittedRows:
    """Fits of b signals of a data set, without their reconstructions.

    Args:
        rows: `(b,)`, their places in the split.
        latents: float32 `(b, p)`.
        mse, psnr, ssim: `(b,)` each, psnr in dB.
        lpips: `(b,)`, or None where it is not defined or its weights are not there.
    """

    rows: np.ndarray
    latents: np.ndarray
    mse: np.ndarray
    psnr: np.ndarray
    ssim: np.ndarray
    lpips: np.ndarray | None


def fit_rows(fitter: Fitter, data: DataSet, rows: np.ndarray, batch_size: int | None) -> Iterator[FittedRows]:
    """Fit some signals of a data set, a batch at a time.

    Args:
        fitter: With the field and fit settings.
        data: Signals of the field's axes and channels.
        rows: Which of them, `(n,)`.
        batch_size: Signals at a time; chosen from the memory they need when None.

    Yields:
        The batches in order; every row is in exactly one.

    Raises:
        CheckpointError: when the data set's signals are of another kind than the field's.
    """
    config = fitter.field.config
    if (len(data.shape), data.channels) != (config.coord_dim, config.channels):
        raise CheckpointError(
            f"{data.name} has signals of shape {data.shape} and {data.channels} channels, this checkpoint fits "
            f"{config.coord_dim} axes and {config.channels} channels; choose a checkpoint of its kind"
        )
    size = batch_size or choose_batch_size(config, data.shape)
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        values = torch.from_numpy(data.batch(chosen))
        fits = fitter.fit_batch(values)
        perceptual = metrics.lpips(fits.reconstructions, values)
        columns = [column.numpy() for column in (fits.latents, fits.mse, fits.psnr, fits.ssim)]
        yield FittedRows(chosen, *columns, lpips=None if perceptual is None else perceptual.numpy())


def average(batches: Iterable[FittedRows], split: str, fit: FitConfig) -> Metrics:
    """Means over all signals of the batches, each signal weighing the same; latents are not kept.

    A signal's PSNR counts as 100 dB (an MSE of 1e-10) at most, so that a blank one that is met exactly leaves the mean finite.

    Args:
        batches: Drained one by one.
        split: Where the signals are from.
        fit: Steps and method behind the fits.
    """
    columns: dict[str, list[np.ndarray | None]] = {"mse": [], "psnr": [], "ssim": [], "lpips": []}
    for batch in batches:
        for name, column in columns.items():
            column.append(np.minimum(batch.psnr, MAX_PSNR) if name == "psnr" else getattr(batch, name))
    means = {name: _mean(column) for name, column in columns.items()}
    n = sum(len(column) for column in columns["mse"] if column is not None)
    return Metrics.parse({"split": split, "n": n, "fit_steps": fit.steps, "method": fit.method} | means, f"metrics of {split}")


def _mean(columns: list[np.ndarray | None]) -> float | None:
    known = [column for column in columns if column is not None]
    return float(np.concatenate(known).mean(dtype=np.float64)) if len(known) == len(columns) else None
