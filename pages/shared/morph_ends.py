"""The signals that a visitor walks between: which ones, in the address and in their session, and their latents."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from medfuncta_core.errors import MedFunctaError
from pages.shared import state
from pages.shared.handover import linked_source, stored_latent
from pages.shared.morph_network import Material, Network, chosen_network, list_materials, network_of
from pages.shared.sidebar import Choice
from pages.shared.state import Pick, SetRow, Source, Stored, Upload

LABELS = "ABCD"
KEPT_FITS = 8


@dataclass(frozen=True, eq=False)
class End:
    """A signal's latent, ready to walk from.

    Args:
        label: A, B, C or D.
        source: Where it comes from.
        latent: `(p,)`.
        words: What to call it.
        class_name: "" without one.
        psnr: Of its fit, dB.
        identity: Equal for equal latents.
    """

    label: str
    source: Source
    latent: Any
    words: str
    class_name: str
    psnr: float
    identity: tuple[Any, ...]


def choose_network(choice: Choice) -> Network:
    """The network that the ends belong to: the address's on arrival, then the sidebar's, or the one a chosen set brings."""
    _read_address(choice)
    current: tuple[str, bool] | None = state.recall("morph_network")
    if current is None or state.recall("morph_choice") not in (choice.name, None) or not _is_there(current):
        current = chosen_network(choice).name, False
    state.remember("morph_choice", choice.name)
    state.remember("morph_network", current)
    return Network(current[0], current[1], choice.device)


def _is_there(current: tuple[str, bool]) -> bool:
    name, inside_set = current
    return name in (state.list_set_names() if inside_set else state.list_configs())


def current_sources(network: Network, labels: Sequence[str]) -> dict[str, Source]:
    """What stands at every end: what was chosen, and where nothing was, signals of different classes of the first material."""
    chosen: dict[str, Source] = state.recall("morph_ends", dict)
    for label, source in list(chosen.items()):
        if isinstance(source, Stored) and network_of(source, network.device) != network:
            del chosen[label]
    materials = list_materials(network)
    defaults = _default_rows(materials[0]) if materials else []
    for place, label in enumerate(LABELS):
        if label in labels and label not in chosen and place < len(defaults):
            chosen[label] = materials[0].source(defaults[place])
    _write_address(chosen, labels)
    return {label: chosen[label] for label in labels if label in chosen}


def _default_rows(material: Material) -> list[int]:
    """Four rows that show as many classes as there are."""
    from medfuncta_core.mednf.choosing import choose_rows

    count = len(material)
    rows = [int(row) for row in choose_rows(material.labels, count, len(LABELS))[: len(LABELS)]]
    return (rows * len(LABELS))[: len(LABELS)]


def put_end(label: str, source: Source, network: Network) -> None:
    """Make a signal an end; one of another network takes the whole page to it."""
    chosen: dict[str, Source] = state.recall("morph_ends", dict)
    chosen[label] = source
    if isinstance(source, Stored):
        own = network_of(source, network.device)
        if own != network:
            state.remember("morph_network", (own.name, own.inside_set))
            if not own.inside_set:
                state.request_checkpoint(own.name)
                state.remember("morph_choice", None)
    state.remember("morph_close", label)


def swap_ends() -> None:
    """A becomes B and B becomes A."""
    chosen: dict[str, Source] = state.recall("morph_ends", dict)
    if "A" in chosen and "B" in chosen:
        chosen["A"], chosen["B"] = chosen["B"], chosen["A"]


def source_words(source: Stored) -> str:
    """A stored signal in an address: `ecg/3` of a gallery, `ecg-set#3` of a set, as the command line writes it."""
    return f"{source.checkpoint}/{source.row}" if isinstance(source, Pick) else f"{source.set}#{source.row}"


def parse_source(words: str) -> Stored | None:
    """What `source_words` wrote, where it is there."""
    for mark, make in (("#", SetRow), ("/", Pick)):
        name, found, row = words.rpartition(mark)
        if found and row.isdecimal():
            return _existing(make(name, int(row)))
    return None


def _existing(source: Stored) -> Stored | None:
    names = state.list_set_names() if isinstance(source, SetRow) else state.list_configs()
    if (source.set if isinstance(source, SetRow) else source.checkpoint) not in names:
        return None
    try:
        stored = state.load_set(source.set) if isinstance(source, SetRow) else state.load_gallery(source.checkpoint)
    except MedFunctaError:
        return None
    return source if source.row < len(stored) else None


def _read_address(choice: Choice) -> None:
    """Signals that the address of a fresh visit, or a link from another page, names; the first one decides on the network."""
    names = (*LABELS.lower(), "item", "set", "row")
    address = {name: st.query_params[name] for name in names if name in st.query_params}
    if address == state.recall("morph_address"):
        return
    state.remember("morph_address", address)
    found = {label: parse_source(address[label.lower()]) for label in LABELS if label.lower() in address}
    linked = linked_source()
    if linked is not None:
        found["A"] = linked
    for name in ("item", "set", "row"):
        st.query_params.pop(name, None)
    named = {label: source for label, source in found.items() if source is not None}
    if not named:
        return
    state.recall("morph_ends", dict).update(named)
    network = network_of(next(iter(named.values())), choice.device)
    state.remember("morph_network", (network.name, network.inside_set))
    state.remember("morph_choice", None)
    if not network.inside_set and network.name != choice.name:
        state.request_checkpoint(network.name)
        st.rerun()


def _write_address(chosen: dict[str, Source], labels: Sequence[str]) -> None:
    address = {
        label.lower(): source_words(source) for label, source in chosen.items() if label in labels and isinstance(source, Stored)
    }
    for label in LABELS.lower():
        if label in address:
            st.query_params[label] = address[label]
        else:
            st.query_params.pop(label, None)
    state.remember("morph_address", address)


def resolve_end(label: str, source: Source, network: Network, index: int = 0) -> End:
    """The latent of an end; a dropped file is fitted first, with progress, and its fit kept.

    Args:
        label: A, B, C or D.
        source: What stands there.
        network: That it belongs to, or is fitted by.
        index: Of the signal in a dropped file that holds several.

    Raises:
        MedFunctaError: when it cannot be read or fitted.
    """
    if isinstance(source, Upload):
        return _fit_upload(label, source, network, index)
    stored = stored_latent(source)
    version = state.set_version(source.set) if isinstance(source, SetRow) else state.gallery_version(source.checkpoint)
    name = stored.words.rpartition(", ")[0] if stored.class_name else stored.words
    return End(label, source, stored.latent, name, stored.class_name, stored.psnr, (source, version))


def _fit_upload(label: str, source: Upload, network: Network, index: int) -> End:
    identity = (source.digest, index, network.version)
    kept: OrderedDict[Any, tuple[Any, float, str]] = state.recall("morph_fits", OrderedDict)
    if identity not in kept:
        signal = state.read_upload(source, network.spec, index)
        fitter = network.fitter()
        bar = st.progress(0.0, text=f"Fitting {source.name}")
        history = []
        for step in fitter.steps(signal):
            history.append(step)
            bar.progress(
                step.index / fitter.config.steps, text=f"Fitting {source.name}: step {step.index} of {fitter.config.steps}"
            )
        bar.empty()
        kept[identity] = (history[-1].latent.numpy(), history[-1].psnr, signal.name)
        while len(kept) > KEPT_FITS:
            kept.popitem(last=False)
    latent, psnr, name = kept[identity]
    return End(label, source, latent, name, "", psnr, identity)
