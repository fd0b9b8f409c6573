"""The run folder: `config.json`, `metrics.jsonl`, `status.json`, `log.txt`, and `checkpoint/` with state, last and best weights.

Source: DESIGN.md, "Files". Everything but the append-only metrics and log is replaced whole. The state is saved first; what is
made from it (`last/`, `best/`, the lines of its validation and its recovery) is made up for on resume, so that a run killed at
any moment and resumed leaves what the run never killed leaves.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from medfuncta_core.atomic import write_atomically
from medfuncta_core.checkpoint import read_config, save_checkpoint
from medfuncta_core.config import CheckpointConfig, Config, DataSetInfo, FieldConfig, FitConfig, MetaConfig, Metrics, SignalSpec
from medfuncta_core.errors import CheckpointError, MedFunctaError, TrainingError
from medfuncta_core.learning import Recovery, TrainEvent, TrainingRun, TrainStep, Validation, learned_field, train
from medfuncta_core.learning.state import STATE_FILE, Progress
from medfuncta_core.metrics import finite_or_none
from medfuncta_core.signals import DataSet

logger = logging.getLogger(__name__)

STATUS_SECONDS = 2.0  # between two writes of status.json
RunState = Literal["running", "finished", "interrupted", "failed"]


class RunConfig(Config):
    """`config.json` of a run: all that its training depends on."""

    format_version: Literal[1] = 1
    name: str
    preset: str = ""
    source: str = ""
    field: FieldConfig
    meta: MetaConfig
    fit: FitConfig
    signal: SignalSpec
    data: DataSetInfo
    licence: str = ""

    def checkpoint_config(self, step: int, metrics: tuple[Metrics, ...] = ()) -> CheckpointConfig:
        """The configuration of a checkpoint that this run made at a step."""
        return CheckpointConfig(
            name=self.name,
            field=self.field,
            signal=self.signal,
            fit=self.fit,
            meta=self.meta,
            data=self.data,
            step=step,
            metrics=metrics,
            licence=self.licence,
        )


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run and how its files are read and written."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """State, `last/` and `best/`."""
        return self.path / "checkpoint"

    @property
    def metrics(self) -> Path:
        """One JSON object a line, an event each."""
        return self.path / "metrics.jsonl"

    @property
    def begun(self) -> bool:
        """Whether a state was ever saved; a run that was stopped before that starts at step 0."""
        return any((self.checkpoint / name).exists() for name in (STATE_FILE, "last", "best"))

    def read_config(self) -> RunConfig:
        """Raises TrainingError when this is not a run folder."""
        file = self.path / "config.json"
        try:
            return RunConfig.parse(json.loads(file.read_text()), str(file))
        except FileNotFoundError:
            raise TrainingError(f"{self.path}: is not a run (no config.json); start one with train --out {self.path}") from None
        except OSError as error:
            raise TrainingError(f"{file}: cannot be read ({error.strerror}); the run cannot be used") from error
        except ValueError as error:
            raise TrainingError(f"{file}: is not valid JSON ({error}); the run cannot be used") from error

    def create(self, config: RunConfig) -> None:
        """Make the folder; an existing run is never overwritten."""
        if (self.path / "config.json").exists():
            raise TrainingError(f"{self.path}: already holds a run; continue it with --resume, or choose another folder")
        write_atomically(self.path / "config.json", config.model_dump_json(indent=2).encode())

    def write_status(self, state: RunState, **values: Any) -> None:
        """Replace `status.json`."""
        status = {"state": state, "pid": os.getpid(), "updated": time.time(), **values}
        write_atomically(self.path / "status.json", json.dumps(_jsonable(status), indent=2, allow_nan=False).encode())

    def append(self, event: TrainEvent) -> None:
        """One line of `metrics.jsonl`; a resumed run repeats the steps after its last checkpoint, and the later line counts.

        Numbers that are not finite, such as the loss that made training collapse, are null.

        Raises:
            TrainingError: when the file cannot be written, as for `log`.
        """
        line = {"event": _EVENT_NAMES[type(event)], **asdict(event), "time": time.time()}
        _append(self.metrics, json.dumps(_jsonable(line), allow_nan=False))

    def mend_metrics(self, progress: Progress) -> None:
        """Make up for what a kill kept from `metrics.jsonl`: cut off half a line, add the lines of the saved state."""
        known: set[tuple[str, int]] = set()
        try:
            with self.metrics.open("r+b") if self.metrics.exists() else self.metrics.open("w+b") as file:
                whole = 0
                for line in file:
                    if line.endswith(b"\n"):
                        whole += len(line)
                        known |= _find_event(line)
                file.truncate(whole)
        except OSError as error:
            raise TrainingError(f"{self.metrics}: cannot be mended ({error.strerror}); make it writable and resume") from error
        for event in (progress.last, progress.recovery):
            if event is not None and (_EVENT_NAMES[type(event)], event.step) not in known:
                self.append(event)

    def log(self, text: str) -> None:
        """One line of `log.txt`, and of the library's log."""
        logger.info(text)
        _append(self.path / "log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")


