"""Parts of a page that are drawn anew by themselves, by a clock or by what happens in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st


def redrawn(part: Callable[..., None], run_every: float | None = None) -> Callable[..., None]:
    """As `st.fragment`, in a place that holds nothing else.

    Streamlit gives a fragment a place among its neighbours, and counts that place as drawn by the fragment. When a clock asks
    for the fragment before a busy browser was sent the page's last run, that place is left out of what is sent: everything
    after it moves up by one, and the fragment is then drawn over what comes next, which is gone. In a place of its own there
    is nothing to be drawn over.

    Args:
        part: Draws it.
        run_every: Seconds between two drawings; None for only when something happens in it.
    """

    def show(*arguments: Any) -> None:
        with st.container():
            st.fragment(part, run_every=run_every)(*arguments)

    return show
