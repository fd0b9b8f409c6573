"""Values that code gives to widgets, when a run is cut short or the browser reports what it showed before."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest


def _page() -> None:
    import streamlit as st

    from pages.shared import widgets

    state = st.session_state
    widgets.begin_run(state.get("page", "one"))
    if wanted := state.pop("wanted", None):
        widgets.set_widget("choice", wanted)
    if wanted := state.pop("instead", None):
        widgets.replace_widget("other", wanted)
    st.selectbox("Choice", ["a", "b", "c"], key="choice")
    key = widgets.replaceable_key("other")
    st.selectbox("Other", ["a", "b", "c"], key=key, on_change=lambda: state.update(chosen=state[key]))
    if not state.get("cut"):
        widgets.end_run()


@pytest.fixture
def page() -> AppTest:
    return AppTest.from_function(_page, default_timeout=180).run()


@pytest.mark.parametrize(("reported", "shown"), [("a", "b"), ("b", "b"), ("c", "c")])
def test_value_given_by_a_run_cut_short_counts_against_what_the_browser_showed_before(
    page: AppTest, reported: str, shown: str
) -> None:
    page.session_state["wanted"], page.session_state["cut"] = "b", True
    page.run()
    assert page.selectbox(key="choice").value == "b"
    page.selectbox(key="choice").set_value(reported).run()
    assert page.selectbox(key="choice").value == shown


def test_value_given_by_a_finished_run_can_be_taken_back(page: AppTest) -> None:
    page.session_state["wanted"] = "b"
    page.run()
    page.selectbox(key="choice").set_value("a").run()
    assert page.selectbox(key="choice").value == "a"
    page.run()
    assert page.selectbox(key="choice").value == "a"


def test_value_given_is_told_to_the_browser_in_every_run(page: AppTest) -> None:
    assert not page.selectbox(key="choice").proto.set_value
    page.session_state["wanted"] = "b"
    for _ in range(3):
        page.run()
        assert page.selectbox(key="choice").proto.set_value
    page.session_state["page"] = "two"
    page.run()
    assert not page.selectbox(key="choice").proto.set_value


def test_replaced_widget_ignores_what_is_said_of_the_old_one(page: AppTest) -> None:
    page.session_state["instead"] = "b"
    page.run()  # as in a browser that is behind, the old widget's report comes after this run
    (old, new) = ("other", "other-1")
    assert page.selectbox(key=new).value == "b"
    page.session_state["instead"] = "c"
    page.run()
    assert page.selectbox(key="other-2").value == "c"
    assert old not in page.session_state
    assert "chosen" not in page.session_state
    page.selectbox(key="other-2").set_value("a").run()
    assert page.session_state["chosen"] == "a"
