"""Training in a run folder: the state is saved first, what is made from it afterwards.

`last/`, `best/`, samples and the lines of a validation or a recovery are made up for on resume, so that a run killed at any
moment and resumed leaves what the run never killed leaves. A pause, a stop and a full disk all end the training generator; the
run goes on from the saved state.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medfuncta_core.checkpoint import read_config, save_checkpoint
from medfuncta_core.config import Metrics
from medfuncta_core.errors import CheckpointError, MedFunctaError, TrainingError
from medfuncta_core.learning import (
    ALONE,
    Ranks,
    Recovery,
    TrainEvent,
    TrainingRun,
    TrainStep,
    Validation,
    learned_field,
    steps_done,
    train,
)
from medfuncta_core.learning.state import STATE_FILE, Progress, load_state
from medfuncta_core.runs.commands import Commands
from medfuncta_core.runs.folder import RunConfig, RunFolder
from medfuncta_core.runs.perceiving import perceived
from medfuncta_core.runs.reporting import Reporter, disk_is_full, reason_of
from medfuncta_core.runs.request import RunRequest, read_request, write_request
from medfuncta_core.runs.sampling import keep_samples
from medfuncta_core.runs.status import reserve_space
from medfuncta_core.signals import DataSet

if TYPE_CHECKING:  # TensorBoard's formats are read for those who ask for its files
    from medfuncta_core.runs.tensorboard import EventLog

FREE_BYTES = 2**20  # beside the state, before a run goes on after the disk was full
RETRY_SECONDS = 5.0


def train_run(
    folder: RunFolder,
    config: RunConfig,
    train_set: DataSet,
    val_set: DataSet,
    *,
    resume: bool = False,
    device: str = "auto",
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = ALONE,
    request: RunRequest | None = None,
) -> Iterator[TrainEvent]:
    """Train in a run folder, keeping its files up to date and obeying its `control.json`.

    Args:
        folder: New, or with `resume` an existing one. One process at a time has it.
        config: Of a new run; on resume, the folder's own is used.
        train_set: Training split.
        val_set: Validation split.
        resume: Continue from the last saved state, or from step 0 when the run was stopped before the first one.
        device: auto, cpu or cuda.
        stop: Asked after every step; when it says so, the state is kept, the run is `stopped`, and the generator ends.
        ranks: Who else trains it; only rank 0 writes.
        request: How a new run was asked for, kept with it.

    Yields:
        The events of `learning.train`, after they are on the disk. While the run is paused, the next one is waited for.

    Raises:
        TrainingError: when the folder already holds a run, another process has it, there is nothing to resume, training collapsed
            for good, or the folder can no longer be written. `status.json` says so, unless the run could not even be resumed:
            then nothing is changed. A full disk pauses the run instead.
    """
    config = folder.read_config() if resume else config
    run = TrainingRun(config.field, config.meta, config.fit, train_set, val_set, folder.checkpoint, device, folder.start, ranks)
    commands = Commands(folder, stop, ranks)
    if not ranks.leads:
        yield from _follow(run, commands)
        return
    with folder.claim():
        progress = Progress()
        if resume:
            progress = _catch_up(folder, run, config)
        else:
            folder.create(config)
            if request is not None:
                write_request(folder, request)
        yield from _lead(_Lead(folder, config, run, commands, Reporter(folder, config, run, progress)), resume=resume)


@dataclass(frozen=True)
class _Lead:
    """What the writing rank works with."""

    folder: RunFolder
    config: RunConfig
    run: TrainingRun
    commands: Commands
    reporter: Reporter

    def open_events(self) -> EventLog | None:
        """TensorBoard's files, where the run was asked to write them."""
        request = read_request(self.folder)
        if request is None or not request.tensorboard:
            return None
        from medfuncta_core.runs.tensorboard import EventLog

        return EventLog(self.folder.path, self.reporter.step)


def _lead(lead: _Lead, *, resume: bool) -> Iterator[TrainEvent]:
    """Train, wait while paused, train on; whatever happens, `status.json` tells it."""
    reporter, commands, steps, again = lead.reporter, lead.commands, lead.config.meta.steps, False
    try:
        while True:
            try:
                if again:
                    reporter.rewind(_catch_up(lead.folder, lead.run, lead.config))
                yield from _train_on(lead, resume=resume or again)
                if reporter.step == steps or commands.want == "stop":
                    break
                reporter.write("paused")
                lead.folder.log(f"paused at step {reporter.step}")
                commands.wait(lambda: commands.want != "pause")
            except MedFunctaError as error:
                if not disk_is_full(error) or commands.ranks.world > 1:  # several ranks are restarted by torchrun
                    raise
                _wait_for_space(lead, error)
            if commands.want == "stop":
                break
            again = True
    except BaseException as error:
        stopped = not isinstance(error, Exception)  # Ctrl-C, or a caller that pulls no further
        with suppress(MedFunctaError):  # a full disk must not hide what went wrong first
            reporter.write("interrupted" if stopped else "failed", reason="" if stopped else reason_of(error))
            lead.folder.log("interrupted" if stopped else f"failed: {reason_of(error)}")
        raise
    state = "finished" if reporter.step == steps else "stopped"
    reporter.write(state, **perceived(lead.folder, lead.run) if state == "finished" else {})
    with suppress(TrainingError):  # a disk that is full now does not undo what was done
        lead.folder.log(state if state == "finished" else f"stopped at step {reporter.step}")


