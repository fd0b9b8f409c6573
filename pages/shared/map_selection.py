"""What a visitor drew around: how many of each class, their mean latent, a contact sheet, and files to take home."""

from __future__ import annotations

import hashlib
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from medfuncta_core import figures, mednf
from medfuncta_core.errors import MedFunctaError
from medfuncta_core.mednf import LatentMap
from pages.shared import state
from pages.shared.components import tiles
from pages.shared.handover import StoredLatent
from pages.shared.map_choice import open_row
from pages.shared.map_pictures import Pictures, show_decoded
from pages.shared.map_view import MapView
from pages.shared.messages import errors_shown_here
from pages.shared.parts import redrawn
from pages.shared.views import CHART

SHEET = 60
TURN_SECONDS = 0.2
PICTURES_PER_TURN = 6


def show_selection(view: MapView, place: DeltaGenerator) -> None:
    """The selection beside the map, its contact sheet below."""
    rows, made = state.recall("map_rows"), view.made
    if rows is None or made is None:
        with place.container(border=True, key="map_empty"):
            st.markdown("**Nothing is selected yet**")
            st.markdown(
                "Press Box or Lasso above the map, or hold Shift, and draw around points. You get their pictures on one sheet, "
                "how many there are of each class, their mean latent decoded, and a file of their latents."
            )
        return
    with place:
        st.markdown(f"**{len(rows):,} signals** selected")
        _show_counts(view, rows)
        st.markdown("**Their mean latent, decoded**", help="The average of the selected latents, through the shared network.")
        with errors_shown_here():
            _show_mean(view, rows)
    _show_files(view, rows, made)
    _show_sheet(view, rows)


def _show_counts(view: MapView, rows: Any) -> None:
    counts = mednf.count_classes(view.latents, rows)
    figure = figures.class_bars(
        [of.label for of in counts], [of.name for of in counts], [of.count for of in counts], [of.total for of in counts]
    )
    words = ", ".join(f"{of.name}: {of.count}" for of in counts)
    st.plotly_chart(figure, key="map_counts", height=52 + 27 * len(counts), config=CHART, alt=f"Signals of each class: {words}")


def _show_mean(view: MapView, rows: Any) -> None:
    checkpoint = state.load_set_field(view.set, "cpu")
    latent = mednf.mean_latent(view.latents, rows)
    words = f"mean of {len(rows):,} latents"
    stored = StoredLatent(checkpoint, latent, view.latents.shape, words, float("nan"), "", view.set)
    show_decoded(stored, (view.set, hashlib.sha256(latent.tobytes()).hexdigest()), "mean")


def _show_sheet(view: MapView, rows: Any) -> None:
    shown = [int(row) for row in mednf.spread_rows(view.latents, rows, SHEET)]
    st.subheader("Contact sheet", anchor=False, help="Decoded from the latents. Click one to open it.")
    if len(shown) < len(rows):
        st.caption(f"{len(shown)} of {len(rows):,}, every class in its share.")
    with errors_shown_here():
        waiting = bool(Pictures.of(view.set).missing(shown))
        redrawn(_show_tiles, run_every=TURN_SECONDS if waiting else None)(view, shown, waiting)


def _show_tiles(view: MapView, shown: list[int], waiting: bool) -> None:
    pictures = Pictures.of(view.set)
    psnr, names = view.latents.column("psnr"), view.latents.column("id")
    items = [
        {
            "id": str(row),
            "title": view.latents.class_name(row) or str(names[row]),
            "detail": f"{psnr[row]:.1f} dB" if psnr[row] == psnr[row] else "",
            "src": pictures.source(row),
        }
        for row in shown
    ]
    picked = tiles(items, None, label="Contact sheet", key="map_sheet", wrap=True, dense=True)
    if picked is not None:
        open_row(int(picked))
        st.rerun()
    missing = pictures.missing(shown)
    pictures.make(missing[:PICTURES_PER_TURN])
    if waiting and len(missing) <= PICTURES_PER_TURN:
        st.rerun()


def _show_files(view: MapView, rows: Any, made: LatentMap) -> None:
    latents, stem = view.latents, f"{view.set}-selection"
    fits = len(rows) * latents.latent_dim <= mednf.MOST_NUMBERS
    with st.container(horizontal=True, gap="small", key="map_files"):
        st.download_button(
            "Latents (.npz)", lambda: mednf.selection_archive(latents, rows, made), f"{stem}.npz", "application/octet-stream",
            key="map_npz", on_click="ignore", icon=":material/data_array:", type="primary", disabled=not fits,
            help=None if fits else "Too many for one file; choose fewer, or copy the set's folder.",
        )  # fmt: skip
        st.download_button(
            "Table (.csv)", lambda: mednf.selection_table(latents, rows, made), f"{stem}.csv", "text/csv",
            key="map_csv", on_click="ignore", icon=":material/table:",
        )  # fmt: skip
        st.download_button(
            "Contact sheet (.png)", lambda: _sheet_file(view, rows), f"{stem}.png", "image/png",
            key="map_png", on_click="ignore", icon=":material/image:",
        )  # fmt: skip


def _sheet_file(view: MapView, rows: Any) -> bytes:
    try:
        pictures = Pictures.of(view.set)
        return figures.contact_sheet([pictures.frame(int(row)) for row in mednf.spread_rows(view.latents, rows, SHEET)])
    except MedFunctaError:
        return b""  # the page says why there are no pictures
