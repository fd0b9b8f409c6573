"""The result of a sweep as the paper shows it: curves over gamma, heat maps over the omegas, bars of choices; and its table."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from medfuncta_core import figures
from medfuncta_core.runs.sweep_kinds import ABLATIONS
from medfuncta_core.runs.sweep_results import SweepResult, best_row, result_csv
from pages.shared.views import CHART

HEIGHT = 300
Measure = tuple[str, str, int, float]
"""Attribute, title, decimals, factor from stored to shown."""
QUALITY: tuple[Measure, ...] = (
    ("psnr", "PSNR (dB)", 2, 1.0),
    ("ssim", "SSIM", 3, 1.0),
    ("lpips", "LPIPS (lower is better)", 3, 1.0),
)


def show_result(result: SweepResult) -> None:
    """Picture, best run, table, downloads."""
    ablation = ABLATIONS[result.kind]
    st.markdown(f"**{ablation.title}** ({ablation.source}). {ablation.question}")
    if not result.measured:
        st.caption("Nothing is measured yet: the picture appears with the first validation of the first run.")
        return
    measures = [measure for measure in (*QUALITY, *_costs(result)) if any(v is not None for v in result.column(measure[0]))]
    if result.kind == "omega":
        _show_maps(result, [measure for measure in measures if measure in QUALITY])
    else:
        _show_charts(result, measures)
    _show_notes(result)
    with st.expander("Table", icon=":material/table:", expanded=False):
        _show_table(result)
    _show_downloads(result)


def _costs(result: SweepResult) -> tuple[Measure, ...]:
    """Memory and time; processor time on a CPU, which other work on the machine hardly changes."""
    on_cpu = all(row.device in ("cpu", "") for row in result.rows)
    time: Measure = ("seconds_per_100_steps", "Time per 100 steps (s)", 1, 1.0)
    if on_cpu and any(row.cpu_seconds_per_100_steps for row in result.rows):
        time = ("cpu_seconds_per_100_steps", "CPU time per 100 steps (s)", 1, 1.0)
    return ("memory_bytes", "Memory (MiB)" if on_cpu else "GPU memory (MiB)", 0, 2.0**-20), time


def _values(result: SweepResult, measure: Measure) -> list[float | None]:
    return [None if value is None else value * measure[3] for value in result.column(measure[0])]


def _show_maps(result: SweepResult, measures: list[Measure]) -> None:
    (across, columns), (upwards, lines) = result.axes.items()
    for place, (name, title, digits, _) in zip(st.columns(len(measures), gap="medium"), measures, strict=True):
        figure = figures.heat_map(
            title,
            (across, [float(value) for value in columns]),
            (upwards, [float(value) for value in lines]),
            result.grid(name),
            digits=digits,
            higher_is_better=name != "lpips",
            outliers=result.outliers(),
        )
        alt = f"{title} over {across} and {upwards}"
        place.plotly_chart(figure, key=f"sweep_{name}", height=HEIGHT + 60, config=CHART, alt=alt)


def _show_charts(result: SweepResult, measures: list[Measure]) -> None:
    ((axis, places),) = result.axes.items()
    words = [value for value in places if isinstance(value, str)]
    row: list[Any] = []
    for measure in measures:
        name, title, digits, _ = measure
        if words:
            figure = figures.sweep_bars(title, words, _values(result, measure), digits=digits)
        else:
            across = (axis, [float(value) for value in places])
            figure = figures.sweep_curve(title, across, _values(result, measure), digits=digits, colour=0)
        row = row or list(st.columns(2, gap="medium"))
        row.pop(0).plotly_chart(figure, key=f"sweep_{name}", height=HEIGHT, config=CHART, alt=f"{title} over {axis}")


def _show_notes(result: SweepResult) -> None:
    best = best_row(result)
    collapsed = sum(row.collapsed for row in result.rows)
    notes = [f"Best: {best.words}." if best else ""]
    notes.append(f"{collapsed} collapsed on the way; framed in the map and left out of its colours." if collapsed else "")
    shape = " × ".join(map(str, result.shape)) if result.shape else "the preset's shape"
    notes.append(f"{result.preset} on {result.data.rpartition('/')[2]}, {shape}, {result.steps:,} steps a run.")
    if result.settings:
        notes.append(f"In all runs: {', '.join(result.settings)}.")
    notes.append("Quality: best validation of every run, not the paper's test split.")
    st.caption(" ".join(filter(None, notes)))


def _show_table(result: SweepResult) -> None:
    rows = [
        {
            **row.place,
            "PSNR (dB)": row.psnr,
            "SSIM": row.ssim,
            "LPIPS": row.lpips,
            "Memory (MiB)": None if row.memory_bytes is None else row.memory_bytes / 2**20,
            "s / 100 steps": row.seconds_per_100_steps,
            "CPU s / 100 steps": row.cpu_seconds_per_100_steps,
            "Collapses": row.collapses,
            "State": row.state,
            "Run": row.run,
        }
        for row in result.rows
    ]
    decimals = {"PSNR (dB)": 2, "SSIM": 4, "LPIPS": 4, "Memory (MiB)": 0, "s / 100 steps": 1, "CPU s / 100 steps": 1}
    columns = {name: st.column_config.NumberColumn(format=f"%.{digits}f") for name, digits in decimals.items()}
    st.dataframe(rows, hide_index=True, column_config=columns, key="sweep_table")


def _show_downloads(result: SweepResult) -> None:
    with st.container(horizontal=True, gap="small", key="sweep_downloads"):
        st.download_button(
            "Table (.csv)",
            lambda: result_csv(result),
            f"{result.name}.csv",
            "text/csv",
            key="sweep_csv",
            on_click="ignore",
            icon=":material/table:",
        )
        st.download_button(
            "Result (.json)",
            lambda: json.dumps(result.model_dump(mode="json"), indent=2),
            f"{result.name}.json",
            "application/json",
            key="sweep_json",
            on_click="ignore",
            icon=":material/description:",
        )
