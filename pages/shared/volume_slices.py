"""Three linked planes with a crosshair, and a region of one of them: looked at closely, or fitted as its own field."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from medfuncta_core.figures.flights import Look
from medfuncta_core.geometry import Cut, geometry_of
from medfuncta_core.volumes import CutView, LinkedPlane, clamp_index, depth_of, link_planes, region_voxels
from pages.shared import widgets
from pages.shared.components.volumes import SliceActions, slices
from pages.shared.volume_looks import error_scale, linked, picture_row
from pages.shared.volume_run import VolumeRun
from pages.shared.volume_source import fit_region

FACTORS = (1, 2, 4, 8)
MOST_PIXELS = 1024
CLOSE = (64, 128, 256, 512)
QUICK_POINTS = 6000
"""Decoding fewer points shows no progress: it would only flicker."""


def show_slices(run: VolumeRun, index: int, look: Look) -> None:
    """Axial, coronal and sagittal: input, reconstruction and error, with one crosshair; a box on a slice is a region."""
    planes = link_planes(run.geometry, run.at)
    factors = _choose_places(run, planes)
    boxing = _choose_mode(run)
    show_planes(run, index, look, factors, boxing=boxing)
    if run.box is not None:
        _show_region(run, index, look, planes)


def show_planes(run: VolumeRun, index: int, look: Look, factors: Sequence[int] = (1, 1, 1), *, boxing: bool = False) -> None:
    """The three planes themselves.

    Args:
        run: The volume.
        index: Of the step.
        look: How they are shown.
        factors: Pixels for every voxel, plane by plane.
        boxing: Dragging draws a box.
    """
    planes = link_planes(run.geometry, run.at)
    cuts = [(plane.cut, plane.cut.pixels(factor, MOST_PIXELS)) for plane, factor in zip(planes, factors, strict=True)]
    views = view_all(run, index, cuts, look)
    widest = max(plane.cut.width for plane in planes)
    rows = [
        linked(picture_row(run, view, plane.cut, look, widest, plane.place), plane)
        for view, plane in zip(views, planes, strict=True)
    ]
    box = None if run.box is None else {"row": run.box[0], "sides": run.box[1]}
    slices(
        rows,
        SliceActions(moved=lambda place: move(run, place), boxed=lambda row, sides: _draw_box(run, row, sides)),
        key=f"slices-{id(run)}",
        index=run.at,
        shape=run.geometry.shape,
        mode="box" if boxing else "cross",
        box=box,
        scale=error_scale(look),
        smooth=look.smooth,
    )


def _choose_places(run: VolumeRun, planes: Sequence[LinkedPlane]) -> list[int]:
    """A slider and a resolution for each plane."""
    factors: list[int] = []
    for column, plane in zip(st.columns(3, gap="medium"), planes, strict=True):
        key = f"at-{id(run)}-{plane.across}"
        widgets.set_widget(key, run.at[plane.across])
        last = run.geometry.shape[plane.across] - 1.0
        column.slider(
            f"{plane.cut.name}",
            0.0,
            max(last, 0.1),
            step=0.1,
            key=key,
            on_change=_slide,
            args=(run, plane.across, key),
            help=f"{plane.place}. In voxels of the fitted volume, also between them. "
            "Or click a slice; then scroll, or use Page Up and Page Down.",
        )
        factor = column.segmented_control(
            f"{plane.cut.name} resolution",
            FACTORS,
            default=1,
            required=True,
            format_func=lambda factor: f"{factor}×",
            key=f"factor-{plane.cut.name}",
            label_visibility="collapsed",
            help="Pixels for every voxel that was fitted.",
        )
        factors.append(factor or 1)
    return factors


def _choose_mode(run: VolumeRun) -> bool:
    """Whether dragging draws a box instead of moving the crosshair."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="dragging"):
        mode = st.segmented_control(
            "Dragging on a slice",
            ["Moves the crosshair", "Draws a region"],
            default="Moves the crosshair",
            required=True,
            key="volume_dragging",
            label_visibility="collapsed",
        )
        if run.box is not None:
            st.button("Forget the region", key="forget_region", icon=":material/close:", on_click=_forget, args=(run,))
        elif mode == "Draws a region":
            st.caption("Drag a rectangle on any slice: it is decoded at high resolution, and can be fitted as its own field.")
    return mode == "Draws a region"


