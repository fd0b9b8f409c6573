"""The ends of a walk as a visitor sees and changes them: a picture, a name, and what to choose from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from medfuncta_core import figures
from pages.shared import sources, state, widgets
from pages.shared.components import sheet, tiles
from pages.shared.handover import FIT, show_open_in
from pages.shared.messages import errors_shown_here, escape
from pages.shared.morph_ends import End, current_sources, put_end, resolve_end
from pages.shared.morph_network import Material, Network, list_materials, list_strangers
from pages.shared.sidebar import Choice
from pages.shared.state import Source, Stored, Upload


@dataclass(frozen=True)
class View:
    """What one can do on the page, and the ends it needs."""

    name: str
    title: str
    labels: str


VIEWS = (
    View("morph", "Morph", "AB"),
    View("corners", "Four corners", "ABCD"),
    View("classes", "Classes", "A"),
    View("statistics", "Statistics", ""),
)
PER_PAGE = 24
PICTURE_POINTS = 48  # of a thumbnail's longest side
FILE = "Your file"


def choose_view() -> View:
    """What to do; the address keeps it."""
    titles = {view.title: view for view in VIEWS}
    linked = next((view.title for view in VIEWS if view.name == st.query_params.get("view")), VIEWS[0].title)
    word = st.segmented_control(
        "View", list(titles), default=linked, required=True, key="morph_view", label_visibility="collapsed"
    )
    view = titles[word or VIEWS[0].title]
    st.query_params["view"] = view.name
    return view


def show_ends(network: Network, choice: Choice, labels: Sequence[str]) -> list[End]:
    """Draw the ends; those that could be read come back, the others say what is wrong with them."""
    standing = current_sources(network, labels)
    closing = state.recall("morph_close")
    if closing:
        widgets.set_widget(f"choose-{closing}", False)
        state.remember("morph_close", None)
    ends: list[End] = []
    linked: set[Stored] = set()
    for pair in (labels[at : at + 2] for at in range(0, len(labels), 2)):
        for column, label in zip(st.columns(2, gap="medium"), pair, strict=False):
            with column, st.container(border=True, key=f"end-{label}"), errors_shown_here():
                end = _show_end(network, choice, label, standing.get(label), linked)
                if end is not None:
                    ends.append(end)
    return ends


def _show_end(network: Network, choice: Choice, label: str, source: Source | None, linked: set[Stored]) -> End | None:
    """One end: what it is, a way to change it, a link to fit it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        picture = st.container(width=84)
        about = st.container(width="stretch", gap="small")
    with about:
        words = st.container()
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            _show_choice(network, choice, label, source)
            if isinstance(source, Stored) and source not in linked:
                linked.add(source)
                show_open_in(source, FIT)
    with words:
        if source is None:
            st.markdown(f"**{label}**  \nNothing yet: choose a signal or drop a file.")
            return None
        index = sources.pick_index(source, network.spec) if isinstance(source, Upload) else 0
        end = resolve_end(label, source, network, index)
        class_name = f" · {escape(end.class_name)}" if end.class_name else ""
        st.markdown(f"**{label}**{class_name}  \n:small[:gray[{escape(end.words)}{quality_words(end.psnr)}]]")
    with picture:
        sheet(
            [{"heading": "", "items": [{"src": _picture(end, network), "caption": "", "alt": f"{label}: {end.words}"}]}],
            wrap=False,
            key=f"picture-{label}",
        )
    return end


def quality_words(psnr: float) -> str:
    """The PSNR of a fit after a name; nothing where it is not known."""
    return f" · {psnr:.1f} dB" if math.isfinite(psnr) else ""


def _picture(end: End, network: Network) -> str:
    kept: dict[Any, str] = state.recall("morph_pictures", dict)
    key = (end.identity, network.version)
    if key not in kept:
        if len(kept) > 64:
            kept.clear()
        kept[key] = _thumbnails(network, end.latent[None])[0]
    return kept[key]