def _train_on(lead: _Lead, *, resume: bool) -> Iterator[TrainEvent]:
    """The events of one stretch of training, each on the disk before it is yielded."""
    folder, run, reporter = lead.folder, lead.run, lead.reporter
    reserve_space(folder)
    reporter.write("running")
    steps, at = run.meta.steps, f" at step {reporter.step}" if reporter.step else ""
    folder.log(f"{'resumed' if resume else 'started'}{at}: {lead.config.name}, {steps} steps on {run.train.name}")
    resume = bool(run.ranks.highest(int(resume and folder.begun)))
    if not resume:
        keep_samples(folder.path, run, Progress())
    events = lead.open_events()
    try:
        if events is not None and not resume:
            events.show(0)
        for event in train(run, resume=resume, stop=lead.commands.interrupt):
            folder.append(event, **reporter.measured(event))
            reporter.note(event)
            if isinstance(event, Validation):
                _export(folder, run, lead.config, learned_field(run, best=False)[1])
            if not isinstance(event, TrainStep):
                folder.log(_tell(event))
            if events is not None:
                events.note(event)
            reporter.write_sometimes()
            yield event
    finally:
        if events is not None:
            events.close()


def _follow(run: TrainingRun, commands: Commands) -> Iterator[TrainEvent]:
    """The same stretches on a rank that writes nothing."""
    step = 0
    while True:
        for event in train(run, resume=bool(run.ranks.highest(0)), stop=commands.interrupt):
            step = event.restored_step if isinstance(event, Recovery) else event.step
            yield event
        if step == run.meta.steps or commands.want != "pause":
            return
        commands.wait(lambda: commands.want != "pause")
        if commands.want == "stop":
            return


def _wait_for_space(lead: _Lead, error: MedFunctaError) -> None:
    """Say that the disk is full, and stay until there may be room for the state, or the user wants to stop."""
    lead.reporter.rewind(_saved(lead.run))
    reason = f"the disk is full; free some space and the run goes on by itself ({reason_of(error)})"
    lead.reporter.write("paused", reason=reason)
    needed = FREE_BYTES + sum(file.stat().st_size for file in lead.folder.checkpoint.glob("*.safetensors"))
    retry = time.monotonic() + RETRY_SECONDS  # a quota may be full on a disk that has room

    def has_room() -> bool:
        return time.monotonic() > retry and shutil.disk_usage(lead.folder.path).free > needed

    lead.commands.wait(lambda: lead.commands.want == "stop" or has_room())


def _saved(run: TrainingRun) -> Progress:
    """Where a resume would go on."""
    if run.directory is None or not (run.directory / STATE_FILE).exists():
        return Progress()
    progress = load_state(run.directory / STATE_FILE).progress
    return replace(progress, step=steps_done(run, progress))


def _catch_up(folder: RunFolder, run: TrainingRun, config: RunConfig) -> Progress:
    """Do what a kill kept from being done after the last state was saved, and say where the run is."""
    if folder.begun:
        _, progress = learned_field(run, best=False)  # says why a run cannot be resumed, before anything is written
    elif config.data.sha256 == run.train.sha256:
        progress = Progress()
    else:
        raise TrainingError(f"{folder.path}: was started with other data; resume it with the same, or choose another folder")
    folder.mend_metrics(progress)
    _export(folder, run, config, progress)
    return replace(progress, step=steps_done(run, progress))


def _export(folder: RunFolder, run: TrainingRun, config: RunConfig, progress: Progress) -> None:
    """What is made of the saved state, where it is not there yet: checkpoints that anybody can load, and the samples."""
    for name, step, found in (("last", progress.step, progress.last), ("best", progress.best_step, progress.best)):
        directory = folder.checkpoint / name
        if step == 0 or _exported_step(directory) == step:
            continue
        field, _ = learned_field(run, best=name == "best")
        metrics = () if found is None else (_metrics(found),)
        save_checkpoint(directory, field, config.checkpoint_config(step, metrics))
    if progress.step:
        keep_samples(folder.path, run, progress)


def _exported_step(directory: Path) -> int | None:
    """Which step a checkpoint is of; its configuration is written last, so the step says that all of it is there."""
    try:
        return read_config(directory).step
    except CheckpointError:
        return None


def _metrics(found: Validation) -> Metrics:
    return Metrics(
        split="val", n=found.n, spread=True, fit_steps=found.fit_steps, mse=found.mse, psnr=found.psnr, ssim=found.ssim
    )


def _tell(event: Validation | Recovery) -> str:
    if isinstance(event, Recovery):
        restored = f"back to step {event.restored_step} at {event.lr_factor:g} of the learning rate"
        return f"step {event.step}: {event.reason}; {restored}"
    best = ", best" if event.best else ""
    return f"step {event.step}: validation PSNR {event.psnr:.2f} dB, SSIM {event.ssim:.4f}{best}"
