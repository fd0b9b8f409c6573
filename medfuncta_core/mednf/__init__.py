"""MedNF sets: latents of whole data sets with their labels; making, storing, opening, searching, mapping and classifying them.

Opening and searching a set needs no network; what needs torch is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medfuncta_core.mednf.encoding import EncodeStep, encode
    from medfuncta_core.mednf.mednf_set import MednfSet, SetSummary, list_sets, open_set
    from medfuncta_core.mednf.metadata import METADATA_COLUMNS, SetInfo
    from medfuncta_core.mednf.neighbors import ClassNeighbors, Neighbors, Vote, find_neighbors
    from medfuncta_core.mednf.planning import EncodeRequest

__all__ = [
    "METADATA_COLUMNS",
    "ClassNeighbors",
    "EncodeRequest",
    "EncodeStep",
    "MednfSet",
    "Neighbors",
    "SetInfo",
    "SetSummary",
    "Vote",
    "encode",
    "find_neighbors",
    "list_sets",
    "open_set",
]

_HOMES = {
    **dict.fromkeys(("EncodeStep", "encode"), "encoding"),
    **dict.fromkeys(("MednfSet", "SetSummary", "list_sets", "open_set"), "mednf_set"),
    **dict.fromkeys(("METADATA_COLUMNS", "SetInfo"), "metadata"),
    **dict.fromkeys(("ClassNeighbors", "Neighbors", "Vote", "find_neighbors"), "neighbors"),
    **dict.fromkeys(("EncodeRequest",), "planning"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