def _slide(run: VolumeRun, axis: int, key: str) -> None:
    place = list(run.at)
    place[axis] = widgets.widget(key)
    move(run, place)


def move(run: VolumeRun, place: Sequence[float]) -> None:
    """Put the crosshair somewhere else."""
    run.at = clamp_index(run.geometry, place)


def _draw_box(run: VolumeRun, row: int, sides: Sequence[float]) -> None:
    left, top, right, bottom = sides
    run.box = row, (left, top, right, bottom)
    widgets.set_widget("volume_dragging", "Moves the crosshair")


def _forget(run: VolumeRun) -> None:
    run.box = None


def view_all(run: VolumeRun, index: int, cuts: Sequence[tuple[Cut, tuple[int, int]]], look: Look) -> list[CutView]:
    """Views of cuts, with progress while many points are decoded; moving anything on the page gives it up."""
    truth, smooth = look.truth is not None, look.smooth
    missing = [pixels for cut, pixels in cuts if run.kept_view(index, cut, pixels, truth, smooth) is None]
    total = sum(rows * columns for rows, columns in missing)
    place = st.empty()
    bar = place.progress(0.0, "Decoding") if total > QUICK_POINTS else None
    done = 0

    def watch(points: int) -> None:
        nonlocal done
        done += points
        if bar is not None:
            bar.progress(min(1.0, done / total), f"Decoding {done:,} of {total:,} points; move anything to give it up")

    views = [run.view(index, cut, pixels, truth, smooth, watch) for cut, pixels in cuts]
    place.empty()
    return views


def _show_region(run: VolumeRun, index: int, look: Look, planes: Sequence[LinkedPlane]) -> None:
    """The drawn part of a slice at a resolution of its own, and a fit of the block around it."""
    assert run.box is not None
    row, box = run.box
    plane = planes[row]
    cut = plane.cut.part(*box)
    st.markdown(f"**Region of the {plane.cut.name.lower()} slice**", help="Decoded from the field only where it is shown.")
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom", key="region_bar"):
        longest = st.segmented_control(
            "Pixels along its longer side", CLOSE, default=CLOSE[1], required=True, key="region_pixels"
        )
        last = run.geometry.shape[plane.across] - 1
        depth = st.slider(
            "Depth, in slices",
            0,
            max(last, 1),
            depth_of(run.geometry, plane, run.at, box),
            key=f"depth-{id(run)}-{row}-{box}",
            help="How far the block that can be fitted reaches across the slice.",
        )
        target = run.file_geometry or geometry_of(run.signal)
        low, high = region_voxels(run.geometry, plane, box, depth, target)
        if st.button(
            "Fit this region as its own field",
            key="fit_region",
            type="primary",
            icon=":material/crop_free:",
            help="Its voxels, at the file's full resolution, become a field of their own.",
        ):
            fit_region(run.volume, low, high)
            st.rerun(scope="app")
    pixels = cut.pixels((longest or CLOSE[1]) / max(cut.width, cut.height) * _step(cut), MOST_PIXELS)
    (view,) = view_all(run, index, [(cut, pixels)], look)
    words = " × ".join(f"{a} to {b - 1}" for a, b in zip(low, high, strict=True))
    row_data = picture_row(run, view, cut, look, cut.width, f"voxels {words}")
    slices([row_data], SliceActions(), key=f"region-{id(run)}", scale=error_scale(look), smooth=look.smooth)


def _step(cut: Cut) -> float:
    """Millimetres of a voxel along the longer side."""
    rows, columns = cut.voxels
    return cut.width / columns if cut.width >= cut.height else cut.height / rows
