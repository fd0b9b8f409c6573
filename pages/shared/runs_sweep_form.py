"""Starting a sweep: which ablation, on what data, at what budget."""

from __future__ import annotations

from typing import cast

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from medfuncta_core.config import PRESETS
from medfuncta_core.errors import ConfigError
from medfuncta_core.runs import list_runs
from medfuncta_core.runs.sweep_kinds import ABLATIONS, Budget, SweepKind
from medfuncta_core.runs.sweeps import plan_sweep, start_sweep
from pages.shared import state, widgets
from pages.shared.messages import errors_shown_here

BUDGETS = {
    "small": "Small: at most an hour on two CPU cores",
    "medium": "Medium: a night on two CPU cores",
    "paper": "The paper's own: days on a GPU",
    "steps": "My own number of steps",
}
BY_DATA = "By data and budget"


def show_form() -> None:
    """Widgets, and one action."""
    kind = cast(
        SweepKind,
        st.segmented_control(
            "Ablation",
            list(ABLATIONS),
            default="gamma",
            required=True,
            format_func=lambda kind: f"{ABLATIONS[cast(SweepKind, kind)].title} · {ABLATIONS[cast(SweepKind, kind)].source}",
            key="sweep_kind",
        )
        or "gamma",
    )
    st.caption(ABLATIONS[kind].question)
    left, right = st.columns([3, 2], gap="medium")
    data = _choose_data(left)
    budget = right.selectbox(
        "Budget", list(BUDGETS), format_func=lambda budget: BUDGETS[budget], key="sweep_budget", help="Per run times runs."
    )
    steps = None
    if budget == "steps":
        steps = right.number_input("Outer steps of every run", 1, 10_000_000, 500, key="sweep_steps")
    with st.popover("More settings", icon=":material/tune:"):
        preset = st.selectbox("Preset", [BY_DATA, *PRESETS], key="sweep_preset", help="What all runs start from.")
        shape = st.text_input("Shape", key="sweep_shape", placeholder="the preset's, or 28,28", help="Points per axis.")
        axes = {
            name: st.text_input(name, ", ".join(f"{value:g}" for value in values), key=f"sweep_axis-{kind}-{name}")
            for name, values in ABLATIONS[kind].axes.items()
        }
        more = st.text_area("In all runs", key="sweep_more", placeholder="field.width=64", help="key=value, one a line.")
    if st.button("Start sweep", key="start_sweep", type="primary", icon=":material/rocket_launch:", disabled=not data):
        with errors_shown_here(), st.spinner("Opening the data", show_time=True):
            level = cast(Budget, "small" if budget == "steps" else budget)
            chosen, planned = plan_sweep(kind, data, level, None if preset == BY_DATA else preset)
            name = start_sweep(
                state.run_root(),
                kind,
                preset=chosen,
                data=data,
                steps=steps or planned,
                settings=[line.strip() for line in more.splitlines() if line.strip()],
                shape=tuple(int(points) for points in _numbers(shape, "Shape")) or None,
                axes={axis: tuple(_numbers(text, axis)) for axis, text in axes.items()},
            )
            st.query_params["sweep"] = name
            widgets.forget_widget("sweep_shown")
            st.rerun()


def _choose_data(place: DeltaGenerator) -> str:
    """What the newest run was trained on, or anything else."""
    known = [run.request.data for run in list_runs(state.run_root()) if run.request is not None]
    return place.text_input(
        "Data",
        known[0] if known else "",
        placeholder="A path on this machine, or a MedMNIST name such as pneumoniamnist",
        key="sweep_data",
        help="A data set with train and val splits: a MedMNIST name, an .npz, a folder or a CSV.",
    ).strip()


def _numbers(text: str, what: str) -> list[float]:
    """Numbers that a person separated by commas.

    Raises:
        ConfigError: when one of them is none.
    """
    try:
        return [float(part) for part in text.replace("x", ",").split(",") if part.strip()]
    except ValueError:
        raise ConfigError(f"{what} {text!r}: write numbers with commas between them, such as 28,28 or 0.25,1") from None
