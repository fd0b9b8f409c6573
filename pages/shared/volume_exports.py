"""What a visitor takes home from a volume: a NIfTI file on any grid, and a film of a flight through it."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import streamlit as st

from medfuncta_core import report
from medfuncta_core.figures import to_gif, to_mp4
from medfuncta_core.figures.flights import Look, fly_through
from medfuncta_core.geometry import orthogonal_cuts
from medfuncta_core.volumes import decode_onto, export_geometries
from pages.shared.jobs import job_of, show_job, start_job
from pages.shared.views import shape_words
from pages.shared.volume_run import VolumeRun

if TYPE_CHECKING:
    from medfuncta_core.geometry import VolumeGeometry

Report = Callable[[float, str], None]
MOST_VOXELS = 2**27
"""512 MiB of float32; more does not come through a browser."""
FILM_TYPES = {"GIF": (to_gif, "image/gif", ".gif"), "MP4": (to_mp4, "video/mp4", ".mp4")}


def show_exports(run: VolumeRun, index: int, look: Look) -> None:
    """Files of the step shown."""
    first, second = st.columns(2, gap="large")
    with first:
        _show_nifti(run, index)
    with second:
        _show_film(run, index, look)
    st.caption("Slices as PNG: the link above every picture, at the resolution it is decoded at.")


def _show_nifti(run: VolumeRun, index: int) -> None:
    st.markdown("**NIfTI file**", help="Decoded on the grid you choose; opened beside the input it lies exactly over it.")
    grids = {
        name: grid for name, grid in export_geometries(run.signal, run.file_geometry).items() if prod(grid.shape) <= MOST_VOXELS
    }
    name = st.selectbox("Grid", list(grids), format_func=lambda name: _grid_words(name, grids[name]), key="export_grid")
    target = grids[name]
    key = (id(run), index, name)
    if job_of("nifti", key) is None and st.button("Decode", key="export_nifti", type="primary", icon=":material/grid_on:"):
        fitter = run.fresh_fitter()
        start_job("nifti", key, lambda tell: _write_nifti(run, index, fitter, target, tell))
        st.rerun()
    stem = report.plain_stem(run.signal.name)

    def show(content: bytes) -> None:
        st.download_button(
            f"NIfTI, {shape_words(target.shape)}, {len(content) / 2**20:.1f} MiB",
            content,
            f"{stem}-{name.replace('×', 'x').lower()}.nii.gz",
            "application/gzip",
            key="download_nifti",
            on_click="ignore",
            type="primary",
            icon=":material/download:",
        )

    show_job("nifti", key, show)


def _grid_words(name: str, grid: VolumeGeometry) -> str:
    spacing = " × ".join(f"{step:.2g}" for step in grid.spacing)
    title = "The file's own voxels" if name == "File" else name
    return f"{title}: {shape_words(grid.shape)}, {spacing} {grid.unit}"


def _write_nifti(run: VolumeRun, index: int, fitter: Any, target: VolumeGeometry, tell: Report) -> bytes:
    """Decode in parts and compress; cancelled between two parts."""
    total, done = prod(target.shape), 0

    def watch(points: int) -> None:
        nonlocal done
        done += points
        tell(0.95 * done / total, "Decoding")

    signal: Any = None
    for part in decode_onto(run.signal, run.decoder(index, watch, fitter), target):
        tell(0.95 * part.done / part.total, "Decoding")
        signal = part.signal
    tell(0.95, "Compressing")
    return report.signal_file(signal)


def _show_film(run: VolumeRun, index: int, look: Look) -> None:
    st.markdown("**Fly-through**", help="Input, reconstruction and error, one slice after the other.")
    names = [cut.name for cut in orthogonal_cuts(run.geometry, run.geometry.centre)]
    left, middle, right = st.columns(3, gap="small")
    plane = left.selectbox("Plane", names, key="film_plane")
    frames = middle.number_input("Frames", 2, 240, 48, key="film_frames")
    kind = right.segmented_control("Format", list(FILM_TYPES), default="GIF", required=True, key="film_format") or "GIF"
    key = (id(run), index, plane, frames, kind, look.window, look.error_limit, look.truth is None, look.smooth, look.opacity)
    if job_of("film", key) is None and st.button("Make the film", key="make_film", icon=":material/movie:"):
        fitter = run.fresh_fitter()
        start_job("film", key, lambda tell: _make_film(run, index, fitter, look, names.index(plane), int(frames), kind, tell))
        st.rerun()

    def show(content: bytes) -> None:
        _, mime, suffix = FILM_TYPES[kind]
        if kind == "GIF":
            st.image(content, width="stretch")
        else:
            st.video(content, loop=True)
        name = f"{report.plain_stem(run.signal.name)}-{plane.lower().replace(' ', '-')}{suffix}"
        size = len(content) / 2**20
        st.download_button(
            f"{kind}, {size:.1f} MiB", content, name, mime, key="download_film", on_click="ignore", icon=":material/download:"
        )

    show_job("film", key, show)


def _make_film(run: VolumeRun, index: int, fitter: Any, look: Look, plane: int, frames: int, kind: str, tell: Report) -> bytes:
    made: list[Any] = []

    def watch(_: int) -> None:
        tell(0.95 * len(made) / frames, "Decoding frames")

    for frame in fly_through(run.signal, run.decoder(index, watch, fitter), look, plane, frames):
        made.append(frame)
        tell(0.95 * len(made) / frames, "Decoding frames")
    tell(0.95, "Writing the film")
    return FILM_TYPES[kind][0](made)
