"""Values of widgets by their keys: read before they are drawn, given by code, kept when the browser is slow to hear of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from pages.shared import state


@dataclass
class _Given:
    """A value that code gave a widget, and what the browser may still take it to be."""

    value: Any
    before: tuple[Any, ...]


def set_widget(key: str, value: Any) -> None:
    """Give a widget a value before it is drawn."""
    given = _all_given()
    told = given.get(key)
    given[key] = _Given(value, (st.session_state.get(key), *((told.value, *told.before) if told else ())))
    st.session_state[key] = value


def replace_widget(name: str, value: Any) -> None:
    """Put a new widget with a value in place of the one that may stand already.

    A fragment's turn that a busy browser sent before it drew the new value carries the old one, which would count as
    somebody's choice and call the widget's `on_change`. What it says of a widget that is gone is nobody's.

    Args:
        name: Of the widget; `replaceable_key` is its key.
        value: What the new one shows.
    """
    if replaceable_key(name) in st.session_state:
        forget_widget(replaceable_key(name))
        turns: dict[str, int] = state.recall("turns", dict[str, int])
        turns[name] = turns.get(name, 0) + 1
    set_widget(replaceable_key(name), value)


def replaceable_key(name: str) -> str:
    """The key of a widget that code replaces, as it is now."""
    turn = state.recall("turns", dict[str, int]).get(name, 0)
    return f"{name}-{turn}" if turn else name


def begin_run(page: str) -> None:
    """Give widgets once more what code gave them on this page.

    Streamlit sends such a value with the run that set it and only then. Should that run be cut short, or the browser be so
    busy that it sees the next run first, it would show the widget's old or first value, and report that as if somebody had
    chosen it.

    Args:
        page: Which page this run draws.
    """
    given = _all_given()
    if state.recall("page") != page:
        given.clear()
        state.remember("visit", (state.recall("visit") or 0) + 1)
    finished = state.recall("finished")
    for key, told in list(given.items()):
        known = st.session_state.get(key)
        if finished and known is None:  # not drawn any more
            del given[key]
            continue
        if finished or (known is not None and known not in told.before):
            given[key] = _Given(known, ())
        st.session_state[key] = given[key].value
    state.remember("page", page)
    state.remember("finished", False)


def end_run() -> None:
    """The page is drawn to its end, and with it what its widgets were given."""
    state.remember("finished", True)


def forget_widget(key: str) -> None:
    """Let a widget take its value from the address, or its default, the next time it is drawn."""
    _all_given().pop(key, None)
    st.session_state.pop(key, None)


def widget(key: str, default: Any = None) -> Any:
    """A widget's value, also before it is drawn in this run."""
    return st.session_state.get(key, default)


def _all_given() -> dict[str, _Given]:
    return state.recall("given", dict[str, _Given])