_EVENT_NAMES: dict[type, str] = {TrainStep: "step", Validation: "validation", Recovery: "recovery"}


def train_run(
    folder: RunFolder, config: RunConfig, train_set: DataSet, val_set: DataSet, *, resume: bool = False, device: str = "auto"
) -> Iterator[TrainEvent]:
    """Train in a run folder, keeping its files up to date.

    Args:
        folder: New, or with `resume` an existing one.
        config: Of a new run; on resume, the folder's own is used.
        train_set: Training split.
        val_set: Validation split.
        resume: Continue from the last saved state, or from step 0 when the run was stopped before the first one.
        device: auto, cpu or cuda.

    Yields:
        The events of `learning.train`, after they are on the disk.

    Raises:
        TrainingError: when the folder already holds a run, there is nothing to resume, training collapsed for good, or the folder
            can no longer be written. `status.json` says so, unless the run could not even be resumed: then nothing is changed.
    """
    config = folder.read_config() if resume else config
    run = TrainingRun(config.field, config.meta, config.fit, train_set, val_set, folder.checkpoint, device)
    progress = Progress()
    if resume:
        progress = _catch_up(folder, run, config)
    else:
        folder.create(config)
    status: dict[str, Any] = {"step": progress.step, "steps": config.meta.steps, **_describe(progress.last)}
    written = -math.inf
    try:
        folder.log(f"{'resumed' if resume else 'started'}: {config.name}, {config.meta.steps} steps on {train_set.name}")
        for event in train(run, resume=resume and folder.begun):
            folder.append(event)
            status["step"] = event.restored_step if isinstance(event, Recovery) else event.step
            if isinstance(event, Validation):
                status |= _describe(event)
                _export(folder, run, config, learned_field(run, best=False)[1])
            if not isinstance(event, TrainStep):
                folder.log(_tell(event))
            if time.monotonic() - written > STATUS_SECONDS:
                folder.write_status("running", **status)
                written = time.monotonic()
            yield event
    except BaseException as error:
        stopped = not isinstance(error, Exception)  # Ctrl-C, or a caller that pulls no further
        with suppress(MedFunctaError):  # a full disk must not hide what went wrong first
            folder.write_status(
                "interrupted" if stopped else "failed", **status, **({} if stopped else {"error": _reason(error)})
            )
            folder.log("interrupted" if stopped else f"failed: {_reason(error)}")
        raise
    folder.write_status("finished", **status)
    folder.log("finished")


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
    return progress


def _export(folder: RunFolder, run: TrainingRun, config: RunConfig, progress: Progress) -> None:
    """Checkpoints that anybody can load, of the saved state: the last weights and the best ones, where they are not there yet."""
    for name, step, found in (("last", progress.step, progress.last), ("best", progress.best_step, progress.best)):
        directory = folder.checkpoint / name
        if step == 0 or _exported_step(directory) == step:
            continue
        field, _ = learned_field(run, best=name == "best")
        metrics = () if found is None else (_metrics(found),)
        save_checkpoint(directory, field, config.checkpoint_config(step, metrics))


def _exported_step(directory: Path) -> int | None:
    """Which step a checkpoint is of; its configuration is written last, so the step says that all of it is there."""
    try:
        return read_config(directory).step
    except CheckpointError:
        return None


def _metrics(found: Validation) -> Metrics:
    return Metrics(split="val", n=found.n, fit_steps=found.fit_steps, mse=found.mse, psnr=found.psnr, ssim=found.ssim)


def _describe(found: Validation | None) -> dict[str, float]:
    return {} if found is None else {"psnr": found.psnr, "ssim": found.ssim}


def _tell(event: Validation | Recovery) -> str:
    if isinstance(event, Recovery):
        restored = f"back to step {event.restored_step} at {event.lr_factor:g} of the learning rate"
        return f"step {event.step}: {event.reason}; {restored}"
    best = ", best" if event.best else ""
    return f"step {event.step}: validation PSNR {event.psnr:.2f} dB, SSIM {event.ssim:.4f}{best}"


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, MedFunctaError) else f"{type(error).__name__}: {text}"


def _jsonable(values: dict[str, Any]) -> dict[str, Any]:
    return {key: finite_or_none(value) if isinstance(value, float) else value for key, value in values.items()}


def _find_event(line: bytes) -> set[tuple[str, int]]:
    """Name and step of an event that is made from a saved state; steps of training are repeated instead."""
    if line.startswith(b'{"event": "step"'):
        return set()
    try:
        values = json.loads(line)
        return {(values["event"], values["step"])}
    except (ValueError, KeyError, TypeError):
        return set()


def _append(file: Path, line: str) -> None:
    try:
        with file.open("a", encoding="utf-8") as opened:
            opened.write(line + "\n")
    except OSError as error:
        raise TrainingError(
            f"{file}: cannot be written ({error.strerror}); free some space, then continue with --resume"
        ) from error
