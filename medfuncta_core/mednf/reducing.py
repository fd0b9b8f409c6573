"""Principal components of a set's latents: the map by PCA itself, and the 64 numbers that UMAP and t-SNE start from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import eigh

from medfuncta_core.errors import SetError
from medfuncta_core.mednf.mednf_set import MednfSet

ROWS_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Basis:
    """Directions of largest variance.

    Args:
        mean: Of the rows they were found on.
        axes: Orthonormal, largest variance first; of each, the largest entry is positive.
        shares: Of the variance, 0 to 1.
    """

    mean: Float[np.ndarray, " p"]
    axes: Float[np.ndarray, "r p"]
    shares: Float[np.ndarray, " r"]

    def project(self, latents: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n r"]:
        """Coordinates along the directions."""
        return (latents - self.mean) @ self.axes.T


def fit_basis(latents: MednfSet, rows: Int[np.ndarray, " m"], components: int) -> Basis:
    """The first principal components of some rows, from the smaller of covariance and Gram matrix; memory m x p.

    Args:
        latents: The set.
        rows: On which.
        components: How many, r; fewer where rows or latents do not span so many.

    Raises:
        SetError: when a latent is not finite.
    """
    chosen = latents.latents(rows)
    mean = chosen.mean(axis=0, dtype=np.float64).astype(np.float32)
    if not np.isfinite(mean).all():
        raise SetError(f"{latents.path}: some latents are not finite; encode the set again")
    chosen -= mean
    wide = len(chosen) < latents.latent_dim
    products = (chosen @ chosen.T if wide else chosen.T @ chosen).astype(np.float64)
    count, total = min(components, len(chosen) - 1, latents.latent_dim), max(float(np.trace(products)), 1e-30)
    variances, vectors = eigh(products, subset_by_index=[len(products) - count, len(products) - 1])
    variances, vectors = variances[::-1], vectors[:, ::-1].astype(np.float32)
    axes = (chosen.T @ vectors).T if wide else np.ascontiguousarray(vectors.T)
    axes = axes / np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-30)
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    axes *= np.where(largest < 0, -1, 1).astype(np.float32)
    return Basis(mean, axes, np.maximum(variances, 0) / total)


def project_set(latents: MednfSet, basis: Basis) -> Float[np.ndarray, "n r"]:
    """All rows along the directions, in one pass over the memory map."""
    out = np.empty((len(latents), len(basis.axes)), np.float32)
    for first, stored in latents.blocks(ROWS_AT_ONCE):
        out[first : first + len(stored)] = basis.project(stored.astype(np.float32))
    return out
