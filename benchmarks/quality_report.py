"""The recipe study's tables and curves."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

from benchmarks.quality_rows import PAPER_SMALL, REFERENCE, Study
from medfuncta_core.atomic import write_atomically
from medfuncta_core.figures.training import Line, overlaid_curves


def report_lines(study: Study, report: dict[str, Any]) -> list[str]:
    """Everything in Markdown: rows by mean final PSNR, then how many steps reach the paper's recipe's final PSNR."""
    names = [row.name for row in study.rows if any(done["row"] == row.name for done in report["rows"])]
    runs = {name: [done for done in report["rows"] if done["row"] == name] for name in names}
    ends = [max(point["psnr"] for point in done["curve"]) for done in runs.get(PAPER_SMALL, []) if done["curve"]]
    target = statistics.fmean(ends) if ends else None
    lines = [
        f"Study {report['study']}: {report['budget_seconds']:g} s of computing time a row on one thread, val split, plain fits.",
        "",
        "| row | what | seeds | PSNR (dB) | steps | batch | s | to the paper's | norm (median, highest) | skipped | collapses |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [table_row(runs[name], target) for name in sorted(names, key=lambda name: -(final_mean(runs[name]) or -math.inf))]
    reference = {done["seed"]: done["psnr"] for done in runs.get(REFERENCE, []) if done["psnr"] is not None}
    finalists = [name for name in names if name != REFERENCE and len(runs[name]) > 1]
    if finalists and reference:
        lines += ["", f"Against `{REFERENCE}`, seed by seed:"]
        lines += [against(name, runs[name], reference) for name in finalists]
    if target is not None:
        lines += [
            "",
            f"The paper's recipe ended at {target:.2f} dB on the curve's signals; `to the paper's` counts the steps until then.",
        ]
    lines += [line for note in report.get("notes", []) for line in ("", note)]
    return lines


def final_mean(runs: list[dict[str, Any]]) -> float | None:
    """Mean final PSNR over the seeds; None when one of them has none."""
    found = [done["psnr"] for done in runs]
    return statistics.fmean(found) if found and None not in found else None


def steps_to(done: dict[str, Any], target: float) -> int | None:
    """Steps until a run's curve first reaches a PSNR; an upper bound, the curve has few points."""
    return next((point["step"] for point in done["curve"] if point["psnr"] >= target), None)


def table_row(runs: list[dict[str, Any]], target: float | None) -> str:
    """One row of the main table."""
    first, mean = runs[0], final_mean(runs)
    found = [done["psnr"] for done in runs if done["psnr"] is not None]
    psnr = "none" if mean is None else f"{mean:.2f}" + (f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else "")
    reached = [steps_to(done, target) for done in runs] if target is not None else []
    to_paper = "" if not reached else "never" if None in reached else f"<= {max(filter(None, reached)):,}"
    norms = [done["gradient_norm"] for done in runs]
    return (
        f"| `{first['row']}` | {first['about']} | {len(runs)} | {psnr} | {first['steps']:,} | {first['batch_size']} "
        f"| {statistics.fmean(done['seconds'] for done in runs):.0f} | {to_paper} "
        f"| {statistics.median(norm['median'] for norm in norms):.2g}, {max(norm['highest'] for norm in norms):.2g} "
        f"| {sum(done['skipped'] for done in runs)} | {sum(done['collapses'] for done in runs)} |"
    )


def against(name: str, runs: list[dict[str, Any]], reference: dict[int, float]) -> str:
    """Mean and standard error of the differences to the reference with the same seeds."""
    gains = [done["psnr"] - reference[done["seed"]] for done in runs if done["psnr"] is not None and done["seed"] in reference]
    if len(gains) < 2:
        return f"- `{name}`: too few seeds"
    error = statistics.stdev(gains) / math.sqrt(len(gains))
    return f"- `{name}`: {statistics.fmean(gains):+.2f} dB ± {error:.2f} (standard error, {len(gains)} seeds)"


def write_curves(report: dict[str, Any], file: Path) -> None:
    """Validation PSNR over computing time as a page that needs no network."""
    lines = [
        Line(f"{done['row']} {done['seed']}", [p["seconds"] for p in done["curve"]], [p["psnr"] for p in done["curve"]])
        for done in report["rows"]
    ]
    figure = overlaid_curves("psnr", lines, over="seconds")
    write_atomically(file, figure.to_html(include_plotlyjs=True).encode())
