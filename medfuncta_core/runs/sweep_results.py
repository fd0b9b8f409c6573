"""What a sweep found: one row a run, as a table, as JSON, and back, so that a kept result is shown like a fresh one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from medfuncta_core.config import Config
from medfuncta_core.errors import ConfigError, TrainingError
from medfuncta_core.runs.comparing import summarise
from medfuncta_core.runs.curves import Curves, read_curves
from medfuncta_core.runs.store import RunView
from medfuncta_core.runs.sweep_kinds import ABLATIONS, SweepKind
from medfuncta_core.runs.sweeps import SweepView

MEASURES = ("psnr", "ssim", "lpips", "memory_bytes", "seconds_per_100_steps", "cpu_seconds_per_100_steps")


class SweepRow(Config):
    """One run: its place on the axes and what it reached. Quality is that of its best validation; None: not measured (yet)."""

    run: str | None = None
    place: Mapping[str, float | str]
    state: str = "missing"
    step: int = 0
    steps: int = 0
    psnr: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    memory_bytes: int | None = Field(default=None, description="Most that the process held, on the device where that is a GPU.")
    device: str = ""
    seconds_per_100_steps: float | None = Field(default=None, description="Median, validations left out.")
    cpu_seconds_per_100_steps: float | None = Field(default=None, description="The same in processor time of all threads.")
    collapses: int = 0

    @property
    def collapsed(self) -> bool:
        """Whether training broke down on the way: such a run says little about its settings."""
        return self.collapses > 0 or self.state == "failed"


class SweepResult(Config):
    """All rows of a sweep, with what they share; `benchmarks/results/` keeps such objects."""

    name: str
    kind: SweepKind
    preset: str
    data: str
    steps: int
    settings: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = None
    rows: tuple[SweepRow, ...]
    command: str = Field(default="", description="What measures it again.")
    machine: dict[str, Any] | None = Field(default=None, description="Where and when it was measured.")

    @property
    def axes(self) -> dict[str, tuple[float | str, ...]]:
        """Name of each axis to the values that runs have on it, in order."""
        names = list(self.rows[0].place) if self.rows else list(ABLATIONS[self.kind].axes)
        found = {name: dict.fromkeys(row.place[name] for row in self.rows) for name in names}
        return {name: tuple(values) for name, values in found.items()}

    def grid(self, measure: str) -> list[list[float | None]]:
        """A measure over two axes: a row for each value of the second, a column for each of the first."""
        (across, columns), (upwards, lines) = self.axes.items()
        by_place = {(row.place[across], row.place[upwards]): getattr(row, measure) for row in self.rows}
        return [[by_place.get((column, line)) for column in columns] for line in lines]

    def outliers(self) -> tuple[tuple[int, int], ...]:
        """(line, column) in `grid` of the runs that collapsed."""
        (across, columns), (upwards, lines) = self.axes.items()
        return tuple((lines.index(row.place[upwards]), columns.index(row.place[across])) for row in self.rows if row.collapsed)

    def column(self, measure: str) -> list[float | None]:
        """A measure of every run, in order."""
        return [getattr(row, measure) for row in self.rows]

    @property
    def measured(self) -> bool:
        """Whether there is anything to show."""
        return any(row.psnr is not None for row in self.rows)


@dataclass(frozen=True)
class Highlight:
    """A sweep's best run."""

    row: SweepRow
    words: str


def collect(sweep: SweepView, read: Callable[[Path], Curves] = read_curves) -> SweepResult:
    """What the runs of a sweep measured until now.

    Args:
        sweep: From `read_sweep`.
        read: How a run's curves are read.
    """
    config = sweep.config
    rows = [_row(cell.place, run, config.steps, read) for cell, run in zip(config.cells, sweep.runs, strict=True)]
    shared = config.model_dump(include={"name", "kind", "preset", "data", "steps", "settings", "shape"})
    return SweepResult.parse(shared | {"rows": [row.model_dump() for row in rows]}, config.name)


def read_result(file: Path) -> SweepResult:
    """A kept result.

    Raises:
        TrainingError: when it cannot be read.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return SweepResult.parse({key: values[key] for key in SweepResult.model_fields if key in values}, str(file))
    except (OSError, ValueError, TypeError, ConfigError) as error:
        raise TrainingError(f"{file}: cannot be read as the result of a sweep; measure it again") from error


def best_row(result: SweepResult) -> Highlight | None:
    """The run with the highest PSNR among those that did not collapse, in words."""
    known = [row for row in result.rows if row.psnr is not None and not row.collapsed]
    best = max(known, key=lambda row: row.psnr or 0.0, default=None)
    if best is None:
        return None
    place = ", ".join(f"{name} = {value:g}" if isinstance(value, float | int) else value for name, value in best.place.items())
    return Highlight(best, f"{place}: {best.psnr:.2f} dB")


def table_lines(result: SweepResult) -> list[str]:
    """The rows for a terminal."""
    heads = [*result.axes, "PSNR dB", "SSIM", "LPIPS", "memory MiB", "s / 100 steps", "CPU s / 100", "state"]
    rows = [[*(_word(row.place[name]) for name in result.axes), *_measured(row)] for row in result.rows]
    widths = [max(len(line[k]) for line in (heads, *rows)) for k in range(len(heads))]
    return ["  ".join(part.rjust(width) for part, width in zip(line, widths, strict=True)) for line in (heads, *rows)]


def result_csv(result: SweepResult) -> str:
    """The rows for a spreadsheet."""
    buffer = io.StringIO()
    measures = ("run", "state", "step", "steps", *MEASURES, "collapses")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*result.axes, *measures])
    for row in result.rows:
        writer.writerow([*(row.place[name] for name in result.axes), *(getattr(row, name) for name in measures)])
    return buffer.getvalue()


def _row(place: Mapping[str, float | str], run: RunView | None, steps: int, read: Callable[[Path], Curves]) -> SweepRow:
    if run is None:
        return SweepRow(place=place, steps=steps)
    reached = summarise(run, read(run.path)) | {"steps": steps}
    return SweepRow.parse({key: reached[key] for key in SweepRow.model_fields if key in reached} | {"place": place}, run.id)


def _measured(row: SweepRow) -> Sequence[str]:
    memory = None if row.memory_bytes is None else row.memory_bytes / 2**20
    numbers = ((row.psnr, ".2f"), (row.ssim, ".4f"), (row.lpips, ".4f"), (memory, ",.0f"), (row.seconds_per_100_steps, ".1f"))
    numbers = (*numbers, (row.cpu_seconds_per_100_steps, ".1f"))
    state = f"{row.state}, collapsed" if row.collapsed and row.state != "failed" else row.state
    return [*("-" if value is None else format(value, form) for value, form in numbers), state]


def _word(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
