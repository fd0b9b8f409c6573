"""A visitor's own file on the map: fitted by the set's network, placed, its neighbours, and the class they vote for."""

from __future__ import annotations

from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from medfuncta_core import figures
from medfuncta_core.config import FitConfig
from medfuncta_core.errors import CheckpointError
from medfuncta_core.mednf import place_latent
from pages.shared import state
from pages.shared.fit_run import TURN_SECONDS, FitRun
from pages.shared.handover import StoredLatent
from pages.shared.map_pictures import show_decoded
from pages.shared.map_point import neighbour_marks, search, show_neighbours, show_vote
from pages.shared.map_view import MapView
from pages.shared.messages import show_error
from pages.shared.parts import redrawn
from pages.shared.settings import Hiding
from pages.shared.sidebar import Choice
from pages.shared.sources import FORMATS, pack_files, pick_index


def show_file(view: MapView, choice: Choice | None, place: DeltaGenerator) -> list[dict[str, Any]]:
    """The drop zone and what became of the file, beside the map; its neighbours below; marks of both.

    Raises:
        MedFunctaError: when the file cannot be read or fitted, or the set's network is not there.
    """
    with place:
        run = _settle_run(view, choice)
        if run is None:
            return []
        if run.active:
            redrawn(_watch, run_every=TURN_SECONDS)(run)
            return []
        if run.error is not None:
            show_error(run.error)
            return []
        _show_result(run, view.set)
    identity = ("file", state.recall("map_file")[0])
    found = search(view, run.result.latent, identity)
    with place:
        show_vote(view, found, -1)
        if view.choice.request.method != "pca":
            st.caption("Placed on the map among the places of its nearest neighbours.")
    show_neighbours(view, found)
    return [*neighbour_marks(found), *placed_mark(view)]


def _settle_run(view: MapView, choice: Choice | None) -> FitRun | None:
    """The fit of the file that lies in the drop zone; None while there is none."""
    st.markdown("**Place your own signal on this map**", help=FORMATS)
    kind = {"ecg": "an ECG", "image": "an image", "volume": "a volume"}[view.latents.info.kind]
    label = f"Drop {kind}"
    files = st.file_uploader(label, accept_multiple_files=True, key=f"map_upload-{view.set}", label_visibility="collapsed")
    if not files:
        known = state.recall("map_file")
        if known is None or known[0][0] != view.set:
            st.caption(f"{label}: it is fitted by the set's own network and shown among its nearest neighbours.")
            return None
        return known[1]
    checkpoint = state.load_set_field(view.set, "cpu")
    spec = checkpoint.config.signal
    if spec is None:
        raise CheckpointError(f"{view.set}: its network does not say what signals it expects; encode the set with another one")
    upload = pack_files(files)
    index = pick_index(upload, spec)
    identity = (view.set, state.set_version(view.set), upload.digest, index)
    known = state.recall("map_file")
    if known is None or known[0] != identity:
        config = checkpoint.config.fit
        settings = FitConfig.parse(config.model_dump() | {"steps": view.latents.info.fit_steps}, view.set)
        device = choice.device if choice else "auto"
        signal = state.read_upload(upload, spec, index)
        run = FitRun(Choice(view.set, checkpoint.config, device), signal, settings, Hiding(), checkpoint)
        state.remember("map_file", (identity, run))
        return run
    return known[1]


def _watch(run: FitRun) -> None:
    run.advance()
    st.progress(max(run.last, 0) / run.config.steps, text=f"Fitting {run.signal.name}: step {run.last} of {run.config.steps}")
    if st.button("Stop", icon=":material/stop_circle:", key="map_stop_fit", on_click=run.stop) or not run.active:
        st.rerun()


def _show_result(run: FitRun, name: str) -> None:
    result, signal = run.result, run.signal
    st.caption(f"Fitted in {result.fit_steps} steps, {result.seconds:.2f} s")
    st.metric("PSNR", f"{result.psnr:.1f} dB", help="How well its latent describes the file; low means it is unlike the set.")
    stored = StoredLatent(
        state.load_set_field(name, "cpu"), result.latent, signal.shape, signal.name, result.psnr, "", signal.name
    )
    show_decoded(stored, ("file", state.recall("map_file")[0]), "file", signal.values)


def placed_mark(view: MapView) -> list[dict[str, Any]]:
    """Where the fitted file lies on the map, as a mark; none while there is no file or no map."""
    known = state.recall("map_file")
    if known is None or view.made is None or known[0][0] != view.set or known[1].result is None:
        return []
    place = place_latent(view.latents, view.made, known[1].result.latent)
    at = figures.frame_map(view.made.coords).place(place[None])[0]
    return [{"kind": "dropped", "at": [float(value) for value in at], "words": known[1].signal.name}]
