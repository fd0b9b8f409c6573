"""The classification at work: started and cancelled here, done by a process of its own, watched in a fragment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from medfuncta_core.errors import SetError
from medfuncta_core.runs.classification import (
    ClassifyProgress,
    arguments_of,
    cancel_classification,
    launch_classification,
    read_estimates,
    read_progress,
)
from pages.shared import state
from pages.shared.classify_choice import Plan
from pages.shared.messages import errors_shown_here, show_error
from pages.shared.parts import redrawn
from pages.shared.words import seconds_words

if TYPE_CHECKING:
    from medfuncta_core.mednf.classifying_results import ClassifyResult

LOOK_SECONDS = 0.5
BAR_HEIGHT = 56
NETWORKS = ("resnet50", "efficientnet")


def show_run(plan: Plan) -> None:
    """Button, progress and what went wrong; turns by itself while something runs."""
    running = read_progress(plan.folder).state == "running"
    estimating = _settle_estimates(plan)
    drawn = len(list(plan.folder.glob("*-*.json")))
    redrawn(_panel, run_every=LOOK_SECONDS if running or estimating else None)(plan, running, estimating, drawn)


def _panel(plan: Plan, was_running: bool, was_estimating: bool, drawn: int) -> None:
    """One turn: a result that came, or an end, draws the whole page again."""
    progress = read_progress(plan.folder)
    running = progress.state == "running"
    with st.container(key="classify_run"):
        button, bar = st.columns([2, 5], vertical_alignment="bottom", gap="medium")
        with bar.container(height=BAR_HEIGHT, border=False, vertical_alignment="bottom"):
            if running:
                st.progress(min(max(progress.share, 0.0), 1.0), text=_words(progress))
            else:
                st.caption(_what_to_expect(plan))
        if running:
            button.button("Cancel", key="cancel_classify", on_click=cancel_classification, args=(plan.folder,), width="stretch",
                          icon=":material/stop_circle:")  # fmt: skip
        elif button.button(
            "Classify",
            key="classify",
            type="primary",
            width="stretch",
            icon=":material/play_arrow:",
            disabled=not plan.requests or plan.needs_data,
        ):
            _start(plan)
        if progress.state == "failed":
            show_error(SetError(progress.reason))
    changed = len(list(plan.folder.glob("*-*.json"))) != drawn
    if running != was_running or changed or (was_estimating and not _estimating(plan)):
        st.rerun()


def _start(plan: Plan) -> None:
    with errors_shown_here():
        path = state.set_root() / plan.set
        launch_classification(plan.folder, arguments_of(path, plan.requests, plan.data, plan.device), plan.requests[0].title)
        st.rerun()


def _words(progress: ClassifyProgress) -> str:
    of = f" ({progress.number} of {progress.total})" if progress.total > 1 else ""
    left = f", {seconds_words(progress.eta_seconds)} left" if progress.eta_seconds else ""
    return f"{progress.title}{of}: {progress.doing}{left}"


def _what_to_expect(plan: Plan) -> str:
    """What pressing the button will do, and how long networks of pictures will take."""
    if not plan.requests:
        return "Choose at least one classifier."
    if plan.needs_data:
        return "Pixels are not in a set of latents: say under *Features and settings* which data it was encoded from."
    known = sum((plan.folder / f"{request.key}.json").is_file() for request in plan.requests)
    fresh = len(plan.requests) - known
    words = f"{fresh} to classify" + (f", {known} kept from before" if known else "") + "."
    estimates = read_estimates(_estimate_folder(plan))
    for request in plan.requests:
        if request.method not in NETWORKS or (plan.folder / f"{request.key}.json").is_file():
            continue
        seconds = estimates.get(request.key)
        took = "timing a few batches …" if seconds is None else f"about {seconds_words(seconds)} on this machine"
        words += f" {request.title}, {request.epochs} epochs: {took}."
    return words if fresh else f"All {known} are kept from before: see below."


def kept_results(plan: Plan) -> list[ClassifyResult]:
    """The results of the plan's set that there are, in the order of a table: latents first, pixels last."""
    from medfuncta_core.mednf.classifying_results import METHODS, load_results

    spaces = ("latent", "modulation", "pixels")

    def place(result: ClassifyResult) -> tuple[int, int, int]:
        request = result.request
        return spaces.index(request.inputs), list(METHODS).index(request.method), request.k

    return sorted(load_results(plan.folder), key=place)


def _estimate_folder(plan: Plan) -> Path:
    return plan.folder / "estimate"


def _estimating(plan: Plan) -> bool:
    return read_progress(_estimate_folder(plan)).state == "running"


def _settle_estimates(plan: Plan) -> bool:
    """Time a few batches of the chosen networks of pictures, once, in a process of its own; whether that is going on."""
    if plan.needs_data or read_progress(plan.folder).state == "running":
        return False
    folder = _estimate_folder(plan)
    known = read_estimates(folder)
    missing = [
        request
        for request in plan.requests
        if request.method in NETWORKS and request.key not in known and not (plan.folder / f"{request.key}.json").is_file()
    ]
    if missing and not _estimating(plan):
        asked = (plan.data, tuple(request.key for request in missing))
        if state.recall("classify_estimated") == asked:
            _show_failed(folder)
            return False
        state.remember("classify_estimated", asked)
        arguments = [*arguments_of(state.set_root() / plan.set, missing, plan.data, plan.device), "--estimate"]
        launch_classification(folder, arguments, missing[0].title)
    return _estimating(plan)


def _show_failed(folder: Path) -> None:
    progress = read_progress(folder)
    if progress.state == "failed":
        show_error(SetError(progress.reason))
