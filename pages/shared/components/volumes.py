"""Slices of a volume with one crosshair, drawn and moved in the browser; and whether the browser draws in three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamlit.components.v2 import component

from pages.shared import widgets
from pages.shared.components import FOLDER, _component

_slices = component(
    "medfuncta_slices",
    html="<div class='root'></div>",
    css="".join((FOLDER / f"{name}.css").read_text(encoding="utf-8") for name in ("panes", "slices")),
    js=(FOLDER / "slices.js").read_text(encoding="utf-8"),
)
_probe = _component("probe")


@dataclass(frozen=True)
class SliceActions:
    """What happens before the page is drawn again when a visitor moves the crosshair, picks a point or draws a box.

    Args:
        moved: Takes the crosshair, three voxel indices.
        picked: Takes a row's number and shares of its width and height; for rows that do not run along axes.
        boxed: Takes a row's number and left, top, right, bottom as shares.
    """

    moved: Callable[[list[float]], None] = lambda index: None
    picked: Callable[[int, float, float], None] = lambda row, x, y: None
    boxed: Callable[[int, list[float]], None] = lambda row, sides: None


def slices(rows: Sequence[Mapping[str, Any]], actions: SliceActions, *, key: str, **settings: Any) -> None:
    """Rows of pictures of one plane each, with a crosshair through all of them.

    Args:
        rows: `name`, `place`, `aspect` (width by height), `share` (of the column's width), `letters` (top, bottom, left, right),
            `cross` (shares of width and height), `across`, `right` and `down` (axis and direction; None for planes that do not
            run along axes) and `panes` of `title`, `caption`, `src`, `alt`, `file`.
        actions: What a visitor's moves do.
        key: Stable widget key.
        settings: `index` and `shape` (crosshair and voxels per axis; without them nothing can be moved), `mode` ("cross" or
            "box"), `box` (`row` and `sides`, or None), `cross` (whether it is drawn), `scale` and `smooth` as in `panes`.
    """

    def moved() -> None:
        if (index := widgets.widget(key).moved) is not None:
            actions.moved(index)

    def picked() -> None:
        if (point := widgets.widget(key).picked) is not None:
            actions.picked(int(point["row"]), point["x"], point["y"])

    def boxed() -> None:
        if (box := widgets.widget(key).boxed) is not None:
            actions.boxed(int(box["row"]), box["sides"])

    defaults = {"index": None, "shape": None, "mode": "cross", "box": None, "cross": True, "scale": None, "smooth": False}
    data = {"rows": [dict(row) for row in rows], **defaults, **settings}
    _slices(data=data, key=key, on_moved_change=moved, on_picked_change=picked, on_boxed_change=boxed)


def draws_in_space(*, key: str) -> bool | None:
    """Whether this browser has WebGL 2; None until it said so."""
    return _probe(data={}, key=key, on_webgl_change=lambda: None).webgl
