"""The one action of the Train page: put a training into the queue, from where it goes on without the page."""

from __future__ import annotations

import streamlit as st

from medfuncta_core.runs import RunRequest, launch
from pages.shared import state
from pages.shared.messages import errors_shown_here


def show_launch(request: RunRequest) -> None:
    """The button; a launched run appears in the queue below."""
    help_text = "The run is a process of its own: close the page, the browser or the app, it goes on."
    if not st.button(
        "Start training", key="launch", type="primary", icon=":material/rocket_launch:", help=help_text, width="stretch"
    ):
        return
    with errors_shown_here():
        name = launch(state.run_root(), request)
        state.remember("launched", (name, *launched()))
        st.toast(f"{name} is in the queue", icon=":material/rocket_launch:")


def launched() -> tuple[str, ...]:
    """What this visitor launched, the latest first."""
    return state.recall("launched") or ()
