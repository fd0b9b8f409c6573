"""Beyond two signals: the square between four of them, means of classes, and the direction from one class to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from medfuncta_core import figures
from pages.shared.components import sheet
from pages.shared.components.moving import player
from pages.shared.morph_decoding import DIFFERENCE_LIMIT, Display, decode_kept, difference_title, film_buttons, stem
from pages.shared.morph_ends import End
from pages.shared.morph_network import Material, Network, list_materials

if TYPE_CHECKING:
    from medfuncta_core.mednf.paths import ClassMeans

STRONGEST = 2.0
DIRECTION_HELP = (
    "The difference between two class means is a direction in the latent space. Added to a signal, it shows on this signal what "
    "sets the classes apart."
)


def show_corners(network: Network, ends: Sequence[End], display: Display) -> None:
    """A bilinear grid: A top left, B top right, C bottom left, D bottom right."""
    from medfuncta_core.figures import contact_sheet, film
    from medfuncta_core.mednf.morphs import one_grid, pack_frames
    from medfuncta_core.mednf.paths import blend_corners

    if len(ends) < 4:
        st.info("Choose a signal for every corner: what lies between them is decoded at once.", icon=":material/grid_on:")
        return
    side = st.slider(
        "Pictures a side", 3, 9, 5, key="corner_side", help="Each is a mixture of the four corners' latents.", width=320
    )
    grid = blend_corners([end.latent for end in ends], side, side)
    latents = grid.reshape(side * side, -1)
    identity = ("corners", side, *(end.identity for end in ends))
    frames = decode_kept(network, latents, display, identity, one_grid(network.kind, display.shape(network)))
    corners = {0: "A", side - 1: "B", side * (side - 1): "C", side * side - 1: "D"}
    items = [
        {
            "src": figures.part_url(frames.frame(at), network.kind),
            "caption": corners.get(at, " "),
            "alt": f"row {at // side + 1}, column {at % side + 1}",
            "aspect": figures.part_aspect(frames.frame(at), network.kind),
        }
        for at in range(side * side)
    ]
    rows = [{"heading": "", "items": items[first : first + side]} for first in range(0, side * side, side)]
    sheet(rows, wrap=False, key="corner_grid")
    with st.container(horizontal=True, gap="small", key="corner_exports"):
        pictures = lambda: contact_sheet(film([frames], network.kind, 128), side)  # noqa: E731
        st.download_button(
            "Picture (.png)",
            pictures,
            "corners.png",
            "image/png",
            key="corners_png",
            on_click="ignore",
            icon=":material/grid_on:",
        )
        words = {"abcd"[at]: end.words for at, end in enumerate(ends)} | {"checkpoint": network.name}
        arrays = lambda: pack_frames(latents, frames, words)  # noqa: E731
        st.download_button(
            "Latents and values (.npz)",
            arrays,
            "corners.npz",
            "application/octet-stream",
            key="corners_npz",
            on_click="ignore",
            icon=":material/data_array:",
        )


def choose_material(network: Network, key: str) -> Material | None:
    """Which stored latents a whole-cloud view is about."""
    materials = {material.title: material for material in list_materials(network)}
    if not materials:
        st.info(
            "There are no stored latents of this network. Encode a data set with `python -m medfuncta_core encode`.",
            icon=":material/folder_open:",
        )
        return None
    sets_first = sorted(materials, key=lambda title: materials[title].kind == "gallery")
    word = st.pills("Latents of", sets_first, default=sets_first[0], required=True, key=f"{key}-{network.name}")
    return materials[word or sets_first[0]]


@st.cache_resource(show_spinner="Averaging", max_entries=8)
def _class_means(material: Material, version: int) -> ClassMeans:
    from medfuncta_core.mednf.paths import class_means

    return class_means(material.blocks(), material.labels)


def show_classes(network: Network, ends: Sequence[End], display: Display) -> None:
    """Mean latents of classes, decoded, and a signal moved along the direction between two of them."""
    material = choose_material(network, "classes_of")
    if material is None:
        return
    means = _class_means(material, material.version)
    _show_means(network, material, means, display)
    if len(means.labels) < 2:
        st.info("A direction needs two classes.", icon=":material/arrow_range:")
        return
    st.markdown(
        "**From one class towards another**",
        help=DIRECTION_HELP,
    )
    left, right = st.columns(2, gap="medium")
    source = left.selectbox("From", means.labels, 0, format_func=material.name_of, key=f"from_class-{material.name}")
    target = right.selectbox("Towards", means.labels, 1, format_func=material.name_of, key=f"to_class-{material.name}")
    if source == target:
        st.info("Choose two different classes.", icon=":material/arrow_range:")
        return
    _show_direction(network, material, means, ends[0], source, target, display)


def _show_means(network: Network, material: Material, means: ClassMeans, display: Display) -> None:
    identity = ("means", material, material.version)
    frames = decode_kept(network, means.means, display, identity)
    st.markdown("**Mean of every class**", help="All latents of a class averaged, then decoded: a picture that no patient has.")
    items = [
        {
            "src": figures.part_url(frames.frame(at), network.kind),
            "caption": f"{material.name_of(label)} · {count:,}",
            "alt": f"mean of {count:,} signals: {material.name_of(label)}",
            "aspect": figures.part_aspect(frames.frame(at), network.kind),
        }
        for at, (label, count) in enumerate(zip(means.labels, means.counts, strict=True))
    ]
    sheet([{"heading": "", "items": items}], wrap=False, key="class_means")


def _show_direction(
    network: Network, material: Material, means: ClassMeans, first: End, source: int, target: int, display: Display
) -> None:
    from medfuncta_core.mednf.morphs import pack_frames
    from medfuncta_core.mednf.paths import add_direction, even_strengths, place_along

    direction, strengths = means.direction(source, target), even_strengths(display.frames, STRONGEST)
    latents = add_direction(first.latent, direction, strengths)
    identity = ("direction", material, material.version, first.identity, source, target, display.frames)
    frames = decode_kept(network, latents, display, identity)
    kind, middle = network.kind, len(strengths) // 2
    here = frames.frame(middle)
    tracks: list[dict[str, Any]] = [
        {"title": "Signal A, moved", "frames": [figures.part_url(frames.frame(at), kind, [here]) for at in range(len(frames))]}
    ]
    if kind != "ecg":
        apart = [figures.difference_url(frames.frame(at), here, kind, DIFFERENCE_LIMIT) for at in range(len(frames))]
        tracks.append({"title": difference_title("What changed"), "frames": apart})
    names = material.name_of(source), material.name_of(target)
    captions = [f"strength {strength:+.2f} from {names[0]} to {names[1]}" for strength in strengths]
    player(
        tracks,
        captions=captions,
        per_second=display.per_second,
        smooth=display.smooth,
        key=f"direction-{kind}",
        wide=kind == "volume",
        label="Strength",
    )
    place = place_along(first.latent, means.of(source), direction)
    st.caption(
        f"Strength 1 is the whole way from the mean of {names[0]} to that of {names[1]}; negative strengths go the other way. "
        f"A itself lies at {place:.2f} of that way (0 is the one mean, 1 the other)."
    )
    with st.container(horizontal=True, gap="small", key="direction_exports"):
        name = stem(f"{first.words} towards {names[1]}")
        about = {"a": first.words, "from": names[0], "towards": names[1], "checkpoint": network.name}
        film_buttons([frames], network, display, name, "direction")
        arrays = lambda: pack_frames(latents, frames, about, strengths=strengths)  # noqa: E731
        st.download_button(
            "Latents and values (.npz)",
            arrays,
            f"{name}.npz",
            "application/octet-stream",
            key="direction_npz",
            on_click="ignore",
            icon=":material/data_array:",
        )
