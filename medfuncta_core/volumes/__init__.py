"""Looking at a volume and its field together: cuts at any angle and resolution, windows, labels, export, flights through it."""

from medfuncta_core.volumes.exporting import DecodedPart, decode_onto, export_geometries
from medfuncta_core.volumes.labels import LabelMap, read_labels
from medfuncta_core.volumes.linking import (
    Box,
    Index,
    LinkedPlane,
    clamp_index,
    depth_of,
    link_planes,
    middle_index,
    picked_index,
    place_on,
    point_at,
    region_voxels,
)
from medfuncta_core.volumes.viewing import (
    CT_WINDOWS,
    CutView,
    Decode,
    Window,
    fly_cuts,
    in_units_of,
    view_between,
    view_cut,
    whole_window,
)

__all__ = [
    "CT_WINDOWS",
    "Box",
    "CutView",
    "Decode",
    "DecodedPart",
    "Index",
    "LabelMap",
    "LinkedPlane",
    "Window",
    "clamp_index",
    "decode_onto",
    "depth_of",
    "export_geometries",
    "fly_cuts",
    "in_units_of",
    "link_planes",
    "middle_index",
    "picked_index",
    "place_on",
    "point_at",
    "read_labels",
    "region_voxels",
    "view_between",
    "view_cut",
    "whole_window",
]
