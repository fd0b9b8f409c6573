"""How good a field is beyond the grid that it was fitted to, as measured once; folded at the foot of the Volumes page."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from medfuncta_core import figures
from pages.shared import state
from pages.shared.views import CHART

HEIGHT = 320


def show_resolution(checkpoint: str) -> None:
    """PSNR and SSIM over resolution against interpolation, where they were measured for this checkpoint."""
    file = state.ROOT / "benchmarks" / "results" / f"resolution-{checkpoint}.json"
    if not file.is_file():
        return
    with st.expander("How good is the field between the voxels? Measured against interpolation", icon=":material/monitoring:"):
        results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        st.markdown(figures.resolution_sentence(results))
        st.plotly_chart(
            figures.resolution_figure(results),
            key="resolution",
            height=HEIGHT,
            config=CHART,
            alt=f"Quality over resolution: {figures.resolution_sentence(results)}",
        )
        st.caption(
            "Volumes are reduced, fitted on the coarse grid and decoded on the finer one, where the original is known. Lines: "
            f"means over the test split; open marks: one original file. Measured with `{results['command']}`."
        )
        st.download_button(
            "These numbers (.csv)",
            lambda: figures.resolution_csv(results),
            f"resolution-{checkpoint}.csv",
            "text/csv",
            key="download_resolution",
            on_click="ignore",
            icon=":material/download:",
        )
