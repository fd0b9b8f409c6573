"""The recipe study: which way of training reaches the highest validation PSNR in the same computing time.

    python -m benchmarks.quality --data-folder FOLDER --study ecg --budget-seconds 20 --out benchmarks/results/quality-ecg.json
    python -m benchmarks.quality ... --rows NAME NAME --seeds 3      # only these, and more seeds of them
    python -m benchmarks.quality ... --row NAME --seed 2             # one row once more, printed beside what the file has
    python -m benchmarks.quality ... --print                         # only the tables of what the file has

Rows are those of `quality_rows.py`. Every row is a training run of its own on the train split (`medfuncta_core.learning.train`,
with its recovery from collapses), validated on signals of the val split by plain gradient descent with the preset's fit steps.
Seconds are the process's computing time, validation left out, on one thread, so that other work on the machine disturbs little;
the budget buys the reference row a number of steps, and every other row as many as cost the same: costs are measured against the
reference's, step by step in alternation, before a row runs. A row is stored when it is done; started again, the command goes on
with the rows that are missing, and a row repeated with the same steps and seed gives the same curve bit for bit on one machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.quality_report import report_lines, write_curves
from benchmarks.quality_rows import REFERENCE, STUDIES, Row, Study
from benchmarks.speed import machine
from medfuncta_core.atomic import write_atomically
from medfuncta_core.config import PRESETS, Preset
from medfuncta_core.errors import MedFunctaError, TrainingError
from medfuncta_core.grids import grid_context
from medfuncta_core.learning import Recovery, TrainingRun, TrainStep, Validation, initial_field, learned_field, train, validate
from medfuncta_core.learning.outer_step import MetaLearner
from medfuncta_core.learning.schedule import batch_rows, context_indices, learning_rate
from medfuncta_core.runs.settings import apply_settings
from medfuncta_core.signals import DataSet, load_data_set

CURVE_POINTS = 8  # validations of a run
PHASES = (0.1, 0.5, 0.9)  # of a run, where its steps' costs are measured
NOMINAL_STEPS = 1000  # of a run whose costs are measured
WARM_STEPS = 2

FREE_META = {"outer_lr", "final_lr_ratio", "warmup_steps", "weight_decay", "adam_beta2", "inner_lr", "clip_norm", "skip_ratio"}
FREE_FIELD = {"omega_first", "omega_last"}


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing of a study, or one row, and print the tables."""
    options = parse(arguments)
    torch.set_num_threads(1)
    study = STUDIES[options.study]
    report = read_report(options)
    if not options.print:
        train_set, val = (load_data_set(options.data_folder / study.file, split) for split in ("train", "val"))
        if options.row:
            repeat(study, report, options, train_set, val)
            return
        run_missing(study, report, options, train_set, val)
    if options.html:
        write_curves(report, options.html)
    print("\n".join(report_lines(study, report)))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-folder", type=Path, required=True)
    parser.add_argument("--study", choices=list(STUDIES), default="ecg")
    parser.add_argument("--budget-seconds", type=float, default=120.0, help="computing time of a row")
    parser.add_argument("--seeds", type=int, default=1, help="runs of every row, seeds 0, 1, ...")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="only these rows, in this order")
    parser.add_argument("--row", help="repeat one row and compare it with the file's")
    parser.add_argument("--seed", type=int, default=0, help="of that row")
    parser.add_argument("--out", type=Path, required=True, help="the results, read first when there")
    parser.add_argument("--html", type=Path, help="the curves as a page")
    parser.add_argument("--print", action="store_true", help="run nothing")
    options = parser.parse_args(arguments)
    known = [row.name for row in STUDIES[options.study].rows]
    for name in [*(options.rows or []), *([options.row] if options.row else [])]:
        if name not in known:
            parser.error(f"no row {name!r} in study {options.study}; choose {', '.join(known)}")
    return options


def read_report(options: argparse.Namespace) -> dict[str, Any]:
    """The results so far, or a report without rows."""
    if options.out.exists():
        found = json.loads(options.out.read_text())
        if (found["study"], found["budget_seconds"]) != (options.study, options.budget_seconds):
            raise SystemExit(
                f"{options.out}: holds study {found['study']} at {found['budget_seconds']:g} s; give those, or another file"
            )
        return found
    return {
        "study": options.study,
        "budget_seconds": options.budget_seconds,
        "machine": machine(torch.device("cpu")),
        "reference_steps": None,
        "notes": [],
        "rows": [],
    }


