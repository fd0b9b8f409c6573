"""The map of a latent space, drawn with regl in the browser, its courier, and the player of a morph.

regl (MIT, `vendor/`) travels with the app: nothing is fetched at run time. Why regl: points go to the browser as 9 bytes each and
straight into buffers of the graphics card, pictures and marks follow without them, and hover, box and lasso
are answered in the browser. `benchmarks/map_components/` compares it with Plotly's WebGL scatter, pydeck, deck.gl and
regl-scatterplot (`benchmarks/results/map-components.json`); `benchmarks/latent_space.py` measures the whole page
(`benchmarks/results/latent-space.json`). The comparison ran on a machine that was busy with other work; its load is in the file.
At 500,000 points what hovering shows came in 0.05 s, regl-scatterplot's in 0.3 s; Plotly's first picture took 1.8 times as long
as ours, and its median frame while panning 1.1 s against 0.02 s. In this browser, which draws in software, deck.gl at 500,000
points and pydeck at any number drew nothing within half a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pages.shared.components import FOLDER, _component, keeping, kept

REGL = "const createREGL = (() => { const module = { exports: {} }, exports = module.exports;\n%s\nreturn module.exports; })();\n"
"""How regl becomes a name in the map's script."""


def _map_script() -> str:
    regl, view, parts = (FOLDER / file for file in ("vendor/regl.min.js", "map_view.js", "map_parts.js"))
    return REGL % regl.read_text(encoding="utf-8") + view.read_text(encoding="utf-8") + parts.read_text(encoding="utf-8")


_map, _courier, _player = _component("map", _map_script()), _component("courier"), _component("player")


@dataclass(frozen=True)
class MapClick:
    """What a visitor did on the map in this run: a point opened, points selected (bits in base64, "" for none), or neither."""

    picked: int | None
    selected: str | None


def latent_map(packed: bytes, *, key: str) -> MapClick:
    """The points of a latent space: hover, click, box and lasso, a legend that hides groups.

    Args:
        packed: What `figures.pack_map` made; sent again only when it changes.
        key: Stable widget key.
    """
    _map(data=packed, key=key, on_picked_change=keeping(key, "picked"), on_selected_change=keeping(key, "selected"))
    return MapClick(kept(key, "picked"), kept(key, "selected"))


def courier(
    name: str,
    pictures: Mapping[int, Mapping[str, str]],
    marks: Sequence[Mapping[str, Any]],
    *,
    key: str,
    on_asked: Callable[[], None],
) -> None:
    """What travels between a map and the server while its points stay where they are; draws nothing.

    Args:
        name: Of the map, as packed.
        pictures: `src`, `title` and `detail` of rows, kept by the browser.
        marks: `kind` (opened, neighbour, dropped), `words`, and `row` or `at`, a place in the map's frame.
        key: Stable widget key.
        on_asked: Called at the start of a run in which the map asks for pictures; the rows are the widget's `asked`.
    """
    named = {str(row): dict(picture) for row, picture in pictures.items()}
    _courier(data={"name": name, "pictures": named, "marks": [dict(mark) for mark in marks]}, key=key, on_asked_change=on_asked)


def player(
    tracks: Sequence[Mapping[str, Any]],
    *,
    captions: Sequence[str],
    per_second: int,
    smooth: bool,
    key: str,
    wide: bool = False,
    label: str = "Place on the path",
) -> None:
    """Pictures that follow one another, played in the browser: a slider, play and pause, the same frame of every track.

    Args:
        tracks: `title` and `frames`, `data:` addresses; the same number each.
        captions: Words for every frame.
        per_second: Frames a second.
        smooth: As in `panes`.
        key: Stable widget key.
        wide: A track a line, for pictures much wider than high.
        label: What the slider moves along, for screen readers.
    """
    data = {"tracks": [dict(t) for t in tracks], "captions": list(captions), "per_second": per_second, "smooth": smooth}
    data |= {"wide": wide, "label": label}
    _player(data=data, key=key)
