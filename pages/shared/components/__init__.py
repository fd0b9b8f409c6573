"""Small browser components that Streamlit does not have: gallery tiles, picture panes, a contact sheet, a before/after slider.

Their markup, style and script lie beside this file. They are keyed, so new data updates what is on the page instead of
building it anew: pictures change without a flicker while a fit runs, and the before/after slider stays where it was put.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from streamlit.components.v2 import component

from pages.shared import state, widgets

FOLDER = Path(__file__).parent


def _component(name: str, before: str = "") -> Any:
    """A component of the files that carry its name; `before` is script that its own stands on."""
    css, js = ((FOLDER / f"{name}.{ending}").read_text(encoding="utf-8") for ending in ("css", "js"))
    return component(f"medfuncta_{name}", html="<div class='root'></div>", css=css, js=before + js)


def keeping(key: str, name: str) -> Callable[[], None]:
    """What a component calls when something was done in it, so that a run that is cut short does not lose it."""

    def keep() -> None:
        if (value := getattr(widgets.widget(key), name)) is not None:
            state.remember(f"{key}.{name}", value)

    return keep


def kept(key: str, name: str) -> Any:
    """What was done in a component since it was asked last, or None."""
    value = state.recall(f"{key}.{name}")
    state.remember(f"{key}.{name}", None)
    return value


_tiles, _panes, _compare, _sheet, _runs, _curves = (
    _component(name) for name in ("tiles", "panes", "compare", "sheet", "runs", "curves")
)


def tiles(
    items: Sequence[Mapping[str, str]], selected: str | None, *, label: str, key: str, wrap: bool = False, dense: bool = False
) -> str | None:
    """Thumbnails to pick one from; arrow keys move, Enter or Space picks.

    Args:
        items: `id`, `title`, `detail`, and `src`, a `data:` address or "" while the thumbnail is still being made.
        selected: The `id` that is marked.
        label: What they are, for screen readers.
        key: Stable widget key.
        wrap: In rows, one below the other, instead of one strip.
        dense: A little smaller, so that ten fit beside each other.

    Returns:
        The `id` picked in this run, or None.
    """
    data = {"items": list(items), "selected": selected, "label": label, "wrap": wrap, "dense": dense}
    _tiles(data=data, key=key, on_picked_change=keeping(key, "picked"))
    return kept(key, "picked")


def panes(rows: Sequence[Sequence[Mapping[str, Any]]], *, scale: Mapping[str, Any] | None, smooth: bool, key: str) -> None:
    """Rows of pictures of the same size, with one colour scale beside the last column where there is one.

    Args:
        rows: Panes of `title`, `caption`, `src`, `alt`, `file`, `aspect` (width by height), `share` (of the column's width) and
            `letters` (top, bottom, left, right).
        scale: `stops` (colours from low to high), `low` and `high` (labels), `label`.
        smooth: Interpolate between pixels instead of showing them as squares.
        key: Stable widget key.
    """
    data = {"rows": [list(row) for row in rows], "scale": None if scale is None else dict(scale), "smooth": smooth}
    _panes(data=data, key=key)


def compare(before: Mapping[str, str], after: Mapping[str, str], *, aspect: float, smooth: bool, key: str) -> None:
    """Two pictures of the same thing, one on top of the other, with a divider to drag or to move with the arrow keys.

    Args:
        before: `src` and `title` of the picture on the left of the divider.
        after: The same for the right.
        aspect: Width by height.
        smooth: As in `panes`.
        key: Stable widget key.
    """
    _compare(data={"before": dict(before), "after": dict(after), "aspect": aspect, "smooth": smooth}, key=key)


def sheet(rows: Sequence[Mapping[str, Any]], *, wrap: bool, key: str) -> None:
    """Many small pictures under each other: a contact sheet of a data set, or the same signals at several stages.

    Args:
        rows: `heading` ("" for none) and `items`, each with `src`, `caption` and `alt`; `columns`, where a row has fewer items
            than those above it.
        wrap: Pictures flow over as many lines as they need; off, the rows' pictures stay above each other in columns.
        key: Stable widget key.
    """
    _sheet(data={"rows": [dict(row) for row in rows], "wrap": wrap}, key=key)


def run_rows(items: Sequence[Mapping[str, Any]], selected: str | None, *, label: str, key: str) -> str | None:
    """Runs as rows to pick one from; arrow keys move, Enter or Space picks.

    Args:
        items: `id`, `title`, `state` (words), `kind` (for its colour), `mark` (one character), `name`, `share` (0 to 1),
            `progress`, `psnr`, `pace`, `left`, `device`.
        selected: The `id` that is marked.
        label: What they are, for screen readers.
        key: Stable widget key.

    Returns:
        The `id` picked in this run, or None.
    """
    data = {"items": [dict(item) for item in items], "selected": selected, "label": label}
    _runs(data=data, key=key, on_picked_change=keeping(key, "picked"))
    return kept(key, "picked")


def live_curves(chart: Mapping[str, Any], *, alt: str, key: str, height: int = 260) -> None:
    """Curves that are drawn into the same picture as they grow: Streamlit's own charts are made anew at every change.

    Args:
        chart: From `figures.curve_data`.
        alt: What it shows, for screen readers.
        key: Stable widget key.
        height: In pixels.
    """
    _curves(data={**chart, "alt": alt, "height": height}, key=key)
