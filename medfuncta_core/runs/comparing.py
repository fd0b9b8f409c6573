"""Runs side by side: what each reached, and which of their settings differ."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from medfuncta_core.errors import TrainingError
from medfuncta_core.runs.curves import Curves
from medfuncta_core.runs.store import RunView

MOST_RUNS = 10  # more lines in one picture cannot be told apart


def differing_settings(runs: Sequence[RunView]) -> dict[str, tuple[Any, ...]]:
    """Settings that are not the same in all runs: name to one value a run; None where a run has no such setting.

    What a run was asked for beside them (preset, data, shape, device, run it was forked from) counts as a setting.
    """
    columns = [_asked(run) | run.settings for run in runs]
    names = list(dict.fromkeys(name for column in columns for name in column))
    values = {name: tuple(column.get(name) for column in columns) for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def summarise(run: RunView, curves: Curves) -> dict[str, Any]:
    """What a run reached, as JSON holds it; quality is that of its best validation."""
    best, status = curves.best, run.status
    return {
        "run": run.id,
        "state": status.state,
        "step": status.step,
        "steps": status.steps,
        "psnr": None if best is None else best.values["psnr"],
        "ssim": None if best is None else best.values["ssim"],
        "best_step": None if best is None else best.step,
        "lpips": status.lpips,
        "training_seconds": curves.seconds,
        "seconds_per_100_steps": curves.seconds_per_100_steps,
        "cpu_seconds_per_100_steps": curves.cpu_seconds_per_100_steps,
        "memory_bytes": status.memory_bytes,
        "device": status.device,
        "collapses": len(curves.recoveries),
    }


def require_comparable(runs: Sequence[str]) -> None:
    """Raises TrainingError for more runs than a picture can hold."""
    if len(runs) > MOST_RUNS:
        raise TrainingError(f"{len(runs)} runs: {MOST_RUNS} at most can be laid over each other; choose fewer")


def comparison_csv(runs: Sequence[RunView], curves: Sequence[Curves]) -> str:
    """Validations of several runs in one long table: run, step, training_seconds, psnr, ssim, mse."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("run", "step", "training_seconds", "psnr", "ssim", "mse"))
    for run, found in zip(runs, curves, strict=True):
        for point in found.validations:
            measured = [point.values.get(key) for key in ("psnr", "ssim", "mse")]
            writer.writerow((run.id, point.step, f"{point.seconds:.3f}", *measured))
    return buffer.getvalue()


def _asked(run: RunView) -> dict[str, Any]:
    if run.request is None:
        return {}
    asked = run.request.model_dump(mode="json", include={"preset", "data", "shape", "device", "processes", "parent"})
    return {name: "x".join(map(str, value)) if isinstance(value, list) else value for name, value in asked.items()}
