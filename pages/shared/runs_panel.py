"""One run: numbers, curves and pictures that grow while it trains, what can be done with it, its log and its files."""

from __future__ import annotations

import time
from typing import Literal

import streamlit as st

from medfuncta_core import figures
from medfuncta_core.figures import Axis, Line
from medfuncta_core.runs import RunFolder, RunView, read_log, read_run
from medfuncta_core.runs.curves import Curves, curves_csv, thin
from medfuncta_core.runs.status import read_want
from pages.shared import state
from pages.shared.components import live_curves
from pages.shared.messages import errors_shown_here
from pages.shared.parts import redrawn
from pages.shared.run_queue import ICONS
from pages.shared.runs_actions import show_actions
from pages.shared.runs_samples import choose_sample_step, show_samples
from pages.shared.views import CHART, shape_words
from pages.shared.words import bytes_words, seconds_words

TURN_SECONDS = 0.5
"""Between two updates: 2 a second, as `status.json` changes once a second."""
CURVE_HEIGHT = 260
MOST_POINTS = 400
COLOURS: dict[str, Literal["green", "blue", "red", "orange"]] = {
    "running": "green",
    "starting": "green",
    "finished": "blue",
    "failed": "red",
    "interrupted": "orange",
    "paused": "orange",
}


def show_run(run: RunView) -> None:
    """The run; its lower part turns by itself while a process has it or it waits for one."""
    _show_head(run)
    show_actions(run)
    watched = run.status.live or run.queue_position is not None
    redrawn(_panel, run_every=TURN_SECONDS if watched else None)(run.id, run.status.state)
    _show_more(run)


def _show_head(run: RunView) -> None:
    status, asked = run.status, run.request
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="run_head"):
        st.subheader(run.id, anchor=False, width="content")
        st.badge(status.state, icon=ICONS[status.state], color=COLOURS.get(status.state, "gray"))
        if run.queue_position:
            st.badge(f"number {run.queue_position} in the queue", color="gray")
    parts = [asked.preset if asked else "", asked.data.rpartition("/")[2] if asked else ""]
    parts.append(shape_words(run.config.signal.shape) if run.config else "")
    parts.append(f"started {time.strftime('%d %b %H:%M', time.localtime(status.created))}")
    parts.append(f"forked from {asked.parent}" if asked and asked.parent else "")
    parts.append(f"sweep {asked.sweep}" if asked and asked.sweep else "")
    st.caption(" · ".join(filter(None, parts)))


def _panel(name: str, drawn: str) -> None:
    """One turn; `drawn` is the state that the whole page was drawn for: once it is another, the page is drawn anew."""
    with errors_shown_here():
        run = read_run(state.run_root(), name)
        if run.status.state != drawn:
            st.rerun(scope="app")
        curves = state.curve_reader(str(run.path)).read()
        _show_reason(run)
        _show_numbers(run)
        left, right = st.columns([2, 5], gap="large", vertical_alignment="bottom")
        with left:
            over = choose_axis("run_axis")
        with right:
            step = choose_sample_step(run)
        _show_curves(run, curves, over, step)
        show_samples(run, step)


def _show_reason(run: RunView) -> None:
    want = read_want(RunFolder(run.path)) if run.status.state in ("starting", "running", "paused") else "run"
    if run.status.state == "running" and want != "run":
        words = {"stop": "Stops after the step it is at; its state is saved.", "pause": "Pauses after the step it is at."}[want]
        st.info(words, icon=":material/hourglass_top:")
    elif run.status.reason:
        bad = run.status.state in ("failed", "interrupted")
        (st.warning if bad else st.info)(run.status.reason, icon=ICONS[run.status.state])


