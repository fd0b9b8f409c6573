"""Rare settings of a map, folded away: its parameters, and how neighbours are searched."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import streamlit as st

from medfuncta_core.mednf import EmbedRequest
from pages.shared import state

MAP_DEFAULT = EmbedRequest()


@dataclass(frozen=True)
class Search:
    """How neighbours are found."""

    metric: Literal["cosine", "euclidean"] = "cosine"
    k: int = 10
    engine: Literal["exact", "faiss"] = "exact"


def choose_settings(method: str, rows: int) -> tuple[dict[str, Any], Search]:
    """Parameters of the map, applied by a button since a map takes a while, and how neighbours are searched."""
    kept: dict[str, Any] = state.recall("map_values", dict)
    with st.form(f"map_settings-{method}", border=False):
        st.markdown("**Map**")
        values = _map_values(method, kept, rows)
        if st.form_submit_button("Draw the map", icon=":material/refresh:", type="primary"):
            kept = kept | values
            state.remember("map_values", kept)
    st.divider()
    st.markdown("**Neighbours**")
    metric = st.segmented_control(
        "Distance", ["Cosine", "Euclidean"], default="Cosine", required=True, key="map_metric",
        help="Of the whole latents, not of their places on the map.",
    )  # fmt: skip
    k = st.slider("How many", 1, 30, 10, key="map_k", help="Overall, for the vote, and of each class.")
    engine = "exact"
    if find_spec("faiss"):
        engine = st.segmented_control(
            "Search", ["exact", "faiss"], default="exact", required=True, key="map_engine",
            help="faiss holds all latents in memory and finds no neighbours by class.",
        )  # fmt: skip
    return kept, Search("euclidean" if metric == "Euclidean" else "cosine", k, "faiss" if engine == "faiss" else "exact")


def _map_values(method: str, kept: dict[str, Any], rows: int) -> dict[str, Any]:
    default = EmbedRequest.parse(kept, "map")
    values: dict[str, Any] = {}
    if method == "umap":
        values["neighbors"] = st.slider(
            "Neighbours a point looks at", 2, 100, default.neighbors, help="Few show detail, many the whole.", key="map_neighbors"
        )
        values["min_dist"] = st.slider(
            "Least distance on the map",
            0.0,
            1.0,
            default.min_dist,
            0.05,
            help="How tightly groups are packed.",
            key="map_min_dist",
        )
    if method == "tsne":
        values["perplexity"] = st.slider(
            "Perplexity",
            2,
            100,
            round(default.perplexity),
            help="About how many neighbours a point looks at.",
            key="map_perplexity",
        )
    if method != "pca":
        metric = st.segmented_control(
            "Distance between latents",
            ["Euclidean", "Cosine"],
            default=default.metric.capitalize(),
            required=True,
            key="map_space",
        )
        values["metric"] = (metric or "Euclidean").lower()
    values["seed"] = int(st.number_input("Seed", 0, 9999, default.seed, help="The same seed gives the same map.", key="map_seed"))
    if rows > MAP_DEFAULT.model_copy(update={"method": method}).most_rows:
        most = default.model_copy(update={"method": method}).most_rows
        values["fit_rows"] = int(
            st.number_input(
                "Rows that make the map", 1000, rows, min(most, rows), 1000, key=f"map_fit_rows-{method}",
                help="The others are placed among their nearest neighbours; more take longer.",
            )
        )  # fmt: skip
    return values
