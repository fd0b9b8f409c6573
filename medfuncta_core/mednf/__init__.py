"""MedNF sets: latents of whole data sets with their labels; making, storing, opening, searching, mapping and classifying them.

Opening and searching a set needs no network; what needs torch is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medfuncta_core.mednf.embedding import EmbedStep, LatentMap, embed, place_latent
    from medfuncta_core.mednf.encoding import EncodeStep, encode
    from medfuncta_core.mednf.map_files import map_file, read_map, write_map
    from medfuncta_core.mednf.map_request import EmbedRequest
    from medfuncta_core.mednf.mednf_set import MednfSet, SetSummary, list_sets, open_set
    from medfuncta_core.mednf.metadata import METADATA_COLUMNS, SetInfo
    from medfuncta_core.mednf.neighbors import ClassNeighbors, Neighbors, Vote, find_neighbors, warm_up
    from medfuncta_core.mednf.planning import EncodeRequest
    from medfuncta_core.mednf.selecting import (
        MOST_NUMBERS,
        ClassCount,
        count_classes,
        mean_latent,
        selection_archive,
        selection_table,
        spread_rows,
    )

__all__ = [
    "METADATA_COLUMNS",
    "MOST_NUMBERS",
    "ClassCount",
    "ClassNeighbors",
    "EmbedRequest",
    "EmbedStep",
    "EncodeRequest",
    "EncodeStep",
    "LatentMap",
    "MednfSet",
    "Neighbors",
    "SetInfo",
    "SetSummary",
    "Vote",
    "count_classes",
    "embed",
    "encode",
    "find_neighbors",
    "list_sets",
    "map_file",
    "mean_latent",
    "open_set",
    "place_latent",
    "read_map",
    "selection_archive",
    "selection_table",
    "spread_rows",
    "warm_up",
    "write_map",
]

_HOMES = {
    **dict.fromkeys(("EmbedStep", "LatentMap", "embed", "place_latent"), "embedding"),
    **dict.fromkeys(("EncodeStep", "encode"), "encoding"),
    **dict.fromkeys(("map_file", "read_map", "write_map"), "map_files"),
    **dict.fromkeys(("EmbedRequest",), "map_request"),
    **dict.fromkeys(("MednfSet", "SetSummary", "list_sets", "open_set"), "mednf_set"),
    **dict.fromkeys(("METADATA_COLUMNS", "SetInfo"), "metadata"),
    **dict.fromkeys(("ClassNeighbors", "Neighbors", "Vote", "find_neighbors", "warm_up"), "neighbors"),
    **dict.fromkeys(("EncodeRequest",), "planning"),
    **dict.fromkeys(
        ("MOST_NUMBERS", "ClassCount", "count_classes", "mean_latent", "selection_archive", "selection_table", "spread_rows"),
        "selecting",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
