"""What a page says when something cannot be done, and the line at its foot."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from medfuncta_core.errors import MedFunctaError


def show_error(error: MedFunctaError) -> None:
    """One line with the problem and the remedy; what lies behind it is folded below."""
    st.error(escape(str(error)), icon=":material/error:")
    behind: list[str] = []
    cause = error.__cause__
    while cause is not None:
        behind.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__
    with st.expander("Details"):
        st.code("\n".join([f"{type(error).__name__}: {error}", *behind]), language=None, wrap_lines=True)


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show a user's mistake instead of raising it, and end the page there."""
    try:
        yield
    except MedFunctaError as error:
        show_error(error)
        show_footer()
        st.stop()


@contextmanager
def errors_shown_here() -> Iterator[None]:
    """Show a user's mistake in place of what it prevents; the rest of the page goes on."""
    try:
        yield
    except MedFunctaError as error:
        show_error(error)


def show_footer() -> None:
    """The line every page ends with."""
    st.caption(":material/health_and_safety: Research tool, not for diagnosis. Signals stay on the machine that runs this app.")


def escape(text: str) -> str:
    """File names and values as they are: nothing in them is Markdown or HTML."""
    for mark in "\\`*_[]$~:<>#|":
        text = text.replace(mark, html.escape(mark) if mark in "<>" else f"\\{mark}")
    return text
