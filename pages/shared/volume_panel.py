"""The Volumes page once there is a volume: while it is fitted, its middle slices and curves; then ways to look at it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from medfuncta_core.figures.flights import Look
from pages.shared import state, views, widgets
from pages.shared.fit_panel import Display, show_fit
from pages.shared.messages import escape
from pages.shared.volume_between import show_between
from pages.shared.volume_exports import show_exports
from pages.shared.volume_looks import choose_look, whole_look
from pages.shared.volume_oblique import show_oblique
from pages.shared.volume_run import VolumeRun
from pages.shared.volume_slices import show_planes, show_slices
from pages.shared.volume_source import leave_region
from pages.shared.volume_space import show_space

LIVE_SECONDS = 0.25
VIEWS: dict[str, Callable[[VolumeRun, int, Look], None]] = {
    "Slices": show_slices,
    "Oblique": show_oblique,
    "3D": show_space,
    "Between two": show_between,
    "Download": show_exports,
}


def show_volume(run: VolumeRun) -> None:
    """Draw the fit, then the volume."""
    if run.volume.region is not None:
        with st.container(horizontal=True, gap="small", vertical_alignment="center", key="region_note"):
            st.caption(f"A region of {run.signal.name}, fitted as a field of its own.")
            st.button("Back to the whole volume", key="leave_region", icon=":material/zoom_out_map:", on_click=leave_region)
    for warning in run.signal.warnings:
        st.warning(escape(warning), icon=":material/warning:")
    show_fit(run, _show_step, LIVE_SECONDS)


def _show_step(run: VolumeRun, index: int, display: Display, live: bool) -> None:
    if live:
        pictures, curves = st.columns([3, 2], gap="large")
        with pictures:
            show_planes(run, index, whole_look(run, display))
        with curves:
            views.show_curves(run, index, beside=False)
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="volume_bar"):
        if widgets.widget("volume_view") is None:  # not drawn while a volume was fitted: Streamlit forgot it
            widgets.set_widget("volume_view", state.recall("volume_view_kept", lambda: next(iter(VIEWS))))
        name = st.segmented_control("Look at it", list(VIEWS), required=True, key="volume_view", label_visibility="collapsed")
        name = name or next(iter(VIEWS))
        state.remember("volume_view_kept", name)
        look = choose_look(run, display)
    VIEWS[name](run, index, look)
    with st.expander("Curves of the fit", icon=":material/show_chart:"):
        views.show_curves(run, index, beside=True)
