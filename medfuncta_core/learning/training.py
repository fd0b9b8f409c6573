"""Meta-learning as a generator of events: the caller pulls steps, and stops by no longer pulling.

A state file holds all that a step depends on besides the data, so a run killed at any moment and resumed equals, bit for bit on a
CPU, the run that was never killed. When training collapses (Sec. 3), it goes back to the last good state with a smaller rate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from medfuncta_core.checkpoint import load_checkpoint
from medfuncta_core.config import FieldConfig, FitConfig, MetaConfig
from medfuncta_core.errors import ConfigError, SignalError, TrainingError
from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.fitting import choose_device
from medfuncta_core.grids import grid_context
from medfuncta_core.learning.outer_step import MetaLearner
from medfuncta_core.learning.ranks import ALONE, Ranks
from medfuncta_core.learning.schedule import batch_rows, context_indices, learning_rate
from medfuncta_core.learning.state import (
    STATE_FILE,
    STOPPED_FILE,
    Progress,
    Recovery,
    Snapshot,
    Validation,
    load_state,
    save_state,
)
from medfuncta_core.learning.validating import validate
from medfuncta_core.signals import DataSet

MAX_PARAMETERS = 2**28  # 1 GiB of float32, of which training holds about ten copies; the paper's largest field has a fifth
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
        ranks: This process among those that train together; rank 0 keeps the state, which all must be able to read.
        start: A checkpoint of the same architecture whose weights training starts from; None starts from random ones.

    Raises:
        TrainingError: when the data does not fit the architecture, a split is empty, or there are more ranks than signals in a
            batch.
        ConfigError: when the architecture has more than `MAX_PARAMETERS` parameters.
    """

    field: FieldConfig
    meta: MetaConfig
    fit: FitConfig
    train: DataSet
    val: DataSet
    directory: Path | None = None
    device: str = "auto"
    start: Path | None = None
    ranks: Ranks = ALONE

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
        if self.meta.batch_size < self.ranks.world:
            raise TrainingError(
                f"a batch of {self.meta.batch_size} cannot be shared by {self.ranks.world} processes; "
                "raise meta.batch_size or start fewer"
            )

    @property
    def settings(self) -> str:
        """What must be equal for a resume to continue the same run; `steps` may not change, the schedule depends on it."""
        return "\n".join(
            (self.field.model_dump_json(), self.meta.model_dump_json(), self.fit.model_dump_json(), self.train.sha256)
        )


def train(run: TrainingRun, *, resume: bool = False, stop: Callable[[], bool] = lambda: False) -> Iterator[TrainEvent]:
    """Meta-learn shared parameters (Algorithm 1).

    Args:
        run: What to train. Its `directory` gets `state.safetensors` at every validation.
        resume: Continue from that file, or from where the run was stopped after it.
        stop: Asked after every step; when it says so, the state is kept as it is and the generator ends.

    Yields:
        Every step; every validation, after the state was saved with the last and the best weights; every recovery.
        `learned_field(run)` reads the result.

    Raises:
        TrainingError: when there is nothing to resume, the settings differ, or training collapsed too often.
    """
    learner = MetaLearner(initial_field(run), run.meta, run.ranks)
    snapshot = _resume(run, learner) if resume else Snapshot.of(Progress(settings=run.settings), learner.tensors())
    best = {name: value for name, value in snapshot.tensors.items() if name.startswith(_BEST)}
    if not resume:
        _keep(run, snapshot)
    validation_rows = run.val.take(min(run.meta.validate_signals, len(run.val)))
    progress = _continue_stopped(run, learner, snapshot) if resume else snapshot.progress
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
        if stop():
            if progress.step > snapshot.progress.step:
                _keep(run, Snapshot(progress, learner.tensors()), STOPPED_FILE)
            return


def learned_field(run: TrainingRun, *, best: bool = True) -> tuple[ModulatedSIREN, Progress]:
    """The weights to ship from the run's last saved state, and its counters.

    Args:
        run: With a directory.
        best: Those of the best validation; off: the last ones.

    Raises:
        TrainingError: when there is no state of this run.
    """
    learner = MetaLearner(initial_field(run), run.meta)
    snapshot = _resume(run, learner)
    field = learner.learned
    if best and snapshot.progress.best_step:
        field.load_state_dict(
            {name.removeprefix(_BEST): value for name, value in snapshot.tensors.items() if name.startswith(_BEST)}
        )
    return field, snapshot.progress


