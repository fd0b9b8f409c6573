"""Runs that train or wait, as they are now: how far each is, its place, and ways to start it earlier or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from medfuncta_core.errors import MedFunctaError
from medfuncta_core.runs import RunView, list_runs, move_in_queue, read_queue, stop, wake_queue
from pages.shared import state
from pages.shared.messages import errors_shown_here
from pages.shared.parts import redrawn
from pages.shared.words import seconds_words

TURN_SECONDS = 1.0
RUNS_PAGE = "pages/runs.py"
ICONS = {
    "queued": ":material/hourglass_empty:",
    "starting": ":material/hourglass_top:",
    "running": ":material/play_circle:",
    "paused": ":material/pause_circle:",
    "stopped": ":material/stop_circle:",
    "finished": ":material/check_circle:",
    "failed": ":material/error:",
    "interrupted": ":material/power_off:",
}


def show_queue(mine: Sequence[str] = ()) -> None:
    """Runs that train or wait, and those of `mine` however they are.

    Args:
        mine: What this visitor launched; stays in view when it has ended.
    """
    root = state.run_root()
    queue = read_queue(root) if root.is_dir() else None
    if queue is not None and queue.order and not queue.working:
        wake_queue(root)  # after a restart of the machine nobody else does
    redrawn(_panel, run_every=TURN_SECONDS if _in_view(root, mine) else None)(root, mine)


def _in_view(root: Path, mine: Sequence[str]) -> list[RunView]:
    """What trains first, then what waits in its order, then what has ended, the latest first."""
    found = [run for run in list_runs(root) if run.status.live or run.queue_position or run.id in mine]
    return sorted(found, key=lambda run: (not run.status.live, run.queue_position is None, run.queue_position or 0))


def _panel(root: Path, mine: Sequence[str]) -> None:
    runs = _in_view(root, mine)
    waiting = sum(run.queue_position is not None for run in runs)
    st.markdown("**Training and waiting**", help="One run trains at a time unless more are allowed; the others wait their turn.")
    if not runs:
        st.caption("Nothing trains and nothing waits. What you launch goes on when this page is closed.")
    with errors_shown_here():
        for run in runs:
            _show_run(root, run, waiting)


def _show_run(root: Path, run: RunView, waiting: int) -> None:
    status = run.status
    with st.container(border=True, gap="small", key=f"queue-{run.id}"):
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            place = f" · number {run.queue_position} in the queue" if run.queue_position else ""
            st.markdown(f"{ICONS[status.state]} **{run.id}** · {status.state}{place}", width="stretch")
            if run.queue_position:
                _show_moves(root, run, waiting)
            show_run_link(run.id)
        if status.steps and not run.queue_position:
            st.progress(min(1.0, status.step / status.steps), text=_progress_words(run))
        if status.reason:
            st.caption(status.reason)


def _show_moves(root: Path, run: RunView, waiting: int) -> None:
    place = run.queue_position or 1
    moves = (
        ("up", place > 1, place - 1, ":material/arrow_upward:"),
        ("down", place < waiting, place + 1, ":material/arrow_downward:"),
    )
    for word, possible, target, icon in moves:
        change = {"on_click": _change, "args": (move_in_queue, root, run.id, target)}
        st.button("", key=f"{word}-{run.id}", icon=icon, disabled=not possible, help=f"Move {word}", **change)
    leave = "Take it out of the queue; it can be resumed later"
    st.button("", key=f"leave-{run.id}", icon=":material/close:", help=leave, on_click=_change, args=(stop, root, run.id))


def _change(action: Callable[..., None], *arguments: Any) -> None:
    """Change the queue; a run that just left it is no mistake worth more than a word."""
    try:
        action(*arguments)
    except MedFunctaError as error:
        st.toast(str(error), icon=":material/info:")


def show_run_link(run: str, label: str = "Open") -> None:
    """A link to a run's own page, where this app has one."""
    try:
        st.page_link(RUNS_PAGE, label=label, icon=":material/monitoring:", query_params={"run": run})
    except StreamlitAPIException:
        return


def _progress_words(run: RunView) -> str:
    status = run.status
    parts = [f"Step {status.step:,} of {status.steps:,}"]
    if status.live and status.steps_per_second:
        parts.append(f"{seconds_words(1 / status.steps_per_second)} a step")
    if status.live and status.eta_seconds:
        parts.append(f"{seconds_words(status.eta_seconds)} left")
    if status.best_psnr is not None:
        parts.append(f"best validation {status.best_psnr:.1f} dB")
    return " · ".join(parts)
