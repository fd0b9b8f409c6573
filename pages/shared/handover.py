"""From page to page: links that carry a stored signal in the address, and what such an address names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from medfuncta_core.config import SignalSpec
from medfuncta_core.errors import CheckpointError, MedFunctaError
from medfuncta_core.signals import Signal, prepare_signal
from pages.shared import state
from pages.shared.messages import escape
from pages.shared.state import Pick, SetRow, Source, Stored

if TYPE_CHECKING:
    from medfuncta_core.checkpoint import Checkpoint


@dataclass(frozen=True)
class Target:
    """A page that a signal can be opened in."""

    page: str
    title: str
    icon: str


FIT = Target("pages/fit.py", "Fit", ":material/ssid_chart:")
LATENT_SPACE = Target("pages/latent_space.py", "Latent space", ":material/scatter_plot:")
INTERPOLATE = Target("pages/interpolate.py", "Interpolate", ":material/animation:")
VOLUMES = Target("pages/volumes.py", "Volumes", ":material/view_in_ar:")


@dataclass(frozen=True, eq=False)
class StoredLatent:
    """A stored signal, ready to be decoded.

    Args:
        checkpoint: The network that fitted it.
        latent: phi, `(p,)`.
        shape: Points per axis of the signal it was fitted to.
        words: What to call it.
        psnr: Of the fit, in dB.
        class_name: "" without one.
        origin: Where the original comes from, for people.
    """

    checkpoint: Checkpoint
    latent: Any
    shape: tuple[int, ...]
    words: str
    psnr: float
    class_name: str
    origin: str

    @property
    def spec(self) -> SignalSpec:
        """What the network's signals are.

        Raises:
            CheckpointError: when it does not say.
        """
        if self.checkpoint.config.signal is None:
            name = self.checkpoint.config.name
            raise CheckpointError(f"{name} does not say what its signals are; import it again with the shape of its signals")
        return self.checkpoint.config.signal

    def decode(self, shape: tuple[int, ...] | None = None) -> Any:
        """Values `(*shape, c)` at the fitted shape, or at any other."""
        from medfuncta_core.fitting import Fitter

        return Fitter(self.checkpoint, device="cpu").decode(self.latent, shape or self.shape)


def show_open_in(source: Stored, *targets: Target) -> None:
    """Links that open a stored signal in other pages; pages that this app does not have are left out."""
    with st.container(horizontal=True, gap="small", key=f"open_in-{'-'.join(state.address_of(source).values())}"):
        for target in targets:
            try:
                st.page_link(
                    target.page, label=f"Open in {target.title}", icon=target.icon, query_params=state.address_of(source)
                )
            except StreamlitAPIException:
                continue


def linked_source() -> Stored | None:
    """The stored signal that the address names; None when it names none, or one that is not there."""
    if "set" in st.query_params:
        return _linked_row(st.query_params["set"], st.query_params.get("row", ""))
    name, _, row = st.query_params.get("item", "").rpartition("/")
    if name not in state.list_configs() or not state.gallery_file(name).is_file():
        return None
    return _checked(Pick(name, int(row)), lambda: len(state.load_gallery(name))) if row.isdecimal() else None


def _linked_row(name: str, row: str) -> SetRow | None:
    if name not in state.list_set_names() or not row.isdecimal():
        return None
    return _checked(SetRow(name, int(row)), lambda: len(state.load_set(name)))


def _checked(source: Any, count: Any) -> Any:
    try:
        return source if source.row < count() else None
    except MedFunctaError:
        return None  # whoever opens the set or the gallery says what is wrong with it


def stored_latent(source: Stored) -> StoredLatent:
    """Latent and network of a stored signal.

    Raises:
        MedFunctaError: when the set, the gallery or the network cannot be read.
    """
    if isinstance(source, SetRow):
        opened = state.load_set(source.set)
        about, checkpoint = opened.describe(source.row), state.load_set_field(source.set, "cpu")
        latent, class_name = opened.latent(source.row), opened.class_name(source.row)
        name, data, psnr, shape = about["id"], opened.info.data.name, about["psnr"], opened.shape
    else:
        gallery, checkpoint = state.load_gallery(source.checkpoint), state.load_field(source.checkpoint, "cpu")
        latent, class_name = gallery.latents[source.row], gallery.class_name(source.row)
        name, data, psnr, shape = gallery.ids[source.row], gallery.data, gallery.psnr[source.row], tuple(gallery.shape)
    where = source.set if isinstance(source, SetRow) else source.checkpoint
    words = f"{where} {name}" + (f", {class_name}" if class_name else "")
    return StoredLatent(checkpoint, latent, shape, words, float(psnr), class_name, f"{data} {name}".strip())


def decode_source(source: Stored, spec: SignalSpec | None = None) -> Signal:
    """A stored signal, decoded by the network that fitted it, and prepared for another one's `spec` where that differs."""
    stored = stored_latent(source)
    rate = stored.spec.sampling_rate
    signal = Signal(
        stored.decode(),
        kind=stored.spec.kind,
        name=stored.words.partition(",")[0],
        spacing=(1 / rate,) if rate else None,
        spacing_unit="s" if rate else "",
        original_shape=stored.shape,
        notes=(f"Decoded from a stored latent, which reached {stored.psnr:.1f} dB on the original ({stored.origin}).",),
        class_name=stored.class_name,
        prepared_for=stored.spec,
        normalised=True,
    )
    return signal if spec is None or spec == stored.spec else prepare_signal(signal, spec)


def show_provenance(source: Source, signal: Signal) -> None:
    """A stored signal's fit looks better than a new file's: say why, before its numbers are taken for the network's."""
    if isinstance(source, Stored):
        words = " ".join(signal.notes[:1])
        st.caption(f"{escape(words)} The field can repeat its own signals almost exactly; drop a file to see a real fit.")