def run_missing(study: Study, report: dict[str, Any], options: argparse.Namespace, train_set: DataSet, val: DataSet) -> None:
    """Every row and seed that the report lacks, all rows with one seed before the next seed, stored one by one."""
    chosen = study.rows if options.rows is None else [study.row(name) for name in options.rows]
    for seed in range(options.seeds):
        for row in chosen:
            if any((done["row"], done["seed"]) == (row.name, seed) for done in report["rows"]):
                continue
            steps, ratio = planned_steps(study, row, report, train_set)
            done = run_row(study, row, steps, seed, train_set, val) | {"cost_ratio": ratio}
            report["rows"].append(done)
            write_atomically(options.out, (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
            print(line(done), file=sys.stderr, flush=True)


def repeat(study: Study, report: dict[str, Any], options: argparse.Namespace, train_set: DataSet, val: DataSet) -> None:
    """One row again, with the steps that the report has for it."""
    row = study.row(options.row)
    before = [done for done in report["rows"] if (done["row"], done["seed"]) == (row.name, options.seed)]
    steps = before[0]["planned_steps"] if before else planned_steps(study, row, report, train_set)[0]
    again = run_row(study, row, steps, options.seed, train_set, val)
    print(line(again))
    for done in before:
        same = [point["psnr"] for point in done["curve"]] == [point["psnr"] for point in again["curve"]]
        print(line(done) + f"   <- as stored; the curves are {'equal' if same else 'not equal'}")


def planned_steps(study: Study, row: Row, report: dict[str, Any], train_set: DataSet) -> tuple[int, float]:
    """Steps of a row that cost what the budget allows, and its steps' mean cost in those of the reference."""
    for done in report["rows"]:
        if done["row"] == row.name:  # other seeds cost the same
            return done["planned_steps"], done["cost_ratio"]
    if report["reference_steps"] is None:
        (seconds,) = step_costs([study.row(REFERENCE)], train_set)
        report["reference_steps"] = max(CURVE_POINTS, round(report["budget_seconds"] / seconds))
    if row.name == REFERENCE:
        return report["reference_steps"], 1.0
    if costs_the_same(row, study.row(REFERENCE)):
        return report["reference_steps"], 1.0
    own, reference = step_costs([row, study.row(REFERENCE)], train_set)
    return max(CURVE_POINTS, round(report["reference_steps"] * reference / own)), own / reference


def costs_the_same(row: Row, reference: Row) -> bool:
    """Whether two recipes differ only in numbers that their steps' cost does not depend on."""
    first, second = (recipe(one, NOMINAL_STEPS, 0) for one in (row, reference))
    free = {"meta": FREE_META, "field": FREE_FIELD}
    return all(
        getattr(first, part).model_dump(exclude=keys) == getattr(second, part).model_dump(exclude=keys)
        for part, keys in free.items()
    )


def step_costs(rows: list[Row], train_set: DataSet) -> list[float]:
    """Mean computing time of a step of each row, in seconds: medians at several phases of a run, the rows in alternation."""
    learners = []
    for row in rows:
        run = make_run(row, recipe(row, NOMINAL_STEPS, 0), train_set, train_set)
        learners.append((run.meta, MetaLearner(initial_field(run), run.meta)))
    means: list[list[float]] = [[] for _ in rows]
    for phase in PHASES:
        seconds: list[list[float]] = [[] for _ in rows]
        for repeat_at in range(2 * WARM_STEPS):
            for at, (meta, learner) in enumerate(learners):
                step = round(phase * meta.steps) + repeat_at
                start = time.process_time()
                context = grid_context(torch.from_numpy(train_set.batch(batch_rows(meta, step, len(train_set)))))
                indices = context_indices(meta, step, meta.batch_size, context.points)
                learner.outer_step(context, indices, step=step, lr=1e-3 * learning_rate(meta, step))
                if repeat_at >= WARM_STEPS:
                    seconds[at].append(time.process_time() - start)
        for at, taken in enumerate(seconds):
            means[at].append(statistics.median(taken))
    return [statistics.fmean(taken) for taken in means]


def recipe(row: Row, steps: int, seed: int) -> Preset:
    """The row's preset and settings for a number of steps; shares of them resolved."""
    settings = [f"meta.steps={steps}", f"meta.seed={seed}"]
    for setting in row.settings:  # later ones win
        key, _, value = setting.partition("=")
        settings.append(f"{key}={round(float(value[1:]) * steps)}" if value.startswith("@") else setting)
    return apply_settings(PRESETS[row.preset], settings)


def make_run(row: Row, preset: Preset, train_set: DataSet, val: DataSet, directory: Path | None = None) -> TrainingRun:
    """The training run of a recipe; on the CPU, fitted by gradient descent."""
    field = preset.field.model_copy(update={"channels": train_set.channels})
    fit = preset.fit.model_copy(update={"method": "gradient_descent"})
    return TrainingRun(field, preset.meta, fit, train_set, val, directory, device="cpu")


def run_row(study: Study, row: Row, steps: int, seed: int, train_set: DataSet, val: DataSet) -> dict[str, Any]:
    """Train one row and measure it; what is stored of it."""
    preset = recipe(row, steps, seed)
    every = {"validate_every": max(1, steps // CURVE_POINTS), "validate_signals": study.curve_signals}
    preset = preset.model_copy(update={"meta": preset.meta.model_copy(update=every)})
    done: dict[str, Any] = {
        "row": row.name, "about": row.about, "preset": row.preset, "settings": list(row.settings), "seed": seed,
        "planned_steps": steps, "batch_size": preset.meta.batch_size, "load_average": os.getloadavg()[0],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        run = make_run(row, preset, train_set, val, Path(directory))
        done |= follow(run)
        try:
            field, progress = learned_field(run)
            final = validate(field, run.fit, val.take(min(study.final_signals, len(val))), step=progress.best_step)
        except MedFunctaError as error:  # never a good state
            return done | {"psnr": None, "best_step": None, "signals": 0, "problem": done["problem"] or str(error)}
    return done | {"psnr": final.psnr, "ssim": final.ssim, "best_step": progress.best_step, "signals": final.n}


def follow(run: TrainingRun) -> dict[str, Any]:
    """Pull a run to its end; its curve over steps taken and computing time, norms and collapses.

    After a collapse it has steps to repeat; it ends when it has taken as many as were planned, whatever they brought.
    """
    curve: list[dict[str, float]] = []
    norms: list[float] = []
    taken, seconds, skipped, collapses, problem = 0, 0.0, 0, 0, None
    events, start = train(run), time.process_time()
    try:
        for event in events:
            now = time.process_time()
            if isinstance(event, TrainStep):
                seconds, taken, skipped = seconds + now - start, taken + 1, skipped + event.skipped
                norms.append(event.gradient_norm)
            elif isinstance(event, Validation):
                curve.append({"step": taken, "seconds": seconds, "psnr": event.psnr})
            elif isinstance(event, Recovery):
                collapses += 1
            if taken >= run.meta.steps and not isinstance(event, TrainStep):
                break
            if taken > run.meta.steps:
                break
            start = time.process_time()
    except TrainingError as error:
        problem = str(error)
    finite = [norm for norm in norms if norm < float("inf")]
    spread = statistics.quantiles(finite, n=10) if len(finite) > 1 else [0.0] * 9
    return {
        "curve": curve,
        "steps": taken,
        "seconds": seconds,
        "gradient_norm": {"median": spread[4], "tenth_highest": spread[8], "highest": max(finite, default=0.0)},
        "skipped": skipped,
        "collapses": collapses,
        "problem": problem,
    }


def line(done: dict[str, Any]) -> str:
    """A row for people."""
    psnr = "  none" if done["psnr"] is None else f"{done['psnr']:6.2f}"
    return (
        f"{done['row']:14} seed {done['seed']}  {psnr} dB  {done['steps']:5} steps  {done['seconds']:6.1f} s  "
        f"norm {done['gradient_norm']['median']:.3g}, highest {done['gradient_norm']['highest']:.3g}  "
        f"skipped {done['skipped']}  collapses {done['collapses']}"
    )


if __name__ == "__main__":
    main()
