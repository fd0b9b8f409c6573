"""New points in a finished map: each among the places of its nearest neighbours, weighted as UMAP weighs them.

UMAP's own transform starts there and then refines with random draws. That refinement is left out: the same latent always lands
at the same place, a latent that the map holds lands on itself, t-SNE, which knows no new points, gets them too, and half a
million rows are placed in one pass.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

QUERIES_AT_ONCE = 1024
BISECTIONS = 40


def place_points(
    queries: Float[np.ndarray, "n r"],
    known: Float[np.ndarray, "m r"],
    places: Float[np.ndarray, "m d"],
    neighbors: int,
    report: Callable[[float], None] = lambda share: None,
) -> Float[np.ndarray, "n d"]:
    """Places of new points in a map.

    Args:
        queries: In the space that the map was made of.
        known: The map's points there.
        places: The same points on the map.
        neighbors: How many a new point looks at.
        report: Told the share done, 0 to 1, after every block.

    Source: McInnes et al. 2018, Sec. 3.1 (weights); umap-learn's `transform` (their mean as start).
    """
    import torch

    k = min(neighbors, len(known))
    reference = torch.from_numpy(np.ascontiguousarray(known))
    lengths = reference.square().sum(1)
    out = np.empty((len(queries), places.shape[1]), np.float32)
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        block = torch.from_numpy(np.ascontiguousarray(queries[first : first + QUERIES_AT_ONCE]))
        rough = torch.addmm(lengths, block, reference.T, alpha=-2)  # squared, without the query's own length: the same order
        nearest = rough.topk(k, dim=1, largest=False).indices
        distances = torch.linalg.vector_norm(reference[nearest] - block[:, None], dim=2).numpy()
        weights = _weigh(distances)
        out[first : first + len(block)] = (weights[..., None] * places[nearest.numpy()]).sum(axis=1)
        report(min(1.0, (first + len(block)) / len(queries)))
    return out


def _weigh(distances: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """exp(-(d - d_1) / sigma) / d, adding up to 1; sigma is such that a row's exponentials add up to log2 k, as in UMAP.

    The division by the distance lets a point that is as good as known land on the one it equals.
    """
    target, scale = np.log2(max(2, distances.shape[1])), np.maximum(distances.mean(axis=1, keepdims=True), 1e-12)
    nearest = distances.min(axis=1, keepdims=True)
    low, high = np.zeros_like(scale), np.full_like(scale, np.inf)
    sigma = scale.copy()
    for _ in range(BISECTIONS):
        too_wide = np.exp(-(distances - nearest) / sigma).sum(axis=1, keepdims=True) > target
        low, high = np.where(too_wide, low, sigma), np.where(too_wide, sigma, high)
        sigma = np.where(np.isinf(high), 2 * sigma, (low + np.minimum(high, 1e30)) / 2)
        sigma = np.maximum(sigma, 1e-3 * scale)
    weights = np.exp(-(distances - nearest) / sigma) / np.maximum(distances, 1e-6 * scale)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
