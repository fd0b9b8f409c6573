"""Meta-learning as a generator of events: the caller pulls steps, and stops by no longer pulling.

A state file holds all that a step depends on besides the data, so a run killed at any moment and resumed equals, bit for bit on a
CPU, the run that was never killed. When training collapses (Sec. 3), it goes back to the last good state with a smaller rate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from medfuncta_core.config import FieldConfig, FitConfig, MetaConfig
from medfuncta_core.errors import ConfigError, SignalError, TrainingError
from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.fitting import Fitter, choose_device
from medfuncta_core.grids import grid_context
from medfuncta_core.learning.outer_step import MetaLearner
from medfuncta_core.learning.schedule import batch_rows, context_indices, learning_rate
from medfuncta_core.learning.state import STATE_FILE, Progress, Recovery, Snapshot, Validation, load_state, save_state
from medfuncta_core.signals import DataSet

VALIDATION_BATCH = 16  # signals fitted at once
MAX_PARAMETERS = 2**28  # 1 GiB of float32, of which training holds about ten copies; the paper's largest field has a fifth
MAX_PSNR = 100.0  # dB of one signal in a mean (MSE 1e-10): a blank signal, reconstructed perfectly, must not make it infinite
_BEST = "best."  # prefix of the best weights' names in a snapshot


@dataclass(frozen=True)
class TrainStep:
    """One outer step: mean losses of its batch, PSNR of the outer loss (dB), the meta-gradient's norm, rate and seconds."""

    step: int
    loss: float
    first_loss: float
    psnr: float
    gradient_norm: float
    lr: float
    skipped: bool
    seconds: float


TrainEvent = TrainStep | Validation | Recovery


@dataclass(frozen=True)
class TrainingRun:
    """What is trained, on what, and how.

    Args:
        field: Architecture; channels and axes must be the data's.
        meta: Recipe.
        fit: How validation fits.
        train: Training split.
        val: Validation split; the first `meta.validate_signals` evenly spread signals are used, always the same.
        directory: Where the state is kept; None keeps it in memory only.
        device: auto, cpu or cuda.

    Raises:
        TrainingError: when the data does not fit the architecture or a split is empty.
        ConfigError: when the architecture has more than `MAX_PARAMETERS` parameters.
    """

    field: FieldConfig
    meta: MetaConfig
    fit: FitConfig
    train: DataSet
    val: DataSet
    directory: Path | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.field.parameter_count > MAX_PARAMETERS:
            raise ConfigError(
                f"a field with {self.field.parameter_count:,} parameters cannot be trained here, {MAX_PARAMETERS:,} at most; "
                "lower width, depth or latent_dim"
            )
        for part in (self.train, self.val):
            axes, channels = len(part.shape), part.channels
            if (axes, channels) != (self.field.coord_dim, self.field.channels):
                raise TrainingError(
                    f"{part.name} has {axes} axes and {channels} channels, the field {self.field.coord_dim} and "
                    f"{self.field.channels}; choose a preset of its kind, or set coord_dim and channels"
                )
            if len(part) == 0:
                raise TrainingError(f"{part.name}: split {part.split} has no signals; give data with train and val splits")

    @property
    def settings(self) -> str:
        """What must be equal for a resume to continue the same run; `steps` may not change, the schedule depends on it."""
        return "\n".join(
            (self.field.model_dump_json(), self.meta.model_dump_json(), self.fit.model_dump_json(), self.train.sha256)
        )


def train(run: TrainingRun, *, resume: bool = False) -> Iterator[TrainEvent]:
    """Meta-learn shared parameters (Algorithm 1).

    Args:
        run: What to train. Its `directory` gets `state.safetensors` at every validation.
        resume: Continue from that file.

    Yields:
        Every step; every validation, after the state was saved with the last and the best weights; every recovery.
        `learned_field(run)` reads the result.

    Raises:
        TrainingError: when there is nothing to resume, the settings differ, or training collapsed too often.
    """
    learner = MetaLearner(_initial_field(run), run.meta)
    snapshot = _resume(run, learner) if resume else Snapshot.of(Progress(settings=run.settings), learner.tensors())
    best = {name: value for name, value in snapshot.tensors.items() if name.startswith(_BEST)}
    if not resume:
        _keep(run, snapshot)
    validation_rows = run.val.take(min(run.meta.validate_signals, len(run.val)))
    progress = snapshot.progress
    while progress.step < run.meta.steps:
        event = _step(run, learner, progress)
        progress = replace(progress, step=event.step, norms=tuple(learner.norms))
        yield event
        reason = "" if math.isfinite(event.loss) and math.isfinite(event.gradient_norm) else "the loss is no longer finite"
        if not reason and (progress.step % run.meta.validate_every == 0 or progress.step == run.meta.steps):
            found, reason = _validate(run, learner, validation_rows, progress)
            if found is not None:
                progress = replace(progress, last=found)
                if found.best:
                    progress = replace(progress, best=found, best_psnr=found.psnr, best_step=found.step)
                    best = {_BEST + name: value.detach().clone() for name, value in learner.learned.named_parameters()}
                snapshot = Snapshot.of(progress, learner.tensors() | best)
                _keep(run, snapshot)
                yield found
        if reason:
            snapshot, recovery = _recover(run, learner, snapshot, at=progress.step, reason=reason)
            progress = snapshot.progress
            yield recovery


