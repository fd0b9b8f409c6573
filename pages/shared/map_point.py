"""A point of the map: decoded large, its neighbours overall and in every class, and where else it can be opened."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from medfuncta_core.mednf import Neighbors, find_neighbors
from pages.shared import state
from pages.shared.components import tiles
from pages.shared.handover import FIT, INTERPOLATE, VOLUMES, show_open_in, stored_latent
from pages.shared.map_choice import open_row
from pages.shared.map_pictures import Pictures, class_heading, show_decoded
from pages.shared.map_view import MapView
from pages.shared.messages import errors_shown_here
from pages.shared.parts import redrawn
from pages.shared.state import SetRow

TURN_SECONDS = 0.2
PICTURES_PER_TURN = 6
SEARCHES_KEPT = 16
CLASSES_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Strip:
    """Pictures in a row: what they have in common, rows and distances, nearest first."""

    label: int
    name: str
    words: str
    rows: Sequence[int]
    distances: Sequence[float]
    titles: Sequence[str]


def show_point(view: MapView, place: DeltaGenerator) -> list[dict[str, Any]]:
    """The opened point beside the map and its neighbours below; marks of both."""
    row = state.recall("map_row")
    if row is None:
        with place.container(border=True, key="map_empty"):
            st.markdown("**Nothing is opened yet**")
            st.markdown(
                "Rest on a point to see its signal. Click it to decode it at any resolution and to compare it with its nearest "
                "neighbours of every class."
            )
        return []
    with place:
        _show_row(view, row)
    found = search(view, row, ("row", row))
    with place:
        show_vote(view, found, int(view.latents.labels[row]))
        source = SetRow(view.set, row)
        show_open_in(source, FIT, INTERPOLATE, *([VOLUMES] if view.latents.info.kind == "volume" else []))
    show_neighbours(view, found)
    return [{"kind": "opened", "row": row, "words": ""}, *neighbour_marks(found)]


def _show_row(view: MapView, row: int) -> None:
    about = view.latents.describe(row)
    label = int(view.latents.labels[row])
    qualities = [("psnr", "{:.1f} dB"), ("ssim", "SSIM {:.3f}")]
    words = [form.format(about[name]) for name, form in qualities if about[name] is not None and about[name] == about[name]]
    class_heading(label, view.latents.class_name(row) or f"Row {row}", " · ".join([str(about["id"]), *words]))
    with errors_shown_here():
        show_decoded(stored_latent(SetRow(view.set, row)), (view.set, state.set_version(view.set), row), "point")


def search(view: MapView, query: Any, identity: tuple[Any, ...]) -> Neighbors:
    """Neighbours of a row or a latent; the last few searches are kept for this visitor.

    Args:
        view: The set, and how to search it.
        query: A row, or a latent.
        identity: Equal for equal queries.

    Raises:
        SetError: when the query does not fit the set.
    """
    kept: OrderedDict[Any, Neighbors] = state.recall("map_searches", OrderedDict)
    key = (view.set, state.set_version(view.set), identity, view.search)
    if key not in kept:
        with st.spinner(f"Searching {len(view.latents):,} latents", show_time=True):
            kept[key] = find_neighbors(view.latents, query, k=view.search.k, metric=view.search.metric, engine=view.search.engine)
    kept.move_to_end(key)
    while len(kept) > SEARCHES_KEPT:
        kept.popitem(last=False)
    return kept[key]


def show_vote(view: MapView, found: Neighbors, own: int) -> None:
    """The class most neighbours belong to, big."""
    vote = found.vote
    if vote is None:
        return
    labelled, winners = sum(vote.counts.values()), vote.counts[vote.label]
    agrees = "" if own < 0 else ", as it is labelled" if own == vote.label else f", labelled {view.latents.name_of(own)}"
    st.metric(
        f"Class by the {labelled} nearest",
        vote.class_name,
        f"{winners} of {labelled}{agrees}",
        delta_color="off",
        delta_arrow="off",
        help="The class that most of the nearest latents have: k-nearest-neighbour classification.",
    )


def neighbour_marks(found: Neighbors) -> list[dict[str, Any]]:
    """Rings with the rank of the nearest overall."""
    return [{"kind": "neighbour", "row": int(row), "words": str(rank)} for rank, row in enumerate(found.rows, 1)]


def show_neighbours(view: MapView, found: Neighbors) -> None:
    """The nearest overall and of every class, with distances; pictures are decoded a few at a time."""
    metric = {"cosine": "cosine distance", "euclidean": "Euclidean distance"}[found.metric]
    st.subheader(
        "Nearest neighbours", anchor=False,
        help=f"By {metric} of the whole latents. Click one to open it. The search took {found.seconds:.2f} s.",
    )  # fmt: skip
    strips = _strips(view, found)
    with errors_shown_here():
        pictures = Pictures.of(view.set)
        rows = [row for strip in strips[: CLASSES_SHOWN + 1] for row in strip.rows]
        waiting = bool(pictures.missing(rows))
        redrawn(_show_strips, run_every=TURN_SECONDS if waiting else None)(view, strips[: CLASSES_SHOWN + 1], waiting)
    if len(strips) > CLASSES_SHOWN + 1 and st.toggle(f"Show {len(strips) - CLASSES_SHOWN - 1} more classes", key="map_more"):
        more = strips[CLASSES_SHOWN + 1 :]
        waiting = bool(pictures.missing([row for strip in more for row in strip.rows]))
        redrawn(_show_strips, run_every=TURN_SECONDS if waiting else None)(view, more, waiting)


def _strips(view: MapView, found: Neighbors) -> list[Strip]:
    ranks = {int(row): rank for rank, row in enumerate(found.rows, 1)}
    names = [view.latents.class_name(int(row)) or str(view.latents.column("id")[row]) for row in found.rows]
    strips = [Strip(-1, f"The {len(found.rows)} nearest", "", _ints(found.rows), _floats(found.distances), names)]
    for of in found.by_class:
        among = sum(int(row) in ranks for row in of.rows)
        words = f"nearest at {of.distances[0]:.4g} · {among} of the {len(found.rows)} nearest"
        titles = [f"#{ranks[int(row)]}" if int(row) in ranks else str(view.latents.column("id")[row]) for row in of.rows]
        strips.append(Strip(of.label, of.class_name, words, _ints(of.rows), _floats(of.distances), titles))
    return strips


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]


def _floats(values: Any) -> list[float]:
    return [float(value) for value in values]


def _show_strips(view: MapView, strips: Sequence[Strip], waiting: bool) -> None:
    pictures, opened = Pictures.of(view.set), state.recall("map_row")
    for strip in strips:
        class_heading(strip.label, strip.name, strip.words)
        items = [
            {"id": str(row), "title": title, "detail": f"{distance:.4g}", "src": pictures.source(row)}
            for row, distance, title in zip(strip.rows, strip.distances, strip.titles, strict=True)
        ]
        picked = tiles(items, str(opened), label=f"Nearest: {strip.name}", key=f"map_near-{strip.label}", dense=True)
        if picked is not None:
            open_row(int(picked))
            st.rerun()
    missing = pictures.missing([row for strip in strips for row in strip.rows])
    pictures.make(missing[:PICTURES_PER_TURN])
    if waiting and len(missing) <= PICTURES_PER_TURN:
        st.rerun()
