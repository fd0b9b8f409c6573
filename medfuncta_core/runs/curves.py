"""Curves of a run, read from `metrics.jsonl` while it grows: every look reads only what is new."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WARM_SHARE = 0.02  # of the steps, left out of the pace: the paper's 2k of 100k
COLUMNS: tuple[str, ...] = (
    "event",
    "step",
    "training_seconds",
    "loss",
    "psnr",
    "ssim",
    "mse",
    "lr",
    "gradient_norm",
    "skipped",
    "reason",
)


@dataclass(frozen=True)
class Point:
    """One event of a run.

    Args:
        event: step, validation or recovery.
        step: Outer steps done.
        seconds: Of training up to here, in seconds: time that the run was stopped or paused does not count.
        values: The line itself.
    """

    event: str
    step: int
    seconds: float
    values: Mapping[str, Any]

    def number(self, key: str) -> float:
        """A column, NaN where it is missing or was not finite."""
        value = self.values.get(key)
        return math.nan if value is None else float(value)


@dataclass(frozen=True)
class Curves:
    """What a run measured so far, in the order of its steps; steps that a resume repeated count once, the later line.

    Args:
        steps: Of training.
        validations: On the fixed validation signals.
        recoveries: Returns to an earlier state after a collapse; the points stay, since they happened.
    """

    steps: tuple[Point, ...] = ()
    validations: tuple[Point, ...] = ()
    recoveries: tuple[Point, ...] = ()

    @property
    def seconds(self) -> float:
        """Training time so far."""
        return max((part[-1].seconds for part in (self.steps, self.validations) if part), default=0.0)

    @property
    def seconds_per_100_steps(self) -> float | None:
        """Median time of 100 outer steps, the first ones left out; None before there are any."""
        return self._median_of_100("seconds")

    @property
    def cpu_seconds_per_100_steps(self) -> float | None:
        """The same in processor time of all threads: what else the machine does hardly changes it."""
        return self._median_of_100("cpu_seconds")

    def _median_of_100(self, key: str) -> float | None:
        warm = [point.number(key) for point in self.steps[math.ceil(WARM_SHARE * len(self.steps)) :]]
        known = [seconds for seconds in warm if math.isfinite(seconds)]
        return 100 * statistics.median(known) if known else None

    @property
    def best(self) -> Point | None:
        """The validation with the highest PSNR."""
        known = [point for point in self.validations if math.isfinite(point.number("psnr"))]
        return max(known, key=lambda point: point.number("psnr"), default=None)


@dataclass
class CurveReader:
    """Reads a run's events as they are added; safe to share between threads.

    Args:
        run: The run's folder.
    """

    run: Path
    _offset: int = field(default=0, init=False)
    _events: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict, init=False)
    _curves: Curves = field(default_factory=Curves, init=False)
    _identity: tuple[int, int] = field(default=(0, 0), init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def read(self) -> Curves:
        """The curves as they are now; a line that is still being written waits for the next look."""
        with self._lock:
            if self._take_new_lines():
                self._curves = _order(self._events)
            return self._curves

    def _take_new_lines(self) -> bool:
        file = self.run / "metrics.jsonl"
        try:
            with file.open("rb") as opened:
                about = file.stat()
                if (about.st_dev, about.st_ino) != self._identity or about.st_size < self._offset:  # another run, or mended
                    self._identity, self._offset, self._events = (about.st_dev, about.st_ino), 0, {}
                opened.seek(self._offset)
                content = opened.read()
        except OSError:
            return False
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                values = json.loads(line)
                key = (str(values["event"]), int(values["step"]))
            except (ValueError, KeyError, TypeError):
                continue
            self._events.pop(key, None)  # a repeated step stands where it was repeated
            self._events[key] = values
        return bool(whole)


def read_curves(run: Path) -> Curves:
    """The curves of a run's folder as they are now; empty ones where nothing was measured yet."""
    return CurveReader(run).read()


def _order(events: Mapping[tuple[str, int], Mapping[str, Any]]) -> Curves:
    found: dict[str, list[Point]] = {"step": [], "validation": [], "recovery": []}
    seconds = 0.0
    rank = {"step": 0, "validation": 1, "recovery": 2}
    for (event, step), values in sorted(events.items(), key=lambda item: (item[0][1], rank.get(item[0][0], 3))):
        if event in found:
            seconds += float(values.get("seconds") or 0.0)
            found[event].append(Point(event, step, seconds, values))
    return Curves(*(tuple(found[event]) for event in ("step", "validation", "recovery")))


def thin(points: Sequence[Point], most: int, keys: Sequence[str]) -> dict[str, list[float]]:
    """Few enough points to draw: means over neighbouring ones, so that a noisy curve keeps its course.

    Args:
        points: In order.
        most: At most so many come back.
        keys: Columns wanted beside `step` and `training_seconds`.

    Returns:
        The columns, of equal length. A mean leaves out what is not finite, and is NaN where nothing is.
    """
    stride = max(1, math.ceil(len(points) / most))
    groups = [points[start : start + stride] for start in range(0, len(points), stride)]
    columns = {"step": [float(group[-1].step) for group in groups]}
    columns["training_seconds"] = [group[-1].seconds for group in groups]
    for key in keys:
        columns[key] = [_mean([point.number(key) for point in group]) for group in groups]
    return columns


def curves_csv(curves: Curves) -> str:
    """All events of a run as a table for a spreadsheet, in the order of their steps."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    points = [*curves.steps, *curves.validations, *curves.recoveries]
    for point in sorted(points, key=lambda point: (point.step, point.seconds)):
        values = {**point.values, "training_seconds": f"{point.seconds:.3f}"}
        writer.writerow([values.get(column) for column in COLUMNS])
    return buffer.getvalue()


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return statistics.fmean(known) if known else math.nan
