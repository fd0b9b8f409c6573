"""Input and reconstruction in space: rendered by NiiVue in the browser, or as surfaces where it cannot."""

from __future__ import annotations

from typing import Any

import streamlit as st

from medfuncta_core import report
from medfuncta_core.figures.flights import Look
from medfuncta_core.figures.volume_pictures import surface_figure
from medfuncta_core.signals import with_values
from pages.shared.components.volumes import draws_in_space
from pages.shared.messages import errors_shown_here
from pages.shared.views import CHART
from pages.shared.volume_run import VolumeRun

HEIGHT = 560
MOST_VALUES = 2**22
"""Of the file's own voxels; more are too many for a browser, which then gets those that were fitted."""
LAYERS = ("Input", "Reconstruction")
RENDERED, SURFACES = "Rendered (NiiVue)", "Surfaces"
MODES = {"In space": "3d", "Planes and space": "multiplanar"}
COLOURMAPS = {"Input": "gray", "Reconstruction": "warm"}


def show_space(run: VolumeRun, index: int, look: Look) -> None:
    """A view that can be turned, with input and reconstruction as layers."""
    webgl = draws_in_space(key="probe")
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom", key="space_bar"):
        how = st.segmented_control(
            "Drawn as",
            [RENDERED, SURFACES],
            default=RENDERED if webgl is not False else SURFACES,
            required=True,
            key=f"space_how-{webgl is not False}",
        )
        layers = st.pills("Layers", LAYERS, selection_mode="multi", default=LAYERS, key="space_layers")
        factor = st.segmented_control(
            "Resolution of the field", (1, 2), default=1, required=True, format_func=lambda f: f"{f}×", key="space_factor"
        )
    if webgl is False:
        st.info("This browser has no WebGL 2, which NiiVue needs; surfaces are shown instead.", icon=":material/view_in_ar:")
    if not layers:
        st.info("Choose a layer to see something.", icon=":material/layers:")
        return
    with errors_shown_here(), st.spinner("Decoding", show_time=True):
        volumes = _volumes(run, index, look, list(layers), factor or 1)
    if how == SURFACES:
        _show_surfaces(run, volumes)
    else:
        _show_rendered(volumes)


def _volumes(run: VolumeRun, index: int, look: Look, layers: list[str], factor: int) -> dict[str, Any]:
    """The layers as signals, the input first."""
    found: dict[str, Any] = {}
    if "Input" in layers:
        found["Input"] = look.truth if look.truth is not None and look.truth.values.size <= MOST_VALUES else run.signal
    if "Reconstruction" in layers:
        shape = tuple(points * factor for points in run.signal.shape)
        found["Reconstruction"] = with_values(run.signal, run.decode(index, shape))
    return found


def _show_rendered(volumes: dict[str, Any]) -> None:
    """NiiVue, which travels with the app and fetches nothing."""
    from niivue_component import niivue_viewer

    mode = st.segmented_control(
        "View", list(MODES), default="In space", required=True, key="space_mode", label_visibility="collapsed"
    )
    opacity = 0.5
    if len(volumes) > 1:
        opacity = st.slider("Opacity of the reconstruction", 0, 100, 50, 5, format="%d %%", key="space_opacity") / 100
    files = {name: report.signal_file(signal) for name, signal in volumes.items()}
    (first, content), *rest = files.items()
    overlays = [
        {"data": data, "name": f"{name}.nii.gz".lower(), "colormap": COLOURMAPS[name], "opacity": opacity} for name, data in rest
    ]
    niivue_viewer(
        nifti_data=content,
        filename=f"{first}.nii.gz".lower(),
        overlays=overlays,
        height=HEIGHT,
        view_mode=MODES[mode or "In space"],
        styled=False,
        settings={"crosshair": False, "radiological": True, "colorbar": False, "interpolation": True},
        update_interval_ms=None,  # type: ignore[arg-type]  # its documentation: no events are sent back
        key="niivue",
    )
    st.caption("Drag to turn, scroll to zoom. Grey is the input, orange the reconstruction; both lie where their affines say.")


def _show_surfaces(run: VolumeRun, volumes: dict[str, Any]) -> None:
    level = st.slider("Value of the surface, as a share of the range", 0, 100, 50, 1, format="%d %%", key="space_level") / 100
    figure = surface_figure({name: signal.values for name, signal in volumes.items()}, run.geometry, level)
    st.plotly_chart(figure, key="surfaces", height=HEIGHT, config=CHART, alt=f"Surfaces of {' and '.join(volumes)}")
