"""Arrays -> what people look at: Plotly figures with one template (`plots`) and honest pictures (`pictures`)."""

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
from medfuncta_core.figures.sweeps import heat_map, sweep_bars, sweep_curve
from medfuncta_core.figures.training import Line, overlaid_curves, training_curve

__all__ = [
    "ERROR_LIMITS",
    "MAGMA",
    "OKABE_ITO",
    "TEMPLATE",
    "Line",
    "Plane",
    "beat_strip",
    "cut_planes",
    "ecg_figure",
    "encode_png",
    "error_values",
    "heat_map",
    "loss_curve",
    "overlaid_curves",
    "psnr_curve",
    "sweep_bars",
    "sweep_curve",
    "thumbnail",
    "to_data_url",
    "to_magma",
    "to_pixels",
    "training_curve",
    "turn_planes",
]
