"""A map ready to be looked at: found, or made in a process of its own that the visitor can watch and cancel."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from medfuncta_core import figures
from medfuncta_core.errors import MedFunctaError
from medfuncta_core.mednf import EmbedRequest, LatentMap, MednfSet, map_file, read_map, warm_up
from medfuncta_core.runs.mapping import MapJob
from pages.shared import state
from pages.shared.map_choice import COLUMN_WORDS, MapChoice
from pages.shared.map_settings import Search
from pages.shared.parts import redrawn

TURN_SECONDS = 0.4
LARGE = 20_000
"""Rows from which a set is read through beforehand."""
AFTER_SECONDS = 1.0
"""When the map itself has been sent."""


@dataclass(frozen=True, eq=False)
class MapView:
    """What the page shows.

    Args:
        set: Name of the set.
        latents: The set.
        made: Its map, None while it is being made.
        choice: How it is mapped and looked at.
        name: Of the map in the browser.
    """

    set: str
    latents: MednfSet
    made: LatentMap | None
    choice: MapChoice
    name: str

    @property
    def search(self) -> Search:
        """How neighbours are found."""
        return self.choice.search


def settle_map(name: str, choice: MapChoice) -> MapView:
    """The map where it is there, else its making begins.

    Raises:
        SetError: when the set cannot be read, or a small map not made.
    """
    latents, request = state.load_set(name), choice.request
    file = map_file(latents, request)
    if not file.is_file() and str(file) not in _jobs() and state.recall("map_given_up") != str(file):
        _jobs()[str(file)] = MapJob(latents, request)
    job = _jobs().get(str(file))
    if job is not None and not job.active():
        _jobs().pop(str(file), None)
        if job.error is not None:
            state.remember("map_given_up", str(file))
            raise job.error
    made = _read_map(str(file), file.stat().st_mtime_ns, latents.fingerprint, latents) if file.is_file() else None
    return MapView(name, latents, made, choice, f"{name}/{file.stem}")


def show_making(view: MapView) -> None:
    """Progress with a number and a way to stop, as high as the map that takes its place; or a way to begin again."""
    file = map_file(view.latents, view.choice.request)
    with st.container(border=True, height=430, vertical_alignment="center", horizontal_alignment="center", key="map_making"):
        if str(file) in _jobs():
            redrawn(_watch, run_every=TURN_SECONDS)(str(file), view.choice.request)
            return
        st.markdown("This map was not made.")
        if st.button("Make it", type="primary", icon=":material/refresh:", key="map_again"):
            state.remember("map_given_up", None)
            st.rerun()


def _watch(file: str, request: EmbedRequest) -> None:
    job = _jobs().get(file)
    if job is None or not job.active():
        st.rerun()
        return
    step = job.step()
    method = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}[request.method]
    st.markdown(f"**Drawing the map: {method} in {request.dims}D**")
    st.progress(min(1.0, max(0.0, step.share)), text=f"{step.words} · {step.share:.0%}")
    st.caption("It is made once and kept with the set. The page stays usable: open points by link, or choose another map.")
    if st.button("Cancel", icon=":material/stop_circle:", key="map_cancel"):
        job.cancel()
        _jobs().pop(file, None)
        state.remember("map_given_up", file)
        st.rerun()


def pack_view(view: MapView) -> bytes:
    """The map as the browser draws it, kept for the next turn and the next visitor."""
    assert view.made is not None
    version = (state.set_version(view.set), view.made.fingerprint)
    if len(view.latents) > LARGE:
        _warm_up(view.set, version, view.latents)
    return _pack(view.name, view.choice.colour, version, view.latents, view.made)


@st.cache_resource(show_spinner=False)
def _jobs() -> dict[str, MapJob]:
    """Maps being made, by their file; shared, so that two visitors do not make the same one."""
    return {}


@st.cache_resource(show_spinner=False, max_entries=16)
def _warm_up(name: str, version: tuple[int, str], _latents: MednfSet) -> None:
    """Read a large set through while its map is looked at, so that the first point that is opened has its neighbours at once."""

    def work() -> None:
        with suppress(MedFunctaError, OSError):  # whoever opens a point is told
            warm_up(_latents)

    timer = threading.Timer(AFTER_SECONDS, work)
    timer.daemon = True
    timer.start()


@st.cache_resource(show_spinner=False, max_entries=16)
def _read_map(file: str, version: int, fingerprint: str, _latents: MednfSet) -> LatentMap:
    return read_map(Path(file), _latents)


@st.cache_resource(show_spinner=False, max_entries=12)
def _pack(name: str, colour: str, version: tuple[int, str], _latents: MednfSet, _made: LatentMap) -> bytes:
    if colour == "label":
        colouring = figures.colour_classes(_latents.labels, _latents.class_names)
    else:
        words = COLUMN_WORDS.get(colour, colour)
        colouring = figures.colour_column(_latents.column(colour), words)
    label = f"Map of {len(_latents):,} latents, {_made.coords.shape[1]} dimensions"
    return figures.pack_map(_made.coords, colouring, name=name, label=label)
