"""The run folder: `config.json`, `status.json`, `metrics.jsonl`, `log.txt`, `samples/`, `checkpoint/`, and what was asked for.

Source: DESIGN.md, "Files". Everything but the append-only metrics and logs is replaced whole.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medfuncta_core.atomic import write_atomically
from medfuncta_core.config import CheckpointConfig, Config, DataSetInfo, FieldConfig, FitConfig, MetaConfig, Metrics, SignalSpec
from medfuncta_core.errors import TrainingError
from medfuncta_core.runs.processes import locked

if TYPE_CHECKING:  # torch is for those who train
    from medfuncta_core.learning import TrainEvent
    from medfuncta_core.learning.state import Progress

logger = logging.getLogger(__name__)

CLAIM_SECONDS = 10.0  # a rank that was killed may still be dying when the next one starts


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
    def status(self) -> Path:
        """How the run is; `status.read_status` also knows whether that is still true."""
        return self.path / "status.json"

    @property
    def output(self) -> Path:
        """What a launched run's process printed: for errors that reached nobody else."""
        return self.path / "output.txt"

    @property
    def start(self) -> Path | None:
        """The checkpoint whose weights a forked run began with."""
        return self.path / "start" if (self.path / "start" / "config.json").exists() else None

    @property
    def opened(self) -> bool:
        """Whether it has its configuration; a launched run has none until its data was opened."""
        return (self.path / "config.json").exists()

    @property
    def begun(self) -> bool:
        """Whether a state was ever saved; a run that was stopped before that starts at step 0."""
        return any((self.checkpoint / name).exists() for name in ("state.safetensors", "last", "best"))

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
        if self.opened:
            raise TrainingError(f"{self.path}: already holds a run; continue it with --resume, or choose another folder")
        write_atomically(self.path / "config.json", config.model_dump_json(indent=2).encode())

    @contextmanager
    def claim(self, seconds: float = CLAIM_SECONDS) -> Iterator[None]:
        """Be the one process that writes this run; what killed ones left half-written is cleared away.

        Args:
            seconds: How long to wait for it.

        Raises:
            TrainingError: when another process has it.
        """
        deadline = time.monotonic() + seconds
        while True:
            with locked(self.path / ".lock") as ours:
                if ours:
                    for litter in self.path.rglob(".*.tmp"):
                        with suppress(OSError):
                            litter.unlink()
                    yield
                    return
            if time.monotonic() > deadline:
                raise TrainingError(f"{self.path}: another process trains this run already; stop it first, or wait")
            time.sleep(0.1)

    def append(self, event: TrainEvent, **more: Any) -> None:
        """One line of `metrics.jsonl`; a resumed run repeats the steps after its last checkpoint, and the later line counts.

        Numbers that are not finite, such as the loss that made training collapse, are null.

        Args:
            event: What happened.
            more: Further columns of the line.

        Raises:
            TrainingError: when the file cannot be written, as for `log`.
        """
        line = {"event": event_name(event), **asdict(event), **more, "time": time.time()}
        append_line(self.metrics, json.dumps(finite(line), allow_nan=False))

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
            if event is not None and (event_name(event), event.step) not in known:
                self.append(event)

    def log(self, text: str) -> None:
        """One line of `log.txt`, and of the library's log."""
        logger.info(text)
        append_line(self.path / "log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")


def event_name(event: TrainEvent) -> str:
    """What a line of `metrics.jsonl` calls an event."""
    return {"TrainStep": "step", "Validation": "validation", "Recovery": "recovery"}[type(event).__name__]


def finite(values: dict[str, Any]) -> dict[str, Any]:
    """For strict JSON: null where a number is not finite."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()}


def append_line(file: Path, line: str) -> None:
    """A line at the end of a file that is only ever added to.

    Raises:
        TrainingError: when it cannot be written.
    """
    try:
        with file.open("a", encoding="utf-8") as opened:
            opened.write(line + "\n")
    except OSError as error:
        raise TrainingError(
            f"{file}: cannot be written ({error.strerror}); free some space, then continue with --resume"
        ) from error


def _find_event(line: bytes) -> set[tuple[str, int]]:
    """Name and step of an event that is made from a saved state; steps of training are repeated instead."""
    if line.startswith(b'{"event": "step"'):
        return set()
    try:
        values = json.loads(line)
        return {(values["event"], values["step"])}
    except (ValueError, KeyError, TypeError):
        return set()
