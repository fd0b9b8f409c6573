"""The gallery: test signals stored as latents, shown as a strip of thumbnails and decoded on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from medfuncta_core.config import Kind, SignalSpec
from medfuncta_core.errors import CheckpointError, MedFunctaError
from pages.shared import state, widgets
from pages.shared.components import tiles
from pages.shared.handover import linked_source
from pages.shared.messages import errors_shown_here, show_error
from pages.shared.parts import redrawn
from pages.shared.sidebar import chosen_name
from pages.shared.state import Pick, SetRow, Stored, Upload

if TYPE_CHECKING:
    from medfuncta_core.checkpoint import Gallery

TILES_PER_TURN = 2


def show_gallery(kind: Kind | None = None) -> None:
    """Test signals stored as latents; thumbnails are decoded a few at a time, so the page is there at once.

    Args:
        kind: Offer this kind of signal only; all when None.
    """
    _open_linked_item()
    names = [
        name
        for name, config in state.list_configs().items()
        if config.signal and kind in (None, config.signal.kind) and state.gallery_file(name).is_file()
    ]
    if not names:
        st.markdown("**Gallery**")
        st.caption("No gallery is stored beside these checkpoints. Drop a file on the left to begin.")
        return
    wanted = state.recall("gallery_of")
    if wanted in names:
        widgets.set_widget("gallery", wanted)
        state.remember("gallery_of", None)
    elif widgets.widget("gallery") not in names:
        current = chosen_name()
        widgets.set_widget("gallery", current if current in names else names[0])
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="gallery_head"):
        st.markdown("**Or pick one of ours**", width="content", help="Test signals, stored as latents and decoded as you look.")
        name = st.segmented_control("Gallery of", names, key="gallery", required=True, label_visibility="collapsed")
    name = name or names[0]
    with errors_shown_here():  # a broken gallery leaves the visitor's own files
        gallery = state.load_gallery(name)
        made = state.thumbnails(name, state.gallery_version(name))
        waiting = len(made) < len(gallery) and _known_problem(name) is None
        redrawn(_show_strip, run_every=0.2 if waiting else None)(name, gallery, made)


def _known_problem(name: str) -> MedFunctaError | None:
    """Why thumbnails cannot be made, until the gallery or its checkpoint changes; found once, not five times a second."""
    identity, error = state.recall("gallery_problem") or (None, None)
    return error if identity == _problem_identity(name) else None


def _problem_identity(name: str) -> tuple[str, int, int]:
    return name, state.gallery_version(name), state.field_version(name)


def _show_strip(name: str, gallery: Gallery, made: dict[int, str]) -> None:
    source = state.recall("source")
    selected = str(source.row) if isinstance(source, Pick) and source.checkpoint == name else None
    items = [
        {
            "id": str(row),
            "title": gallery.class_name(row) or gallery.ids[row],
            "detail": f"{gallery.psnr[row]:.1f} dB",
            "src": made.get(row, ""),
        }
        for row in range(len(gallery))
    ]
    picked = tiles(items, selected, label=f"Gallery of {name}", key=f"tiles-{name}")
    if picked is not None:
        pick_item(Pick(name, int(picked)))
        st.rerun()
    problem = _known_problem(name)
    if problem is not None:
        show_error(problem)
        return
    missing = [row for row in range(len(gallery)) if row not in made]
    if missing and not state.recall("busy"):
        try:
            _make_thumbnails(name, gallery, missing[:TILES_PER_TURN], made)
        except MedFunctaError as error:
            state.remember("gallery_problem", (_problem_identity(name), error))
            st.rerun()
        if len(made) == len(gallery):
            st.rerun()


def _make_thumbnails(name: str, gallery: Gallery, rows: list[int], made: dict[int, str]) -> None:
    from medfuncta_core.figures import thumbnail
    from medfuncta_core.fitting import Fitter

    kind = _spec(name).kind
    fitter = Fitter(state.load_field(name, "cpu"), device="cpu")
    shape = gallery.shape if kind == "ecg" else tuple(min(points, 48 if kind == "image" else 24) for points in gallery.shape)
    for row in rows:
        made[row] = thumbnail(fitter.decode(gallery.latents[row], shape), kind)


def pick_item(source: Stored) -> None:
    """Make a stored signal the one to fit, with its own checkpoint, and empty the drop zone."""
    if isinstance(state.recall("source"), Upload):
        state.remember("uploader", state.recall("uploader", lambda: 0) + 1)
    state.choose_source(source)
    state.remember("link_read", state.address_of(source))
    state.request_checkpoint(source.checkpoint if isinstance(source, Pick) else _checkpoint_of(source))


def _checkpoint_of(source: SetRow) -> str:
    """The checkpoint that a set was encoded with, else the current one where it is of the same kind, else the first such."""
    configs, info = state.list_configs(), state.load_set(source.set).info
    fitting = [name for name, config in configs.items() if config.signal and config.signal.kind == info.kind]
    current = chosen_name()
    wanted = [info.checkpoint, current if current in fitting else None, *fitting]
    return next((name for name in wanted if name in configs), "")


def _open_linked_item() -> None:
    """A stored signal that the address of a fresh visit or of a link from another page names."""
    address = {name: st.query_params[name] for name in ("item", "set", "row") if name in st.query_params}
    if state.recall("link_read") == address:
        return
    state.remember("link_read", address)
    source = linked_source()
    if isinstance(source, Pick) or "item" in address:
        state.remember("gallery_of", address.get("item", "").rpartition("/")[0])
    if source is None or source == state.recall("source"):
        return
    pick_item(source)
    st.rerun()


def _spec(name: str) -> SignalSpec:
    spec = state.list_configs()[name].signal
    if spec is None:
        raise CheckpointError(f"{name} does not say what its signals are; import it again with the shape of its signals")
    return spec
