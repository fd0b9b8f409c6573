"""What a training would take, measured on this machine before it is launched."""

from __future__ import annotations

import streamlit as st

from medfuncta_core.runs import RunRequest
from medfuncta_core.runs.probing import Probe
from pages.shared import state
from pages.shared.messages import errors_shown_here, show_error
from pages.shared.parts import redrawn
from pages.shared.words import bytes_words, seconds_words

TURN_SECONDS = 0.25
HEIGHT = 118
"""Of the panel, whatever it shows."""


def show_estimate(request: RunRequest) -> None:
    """The measurement of these settings: to be started, under way, or done."""
    probe: Probe | None = state.recall("probe")
    watched = probe is not None and probe.active
    redrawn(_panel, run_every=TURN_SECONDS if watched else None)(request, watched)


def _panel(request: RunRequest, watched: bool) -> None:
    probe: Probe | None = state.recall("probe")
    if probe is not None:
        probe.poll()
    with st.container(height=HEIGHT, border=False, key="estimate"):
        if probe is not None and probe.active:
            _show_progress(probe)
        else:
            _show_result(request, probe)
    if watched and probe is not None and not probe.active:
        st.rerun()


def _show_progress(probe: Probe) -> None:
    done, of = probe.measured.done, probe.measured.of
    st.progress(min(1.0, done / max(of, 1)), text=f"Measuring on this machine: {done} of {of} steps, {probe.measured.at}")
    if st.button("Cancel", key="cancel_probe", icon=":material/close:"):
        probe.cancel()
        state.remember("probe", None)
        st.rerun()


def _show_result(request: RunRequest, probe: Probe | None) -> None:
    current = probe is not None and _same_work(probe.request, request)
    if probe is not None and current and probe.estimate is not None:
        found = probe.estimate
        with st.container(horizontal=True, gap="large", key="estimate_numbers"):
            st.metric("Per step", seconds_words(found.step_seconds), width="content")
            st.metric("In all", seconds_words(found.total_seconds), width="content")
            room = f"of {bytes_words(found.available_bytes)} free" if found.available_bytes else None
            st.metric("Memory", bytes_words(found.memory_bytes), width="content", help=room)
        if not found.fits:
            st.warning(
                "More memory than is free now: lower the batch size, the latent size or the shape.", icon=":material/memory:"
            )
        st.caption(f"Measured over {found.steps_measured} steps and a validation on {found.device}, with all that ran beside it.")
        return
    words = "Measure time and memory" if probe is None or current else "Settings changed: measure again"
    if st.button(
        words,
        key="start_probe",
        icon=":material/timer:",
        help="Takes a few real steps in a process of its own, then throws them away.",
    ):
        with errors_shown_here():
            state.remember("probe", Probe(request))
            st.rerun()
    if probe is not None and current and probe.error is not None:
        show_error(probe.error)


def _same_work(measured: RunRequest, request: RunRequest) -> bool:
    """Whether two requests differ in words only."""
    words = {"name": "", "licence": None, "tensorboard": False, "processes": 1}
    return measured.model_copy(update=words) == request.model_copy(update=words)
