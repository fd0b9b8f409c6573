"""Parts of pages that are drawn anew by themselves: each in a place that holds nothing else."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block, Element

ROOT = Path(__file__).resolve().parents[1]


def _page() -> None:
    import streamlit as st

    from pages.shared.parts import redrawn

    def part(word: str) -> None:
        st.text(word)
        st.text("two")

    redrawn(part, run_every=60)("one")
    st.text("after")


def test_part_is_alone_in_its_place() -> None:
    app = AppTest.from_function(_page).run(timeout=60)
    assert not app.exception
    place, after = app.main.children.values()
    assert isinstance(place, Block)
    assert isinstance(after, Element)
    assert after.value == "after"
    (own,) = place.children.values()  # what Streamlit leaves out is the last thing in its place: nothing moves up
    assert isinstance(own, Block)
    assert [text.value for text in own.text] == ["one", "two"]


def test_pages_redraw_parts_only_so() -> None:
    found = [file.name for file in sorted(ROOT.glob("pages/**/*.py")) if "st.fragment" in file.read_text(encoding="utf-8")]
    assert found == ["parts.py"]
