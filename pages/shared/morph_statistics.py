"""What a cloud of latents is like: how many dimensions it fills, and how many its signals need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from medfuncta_core import figures
from pages.shared import state
from pages.shared.morph_between import choose_material
from pages.shared.morph_network import Material, Network
from pages.shared.views import CHART

if TYPE_CHECKING:
    from medfuncta_core.mednf.statistics import Components

SHARE = 0.99
DIMENSION_HELP = (
    "Participation ratio of the variances: k where k directions share the variance equally, 1 where one holds it all."
)
SPECTRUM_HELP = "Principal components, largest first. Where the curve bends early, few directions hold most of the differences."
TRIAL_HELP = (
    "Signals that the components were not found from are decoded from their first 1, 2, 4 and more components. "
    "Their error is the one that their fit stated, plus the one that leaving components out adds."
)
CHART_HEIGHT = 300


@st.cache_resource(show_spinner="Finding components", max_entries=4)
def _components(material: Material, version: int) -> tuple[Components, Any]:
    """Components of a material, and the rows that they were not found from."""
    from medfuncta_core.mednf.statistics import choose_sample, principal_components

    found, tested = choose_sample(len(material))
    return principal_components(material.latents(found)), tested


def show_statistics(network: Network) -> None:
    """Numbers, the variance spectrum, and, on request, the quality that a few components keep."""
    material = choose_material(network, "statistics_of")
    if material is None:
        return
    components, tested = _components(material, material.version)
    most, dims = len(components.variances), len(components.mean)
    held = {share: components.holding(share) for share in (0.9, 0.95, 0.99)}
    trial = _kept_trials().get((material, material.version))
    _show_numbers(material, components, held, trial)
    if most < dims:
        st.caption(
            f"{components.rows:,} latents show at most {most:,} of the {dims:,} dimensions, so these are lower bounds: "
            "a larger set may fill more."
        )
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown(
            "**Variance held by the first components**",
            help=SPECTRUM_HELP,
        )
        marked = {f"{share:.0%}: {count:,}": count for share, count in held.items()}
        st.plotly_chart(
            figures.spectrum_figure(components.variances, marked),
            key="spectrum",
            height=CHART_HEIGHT,
            config=CHART,
            alt="Variance held by the first components",
        )
        st.download_button(
            "Spectrum (.csv)",
            lambda: components.csv(),
            f"{material.name}-spectrum.csv",
            "text/csv",
            key="spectrum_csv",
            on_click="ignore",
            icon=":material/show_chart:",
        )
    with right:
        _show_trial(network, material, components, tested, trial)


def _kept_trials() -> dict[Any, list[Any]]:
    return state.recall("component_trials", dict)


def _show_numbers(material: Material, components: Components, held: dict[float, int], trial: list[Any] | None) -> None:
    from medfuncta_core.mednf.statistics import components_needed

    needed = components_needed(trial, SHARE) if trial else None
    words = "–" if trial is None else f"{needed:,}" if needed is not None else f"> {len(components.variances):,}"
    with st.container(horizontal=True, gap="small"):
        st.metric("Latents", f"{len(material):,}", help="Signals in the set or gallery.")
        st.metric("Length of a latent", f"{len(components.mean):,}", help="Numbers in each, P.")
        st.metric(
            "Effective dimension",
            f"{components.effective_dimension:.1f}",
            help=DIMENSION_HELP,
        )
        st.metric("95% of the variance", f"{held[0.95]:,}", help="Principal components that hold it.")
        st.metric(
            f"{SHARE:.0%} of the PSNR",
            words,
            help="Principal components that must be kept so that decoded signals keep this share of their PSNR in dB.",
        )


def _show_trial(network: Network, material: Material, components: Components, tested: Any, trial: list[Any] | None) -> None:
    from medfuncta_core.mednf.statistics import components_needed, trial_csv

    st.markdown(
        "**Quality with few components**",
        help=TRIAL_HELP,
    )
    if trial is None:
        st.caption(
            f"Decodes {len(tested)} signals with fewer and fewer components, which takes some seconds, and longer for volumes."
        )
        if not st.button("Measure", key="try_components", icon=":material/query_stats:", type="primary"):
            return
        trial = _run_trial(network, material, components, tested)
        _kept_trials()[(material, material.version)] = trial
        st.rerun()
    needed, whole = components_needed(trial, SHARE), trial[0].whole
    figure = figures.components_figure([step.count for step in trial], [step.psnr for step in trial], whole, SHARE, needed)
    st.plotly_chart(figure, key="components", height=CHART_HEIGHT, config=CHART, alt="PSNR by number of components kept")
    if needed is None:
        st.caption(
            f"Even all {len(components.variances):,} components keep less: "
            "these signals need directions that this set, being small, does not show."
        )
    st.download_button(
        "Curve (.csv)",
        lambda: trial_csv(trial),
        f"{material.name}-components.csv",
        "text/csv",
        key="trial_csv",
        on_click="ignore",
        icon=":material/show_chart:",
    )


def _run_trial(network: Network, material: Material, components: Components, tested: Any) -> list[Any]:
    from medfuncta_core.mednf.statistics import try_components

    steps, bar = [], st.progress(0.0, text="Decoding with 1 component")
    trials = try_components(
        network.fitter(), components, material.latents(tested), material.psnr(tested), network.spec.shape, share=SHARE
    )
    for step in trials:
        steps.append(step)
        bar.progress(
            min(step.done / step.total, 1.0), text=f"With {step.count:,} components: {step.psnr:.1f} of {step.whole:.1f} dB"
        )
    bar.empty()
    return sorted(steps, key=lambda step: step.count)
