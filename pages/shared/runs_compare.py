"""Up to ten runs laid over each other: their curves, what they reached, and which settings differ."""

from __future__ import annotations

from typing import Any

import streamlit as st

from medfuncta_core import figures
from medfuncta_core.figures import Axis, Line, Quantity
from medfuncta_core.runs import RunView, list_runs
from medfuncta_core.runs.comparing import MOST_RUNS, comparison_csv, differing_settings, summarise
from medfuncta_core.runs.curves import Curves, thin
from pages.shared import state, widgets
from pages.shared.parts import redrawn
from pages.shared.runs_panel import choose_axis
from pages.shared.views import CHART
from pages.shared.words import bytes_words, seconds_words

TURN_SECONDS, CURVE_HEIGHT, MOST_POINTS = 2.0, 300, 200


def show_comparison() -> None:
    """Choose runs and see them; the address keeps them as `compare`."""
    runs = {run.id: run for run in list_runs(state.run_root())}
    if not runs:
        st.info(
            "No runs yet: start two on the Train page, then lay their curves over each other here.", icon=":material/compare:"
        )
        return
    chosen = _choose(list(runs))
    if not chosen:
        st.info(
            "Choose runs above: their curves appear here, with a table of the settings that differ.", icon=":material/compare:"
        )
        return
    live = any(runs[name].status.live for name in chosen)
    redrawn(_panel, run_every=TURN_SECONDS if live else None)(chosen)


def _choose(names: list[str]) -> list[str]:
    if widgets.widget("compare_runs") is None:
        wanted = [name for name in st.query_params.get("compare", "").split(",") if name in names]
        widgets.set_widget("compare_runs", (wanted or names[:2])[:MOST_RUNS])
    else:  # one of them may have been deleted
        widgets.set_widget("compare_runs", [name for name in widgets.widget("compare_runs") if name in names])
    chosen = st.multiselect(
        "Runs laid over each other",
        names,
        key="compare_runs",
        max_selections=MOST_RUNS,
        placeholder="Choose up to ten runs",
        help="The newest first. The address of this page keeps the choice.",
    )
    st.query_params["compare"] = ",".join(chosen)
    return chosen


def _panel(chosen: list[str]) -> None:
    runs = [run for name in chosen for run in list_runs(state.run_root()) if run.id == name]
    curves = [state.curve_reader(str(run.path)).read() for run in runs]
    over = choose_axis("compare_axis")
    for place, quantity in zip(st.columns(3, gap="medium"), ("psnr", "ssim", "loss"), strict=True):
        lines = [_line(run.id, found, quantity, over) for run, found in zip(runs, curves, strict=True)]
        figure = figures.overlaid_curves(quantity, lines, over=over, identity=",".join(chosen))
        figure.update_layout(showlegend=False)
        title = f"Validation {figures.TITLES[quantity]} over {over} of {len(runs)} runs"
        place.plotly_chart(figure, key=f"compare_{quantity}", height=CURVE_HEIGHT, config=CHART, alt=title)
    _show_reached(runs, curves)
    _show_differences(runs)
    st.download_button(
        "Validations (.csv)",
        lambda: comparison_csv(runs, curves),
        "runs.csv",
        "text/csv",
        key="compare_csv",
        on_click="ignore",
        icon=":material/show_chart:",
    )


def _line(name: str, curves: Curves, quantity: Quantity, over: Axis) -> Line:
    """Validation curves: they are measured on the same signals in all runs of the same data."""
    column = "mse" if quantity == "loss" else quantity
    found = thin(curves.validations, MOST_POINTS, (column,))
    return Line(name, found["step" if over == "step" else "training_seconds"], found[column])


def _show_reached(runs: list[RunView], curves: list[Curves]) -> None:
    st.markdown("**What they reached**", help="Quality is that of each run's best validation.")
    rows: list[dict[str, Any]] = []
    for index, (run, found) in enumerate(zip(runs, curves, strict=True)):
        reached = summarise(run, found)
        rows.append(
            {
                "": figures.line_key(index),
                "Run": run.id,
                "State": reached["state"],
                "Steps": f"{reached['step']:,} / {reached['steps']:,}",
                "PSNR (dB)": reached["psnr"],
                "SSIM": reached["ssim"],
                "Training time": seconds_words(reached["training_seconds"]),
                "s / 100 steps": reached["seconds_per_100_steps"],
                "Memory": bytes_words(reached["memory_bytes"]) if reached["memory_bytes"] else None,
                "Device": reached["device"].upper(),
            }
        )
    columns = {
        "": st.column_config.ImageColumn("", width=48, help="Its line in the curves."),
        "PSNR (dB)": st.column_config.NumberColumn(format="%.2f"),
        "SSIM": st.column_config.NumberColumn(format="%.4f"),
        "s / 100 steps": st.column_config.NumberColumn(format="%.1f"),
    }
    st.dataframe(rows, hide_index=True, column_config=columns, key="compare_reached", row_height=32)


def _show_differences(runs: list[RunView]) -> None:
    differing = differing_settings(runs)
    st.markdown("**Settings that differ**")
    if not differing:
        st.caption("None: they differ by chance of the machine only, or there is one run.")
        return
    rows = [
        {"setting": name, **{run.id: _word(value) for run, value in zip(runs, values, strict=True)}}
        for name, values in differing.items()
    ]
    st.dataframe(rows, hide_index=True, key="compare_settings", row_height=32)


def _word(value: Any) -> str:
    return "–" if value in (None, "") else f"{value:g}" if isinstance(value, float) else str(value)