def steps_done(run: TrainingRun, saved: Progress) -> int:
    """Where a resume goes on: after the last saved state, or where the run was stopped after it."""
    stopped = _stopped(run, saved)
    return saved.step if stopped is None else stopped.progress.step


def initial_field(run: TrainingRun) -> ModulatedSIREN:
    """The weights at step 0: random ones of the seed, or those of the checkpoint to start from."""
    field = ModulatedSIREN(run.field, generator=torch.Generator().manual_seed(run.meta.seed))
    if run.start is not None:
        weights = load_checkpoint(run.start)
        if weights.config.field != run.field:
            raise TrainingError(f"{run.start}: is of another architecture; keep the field's settings, or start from scratch")
        field.load_state_dict(weights.field.state_dict())
    return field.requires_grad_(False).to(choose_device(run.device))


def _step(run: TrainingRun, learner: MetaLearner, progress: Progress) -> TrainStep:
    start, step, meta = time.perf_counter(), progress.step + 1, run.meta
    share = run.ranks.share(meta.batch_size)
    values: Tensor = torch.from_numpy(run.train.batch(batch_rows(meta, step, len(run.train))[share]))
    context = grid_context(values.to(learner.field.first_weight))
    drawn = context_indices(meta, step, meta.batch_size, context.points)
    indices = [None if points is None else points[share] for points in drawn]
    lr = learning_rate(meta, step) * progress.lr_factor
    done = learner.outer_step(context, indices, step=step, lr=lr)
    psnr = -10 * math.log10(done.loss) if done.loss > 0 else math.inf
    return TrainStep(step, done.loss, done.first_loss, psnr, done.gradient_norm, lr, done.skipped, time.perf_counter() - start)


def _validate(run: TrainingRun, learner: MetaLearner, signals: DataSet, progress: Progress) -> tuple[Validation | None, str]:
    """A validation, or why training has collapsed: fits diverge, or are far worse than they were."""
    try:
        best, fit = progress.best_psnr, run.fit.model_copy(update={"method": "gradient_descent"})  # what training optimises
        found = validate(learner.learned, fit, signals, step=progress.step, best_psnr=best, ranks=run.ranks)
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
    if not _same_settings(snapshot.progress.settings, run):
        raise TrainingError(
            f"{run.directory}: was started with other settings or data; resume it with the same, or choose another folder"
        )
    try:
        learner.load(snapshot.tensors, list(snapshot.progress.norms))
    except (KeyError, RuntimeError) as error:
        raise TrainingError(f"{run.directory}: its state does not belong to this architecture ({error})") from error
    return snapshot


def _same_settings(saved: str, run: TrainingRun) -> bool:
    """Whether a state's settings are the run's; those that an older version did not know have their defaults."""
    try:
        field, meta, fit, data = saved.split("\n")
        models = (
            FieldConfig.model_validate_json(field),
            MetaConfig.model_validate_json(meta),
            FitConfig.model_validate_json(fit),
        )
    except ValueError:
        return False
    return (*models, data) == (run.field, run.meta, run.fit, run.train.sha256)


def _continue_stopped(run: TrainingRun, learner: MetaLearner, snapshot: Snapshot) -> Progress:
    """Go on where the run was stopped after its last good state, which stays the one to return to after a collapse."""
    stopped = _stopped(run, snapshot.progress)
    if stopped is None:
        return snapshot.progress
    learner.load(stopped.tensors, list(stopped.progress.norms))
    return stopped.progress


def _stopped(run: TrainingRun, saved: Progress) -> Snapshot | None:
    """The state at a stop, when it is of this run and later than the last good one."""
    if run.directory is None or not (run.directory / STOPPED_FILE).exists():
        return None
    stopped = load_state(run.directory / STOPPED_FILE)
    same = (stopped.progress.settings, stopped.progress.collapses) == (saved.settings, saved.collapses)
    return stopped if same and stopped.progress.step > saved.step else None


def _keep(run: TrainingRun, snapshot: Snapshot, name: str = STATE_FILE) -> None:
    if run.directory is not None and run.ranks.leads:
        save_state(run.directory / name, snapshot)
        if name == STATE_FILE:
            (run.directory / STOPPED_FILE).unlink(missing_ok=True)  # left by a kill here, it is older than the state


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
