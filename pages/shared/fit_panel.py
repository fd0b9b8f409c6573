"""The live part of the Fit page: while steps are taken it draws each of them, afterwards it replays them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from medfuncta_core.config import Kind
from medfuncta_core.figures import ERROR_LIMITS
from pages.shared import state, views
from pages.shared.fit_run import TURN_SECONDS, FitRun
from pages.shared.messages import errors_shown_here
from pages.shared.parts import redrawn

BAR = (7, 3)
BAR_HEIGHT = 72


@dataclass(frozen=True)
class Display:
    """How pictures are drawn."""

    error_limit: float
    smooth: bool


ShowSignal = Callable[[Any, int, Display, bool], None]
"""Draws a run's step below its progress: run, index of the step, how, and whether the fit still runs."""


def show_fit(run: FitRun, show: ShowSignal | None = None, every: float = TURN_SECONDS) -> None:
    """Draw the fit; while it is active, again and again in a fragment of its own.

    Args:
        run: The fit.
        show: What is drawn of a step; the Fit page's pictures when None.
        every: Seconds between two turns while it is active.
    """
    watched = run.active
    state.remember("busy", watched)
    redrawn(_panel, run_every=every if watched else None)(run, watched, show or show_signal)


def _panel(run: FitRun, watched: bool, show: ShowSignal) -> None:
    """One turn; `watched` is whether the fit was active when the whole page was drawn, which Stop changes before a turn."""
    live = run.active
    run.advance()
    if run.history:
        with st.container(key="fit_panel"), errors_shown_here():
            numbers = st.container(key="numbers")
            index, display = _show_progress(run) if live else _choose_step(run)
            with numbers:
                views.show_numbers(run, index)
            show(run, index, display, live)
    if watched and not run.active:
        st.rerun()


def _show_progress(run: FitRun) -> tuple[int, Display]:
    """Progress with a number, and a way to stop; as high as the slider that takes its place."""
    bar, buttons = st.columns(BAR, vertical_alignment="bottom")
    row = buttons.container(horizontal=True, gap="small", key="actions")
    with bar.container(height=BAR_HEIGHT, border=False, vertical_alignment="bottom", key="bar"):
        st.progress(max(run.last, 0) / run.config.steps, text=f"Fitting: step {run.last} of {run.config.steps}")
    row.button("Stop", key="stop_fit", on_click=run.stop, width="stretch", icon=":material/stop_circle:")
    return run.last, choose_display(row, run.signal.kind)


def _choose_step(run: FitRun) -> tuple[int, Display]:
    """Replay: any step of the fit."""
    bar, buttons = st.columns(BAR, vertical_alignment="bottom")
    row = buttons.container(horizontal=True, gap="small", key="actions")
    index = run.last
    with bar.container(height=BAR_HEIGHT, border=False, vertical_alignment="bottom", key="bar"):
        if run.last > 0:
            index = st.slider(
                "Step shown", 0, run.last, run.last, key=f"step-{id(run)}", help="Replays the fit; 0 is the learned start."
            )
    if row.button("Fit again", key="fit_again", width="stretch", icon=":material/replay:"):
        state.remember(run.identity_name, None)
        st.rerun(scope="app")
    return index, choose_display(row, run.signal.kind)


def choose_display(place: DeltaGenerator, kind: Kind) -> Display:
    """How pictures are shown; nothing here changes the fit."""
    with place.popover("Display", icon=":material/contrast:", width="stretch", key="display"):
        limit = st.segmented_control(
            "Error scale up to",
            ERROR_LIMITS,
            default=0.2,
            required=True,
            format_func=lambda limit: f"{limit:g}",
            key="error_limit",
            help="Brightest colour of the error, as a share of the value range; fixed, so that steps and fits can be compared.",
        )
        smooth = kind != "ecg" and st.toggle(
            "Smooth pixels", key="smooth", help="Interpolate between pixels. Off, every pixel is the square it is."
        )
    return Display(limit, smooth)


def show_signal(run: FitRun, index: int, display: Display, live: bool) -> None:
    """A step as the Fit page shows it: pictures or trace, curves, and input and reconstruction under a divider."""
    if run.signal.kind == "ecg":
        factor = _choose_factor(live)
        views.show_ecg(run, index, factor, display.error_limit)
        views.show_curves(run, index, beside=True)
        return
    if run.signal.kind == "image":
        views.show_pictures(run, index, smooth=display.smooth, limit=display.error_limit)
        comparison, rest = st.columns(2, gap="large")
    else:
        rest, comparison = st.columns([3, 2], gap="large")
    with rest:
        if run.signal.kind == "volume":
            views.show_pictures(run, index, smooth=display.smooth, limit=display.error_limit)
        views.show_curves(run, index, beside=run.signal.kind == "volume")
    with comparison:
        st.markdown("**Before and after**", help="Drag the divider, or focus it and use the arrow keys.")
        factor = _choose_factor(live)
        with st.spinner("Decoding", show_time=True):
            views.show_comparison(run, index, factor, smooth=display.smooth)


def _choose_factor(live: bool) -> float:
    """How many points an axis the latent is decoded at, against the input's."""
    chosen = st.select_slider(
        "Resolution",
        views.FACTORS,
        value=1.0,
        format_func=lambda factor: f"{factor:g}×",
        key="factor",
        disabled=live,
        help="A field has no pixels of its own: the same latent can be decoded on a coarser or finer grid.",
    )
    return 1.0 if live else chosen
