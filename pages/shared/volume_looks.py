"""How cuts through a volume are shown: window and level, which input they are compared with, labels over them."""

from __future__ import annotations

from typing import Any

import streamlit as st

from medfuncta_core.errors import SignalError
from medfuncta_core.figures import MAGMA, encode_png, to_data_url
from medfuncta_core.figures.flights import Look, picture_cut
from medfuncta_core.geometry import Cut
from medfuncta_core.volumes import CT_WINDOWS, CutView, LinkedPlane, Window, whole_window
from pages.shared import widgets
from pages.shared.fit_panel import Display
from pages.shared.messages import errors_shown_here
from pages.shared.views import shape_words
from pages.shared.volume_run import VolumeRun

WHOLE = "Whole range"
TITLES = ("Input", "Reconstruction", "Absolute error")
AIR = -200.0
"""Values below this are Hounsfield units or nothing that CT windows would harm."""
CT_LEVELS = (-1000.0, 1000.0)


def choose_look(run: VolumeRun, display: Display) -> Look:
    """Comparison, window and labels, folded; drawn in the container that is open."""
    with st.popover("Window", icon=":material/tonality:", key="window"):
        truth, window = _choose_truth(run), _choose_window(run)
    opacity = 0.5
    with st.popover("Labels", icon=":material/layers:", key="labels"), errors_shown_here():
        opacity = _choose_labels(run)
    return Look(window, display.error_limit, display.smooth, truth, run.labels, opacity)


def whole_look(run: VolumeRun, display: Display) -> Look:
    """The whole range, compared with what is fitted: while a fit runs."""
    low, high = sorted(run.signal.value_range)
    return Look(whole_window((low, high)), display.error_limit, display.smooth)


def _choose_truth(run: VolumeRun) -> Any:
    """The file's voxels instead of those that were fitted, where there is a file."""
    original = run.volume.original
    if original is None:
        return None
    words = {f"As fitted, {shape_words(run.signal.shape)}": None, f"The file, {shape_words(original.shape)}": original}
    word = st.segmented_control(
        "Input shown",
        list(words),
        default=next(iter(words)),
        required=True,
        key="volume_truth",
        help="What the reconstruction is compared with: the voxels that were fitted, or those of the file before resampling.",
    )
    return words.get(word or "")


def _choose_window(run: VolumeRun) -> Window:
    """Level and width in the file's unit; presets where the values can be Hounsfield units."""
    low, high = sorted(run.signal.value_range)
    unit = f" ({run.signal.unit})" if run.signal.unit else ""
    whole, key = whole_window((low, high)), f"{run.signal.name}-{low:g}-{high:g}"
    if run.signal.unit == "HU" or low < AIR:
        bottom, top = min(low, CT_LEVELS[0]), max(high, CT_LEVELS[1])
        st.pills(
            "Preset",
            [WHOLE, *CT_WINDOWS],
            default=WHOLE,
            key=f"window_preset-{key}",
            on_change=_apply_preset,
            args=(key, whole),
            help="Customary windows of computed tomography, in Hounsfield units.",
        )
    else:
        bottom, top = low, high
        st.button("Whole range", key=f"window_whole-{key}", on_click=_set_window, args=(key, whole))
    step = (top - bottom) / 200
    level = st.slider(f"Level{unit}", bottom, top, whole.level, step, key=f"level-{key}", help="The middle grey.")
    width = st.slider(f"Width{unit}", step, 1.5 * (top - bottom), whole.width, step, key=f"width-{key}", help="Black to white.")
    return Window(level, width)


def _apply_preset(key: str, whole: Window) -> None:
    _set_window(key, CT_WINDOWS.get(widgets.widget(f"window_preset-{key}") or WHOLE, whole))


def _set_window(key: str, window: Window) -> None:
    widgets.set_widget(f"level-{key}", window.level)
    widgets.set_widget(f"width-{key}", window.width)


def _choose_labels(run: VolumeRun) -> float:
    """A label map over the slices, and how strong."""
    from medfuncta_core.volumes import read_labels

    file = st.file_uploader(
        "Labels or a mask (NIfTI)", key="label_file", help="Laid over the slices by its own affine; never interpolated."
    )
    opacity = st.slider("Opacity", 0, 100, 50, 5, format="%d %%", key="label_opacity") / 100
    if file is None:
        run.labels = None
    elif run.labels is None or run.labels.name != file.name:
        if not file.name.lower().endswith((".nii", ".nii.gz")):
            raise SignalError(f"{file.name}: labels come as a NIfTI file; give .nii or .nii.gz")
        shape = run.file_geometry.shape if run.file_geometry else run.signal.shape
        run.labels = read_labels(file.getvalue(), file.name, shape, oriented=run.geometry.oriented)
    if run.labels is not None:
        st.caption(f"Labels {', '.join(str(number) for number in run.labels.numbers) or 'none'} of {run.labels.name}.")
    return opacity


def error_scale(look: Look) -> dict[str, Any]:
    """The colour scale of the errors, as the components take it."""
    label = "Absolute error as a share of the value range"
    return {"stops": MAGMA, "low": "0", "high": f"≥ {look.error_limit:g}", "label": label}


def picture_row(run: VolumeRun, view: CutView, cut: Cut, look: Look, widest: float, place: str = "") -> dict[str, Any]:
    """A row of the slices component: input, reconstruction and error of one cut.

    Args:
        run: The volume.
        view: Of the cut.
        cut: The plane.
        look: How it is shown.
        widest: Millimetres of the widest cut beside it, which fills its column.
        place: Where the plane lies.
    """
    pictures = picture_cut(run.signal, view, cut, look)
    size = f"{cut.width:.0f} × {cut.height:.0f} {run.geometry.unit}"
    rows, columns = view.error.shape
    shown = look.truth or run.signal
    captions = (
        f"{place} · {size}" if place else size,
        f"{columns} × {rows} pixels decoded",
        f"mean {view.mean_error:.3f}, max {view.error.max():.3f}",
    )
    panes = [
        {
            "title": f"{title} · {cut.name}" if title == "Input" else title,
            "caption": caption,
            "src": to_data_url(encode_png(pixels)),
            "alt": f"{title} {cut.name} {place}".strip(),
            "file": f"{title}-{cut.name}.png".lower().replace(" ", "-"),
        }
        for title, caption, pixels in zip(
            TITLES, captions, (pictures.input, pictures.reconstruction, pictures.error), strict=True
        )
    ]
    about = {"name": cut.name, "place": place or shown.name, "aspect": cut.width / cut.height, "share": cut.width / widest}
    return {**about, "letters": cut.letters, "panes": panes, "right": None, "down": None, "across": None, "cross": None}


def linked(row: dict[str, Any], plane: LinkedPlane) -> dict[str, Any]:
    """The row with what the browser needs to move the crosshair on it."""
    return {**row, "right": plane.right, "down": plane.down, "across": plane.across, "cross": plane.cross}
