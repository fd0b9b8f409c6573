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
from medfuncta_core.figures.plots import OKABE_ITO, TEMPLATE, ecg_figure, loss_curve, psnr_curve

__all__ = [
    "ERROR_LIMITS",
    "MAGMA",
    "OKABE_ITO",
    "TEMPLATE",
    "Plane",
    "cut_planes",
    "ecg_figure",
    "encode_png",
    "error_values",
    "loss_curve",
    "psnr_curve",
    "thumbnail",
    "to_data_url",
    "to_magma",
    "to_pixels",
    "turn_planes",
]
