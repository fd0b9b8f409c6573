"""Arrays -> what people look at: Plotly figures with one template (`plots`) and honest pictures (`pictures`)."""

from medfuncta_core.figures.animations import to_gif, to_mp4
from medfuncta_core.figures.bars import class_bars
from medfuncta_core.figures.classes import CLASS_COLOURS, class_colour
from medfuncta_core.figures.comparing import error_traces, fits_curve, representation_traces
from medfuncta_core.figures.curves import components_figure, confusion_figure, curves_figure, path_quality, spectrum_figure
from medfuncta_core.figures.frames import contact_sheet, frame_url, render_frame
from medfuncta_core.figures.maps import Colouring, MapFrame, colour_classes, colour_column, frame_map, pack_map, read_selection
from medfuncta_core.figures.morphs import difference_url, film, part_aspect, part_pixels, part_url
from medfuncta_core.figures.pictures import (
    ERROR_LIMITS,
    MAGMA,
    Plane,
    cut_planes,
    encode_png,
    error_values,
    thumbnail,
    to_data_url,
    to_magma,
    to_pixels,
    turn_planes,
)
from medfuncta_core.figures.plots import OKABE_ITO, TEMPLATE, beat_strip, ecg_figure, loss_curve, psnr_curve
from medfuncta_core.figures.resolution import resolution_csv, resolution_figure, resolution_sentence
from medfuncta_core.figures.sweeps import heat_map, sweep_bars, sweep_curve
from medfuncta_core.figures.training import TITLES, Axis, Line, Quantity, curve_data, line_key, overlaid_curves, training_curve

__all__ = [
    "CLASS_COLOURS",
    "ERROR_LIMITS",
    "MAGMA",
    "OKABE_ITO",
    "TEMPLATE",
    "TITLES",
    "Axis",
    "Colouring",
    "Line",
    "MapFrame",
    "Plane",
    "Quantity",
    "beat_strip",
    "class_bars",
    "class_colour",
    "colour_classes",
    "colour_column",
    "components_figure",
    "confusion_figure",
    "contact_sheet",
    "curve_data",
    "curves_figure",
    "cut_planes",
    "difference_url",
    "ecg_figure",
    "encode_png",
    "error_traces",
    "error_values",
    "film",
    "fits_curve",
    "frame_map",
    "frame_url",
    "heat_map",
    "line_key",
    "loss_curve",
    "overlaid_curves",
    "pack_map",
    "part_aspect",
    "part_pixels",
    "part_url",
    "path_quality",
    "psnr_curve",
    "read_selection",
    "render_frame",
    "representation_traces",
    "resolution_csv",
    "resolution_figure",
    "resolution_sentence",
    "spectrum_figure",
    "sweep_bars",
    "sweep_curve",
    "thumbnail",
    "to_data_url",
    "to_gif",
    "to_magma",
    "to_mp4",
    "to_pixels",
    "training_curve",
    "turn_planes",
]