def validate(
    field: ModulatedSIREN, fit: FitConfig, signals: DataSet, *, step: int = 0, best_psnr: float = -math.inf
) -> Validation:
    """Fit every signal of a data set and average the metrics (clamped reconstructions; a signal's PSNR counts as 100 dB at most).

    Args:
        field: Shared parameters.
        fit: Fit settings.
        signals: All of them are used.
        step: Copied into the result.
        best_psnr: What a PSNR must exceed to be the best.
    """
    start = time.perf_counter()
    fitter = Fitter(field, fit, device=field.first_weight.device.type)
    batches = [fitter.fit_batch(signals.batch(slice(i, i + VALIDATION_BATCH))) for i in range(0, len(signals), VALIDATION_BATCH)]
    of = {key: torch.cat([getattr(batch, key) for batch in batches]) for key in ("mse", "psnr", "ssim")}
    mse, psnr, ssim = (float(column.mean()) for column in (of["mse"], of["psnr"].clamp(max=MAX_PSNR), of["ssim"]))
    return Validation(step, mse, psnr, ssim, len(signals), fit.steps, psnr > best_psnr, time.perf_counter() - start)


def learned_field(run: TrainingRun, *, best: bool = True) -> tuple[ModulatedSIREN, Progress]:
    """The weights to ship from the run's last saved state, and its counters.

    Args:
        run: With a directory.
        best: Those of the best validation; off: the last ones.

    Raises:
        TrainingError: when there is no state of this run.
    """
    learner = MetaLearner(_initial_field(run), run.meta)
    snapshot = _resume(run, learner)
    field = learner.learned
    if best and snapshot.progress.best_step:
        field.load_state_dict(
            {name.removeprefix(_BEST): value for name, value in snapshot.tensors.items() if name.startswith(_BEST)}
        )
    return field, snapshot.progress


def _initial_field(run: TrainingRun) -> ModulatedSIREN:
    field = ModulatedSIREN(run.field, generator=torch.Generator().manual_seed(run.meta.seed))
    return field.requires_grad_(False).to(choose_device(run.device))


def _step(run: TrainingRun, learner: MetaLearner, progress: Progress) -> TrainStep:
    start, step, meta = time.perf_counter(), progress.step + 1, run.meta
    values: Tensor = torch.from_numpy(run.train.batch(batch_rows(meta, step, len(run.train))))
    context = grid_context(values.to(learner.field.first_weight.device))
    indices = context_indices(meta, step, len(values), context.points)
    lr = learning_rate(meta, step) * progress.lr_factor
    done = learner.outer_step(context, indices, step=step, lr=lr)
    psnr = -10 * math.log10(done.loss) if done.loss > 0 else math.inf
    return TrainStep(step, done.loss, done.first_loss, psnr, done.gradient_norm, lr, done.skipped, time.perf_counter() - start)


def _validate(run: TrainingRun, learner: MetaLearner, signals: DataSet, progress: Progress) -> tuple[Validation | None, str]:
    """A validation, or why training has collapsed: fits diverge, or are far worse than they were."""
    try:
        found = validate(learner.learned, run.fit, signals, step=progress.step, best_psnr=progress.best_psnr)
    except SignalError as error:
        return None, f"validation failed: {error}"
    drop = progress.best_psnr - found.psnr
    if drop > run.meta.collapse_drop_db or not found.psnr > -math.inf:  # NaN is not greater either
        return None, f"validation PSNR fell to {found.psnr:.1f} dB from {progress.best_psnr:.1f}"
    return found, ""


def _resume(run: TrainingRun, learner: MetaLearner) -> Snapshot:
    if run.directory is None:
        raise TrainingError("a run kept in memory only cannot be resumed; give it a directory")
    snapshot = load_state(run.directory / STATE_FILE)
    if snapshot.progress.settings != run.settings:
        raise TrainingError(
            f"{run.directory}: was started with other settings or data; resume it with the same, or choose another folder"
        )
    try:
        learner.load(snapshot.tensors, list(snapshot.progress.norms))
    except (KeyError, RuntimeError) as error:
        raise TrainingError(f"{run.directory}: its state does not belong to this architecture ({error})") from error
    return snapshot


def _keep(run: TrainingRun, snapshot: Snapshot) -> None:
    if run.directory is not None:
        save_state(run.directory / STATE_FILE, snapshot)


def _recover(run: TrainingRun, learner: MetaLearner, snapshot: Snapshot, *, at: int, reason: str) -> tuple[Snapshot, Recovery]:
    if snapshot.progress.collapses >= run.meta.max_collapses:
        raise TrainingError(
            f"training collapsed {snapshot.progress.collapses + 1} times, last at step {at} ({reason}); "
            "lower outer_lr or omega_last"
        )
    lowered, recovery = snapshot.recovered(at=at, factor=run.meta.collapse_lr_factor, reason=reason)
    learner.load(lowered.tensors, list(lowered.progress.norms))
    _keep(run, lowered)
    return lowered, recovery
