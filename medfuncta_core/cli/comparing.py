"""`runs compare` and `runs fork`: runs side by side, and new ones from old ones."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from medfuncta_core.cli.app import JsonOption, emit, format_metric
from medfuncta_core.cli.runs import RUNS, RootOption, RunArgument, runs_app


class Weights(StrEnum):
    """What a forked run starts from."""

    best = "best"
    last = "last"
    none = "none"


@runs_app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Names of runs, ten at most.", metavar="RUN...")],
    root: RootOption = RUNS,
    curves: Annotated[bool, typer.Option("--curves", help="With every validation: step, training seconds, PSNR, SSIM.")] = False,
    as_json: JsonOption = False,
) -> None:
    """What runs reached, side by side, and which of their settings differ."""
    from medfuncta_core.runs.comparing import differing_settings, require_comparable, summarise
    from medfuncta_core.runs.curves import Curves, read_curves
    from medfuncta_core.runs.store import read_run

    require_comparable(runs)
    found = [read_run(root, name) for name in dict.fromkeys(runs)]
    measured: list[Curves] = [read_curves(run.path) for run in found]
    rows = [summarise(run, each) for run, each in zip(found, measured, strict=True)]
    if curves:
        rows = [row | {"validations": _validations(each)} for row, each in zip(rows, measured, strict=True)]
    differing = differing_settings(found)
    lines = [f"{'run':<28} {'state':<12} {'step':>15} {'PSNR dB':>8} {'SSIM':>7} {'s/100 steps':>12} {'training s':>11}"]
    lines += [_row(row) for row in rows]
    if curves:
        lines += [_curve_line(str(row["run"]), point) for row in rows for point in row["validations"]]
    lines += ["", "settings that differ" if differing else "no setting differs"]
    lines += [f"  {name}: {' | '.join(str(value) for value in values)}" for name, values in differing.items()]
    differences = {name: dict(zip((run.id for run in found), values, strict=True)) for name, values in differing.items()}
    emit({"runs": rows, "differing": differences}, as_json, lines)


@runs_app.command()
def fork(
    run: RunArgument,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: meta.steps=2000, ...")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the new run.")] = "",
    weights: Annotated[Weights, typer.Option("--weights", help="What the new run starts from.")] = Weights.best,
    root: RootOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """A new run with a run's settings, some of them changed."""
    from medfuncta_core.runs.store import fork as fork_run

    start = None if weights == Weights.none else str(weights)
    new = fork_run(root, run, settings or (), new_name=name, weights=start)
    emit({"run": new, "parent": run}, as_json, [f"{new} waits in the queue, forked from {run}"])


def _validations(curves: Any) -> list[dict[str, Any]]:
    return [
        {"step": point.step, "training_seconds": point.seconds} | {key: point.values.get(key) for key in ("psnr", "ssim", "mse")}
        for point in curves.validations
    ]


def _row(row: dict[str, Any]) -> str:
    steps, psnr, ssim = f"{row['step']:,}/{row['steps']:,}", format_metric(row["psnr"]), format_metric(row["ssim"])
    pace = format_metric(row["seconds_per_100_steps"])
    return f"{row['run']:<28} {row['state']:<12} {steps:>15} {psnr:>8} {ssim:>7} {pace:>12} {row['training_seconds']:>11.1f}"


def _curve_line(run: str, point: dict[str, Any]) -> str:
    quality = f"PSNR {format_metric(point['psnr'])} dB, SSIM {format_metric(point['ssim'])}"
    return f"{run}: step {point['step']:,}, {point['training_seconds']:.1f} s: {quality}"
