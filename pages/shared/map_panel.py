"""The map itself, and what travels to it while a visitor looks around."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import streamlit as st

from medfuncta_core import figures
from medfuncta_core.errors import MedFunctaError
from pages.shared import state, widgets
from pages.shared.components.moving import courier, latent_map
from pages.shared.map_choice import describe_set, open_row
from pages.shared.map_pictures import Pictures
from pages.shared.map_view import MapView, pack_view, show_making
from pages.shared.parts import redrawn

Marks = Sequence[Mapping[str, Any]]


def show_map(view: MapView) -> None:
    """The points, and under them how they came to lie so; a click or a selection is noticed here."""
    if view.made is None:
        show_making(view)
        return
    click = latent_map(pack_view(view), key=f"map-{view.name}")
    if click.picked is not None:
        open_row(int(click.picked))
    if click.selected is not None:
        rows = figures.read_selection(click.selected, len(view.latents))
        state.remember("map_rows", rows if len(rows) else None)
        if len(rows):
            state.remember("map_focus", "selection")
    st.caption(f"{describe_set(view.latents)}  \n{_explain(view)}")


def _explain(view: MapView) -> str:
    made = view.made
    assert made is not None
    request = made.request
    if request.method == "pca":
        shares = ", ".join(f"{share:.0%}" for share in made.shares)
        words = f"PCA: the axes hold {shares} of the variance"
    elif request.method == "umap":
        words = f"UMAP of 64 principal components: {request.neighbors} neighbours, least distance {request.min_dist:g}"
    else:
        words = f"t-SNE of 64 principal components: perplexity {request.perplexity:g}"
    if not made.complete:
        words += f" · made of {int(made.fitted.sum()):,} points drawn evenly, the others placed among their nearest"
    return f"{words} · seed {request.seed}"


def carry_pictures(view: MapView, marks: Marks) -> None:
    """Answer the map's questions for pictures, in a fragment, so that nothing else on the page is touched."""
    if view.made is not None:
        redrawn(_carry)(view, marks)


def _carry(view: MapView, marks: Marks) -> None:
    key = f"courier-{view.name}"
    courier(view.name, state.recall("map_sent") or {}, marks, key=key, on_asked=lambda: _answer(view, key))


def _answer(view: MapView, key: str) -> None:
    """Decode what was asked for before anything is drawn, so that the pictures travel with the same turn."""
    wanted = [int(row) for row in (widgets.widget(key) or {}).get("asked") or [] if 0 <= int(row) < len(view.latents)]
    if not wanted:
        return
    with suppress(MedFunctaError):  # a set without its network has no pictures; opening a point says so
        pictures = Pictures.of(view.set)
        pictures.make(wanted)
        state.remember("map_sent", {row: pictures.tip(row) for row in wanted})
