"""The map of a set: every latent as a point in two or three dimensions, by UMAP, t-SNE or PCA.

A map is made of at most `fit_rows` rows, drawn evenly and seeded; the rest of a larger set is placed in it (`placing`), so that
half a million latents of length 2048 take minutes on a laptop. UMAP and t-SNE start from 64 principal components.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from medfuncta_core.errors import SetError
from medfuncta_core.mednf.layouts import LAYOUTS
from medfuncta_core.mednf.map_request import EmbedRequest
from medfuncta_core.mednf.mednf_set import MednfSet
from medfuncta_core.mednf.placing import place_points
from medfuncta_core.mednf.reducing import Basis, fit_basis, project_set

PREREDUCED = 64
FEWEST_ROWS = 5


@dataclass(frozen=True)
class EmbedStep:
    """How far a map is: what is done now, and the share of the whole, 0 to 1."""

    words: str
    share: float


@dataclass(frozen=True, eq=False)
class LatentMap:
    """Where every row lies.

    Args:
        coords: `(n, d)`, in the map's own units.
        fitted: Which rows made the map; the others were placed in it.
        request: How it was made.
        fingerprint: Of the set.
        seconds: What it took.
        shares: Of the variance along the axes, for a PCA; () otherwise.
    """

    coords: Float[np.ndarray, "n d"]
    fitted: Bool[np.ndarray, " n"]
    request: EmbedRequest
    fingerprint: str
    seconds: float
    shares: tuple[float, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all rows made the map."""
        return bool(self.fitted.all())


def embed(
    latents: MednfSet, request: EmbedRequest | None = None, report: Callable[[EmbedStep], None] = lambda step: None
) -> LatentMap:
    """Make a map; the same request on the same set gives the same map.

    Args:
        latents: The set.
        request: How; UMAP in two dimensions when None.
        report: Told how far it is. (No generator: UMAP and t-SNE run to their end in one call.)

    Raises:
        SetError: when the set is too small or contains NaN.
    """
    request, start = request or EmbedRequest(), time.perf_counter()
    if len(latents) < FEWEST_ROWS:
        raise SetError(f"{latents.path}: {len(latents)} rows make no map; it takes {FEWEST_ROWS}")
    report(EmbedStep("Reading latents", 0.0))
    rows = draw_rows(len(latents), request.most_rows, request.seed)
    fitted = np.zeros(len(latents), dtype=bool)
    fitted[rows] = True
    basis = map_basis(latents, request)
    report(EmbedStep("Principal components", 0.05))
    reduced = project_set(latents, basis)
    if not np.isfinite(reduced).all():
        raise SetError(f"{latents.path}: some latents are not finite; encode the set again")
    if request.method == "pca":
        coords, shares = _fill(reduced, request.dims), tuple(float(share) for share in basis.shares)
    else:
        coords, shares = _lay_out(_scale(reduced, request), rows, request, report), ()
    report(EmbedStep("Done", 1.0))
    return LatentMap(coords, fitted, request, latents.fingerprint, time.perf_counter() - start, shares)


def place_latent(latents: MednfSet, made: LatentMap, latent: Float[np.ndarray, " p"]) -> Float[np.ndarray, " d"]:
    """Where a new latent lies on a map: its projection on a PCA, on the others among its nearest neighbours' places.

    Args:
        latents: The set that the map was made of.
        made: The map.
        latent: Fitted by the set's network.

    Raises:
        SetError: when the latent is not of this set's network.
    """
    if latent.shape != (latents.latent_dim,) or not np.isfinite(latent).all():
        raise SetError(f"{latents.path}: places finite latents of {latents.latent_dim} numbers; fit the signal with its network")
    key = f"basis {sorted(made.request.relevant.items())}"
    if key not in latents.kept:
        latents.kept[key] = map_basis(latents, made.request)
    basis: Basis = latents.kept[key]
    query = basis.project(latent[None].astype(np.float32))
    if made.request.method == "pca":
        return _fill(query, made.request.dims)[0]
    rows = np.flatnonzero(made.fitted)
    if f"reduced {key}" not in latents.kept:
        latents.kept[f"reduced {key}"] = _scale(basis.project(latents.latents(rows)), made.request)
    known = latents.kept[f"reduced {key}"]
    return place_points(_scale(query, made.request), known, made.coords[rows], _looked_at(made.request))[0]


def map_basis(latents: MednfSet, request: EmbedRequest) -> Basis:
    """The principal components that a map stands on."""
    rows = draw_rows(len(latents), request.most_rows, request.seed)
    return fit_basis(latents, rows, request.dims if request.method == "pca" else PREREDUCED)


def draw_rows(count: int, most: int, seed: int) -> Int[np.ndarray, " m"]:
    """All rows, or so many of them, each as likely as any other; in order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _lay_out(
    reduced: np.ndarray, rows: np.ndarray, request: EmbedRequest, report: Callable[[EmbedStep], None]
) -> Float[np.ndarray, "n d"]:
    """The layout of the rows that make the map, and the others placed in it."""
    rest = np.setdiff1d(np.arange(len(reduced)), rows, assume_unique=True)
    end = 0.7 if len(rest) else 1.0
    chosen = np.ascontiguousarray(reduced[rows])
    made = LAYOUTS[request.method](chosen, request, lambda words, share: report(EmbedStep(words, 0.1 + (end - 0.1) * share)))
    coords = np.empty((len(reduced), request.dims), np.float32)
    coords[rows] = made
    if len(rest):
        words = f"Placing the other {len(rest):,} rows"
        coords[rest] = place_points(
            reduced[rest], chosen, made, _looked_at(request), lambda share: report(EmbedStep(words, end + (1 - end) * share))
        )
    return coords


def _looked_at(request: EmbedRequest) -> int:
    return request.neighbors if request.method == "umap" else max(2, round(request.perplexity / 3))


def _scale(reduced: np.ndarray, request: EmbedRequest) -> np.ndarray:
    """For the cosine distance, points on the unit sphere: there Euclidean neighbours are cosine neighbours."""
    if request.metric == "euclidean":
        return reduced
    return reduced / np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-30)


def _fill(reduced: np.ndarray, dims: int) -> np.ndarray:
    """Zeros for axes that the latents do not span."""
    return np.pad(reduced, ((0, 0), (0, max(0, dims - reduced.shape[1]))))[:, :dims].astype(np.float32)
