"""The list of runs: how each is, how far, how fast; one of them is looked at, and the address says which."""

from __future__ import annotations

from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from medfuncta_core.runs import RunView, list_runs, read_queue, read_run, set_slots
from pages.shared import state, widgets
from pages.shared.components import run_rows
from pages.shared.parts import redrawn
from pages.shared.run_queue import show_queue
from pages.shared.words import seconds_words

VIEWS = ("Runs", "Compare", "Sweeps")
LIVELY_SECONDS, CALM_SECONDS = 2.0, 10.0
"""Between two looks at the list: while something trains or waits, and otherwise."""
SHORT_QUEUE = 3
MARKS = {
    "queued": "◷",
    "starting": "●",
    "running": "●",
    "paused": "‖",
    "stopped": "■",
    "finished": "✓",
    "failed": "✕",
    "interrupted": "!",
}


def choose_view() -> str:
    """Runs, comparison or sweeps; in the address as `view`."""
    wanted = st.query_params.get("view", "runs").capitalize()
    if widgets.widget("runs_view") is None:
        widgets.set_widget("runs_view", wanted if wanted in VIEWS else VIEWS[0])
    view = st.segmented_control("View", VIEWS, key="runs_view", required=True, label_visibility="collapsed") or VIEWS[0]
    st.query_params["view"] = view.lower()
    return view


def choose_run() -> RunView | None:
    """The run that the address names, else one that trains, else the newest; None when there are none."""
    root, wanted = state.run_root(), st.query_params.get("run")
    runs = list_runs(root)
    named = [run for run in runs if run.id == wanted]
    if wanted and not named:
        st.warning(f"There is no run “{wanted}” here any more.", icon=":material/search_off:")
    if not runs:
        return None
    run = [*named, *(run for run in runs if run.status.live), *runs][0]
    st.query_params["run"] = run.id
    return read_run(root, run.id)


def show_runs(selected: RunView | None) -> None:
    """All runs, kept up to date, and the queue where something waits."""
    runs = list_runs(state.run_root())
    if not runs:
        _show_empty()
        return
    active = any(run.status.live or run.queue_position for run in runs)
    redrawn(_rows, run_every=LIVELY_SECONDS if active else CALM_SECONDS)(selected and selected.id)
    waiting = sum(run.queue_position is not None for run in runs)
    if waiting:
        title = f"Queue: {waiting} waiting"
        short = waiting <= SHORT_QUEUE
        box = st.expander(title, short, icon=":material/hourglass_empty:", key="queue", on_change="rerun")
        if box.open:  # a sweep's dozens of runs are drawn for who wants to see them
            with box:
                _choose_slots()
                show_queue()


def _rows(selected: str | None) -> None:
    picked = run_rows([row_of(run) for run in list_runs(state.run_root())], selected, label="Runs", key="run_rows")
    if picked and picked != selected:
        st.query_params["run"] = picked
        st.rerun(scope="app")


def row_of(run: RunView) -> dict[str, Any]:
    """A run as a row of the list."""
    status = run.status
    place = f" {run.queue_position}" if run.queue_position else ""
    speed = f"{status.steps_per_second:.3g} steps/s" if status.live and status.steps_per_second else ""
    left = f"{seconds_words(status.eta_seconds)} left" if status.live and status.eta_seconds else ""
    best = "" if status.best_psnr is None else f"{status.best_psnr:.1f} dB"
    return {
        "id": run.id,
        "title": f"{run.id}: {status.reason or status.state}",
        "state": status.state + place,
        "kind": status.state,
        "mark": MARKS[status.state],
        "name": run.id,
        "share": status.step / status.steps if status.steps else 0.0,
        "progress": f"{status.step:,} / {status.steps:,}" if status.steps else "",
        "psnr": best,
        "pace": speed,
        "left": left,
        "device": status.device.upper(),
    }


def _choose_slots() -> None:
    root = state.run_root()
    queue = read_queue(root)
    chosen = st.number_input(
        "Runs at a time",
        1,
        64,
        queue.slots,
        key="slots",
        width=160,
        help="How many may train at once. More than the machine has devices or cores for makes each of them slower.",
    )
    if chosen != queue.slots:
        set_slots(root, chosen)


def _show_empty() -> None:
    st.info(
        "No runs yet. Start one on the Train page, or with `python -m medfuncta_core runs launch`; it appears here and goes on "
        "when this page is closed.",
        icon=":material/model_training:",
    )
    try:
        st.page_link("pages/train.py", label="Open Train", icon=":material/model_training:")
    except StreamlitAPIException:
        return
