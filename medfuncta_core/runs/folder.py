"""The run folder: `config.json`, `metrics.jsonl`, `status.json`, `log.txt`, and `checkpoint/` with state, last and best weights.

Source: DESIGN.md, "Files". Everything but the append-only metrics and log is replaced whole.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from medfuncta_core.checkpoint import save_checkpoint
from medfuncta_core.checkpoint.atomic import write_atomically
from medfuncta_core.config import CheckpointConfig, Config, DataSetInfo, FieldConfig, FitConfig, MetaConfig, Metrics, SignalSpec
from medfuncta_core.errors import TrainingError
from medfuncta_core.learning import Recovery, TrainEvent, TrainingRun, TrainStep, Validation, learned_field, train
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

    def read_config(self) -> RunConfig:
        """Raises TrainingError when this is not a run folder."""
        file = self.path / "config.json"
        try:
            return RunConfig.parse(json.loads(file.read_text()), str(file))
        except FileNotFoundError:
            raise TrainingError(f"{self.path}: is not a run (no config.json); start one with train --out {self.path}") from None
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
        write_atomically(self.path / "status.json", json.dumps(status, indent=2).encode())

    def append(self, event: TrainEvent) -> None:
        """One line of `metrics.jsonl`; a resumed run repeats the steps after its last checkpoint, and the later line counts."""
        line = {"event": _EVENT_NAMES[type(event)], **asdict(event), "time": time.time()}
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def log(self, text: str) -> None:
        """One line of `log.txt`, and of the library's log."""
        logger.info(text)
        with (self.path / "log.txt").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


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
        resume: Continue from the last saved state.
        device: auto, cpu or cuda.

    Yields:
        The events of `learning.train`, after they are on the disk.

    Raises:
        TrainingError: when the folder already holds a run, there is nothing to resume, or training collapsed for good.
    """
    if resume:
        config = folder.read_config()
    else:
        folder.create(config)
    run = TrainingRun(config.field, config.meta, config.fit, train_set, val_set, folder.checkpoint, device)
    folder.log(f"{'resumed' if resume else 'started'}: {config.name}, {config.meta.steps} steps on {train_set.name}")
    state: RunState = "interrupted"
    status: dict[str, Any] = {"step": 0, "steps": config.meta.steps}
    written = 0.0
    try:
        for event in train(run, resume=resume):
            folder.append(event)
            status["step"] = event.step
            if isinstance(event, Validation):
                status |= {"psnr": event.psnr, "ssim": event.ssim}
                _export(folder, run, config, event)
                best = ", best" if event.best else ""
                folder.log(f"step {event.step}: validation PSNR {event.psnr:.2f} dB, SSIM {event.ssim:.4f}{best}")
            elif isinstance(event, Recovery):
                restored = f"back to step {event.restored_step} at {event.lr_factor:g} of the learning rate"
                folder.log(f"step {event.step}: {event.reason}; {restored}")
            if time.monotonic() - written > STATUS_SECONDS:
                folder.write_status("running", **status)
                written = time.monotonic()
            yield event
        state = "finished"
    except TrainingError as error:
        state = "failed"
        status["error"] = str(error)
        raise
    finally:
        folder.write_status(state, **status)
        folder.log(state)


def _export(folder: RunFolder, run: TrainingRun, config: RunConfig, event: Validation) -> None:
    """Checkpoints that anybody can load: the last weights, and the best ones when they are new."""
    metrics = Metrics(split="val", n=event.n, fit_steps=event.fit_steps, mse=event.mse, psnr=event.psnr, ssim=event.ssim)
    for name, best in (("last", False), ("best", True)):
        if event.best or not best or not (folder.checkpoint / name).exists():
            field, progress = learned_field(run, best=best)
            step = progress.best_step if best else progress.step
            save_checkpoint(
                folder.checkpoint / name, field, config.checkpoint_config(step, (metrics,) if step == event.step else ())
            )
