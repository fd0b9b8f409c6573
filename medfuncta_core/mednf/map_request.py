"""How a map of a set is to be made: method, dimensions, parameters, seed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from medfuncta_core.config import Config

Method = Literal["umap", "pca", "tsne"]
FIT_ROWS: dict[Method, int] = {"umap": 20_000, "tsne": 10_000, "pca": 50_000}
"""Rows a map is made of unless the request says otherwise: what a laptop does in a few minutes."""


class EmbedRequest(Config):
    """How a map is made; parameters of other methods than the one chosen change nothing."""

    method: Method = "umap"
    dims: Literal[2, 3] = 2
    seed: int = Field(default=0, ge=0, description="Of the rows drawn and of everything random.")
    fit_rows: int = Field(default=0, ge=0, description="At most so many rows make the map, the rest is placed; 0 by method.")
    neighbors: int = Field(default=15, ge=2, le=200, description="UMAP: neighbours a point looks at; few show detail.")
    min_dist: float = Field(default=0.1, ge=0, le=1, description="UMAP: how close points may lie on the map.")
    perplexity: float = Field(default=30, ge=2, le=200, description="t-SNE: about how many neighbours a point looks at.")
    metric: Literal["euclidean", "cosine"] = Field(default="euclidean", description="UMAP, t-SNE: distance between latents.")

    @property
    def most_rows(self) -> int:
        """Rows that a map is made of at most."""
        return self.fit_rows or FIT_ROWS[self.method]

    @property
    def relevant(self) -> dict[str, Any]:
        """What the map depends on."""
        own = {"umap": ("neighbors", "min_dist", "metric"), "tsne": ("perplexity", "metric"), "pca": ()}[self.method]
        values = self.model_dump()
        return {name: values[name] for name in ("method", "dims", "seed", *own)} | {"fit_rows": self.most_rows}
