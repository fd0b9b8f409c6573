"""What is compared: networks, ways of fitting them, and what does without a network."""

from __future__ import annotations

import streamlit as st

from medfuncta_core.comparison import BASELINES, can_fit
from medfuncta_core.config import FitMethod
from medfuncta_core.signals import Signal
from pages.shared import state, widgets
from pages.shared.contest_run import Contestant, Plan
from pages.shared.settings import METHODS
from pages.shared.sidebar import Choice

MOST_NETWORKS = 4
WAYS: tuple[FitMethod, ...] = ("gradient_descent", "gauss_newton")


def choose_plan(choice: Choice, signal: Signal) -> Plan:
    """Draw the choices; the address keeps the networks as `networks`.

    Args:
        choice: Its checkpoint said how the signal is prepared, and is compared unless it is taken out.
        signal: What is compared on.
    """
    fitting = [name for name, config in state.list_configs().items() if can_fit(config, signal)]
    networks, ways, without, steps = st.columns([32, 34, 26, 14], gap="small")
    with networks:
        names = _choose_networks(choice, fitting, f"{signal.kind}-{signal.channels}")
    methods = ways.pills(
        "Ways of fitting",
        WAYS,
        selection_mode="multi",
        default=WAYS,
        format_func=METHODS.__getitem__,
        key="contest_ways",
        help="Gradient descent takes the paper's plain steps; Gauss-Newton uses the curvature.",
    )
    baselines = without.pills(
        "Without a network",
        list(BASELINES),
        selection_mode="multi",
        default=list(BASELINES),
        key="contest_baselines",
        help="What as many numbers as the latent has do by themselves: the lowest frequencies of the discrete cosine transform "
        "(DCT), and a coarser grid with the best values for a cubic spline.",
    )
    default = choice.config.fit.steps
    count = steps.number_input("Fit steps", 1, max(2000, default), default, key=f"contest_steps-{choice.name}")
    contestants = [_contestant(choice, name, way, int(count)) for name in names for way in WAYS if way in methods]
    numbers = choice.config.field.latent_dim
    return Plan(tuple(contestants), tuple(name for name in BASELINES if name in baselines), numbers)


def _choose_networks(choice: Choice, fitting: list[str], kind: str) -> list[str]:
    key = f"contest_networks-{kind}"
    known = widgets.widget(key)
    if known is None:
        wanted = [name for name in st.query_params.get("networks", "").split(",") if name in fitting]
        widgets.set_widget(key, (wanted or [choice.name])[:MOST_NETWORKS])
    elif any(name not in fitting for name in known):  # a checkpoint was taken away
        widgets.set_widget(key, [name for name in known if name in fitting])
    names = st.multiselect(
        "Networks",
        fitting,
        key=key,
        max_selections=MOST_NETWORKS,
        placeholder="Choose up to four",
        help=f"Checkpoints whose signals have as many axes and channels. All fit the values that {choice.name} expects.",
    )
    st.query_params["networks"] = ",".join(names)
    return names


def _contestant(choice: Choice, name: str, way: FitMethod, steps: int) -> Contestant:
    config = state.list_configs()[name]
    fit = config.fit.model_copy(update={"method": way, "steps": steps})
    return Contestant(Choice(name, config, choice.device), fit)
