"""How walks are decoded and shown: the settings, decoding with progress, and films to take home."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import streamlit as st

from pages.shared import state
from pages.shared.morph_ends import swap_ends
from pages.shared.morph_network import Network

if TYPE_CHECKING:
    from medfuncta_core.mednf.morphs import Frames

PATHS = {"Linear": "linear", "Spherical": "spherical"}
PATH_HELP = (
    "Linear: the straight line between the two latents. Spherical: their directions turn along a great circle, their lengths "
    "change evenly, so no latent on the way is shorter than both ends."
)
DIFFERENCE_LIMIT = 0.2
FILM_HEIGHT = 256
KEPT = 6


@dataclass(frozen=True)
class Display:
    """How a walk is decoded and shown."""

    path: Literal["linear", "spherical"] = "linear"
    frames: int = 25
    factor: float = 1.0
    per_second: int = 12
    smooth: bool = False

    def shape(self, network: Network) -> tuple[int, ...]:
        """Points per axis that frames are decoded at."""
        return tuple(max(2, round(points * self.factor)) for points in network.spec.shape)


def choose_display(network: Network, *, path: bool = True) -> Display:
    """The path, and, behind a button, what is rarely changed."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="morph_settings"):
        chosen = "linear"
        if path:
            default = st.query_params.get("path", "linear")
            word = next((word for word, name in PATHS.items() if name == default), "Linear")
            chosen = PATHS[
                st.segmented_control("Path", list(PATHS), default=word, required=True, key="morph_path", help=PATH_HELP)
            ]
            st.query_params["path"] = chosen
            st.button("Swap", key="swap", on_click=swap_ends, icon=":material/swap_horiz:", help="A becomes B, and B becomes A.")
        with st.popover("Display", icon=":material/tune:"):
            frames = st.slider(
                "Frames", 9, 61, 25, 2, key="morph_frames", help="Decoded once; the player needs no server after that."
            )
            factor = st.select_slider(
                "Resolution",
                (1.0, 2.0, 4.0),
                format_func=lambda f: f"{f:g}×",
                key="morph_factor",
                help="A field has no pixels of its own: the same latents on a finer grid.",
            )
            per_second = st.slider("Frames a second", 4, 30, 12, key="morph_per_second")
            smooth = network.kind != "ecg" and st.toggle(
                "Smooth pixels", key="morph_smooth", help="Interpolate between pixels. Off, every pixel is the square it is."
            )
    return Display(chosen, frames, factor, per_second, smooth)  # type: ignore[arg-type]


def decode_kept(network: Network, latents: Any, display: Display, identity: tuple[Any, ...], grids: Any = None) -> Frames:
    """Decoded latents, with progress; what was decoded last is kept, so that only new latents take time.

    Args:
        identity: Equal for equal latents.
        grids: Others than the usual ones of this kind of signal.
    """
    from medfuncta_core.mednf.morphs import decode_frames, join_frames, middle_grids

    kept: OrderedDict[Any, Frames] = state.recall("morph_frames_kept", OrderedDict)
    grids = grids or middle_grids(network.kind, display.shape(network))
    key = (identity, network.version, grids)
    if key not in kept:
        batches, bar = [], st.progress(0.0, text=f"Decoding frame 0 of {len(latents)}")
        for batch in decode_frames(network.fitter(), latents, grids):
            batches.append(batch)
            bar.progress(batch.rows.stop / batch.total, text=f"Decoding frame {batch.rows.stop} of {batch.total}")
        bar.empty()
        kept[key] = join_frames(batches)
        while len(kept) > KEPT:
            kept.popitem(last=False)
    kept.move_to_end(key)
    return kept[key]


def difference_title(words: str) -> str:
    """What a picture of differences says above itself: its scale is fixed, so that pictures can be compared."""
    return f"{words} (bright: ≥ {DIFFERENCE_LIMIT:g})"


def stem(words: str) -> str:
    """A file's name, of words."""
    from medfuncta_core.report import plain_stem

    return plain_stem(words.replace("/", "-"))


def film_buttons(tracks: Sequence[Frames], network: Network, display: Display, name: str, key: str) -> None:
    """Films there and back; made when they are asked for."""
    from medfuncta_core.figures import film, to_gif, to_mp4

    def pictures() -> list[Any]:
        return film(tracks, network.kind, FILM_HEIGHT, back=True)

    makers: tuple[tuple[str, str, str, Callable[[], bytes]], ...] = (
        ("GIF", "image/gif", "gif_box", lambda: to_gif(pictures(), display.per_second)),
        ("MP4", "video/mp4", "movie", lambda: to_mp4(pictures(), display.per_second)),
    )
    for words, media_type, icon, make in makers:
        file = f"{name}.{words.lower()}"
        kind = "primary" if words == "GIF" else "secondary"
        st.download_button(
            words, make, file, media_type, key=f"{key}_{words.lower()}", on_click="ignore", icon=f":material/{icon}:", type=kind
        )
