"""Which set is mapped, how, and what colours its points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from medfuncta_core.mednf import EmbedRequest, MednfSet
from pages.shared import state, widgets
from pages.shared.handover import linked_source
from pages.shared.map_settings import Search, choose_settings
from pages.shared.sidebar import KIND_WORDS, Choice
from pages.shared.state import SetRow

METHODS: dict[str, Literal["umap", "pca", "tsne"]] = {"UMAP": "umap", "PCA": "pca", "t-SNE": "tsne"}
METHOD_HELP = (
    "UMAP and t-SNE keep neighbours together, distances between far groups mean little; PCA is linear: its axes are the "
    "directions of largest variance."
)
COLUMN_WORDS = {"label": "Class", "psnr": "PSNR (dB)", "ssim": "SSIM", "split": "Split", "mse": "Squared error"}
LEFT_OUT = {"id", "class_name", "shard", "row", "source", "labels"}


@dataclass(frozen=True)
class MapChoice:
    """How a set is mapped and looked at."""

    request: EmbedRequest
    colour: str
    search: Search


def choose_set(choice: Choice | None, place: DeltaGenerator) -> str | None:
    """The set, from a link, from before, that of the checkpoint, or the first; None when there is none."""
    names = state.list_set_names()
    if not names:
        return None
    _follow_link(names)
    known = state.recall("map_set_name")
    if known not in names:
        known = next((name for name in names if choice and state.load_set(name).info.checkpoint == choice.name), names[0])
    if widgets.widget("map_set") not in names or state.recall("map_linked"):
        widgets.set_widget("map_set", known)
        state.remember("map_linked", None)
    with place:
        name = st.selectbox("Set", names, key="map_set", help="A MedNF set: latents of a whole data set.", width=190)
    if name != state.recall("map_set_name"):
        state.remember("map_set_name", name)
        forget_choices()
    write_address()
    _bring_checkpoint(name, choice)
    return name


def _bring_checkpoint(name: str, choice: Choice | None) -> None:
    """The network of a set that was newly chosen becomes the checkpoint that every page shares."""
    if state.recall("map_checkpoint_of") == name:
        return
    state.remember("map_checkpoint_of", name)
    wanted = state.load_set(name).info.checkpoint
    if choice is not None and wanted != choice.name and wanted in state.list_configs():
        state.request_checkpoint(wanted)
        st.rerun()


def describe_set(latents: MednfSet) -> str:
    """A set in one line."""
    info = latents.info
    shape = " × ".join(str(points) for points in info.shape)
    parts = [f"**{info.rows:,}** signals", f"{shape} {KIND_WORDS[info.kind]}".strip(), f"latent of {info.latent_dim:,}"]
    parts += [f"{len(info.class_names)} classes"] if info.class_names else []
    parts += [f"from {info.data.name}", f"network {info.checkpoint}"] + ([info.licence] if info.licence else [])
    return " · ".join(parts).replace("$", "\\$")


def forget_choices() -> None:
    """Nothing is opened, selected or dropped any more."""
    for name in ("map_row", "map_rows", "map_focus", "map_file"):
        state.remember(name, None)


def open_row(row: int | None) -> None:
    """Make a row the one that is looked at, and say so in the address."""
    state.remember("map_row", row)
    if row is not None:
        state.remember("map_focus", "point")
    write_address()


def write_address() -> None:
    """Set and row, so that a link opens the same view."""
    name, row = state.recall("map_set_name"), state.recall("map_row")
    address = {"set": name} | ({} if row is None else {"row": str(row)})
    for key in ("set", "row"):
        if key in address:
            if st.query_params.get(key) != address[key]:
                st.query_params[key] = address[key]
        else:
            st.query_params.pop(key, None)
    state.remember("map_link", address)


def _follow_link(names: tuple[str, ...]) -> None:
    """Set and row that the address of a fresh visit, or of a link from another page, names."""
    address = {name: st.query_params[name] for name in ("set", "row") if name in st.query_params}
    if not address or address == state.recall("map_link") or address.get("set") not in names:
        return
    if address["set"] != state.recall("map_set_name"):
        forget_choices()
    state.remember("map_set_name", address["set"])
    state.remember("map_linked", True)
    linked = linked_source()
    state.remember("map_row", linked.row if isinstance(linked, SetRow) else None)
    state.remember("map_focus", "point" if linked else None)


def show_no_sets() -> None:
    """How to get a set."""
    st.info(
        f"There is no set in `{state.set_root()}` yet. Make one from any data: "
        "`python -m medfuncta_core encode checkpoints/ecg --data DATA --out sets/NAME`, or start the app with "
        "`MEDFUNCTA_SETS` set to a folder that has some.",
        icon=":material/folder_open:",
    )


def choose_map(name: str, place: DeltaGenerator) -> MapChoice:
    """Method, dimensions, colour; rare settings folded away."""
    latents = state.load_set(name)
    options = _colours(latents)
    _settle_look(list(options))
    with place:
        word = st.segmented_control("Map", list(METHODS), required=True, key="map_method", help=METHOD_HELP, width="content")
        axes = st.segmented_control("Axes", ["2D", "3D"], required=True, key="map_dims", width="content")
        colour = st.selectbox("Colour", list(options), key="map_colour", format_func=options.__getitem__, width=150)
        method, dims = METHODS[word or "UMAP"], 3 if axes == "3D" else 2
        with st.popover("Settings", icon=":material/tune:"):
            values, search = choose_settings(method, len(latents))
    _keep_look({"map": f"{method}-{dims}d", "colour": colour}, {"map": "umap-2d", "colour": next(iter(options))})
    return MapChoice(EmbedRequest.parse({"method": method, "dims": dims} | values, "map"), colour, search)


def _settle_look(colours: list[str]) -> None:
    """Method, axes and colour: from before, from the address of a fresh visit, or the usual ones."""
    look = state.recall("map_look", lambda: {key: st.query_params.get(key, "") for key in ("map", "colour")})
    method, _, dims = look["map"].partition("-")
    words = {value: word for word, value in METHODS.items()}
    if widgets.widget("map_method") is None:
        widgets.set_widget("map_method", words.get(method, "UMAP"))
    if widgets.widget("map_dims") is None:
        widgets.set_widget("map_dims", "3D" if dims == "3d" else "2D")
    if widgets.widget("map_colour") not in colours:
        widgets.set_widget("map_colour", look["colour"] if look["colour"] in colours else colours[0])


def _keep_look(look: dict[str, str], usual: dict[str, str]) -> None:
    """For the next visit to the page, and, where it is not the usual one, for whoever is sent the address."""
    state.remember("map_look", look)
    for key, value in look.items():
        if value == usual[key]:
            st.query_params.pop(key, None)
        elif st.query_params.get(key) != value:
            st.query_params[key] = value


def _colours(latents: MednfSet) -> dict[str, str]:
    """Columns that can colour points, and what they are called; the class first where there are any."""
    labelled = bool((latents.labels >= 0).any())
    columns = ["label"] if labelled else []
    columns += [name for name in ("psnr", "ssim", "split") if _is_known(latents, name)]
    columns += [name for name in latents.columns if name not in {*columns, *LEFT_OUT, "label"} and _is_known(latents, name)]
    return {name: COLUMN_WORDS.get(name, name.replace("_", " ").capitalize()) for name in columns} or {"psnr": "PSNR (dB)"}


def _is_known(latents: MednfSet, name: str) -> bool:
    """Whether a column says anything, of what can be coloured: numbers or words."""
    values = latents.column(name)
    if values.dtype.kind in "iufb":
        return bool((values == values).any())
    first = next((value for value in values if value is not None), None)
    return isinstance(first, str)