def _thumbnails(network: Network, latents: Any) -> list[str]:
    """Small pictures of latents, decoded together; of volumes only the plane that is shown."""
    kind, shape = network.spec.kind, network.spec.shape
    if kind == "volume":
        shape = (*shape[:2], 1)
    grid = shape if kind == "ecg" else tuple(min(points, PICTURE_POINTS) for points in shape)
    return [figures.thumbnail(values, kind) for values in network.fitter().decode_batch(latents, grid)]


def _show_choice(network: Network, choice: Choice, label: str, source: Source | None) -> None:
    """Behind a button: galleries, sets and a drop zone; drawn only while it is open."""
    popover = st.popover(
        "Change", key=f"choose-{label}", on_change="rerun", icon=":material/edit:", help=f"Choose {label}, or drop a file."
    )
    if not popover.open:
        return
    with popover, st.container(width=560), errors_shown_here():
        here, strangers = list_materials(network), list_strangers(network)
        by_title = {material.title: material for material in here} | {f"{m.title} (own network)": m for m in strangers}
        options = [*by_title, FILE]
        word = st.pills(f"{label} comes from", options, default=options[0], required=True, key=f"from-{label}-{network.name}")
        if word in by_title:
            _choose_row(network, label, by_title[word], source)
        else:
            _choose_file(network, choice, label)


def _choose_row(network: Network, label: str, material: Material, source: Source | None) -> None:
    """Pictures to pick from, of one class or all, a page at a time."""
    from medfuncta_core.mednf.choosing import classes_of, rows_of_class

    left, right = st.columns(2, gap="small")
    wanted = left.selectbox(
        "Class",
        [None, *classes_of(material.labels)],
        format_func=lambda number: "All" if number is None else material.name_of(number),
        key=f"class-{label}-{material.title}",
    )
    rows = rows_of_class(material.labels, wanted)
    pages = -(-len(rows) // PER_PAGE)
    page = right.number_input(
        f"Page (1 to {pages:,})", 1, pages, 1, key=f"page-{label}-{material.title}-{wanted}", disabled=pages == 1
    )
    shown = [int(row) for row in rows[(page - 1) * PER_PAGE : page * PER_PAGE]]
    pictures = _row_pictures(network, material, shown)
    psnr = material.psnr(shown)
    items = [
        {
            "id": str(row),
            "title": material.class_of(row) or f"row {row:,}",
            "detail": quality_words(quality).removeprefix(" · "),
            "src": picture,
        }
        for row, quality, picture in zip(shown, psnr, pictures, strict=True)
    ]
    selected = next((str(row) for row in shown if material.source(row) == source), None)
    picked = tiles(items, selected, label=f"Signals for {label}", key=f"tiles-{label}-{material.title}", wrap=True)
    if picked is not None:
        put_end(label, material.source(int(picked)), network)
        st.rerun()


def _row_pictures(network: Network, material: Material, rows: list[int]) -> list[str]:
    made = state.thumbnails(f"{material.kind}:{material.name}", material.version)
    missing = [row for row in rows if row not in made]
    if missing:
        with st.spinner("Decoding"):
            made.update(zip(missing, _thumbnails(network, material.latents(missing)), strict=True))
    return [made[row] for row in rows]


def _choose_file(network: Network, choice: Choice, label: str) -> None:
    """A drop zone; a file of another kind takes the page to a checkpoint of its kind."""
    turn = state.recall("uploader", lambda: 0)
    files = st.file_uploader(
        f"File for {label}", accept_multiple_files=True, key=f"end_upload-{label}-{turn}", label_visibility="collapsed"
    )
    st.caption(
        "Image, ECG or volume. It is fitted by this network, which takes a moment, and stays on the machine that runs this app."
    )
    chosen = state.recall("morph_ends", dict).get(label)
    if files:
        upload = sources.pack_files(files)
        if not (isinstance(chosen, Upload) and chosen.identity == upload.identity):
            kind, channels = state.inspect_upload(upload)
            best = network.name
            if network.inside_set or (kind, channels) != (network.spec.kind, network.spec.channels):
                best = sources.best_checkpoint(upload.name, kind, channels, choice)
            if best != network.name:
                state.request_checkpoint(best)
            put_end(label, upload, network)
            st.rerun()
