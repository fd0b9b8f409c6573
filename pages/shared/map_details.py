"""Beside the map: the point that was opened, the points that were selected, or the visitor's own file."""

from __future__ import annotations

from typing import Any

from streamlit.delta_generator import DeltaGenerator

from pages.shared import state, widgets
from pages.shared.map_file import placed_mark, show_file
from pages.shared.map_point import show_point
from pages.shared.map_selection import show_selection
from pages.shared.map_view import MapView
from pages.shared.messages import errors_shown_here
from pages.shared.sidebar import Choice

TABS = {"point": "Point", "selection": "Selection", "file": "Your file"}
ICONS = {"point": ":material/radio_button_checked:", "selection": ":material/lasso_select:", "file": ":material/upload_file:"}


def show_details(view: MapView, choice: Choice | None, place: DeltaGenerator) -> list[dict[str, Any]]:
    """One of the three, in a column beside the map and, where it needs room, below; what is to be marked on the map."""
    focus = _choose_focus(place)
    marks: list[dict[str, Any]] = []
    with errors_shown_here():
        if focus == "point":
            marks = show_point(view, place)
        elif focus == "selection":
            show_selection(view, place)
        else:
            marks = show_file(view, choice, place)
    return [*marks, *_standing_marks(view, focus)]


def _choose_focus(place: DeltaGenerator) -> str:
    """Clicks on the map choose too, so the widget follows what was remembered."""
    widgets.set_widget("map_tab", state.recall("map_focus") or "point")
    chosen = place.segmented_control(
        "Look at",
        list(TABS),
        format_func=lambda name: f"{ICONS[name]} {TABS[name]}",
        key="map_tab",
        required=True,
        label_visibility="collapsed",
        on_change=lambda: state.remember("map_focus", widgets.widget("map_tab")),
        width="stretch",
    )
    return chosen or "point"


def _standing_marks(view: MapView, focus: str) -> list[dict[str, Any]]:
    """The opened point and the placed file stay marked while something else is looked at."""
    row = state.recall("map_row")
    marks: list[dict[str, Any]] = [{"kind": "opened", "row": row, "words": ""}] if row is not None and focus != "point" else []
    return marks if focus == "file" else [*marks, *placed_mark(view)]
