"""k nearest neighbours of many signals at once: a class for every query, by the votes of the training signals next to it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from medfuncta_core.mednf.neighbors import Metric

DISTANCES_AT_ONCE = 2**23


def vote(
    train: Float[np.ndarray, "n f"],
    labels: Int[np.ndarray, " n"],
    queries: Float[np.ndarray, "q f"],
    *,
    k: int,
    metric: Metric,
    classes: int,
    device: str = "cpu",
) -> Iterator[tuple[Int[np.ndarray, " b"], Float[np.ndarray, "b c"]]]:
    """Classify queries, some at a time, in order.

    Args:
        train: Features of the signals that vote.
        labels: Their classes.
        queries: Features of the signals to classify.
        k: How many vote; all, where there are not so many.
        metric: cosine, or euclidean.
        classes: How many there are.
        device: Where to compute.

    Yields:
        The predicted classes (most votes; among equals, that of the nearest voter, as in `vote_of`), and shares of the votes.
    """
    voters, asked = _prepare(train, queries, metric, device)
    own, k = torch.from_numpy(labels).to(device), min(k, len(train))
    squares = voters.square().sum(1)
    places = torch.arange(k, device=device).expand(1, k)
    step = max(1, DISTANCES_AT_ONCE // len(train))
    for first in range(0, len(queries), step):
        products = asked[first : first + step] @ voters.T
        nearness = products if metric == "cosine" else 2 * products - squares
        elected = own[nearness.topk(k, sorted=True).indices]
        counts = torch.zeros(len(elected), classes, device=device).scatter_add_(1, elected, torch.ones_like(nearness[:, :k]))
        earliest = torch.full_like(counts, k).scatter_reduce_(1, elected, places.expand_as(elected).float(), "amin")
        predicted = (counts - earliest / (k + 1)).argmax(1)
        yield predicted.cpu().numpy(), (counts / k).cpu().numpy()


def _prepare(train: np.ndarray, queries: np.ndarray, metric: Metric, device: str) -> tuple[Tensor, Tensor]:
    """Of length 1 for the cosine; else around the training signals' mean, where float32 distances lose least."""
    voters, asked = (torch.from_numpy(np.ascontiguousarray(part, np.float32)).to(device) for part in (train, queries))
    if metric == "cosine":
        return tuple(part / part.norm(dim=1, keepdim=True).clamp_min(1e-30) for part in (voters, asked))  # type: ignore[return-value]
    mean = voters.mean(0)
    return voters - mean, asked - mean