def _show_numbers(run: RunView) -> None:
    status = run.status
    done = status.step / status.steps if status.steps else 0.0
    left = seconds_words(status.eta_seconds) if status.live and status.eta_seconds else ""
    text = f"Step {status.step:,} of {status.steps:,} ({done:.0%})" if status.steps else "Waiting to open the data"
    st.progress(min(1.0, done), text=text)
    pace, memory = status.steps_per_second, status.memory_bytes
    numbers = (
        ("Best PSNR", "–" if status.best_psnr is None else f"{status.best_psnr:.1f} dB", "On the fixed validation signals."),
        ("SSIM", "–" if status.ssim is None else f"{status.ssim:.3f}", "Of the last validation; 1 is identical."),
        ("Best at step", f"{status.best_step:,}" if status.best_step else "–", "These weights are promoted and forked."),
        ("Speed", f"{pace:.3g}/s" if pace else "–", "Outer steps a second, over the latest 50."),
        ("Time left", left or "–", "Validations included."),
        ("Memory", bytes_words(memory) if memory else "–", "The most it held: on the GPU where there is one, else its process."),
        ("Device", status.device.upper() or "–", "Where it trains."),
    )
    with st.container(horizontal=True, gap="medium", key="run_numbers"):
        for label, value, help_text in numbers:
            st.metric(label, value, help=help_text, width="content")


def choose_axis(key: str) -> Axis:
    """What curves are drawn over."""
    chosen = st.segmented_control(
        "Curves over",
        ("step", "seconds"),
        default="step",
        required=True,
        format_func=lambda axis: {"step": "Steps", "seconds": "Wall-clock"}[axis],
        key=key,
        help="Wall-clock counts training only: pauses and stops are left out.",
    )
    return "seconds" if chosen == "seconds" else "step"


def lines_of(curves: Curves, quantity: figures.Quantity, over: Axis) -> list[Line]:
    """Training and validation of one run."""
    key = "step" if over == "step" else "training_seconds"
    validation = "mse" if quantity == "loss" else quantity
    found = thin(curves.validations, MOST_POINTS, (validation,))
    lines = [Line("Validation", found[key], found[validation])]
    if quantity != "ssim":
        noisy = thin(curves.steps, MOST_POINTS, (quantity,))
        lines.insert(0, Line("Training", noisy[key], noisy[quantity], faint=True))
    return lines


def _show_curves(run: RunView, curves: Curves, over: Axis, step: int | None) -> None:
    end = float(run.status.steps) if over == "step" and run.status.steps else None
    marked = None if step is None or over != "step" else float(step)
    for place, quantity in zip(st.columns(3, gap="medium"), ("psnr", "ssim", "loss"), strict=True):
        lines = lines_of(curves, quantity, over)
        figure = figures.training_curve(quantity, lines, over=over, end=end, marked=marked, identity=run.id)
        last = next((f"{value:.3g}" for value in reversed(lines[-1].y)), "nothing yet")
        alt = f"{figures.TITLES[quantity]} over {over}; last validation: {last}"
        if run.status.live:
            with place:
                live_curves(figures.curve_data(figure), alt=alt, key=f"live_{quantity}")
        else:
            place.plotly_chart(figure, key=f"run_{quantity}", height=CURVE_HEIGHT, config=CHART, alt=alt)


def _show_more(run: RunView) -> None:
    with st.container(horizontal=True, gap="small", key="run_downloads"):
        st.download_button(
            "Curves (.csv)",
            lambda: curves_csv(state.curve_reader(str(run.path)).read()),
            f"{run.id}-curves.csv",
            "text/csv",
            key="run_csv",
            on_click="ignore",
            icon=":material/show_chart:",
        )
    log = st.expander("Log", icon=":material/article:", key="run_log", on_change="rerun")
    if log.open:
        log.code(read_log(run.path) or "Nothing was written yet.", language=None, height=320)
    settings = st.expander("Settings", icon=":material/tune:", key="run_settings", on_change="rerun")
    if settings.open:
        rows = [{"setting": name, "value": "–" if value is None else str(value)} for name, value in run.settings.items()]
        settings.dataframe(rows, hide_index=True, height=320)
