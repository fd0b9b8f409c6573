"""Looking at a volume and its field together: cuts at any angle and resolution, windows, labels, export, flights through it."""

from medfuncta_core.volumes.exporting import DecodedPart, decode_onto, export_geometries
from medfuncta_core.volumes.labels import LabelMap, read_labels
from medfuncta_core.volumes.viewing import CT_WINDOWS, CutView, Decode, Window, fly_cuts, in_units_of, view_cut, whole_window

__all__ = [
    "CT_WINDOWS",
    "CutView",
    "Decode",
    "DecodedPart",
    "LabelMap",
    "Window",
    "decode_onto",
    "export_geometries",
    "fly_cuts",
    "in_units_of",
    "read_labels",
    "view_cut",
    "whole_window",
]
