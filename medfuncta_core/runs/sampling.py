"""Making the samples of a run: a few fixed validation signals, fitted as training fits them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from medfuncta_core.config import FitConfig
from medfuncta_core.errors import SignalError
from medfuncta_core.fitting import Fitter
from medfuncta_core.learning import TrainingRun, initial_field, learned_field
from medfuncta_core.learning.state import Progress
from medfuncta_core.runs.samples import Samples, sample_file, write_samples

SAMPLE_SIGNALS = {"ecg": 4, "image": 4, "volume": 2}
SAMPLE_SIDE = 128  # larger pictures are shown by every second, third, ... point


def keep_samples(folder: Path, run: TrainingRun, progress: Progress) -> None:
    """Samples of the last saved weights, or of the initial ones at step 0; those that are there already are left alone.

    A network so bad that its fits diverge has no samples at that step.

    Raises:
        TrainingError: when they cannot be written.
    """
    if sample_file(folder, progress.step).exists():
        return
    field = learned_field(run, best=False)[0] if progress.step else initial_field(run)
    kind = run.val.kind
    rows = np.linspace(0, len(run.val) - 1, min(SAMPLE_SIGNALS[kind], len(run.val))).round().astype(np.int64)
    fit = FitConfig(steps=run.meta.inner_steps, inner_lr=run.meta.inner_lr)
    fitter = Fitter(field, fit, device=field.first_weight.device.type)
    values = run.val.batch(rows)
    try:
        fitted = fitter.fit_batch(values)
    except SignalError:
        return
    initial = fitter.decode(np.zeros(run.field.latent_dim, np.float32), run.val.shape)
    samples = Samples(
        kind=kind,
        step=progress.step,
        fit_steps=fit.steps,
        rows=tuple(int(row) for row in rows),
        inputs=np.stack([_view(part) for part in values]),
        reconstructions=np.stack([_view(part) for part in fitted.reconstructions.numpy()]),
        initial=_view(initial),
        psnr=fitted.psnr.numpy().astype(np.float32),
    )
    write_samples(folder, samples)


def _view(values: Float[np.ndarray, "*shape c"]) -> Float[np.ndarray, "*view c"]:
    """What is shown of a signal: a curve whole, a picture, or a volume's middle slices along its axes, side by side."""
    if values.ndim < 4:
        return _thin(values) if values.ndim == 3 else values
    slices = [_thin(values.take(values.shape[axis] // 2, axis)) for axis in range(3)]
    height = max(part.shape[0] for part in slices)
    padded = [np.pad(part, ((0, height - part.shape[0]), (0, 0), (0, 0))) for part in slices]
    return np.concatenate(padded, axis=1)


def _thin(picture: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "i j c"]:
    stride = -(-max(picture.shape[:2]) // SAMPLE_SIDE)
    return picture[::stride, ::stride]
