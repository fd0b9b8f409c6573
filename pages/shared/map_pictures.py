"""Pictures of a set's latents: small ones by the dozen, kept for everybody, and large ones at any resolution."""

from __future__ import annotations

import html
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import streamlit as st

from medfuncta_core import figures
from medfuncta_core.config import Kind
from medfuncta_core.mednf import MednfSet
from pages.shared import state
from pages.shared.components import panes
from pages.shared.handover import StoredLatent
from pages.shared.views import CHART, FACTORS, shape_words

KEPT = 2000
SMALL: dict[Kind, int] = {"ecg": 4096, "image": 64, "volume": 40}
"""Points an axis of a small picture, at most."""
LARGE_KEPT = 8
ECG_HEIGHT = 260


class Pictures:
    """Small pictures of a set's rows, decoded when they are asked for.

    Args:
        latents: The set.
        checkpoint: Its network.
    """

    def __init__(self, latents: MednfSet, checkpoint: Any) -> None:
        from medfuncta_core.fitting import Fitter

        self.latents = latents
        self.kind: Kind = latents.info.kind
        self._fitter = Fitter(checkpoint, device="cpu")
        self._values: OrderedDict[int, Any] = OrderedDict()
        self._sources: dict[int, str] = {}

    @staticmethod
    def of(name: str) -> Pictures:
        """Those of a set, shared by everybody.

        Raises:
            MedFunctaError: when the set or its network cannot be read.
        """
        return _pictures(name, state.set_version(name))

    def missing(self, rows: Sequence[int]) -> list[int]:
        """Rows whose pictures are still to be made."""
        return [int(row) for row in rows if int(row) not in self._sources]

    def make(self, rows: Sequence[int]) -> None:
        """Decode some rows together."""
        missing = self.missing(rows)
        if not missing:
            return
        shape = tuple(min(points, SMALL[self.kind]) for points in self.latents.shape)
        if self.kind == "volume":
            shape = (*shape[:2], 1)  # one point on an axis lies in its middle
        for row, values in zip(missing, self._fitter.decode_batch(self.latents.latents(missing), shape), strict=True):
            self._values[row] = values
            self._sources[row] = figures.thumbnail(values, self.kind)
        while len(self._values) > KEPT:
            self._sources.pop(self._values.popitem(last=False)[0], None)

    def source(self, row: int) -> str:
        """A picture as a `data:` address; "" while it is still to be made."""
        return self._sources.get(int(row), "")

    def frame(self, row: int) -> Any:
        """A picture as pixels, for a contact sheet."""
        self.make([row])
        values = self._values[int(row)]
        if self.kind == "volume":
            return figures.render_frame(values[:, :, 0].swapaxes(0, 1)[::-1], "image", 96)
        return figures.render_frame(values, self.kind, 96)

    def tip(self, row: int) -> dict[str, str]:
        """What the map shows beside a point."""
        psnr = self.latents.column("psnr")[row]
        quality = f" · {psnr:.1f} dB" if psnr == psnr else ""
        name = str(self.latents.column("id")[row])
        return {"src": self.source(row), "title": self.latents.class_name(row) or name, "detail": f"{name}{quality}"}


@st.cache_resource(show_spinner=False, max_entries=8)
def _pictures(name: str, version: int) -> Pictures:
    return Pictures(state.load_set(name), state.load_set_field(name, "cpu"))


def class_heading(label: int, name: str, words: str) -> None:
    """A class in its colour, and what is said of it; -1 is no class and has none."""
    colour = figures.class_colour(label)
    dot = f'<span style="width:.7rem;height:.7rem;border-radius:50%;background:{colour};flex:none"></span>' if label >= 0 else ""
    st.html(
        f'<div style="display:flex;gap:.5rem;align-items:baseline;font-size:.95rem;line-height:1.4">{dot}'
        f"<b>{html.escape(name)}</b><span style='opacity:.8;font-variant-numeric:tabular-nums'>{html.escape(words)}</span></div>"
    )


def show_decoded(stored: StoredLatent, identity: tuple[Any, ...], key: str, original: Any = None) -> None:
    """A latent decoded at the resolution that the visitor chooses under it, beside its original where there is one.

    Args:
        stored: The latent and its network.
        identity: Equal for equal latents.
        key: Of the widgets.
        original: Values it was fitted to.
    """
    place = st.container()
    factor = st.select_slider(
        "Resolution",
        FACTORS,
        value=1.0,
        format_func=lambda factor: f"{factor:g}×",
        key=f"map_factor-{key}",
        help="A field has no pixels of its own: the same latent can be decoded on a coarser or finer grid.",
    )
    shape = tuple(max(2, round(points * factor)) for points in stored.shape)
    values = _decode_large(stored, (*identity, shape), shape)
    with place:
        _draw_decoded(stored, values, shape_words(shape), key, original)


def _draw_decoded(stored: StoredLatent, values: tuple[Any, ...], words: str, key: str, original: Any) -> None:
    kind = stored.spec.kind
    if kind == "ecg":
        curves = ({} if original is None else {"Input": original}) | {f"Decoded, {words} samples": values[0]}
        figure = figures.curves_figure(curves, stored.spec.sampling_rate)
        st.plotly_chart(figure, key=f"map_curve-{key}", height=ECG_HEIGHT, config=CHART, alt=f"ECG decoded from {stored.words}")
        return
    columns = [("Decoded", values, f"{words} {'voxels' if kind == 'volume' else 'pixels'}")]
    if original is not None:
        cuts = figures.cut_planes(original) if kind == "volume" else (original,)
        columns.insert(0, ("Input", cuts, shape_words(original.shape[:-1])))
    planes = [(title, _turned(cuts, stored), caption) for title, cuts, caption in columns]
    rows = [[_pane(title, turned[index], caption) for title, turned, caption in planes] for index in range(len(planes[0][1]))]
    if kind == "volume" and original is None:
        rows = [[pane for row in rows for pane in row]]
    panes(rows, scale=None, smooth=False, key=f"map_panes-{key}")


def _decode_large(stored: StoredLatent, identity: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[Any, ...]:
    """What is shown of a latent: the signal, or the middle planes of a volume. The last few are kept for this visitor."""
    kept: OrderedDict[tuple[Any, ...], Any] = state.recall("map_large", OrderedDict)
    if identity not in kept:
        with st.spinner("Decoding", show_time=True):
            if stored.spec.kind == "volume":
                cuts = [stored.decode((*shape[:axis], 1, *shape[axis + 1 :])).squeeze(axis) for axis in range(3)]
            else:
                cuts = [stored.decode(shape)]
        kept[identity] = tuple(cuts)
    kept.move_to_end(identity)
    while len(kept) > LARGE_KEPT:
        kept.popitem(last=False)
    return kept[identity]


def _turned(cuts: Sequence[Any], stored: StoredLatent) -> Sequence[figures.Plane]:
    if stored.spec.kind == "volume":
        return figures.turn_planes(cuts, stored.shape)
    return [figures.Plane(cuts[0], "", ("", "", "", ""), stored.shape[0], stored.shape[1], "")]


def _pane(title: str, plane: figures.Plane, caption: str) -> dict[str, Any]:
    name = f"{title} {plane.name}".strip()
    return {
        "title": plane.name or title,
        "caption": f"{title}, {caption}" if plane.name else caption,
        "src": figures.to_data_url(figures.encode_png(figures.to_pixels(plane.values))),
        "alt": name,
        "file": f"{name.lower().replace(' ', '-')}.png",
        "aspect": plane.width_mm / plane.height_mm,
        "letters": plane.letters,
    }
