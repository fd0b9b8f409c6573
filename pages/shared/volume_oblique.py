"""A plane at any angle through the crosshair."""

from __future__ import annotations

import streamlit as st

from medfuncta_core.figures.flights import Look
from medfuncta_core.geometry import oblique_cut
from medfuncta_core.volumes import picked_index, place_on, point_at
from pages.shared.components.volumes import SliceActions, slices
from pages.shared.volume_looks import error_scale, picture_row
from pages.shared.volume_run import VolumeRun
from pages.shared.volume_slices import FACTORS, MOST_PIXELS, move, view_all

ANGLES = {
    "Tilt": "Degrees about the picture's horizontal axis.",
    "Turn": "Degrees about its vertical axis.",
    "Spin": "Degrees within the picture, clockwise.",
}


def show_oblique(run: VolumeRun, index: int, look: Look) -> None:
    """Input, reconstruction and error on a plane that the visitor tilts, turns and shifts; decoded from the field as asked."""
    columns = st.columns(4, gap="medium")
    angles = [
        column.slider(f"{name} (°)", -90, 90, 30 if name == "Tilt" else 0, key=f"oblique_{name}", help=words)
        for column, (name, words) in zip(columns, ANGLES.items(), strict=False)
    ]
    reach = max(side * count for side, count in zip(run.geometry.spacing, run.geometry.shape, strict=True)) / 2
    offset = columns[3].slider(
        f"Offset ({run.geometry.unit})",
        -reach,
        reach,
        0.0,
        reach / 100,
        key=f"oblique_offset-{id(run)}",
        help="Along the plane's normal, away from the crosshair; it points away from you.",
    )
    factor = st.segmented_control(
        "Resolution", FACTORS, default=2, required=True, format_func=lambda factor: f"{factor}×", key="oblique_factor"
    )
    tilt, turn, spin = angles
    cut = oblique_cut(run.geometry, point_at(run.geometry, run.at), tilt=tilt, turn=turn, spin=spin, offset=offset)
    (view,) = view_all(run, index, [(cut, cut.pixels(factor or 2, MOST_PIXELS))], look)
    row = picture_row(run, view, cut, look, cut.width, f"{tilt}°, {turn}°, {spin}°, {offset:+.1f} {run.geometry.unit}")
    row["cross"] = place_on(run.geometry, cut, run.at)
    slices(
        [row],
        SliceActions(picked=lambda _, x, y: move(run, picked_index(run.geometry, cut, x, y))),
        key=f"oblique-{id(run)}",
        index=run.at,
        shape=run.geometry.shape,
        scale=error_scale(look),
        smooth=look.smooth,
    )
    st.caption("A click puts the crosshair there; the plane then goes through it.")
