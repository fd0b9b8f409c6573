"""Sweeps: many queued runs that differ in one or two settings, described by one small file beside them.

A sweep has no process of its own. Its file says which runs it wants; those that are missing are launched, those that ended
early are resumed, and its results are read from whatever its runs have measured.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from medfuncta_core.atomic import write_atomically
from medfuncta_core.config import PRESETS, Config
from medfuncta_core.errors import ConfigError, MedFunctaError, TrainingError
from medfuncta_core.runs.queueing import wake_queue
from medfuncta_core.runs.request import RunRequest
from medfuncta_core.runs.store import RunView, delete_run, enqueue, list_runs, prepare_run, resume, stop
from medfuncta_core.runs.sweep_kinds import ABLATIONS, Budget, Cell, SweepKind, budget_steps, make_cells, suggest_preset
from medfuncta_core.signals import load_data_set

FOLDER = "sweeps"
VALIDATIONS = 4  # of every run


class SweepConfig(Config):
    """A sweep's file: what its runs share, and the runs."""

    format_version: Literal[1] = 1
    name: str
    kind: SweepKind
    preset: str
    data: str
    steps: int = Field(ge=1, description="Outer steps of every run.")
    settings: tuple[str, ...] = Field(default=(), description="Changes to the preset in all runs, key=value.")
    shape: tuple[int, ...] | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cells: tuple[Cell, ...]
    created: float = Field(default=0.0, description="When it was started, in Unix seconds.")

    def request(self, cell: Cell) -> RunRequest:
        """The run of a cell. Its own settings come last, so that they win."""
        every = max(1, self.steps // VALIDATIONS)
        warm = min(PRESETS[self.preset].meta.warmup_steps, self.steps // 10)
        shared = (f"meta.steps={self.steps}", f"meta.validate_every={every}", f"meta.warmup_steps={warm}")
        return RunRequest(
            preset=self.preset,
            data=self.data,
            settings=(*shared, *self.settings, *cell.settings),
            shape=self.shape,
            name=f"{self.name}-{cell.name}",
            device=self.device,
            sweep=self.name,
        )


@dataclass(frozen=True)
class SweepView:
    """A sweep as it is at this moment.

    Args:
        config: Its file.
        runs: The run of every cell, in their order; None for one that was not launched yet, or was deleted.
    """

    config: SweepConfig
    runs: tuple[RunView | None, ...]

    @property
    def finished(self) -> int:
        """Runs that are done."""
        return sum(run is not None and run.status.state == "finished" for run in self.runs)

    @property
    def active(self) -> bool:
        """Whether a run of it waits or trains."""
        return any(run is not None and (run.status.live or run.status.state == "queued") for run in self.runs)

    @property
    def resumable(self) -> bool:
        """Whether a run is missing, or ended before its last step."""
        return any(run is None or "resume" in run.status.actions for run in self.runs)

    @property
    def steps_done(self) -> int:
        """Outer steps of all runs."""
        return sum(run.status.step for run in self.runs if run is not None)


def plan_sweep(kind: SweepKind, data: str, budget: Budget, preset: str | None = None) -> tuple[str, int]:
    """Preset and outer steps of every run that a budget means for some data.

    Args:
        kind: Which ablation.
        data: Data set with train and val; opened only where the preset depends on it.
        budget: small (an hour at most on two CPU cores), medium (eight times that) or paper.
        preset: To start from; the budget's for the data's kind when None.

    Raises:
        MedFunctaError: when the data cannot be opened, or there is no such preset.
    """
    if preset is None:
        preset = suggest_preset(load_data_set(data, "train", limit=1).shape, budget)
    if preset not in PRESETS:
        raise ConfigError(f"no preset {preset!r}; choose {', '.join(PRESETS)}")
    return preset, budget_steps(kind, preset, budget)


def start_sweep(
    root: Path,
    kind: SweepKind,
    *,
    preset: str,
    data: str,
    steps: int,
    settings: Sequence[str] = (),
    shape: tuple[int, ...] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    axes: dict[str, tuple[float, ...]] | None = None,
    name: str = "",
) -> str:
    """Put the runs of an ablation into the queue.

    Args:
        root: Folder of all runs.
        kind: Which ablation.
        preset: What all runs start from.
        data: Data set with train and val.
        steps: Outer steps of every run.
        settings: Changes to the preset in all runs, key=value.
        shape: Points per axis to train on; the preset's when None.
        device: auto, cpu or cuda.
        axes: Other values than the paper's, by axis.
        name: Of the sweep; made from its kind when empty.

    Returns:
        The sweep's name.

    Raises:
        MedFunctaError: when settings are wrong, or the folder cannot be written.
    """
    asked = RunRequest(preset=preset, data=data, settings=tuple(settings), shape=shape)
    cells = make_cells(kind, asked.resolve(), axes)
    place = Path(data).expanduser()
    config = SweepConfig(
        name=_free_name(root, name or f"{kind}-{preset}"),
        kind=kind,
        preset=preset,
        data=str(place.resolve()) if place.exists() else data,
        steps=steps,
        settings=tuple(settings),
        shape=shape,
        device=device,
        cells=cells,
        created=time.time(),
    )
    for cell in cells:
        config.request(cell).resolve()  # a wrong setting stops here, not after half of the runs
    write_atomically(_file(root, config.name), config.model_dump_json(indent=2).encode(), TrainingError)
    continue_sweep(root, config.name)
    return config.name


def continue_sweep(root: Path, name: str) -> int:
    """Launch the runs that are missing, and resume those that ended early.

    Returns:
        How many were put into the queue.
    """
    sweep, queued = read_sweep(root, name), 0
    for cell, run in zip(sweep.config.cells, sweep.runs, strict=True):
        if run is None:
            enqueue(root, prepare_run(root, sweep.config.request(cell)), wake=False)
        elif run.status.state == "paused" or "resume" in run.status.actions:
            resume(root, run.id)
        else:
            continue
        queued += 1
    wake_queue(root)
    return queued


def stop_sweep(root: Path, name: str) -> None:
    """End its runs after their current steps, those that wait first; `continue_sweep` goes on."""
    runs = [run for run in read_sweep(root, name).runs if run is not None]
    for run in sorted(runs, key=lambda run: run.status.live):
        if run.status.live or run.status.state == "queued":
            with suppress(TrainingError):  # it ended this very moment
                stop(root, run.id)


def delete_sweep(root: Path, name: str, *, runs: bool) -> None:
    """Forget a sweep.

    Args:
        root: Folder of all runs.
        name: Of the sweep.
        runs: Delete its runs as well; off, they stay as ordinary runs.

    Raises:
        TrainingError: when one of its runs is training and would have to go.
    """
    sweep = read_sweep(root, name)
    if runs and sweep.active:
        raise TrainingError(f"{name}: its runs are waiting or training; stop the sweep first")
    if runs:
        for run in sweep.runs:
            if run is not None:
                delete_run(root, run.id)
    _file(root, name).unlink(missing_ok=True)


def read_sweep(root: Path, name: str, runs: Sequence[RunView] | None = None) -> SweepView:
    """A sweep with its runs.

    Args:
        root: Folder of all runs.
        name: Of the sweep.
        runs: From `list_runs`, when they were read already.

    Raises:
        TrainingError: when there is none of this name, or its file cannot be read.
    """
    file = _file(root, name)
    try:
        config = SweepConfig.parse(json.loads(file.read_text()), str(file))
    except FileNotFoundError:
        raise TrainingError(f"{name}: no such sweep in {root}; sweep list shows those there are") from None
    except (OSError, ValueError, ConfigError) as error:
        raise TrainingError(f"{file}: cannot be read as a sweep; delete it and start the sweep again") from error
    found = {
        run.request.name: run
        for run in (list_runs(root) if runs is None else runs)
        if run.request is not None and run.request.sweep == name
    }
    return SweepView(config, tuple(found.get(f"{name}-{cell.name}") for cell in config.cells))


def list_sweeps(root: Path) -> list[SweepView]:
    """All sweeps, the newest first; files that cannot be read are left out."""
    runs, found = list_runs(root), []
    for file in (root / FOLDER).glob("[!.]*.json"):
        with suppress(MedFunctaError):
            found.append(read_sweep(root, file.stem, runs))
    return sorted(found, key=lambda sweep: sweep.config.created, reverse=True)


def sweep_title(config: SweepConfig) -> str:
    """What a sweep is, for people."""
    ablation = ABLATIONS[config.kind]
    return f"{ablation.title} ({ablation.source})"


def _file(root: Path, name: str) -> Path:
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise TrainingError(f"{name!r}: no sweep has such a name; sweep list shows those there are")
    return root / FOLDER / f"{name}.json"


def _free_name(root: Path, wanted: str) -> str:
    slug = re.sub(r"[^\w.-]+", "-", wanted.strip()).strip("-.")[:40] or "sweep"
    number = 1
    while _file(root, name := slug if number == 1 else f"{slug}-{number}").exists():
        number += 1
    return name
