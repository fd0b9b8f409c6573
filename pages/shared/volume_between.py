"""Between two volumes: the way from one latent to the other, with the three planes following."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from medfuncta_core.errors import MedFunctaError
from medfuncta_core.figures import encode_png, to_data_url
from medfuncta_core.figures.flights import Look
from medfuncta_core.figures.volume_pictures import grey_picture
from medfuncta_core.mednf.paths import even_shares, walk
from medfuncta_core.volumes import LinkedPlane, link_planes, view_between
from pages.shared import state
from pages.shared.components.volumes import SliceActions, slices
from pages.shared.handover import stored_latent
from pages.shared.state import Pick, SetRow, Stored
from pages.shared.volume_looks import linked
from pages.shared.volume_run import VolumeRun
from pages.shared.volume_slices import FACTORS, move

MOST_ROWS = 500


@dataclass(frozen=True, eq=False)
class KeptVolume:
    """A fitted volume that the visitor put aside."""

    name: str
    checkpoint: str
    version: int
    latent: Any


def show_between(run: VolumeRun, index: int, look: Look) -> None:
    """First volume, the mixture, second volume on the three planes of the crosshair."""
    kept = state.recall("volume_kept")
    mine = KeptVolume(run.signal.name, run.choice_name, state.field_version(run.choice_name), run.history[index].latent.numpy())
    choices = _second_volumes(run, kept)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="between_bar"):
        word = st.selectbox(
            "Second volume", list(choices), key="between_second", help="Any volume that the same network was fitted to."
        )
        st.button(
            "Put this volume aside",
            key="keep_volume",
            icon=":material/bookmark_add:",
            on_click=lambda: state.remember("volume_kept", mine),
            help="Then open another one: it can be mixed with this.",
        )
    if word is None:
        st.info("There is no second volume yet: put this one aside and open another.", icon=":material/bookmark_add:")
        return
    percent = st.slider("Share of the second volume", 0, 100, 50, format="%d %%", key="between_share")
    factor = st.segmented_control(
        "Resolution", FACTORS, default=1, required=True, format_func=lambda f: f"{f}×", key="between_factor"
    )
    second = _latent_of(choices[word])
    way = walk(mine.latent, second, even_shares(101))
    latents = [way[0], way[percent], way[100]]
    titles = (run.signal.name, f"{100 - percent} % and {percent} %", word)
    with st.spinner("Decoding", show_time=True):
        rows = [_row(run, plane, latents, titles, look, factor or 1) for plane in link_planes(run.geometry, run.at)]
    widest = max(row["width"] for row in rows)
    for row in rows:
        row["share"] = row["width"] / widest
    slices(
        rows,
        SliceActions(moved=lambda place: move(run, place)),
        key=f"between-{id(run)}",
        index=run.at,
        shape=run.geometry.shape,
        smooth=look.smooth,
    )
    st.caption("Shown on this volume's grid and through its window; what lies between is decoded from the mixed latent.")


def _second_volumes(run: VolumeRun, kept: KeptVolume | None) -> dict[str, KeptVolume | Stored]:
    """What the network of this fit can also decode, by what to call it."""
    name, found = run.choice_name, {}
    if kept is not None and (kept.checkpoint, kept.version) == (name, state.field_version(name)):
        found[f"Put aside: {kept.name}"] = kept
    try:
        gallery = state.load_gallery(name) if state.gallery_file(name).is_file() else None
    except MedFunctaError:
        gallery = None
    for row in range(len(gallery) if gallery else 0):
        assert gallery is not None
        found[f"Gallery: {gallery.ids[row]} {gallery.class_name(row)}".strip()] = Pick(name, row)
    for known in state.list_set_names():
        try:
            opened = state.load_set(known)
        except MedFunctaError:
            continue
        if opened.info.checkpoint == name and opened.latent_dim == run.checkpoint.field.latent_dim:
            found |= {f"{known}, row {row}": SetRow(known, row) for row in range(min(len(opened), MOST_ROWS))}
    return found


def _latent_of(volume: KeptVolume | Stored) -> Any:
    return volume.latent if isinstance(volume, KeptVolume) else stored_latent(volume).latent


def _row(
    run: VolumeRun, plane: LinkedPlane, latents: list[Any], titles: tuple[str, ...], look: Look, factor: int
) -> dict[str, Any]:
    """The three fields on one plane."""
    cut = plane.cut
    values = view_between(run.signal, [run.decoder_of(latent) for latent in latents], cut, cut.pixels(factor))
    panes = [
        {
            "title": title,
            "caption": f"{cut.name} · {plane.place}",
            "src": to_data_url(encode_png(grey_picture(picture, look.window, run.signal.value_range))),
            "alt": f"{title} {cut.name}",
            "file": f"between-{column}-{cut.name}.png".lower().replace(" ", "-"),
        }
        for column, (title, picture) in enumerate(zip(titles, values, strict=True))
    ]
    about = {"name": cut.name, "place": plane.place, "aspect": cut.width / cut.height, "width": cut.width}
    return linked({**about, "letters": cut.letters, "panes": panes}, plane)
