"""The signals that were taken for another class: decoded as a contact sheet, one of them large, with links to other pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from medfuncta_core.mednf.classifying_results import ClassifyResult, Mistake
from pages.shared import state, widgets
from pages.shared.components import tiles
from pages.shared.handover import FIT, INTERPOLATE, LATENT_SPACE, VOLUMES, show_open_in, stored_latent
from pages.shared.messages import errors_shown_here
from pages.shared.parts import redrawn
from pages.shared.state import SetRow

if TYPE_CHECKING:
    from medfuncta_core.mednf import MednfSet

SHOWN = 48
TILES_PER_TURN = 4
ALL = "all"


def show_mistakes(name: str, result: ClassifyResult) -> None:
    """Mistakes, the surest first: those of all classes, or one class taken for one other."""
    latents = state.load_set(name)
    wrong = result.mistakes(latents.labels[list(result.rows)])
    st.subheader("Taken for another class", anchor=False, help="Decoded from their latents, the surest mistakes first.")
    if not wrong:
        st.info("Every test signal was recognised.", icon=":material/check_circle:")
        return
    pairs = Counter((mistake.truth, mistake.predicted) for mistake in wrong)
    options = [ALL, *(f"{truth}-{guess}" for (truth, guess), _ in pairs.most_common())]
    words = {ALL: f"All mistakes ({len(wrong):,})"} | {
        f"{truth}-{guess}": f"{latents.name_of(truth)} taken for {latents.name_of(guess)} ({count:,})"
        for (truth, guess), count in pairs.items()
    }
    if widgets.widget("classify_pair") not in options:
        widgets.set_widget("classify_pair", ALL)
    left, right = st.columns([5, 3], gap="large")
    pair = left.selectbox("Which", options, key="classify_pair", format_func=words.__getitem__, label_visibility="collapsed")
    chosen = [mistake for mistake in wrong if pair in (ALL, f"{mistake.truth}-{mistake.predicted}")]
    shown = chosen[:SHOWN]
    stem = f"{name}-{result.request.method}-mistakes.png"
    right.download_button(
        "Contact sheet (.png)",
        lambda: contact_sheet_png(name, shown),
        stem,
        "image/png",
        key="download_mistakes",
        on_click="ignore",
        icon=":material/download:",
    )
    made = state.thumbnails(f"set {name}", state.set_version(name))
    missing = any(mistake.row not in made for mistake in shown)
    with errors_shown_here():
        redrawn(_show_sheet, run_every=0.3 if missing else None)(name, shown, len(chosen), made)


def _show_sheet(name: str, shown: Sequence[Mistake], total: int, made: dict[int, str]) -> None:
    """Pictures, decoded a few at a time, and the picked one large beside them."""
    latents = state.load_set(name)
    picked = state.recall("classify_mistake")
    rows = [mistake.row for mistake in shown]
    left, right = st.columns([5, 3], gap="large")
    with left:
        items = [_tile(latents, mistake, made.get(mistake.row, "")) for mistake in shown]
        clicked = tiles(items, str(picked), label="Misclassified signals", key="mistakes", wrap=True)
        if clicked is not None and int(clicked) != picked:
            state.remember("classify_mistake", int(clicked))
            st.rerun(scope="fragment")
        missing = [row for row in rows if row not in made]
        st.caption(f"{len(shown)} of {total:,}" + (f", {len(missing)} still to decode" if missing else ""))
    with right:
        mistake = next((mistake for mistake in shown if mistake.row == picked), shown[0])
        _show_one(name, latents, mistake)
    if missing:
        with errors_shown_here():
            _decode(name, latents, missing[:TILES_PER_TURN], made)
        if len(missing) <= TILES_PER_TURN:
            st.rerun()


def _tile(latents: MednfSet, mistake: Mistake, source: str) -> dict[str, str]:
    detail = f"→ {latents.name_of(mistake.predicted)}, {100 * mistake.confidence:.0f} %"
    return {"id": str(mistake.row), "title": latents.name_of(mistake.truth), "detail": detail, "src": source}


def _decode(name: str, latents: MednfSet, rows: list[int], made: dict[int, str]) -> None:
    from medfuncta_core.figures import thumbnail
    from medfuncta_core.fitting import Fitter

    kind = latents.info.kind
    shape = latents.shape if kind == "ecg" else tuple(min(points, 48 if kind == "image" else 24) for points in latents.shape)
    fitter = Fitter(state.load_set_field(name, "cpu"), device="cpu")
    for row, values in zip(rows, fitter.decode_batch(latents.latents(rows), shape), strict=True):
        made[row] = thumbnail(values, kind)


def _show_one(name: str, latents: MednfSet, mistake: Mistake) -> None:
    from medfuncta_core.figures import render_frame

    stored = stored_latent(SetRow(name, mistake.row))
    true, guess = latents.name_of(mistake.truth), latents.name_of(mistake.predicted)
    st.markdown(f"**{true}**, taken for **{guess}** with {100 * mistake.confidence:.0f} %".replace("$", "\\$"))
    st.image(render_frame(stored.decode(), latents.info.kind), width="stretch", output_format="PNG")
    st.caption(f"{stored.origin} · its latent decodes to {stored.psnr:.1f} dB of the original")
    targets = (FIT, LATENT_SPACE, VOLUMES) if latents.info.kind == "volume" else (FIT, LATENT_SPACE, INTERPOLATE)
    show_open_in(SetRow(name, mistake.row), *targets)


def contact_sheet_png(name: str, shown: Sequence[Mistake]) -> bytes:
    """The mistakes that are shown, as one picture."""
    from medfuncta_core.figures import contact_sheet, render_frame
    from medfuncta_core.fitting import Fitter

    latents = state.load_set(name)
    fitter = Fitter(state.load_set_field(name, "cpu"), device="cpu")
    values = (fitter.decode(latents.latent(mistake.row), latents.shape) for mistake in shown)
    return contact_sheet([render_frame(decoded, latents.info.kind, 96) for decoded in values], columns=8)
