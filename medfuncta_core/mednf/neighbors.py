"""Exact nearest neighbours in a MedNF set: one pass of matrix products over its memory map, overall and within every class.

At 500,000 x 2048 that is a second on one core, so nothing is indexed beforehand; faiss is there for many queries at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from medfuncta_core.errors import SetError
from medfuncta_core.mednf.mednf_set import MednfSet

Metric = Literal["cosine", "euclidean"]
Engine = Literal["exact", "faiss"]

BLOCK_NUMBERS = 2**19  # converted to float32 and multiplied at once: 2 MiB, which stays in a core's cache
SPARE = 16  # candidates that faiss is asked for beyond k, since its float32 distances may swap near ones


@dataclass(frozen=True, eq=False)
class ClassNeighbors:
    """The nearest rows of one class, nearest first, and their distances."""

    label: int
    class_name: str
    rows: Int[np.ndarray, " m"]
    distances: Float[np.ndarray, " m"]


@dataclass(frozen=True)
class Vote:
    """The class most of the k nearest belong to; among equals, the one with the nearest member.

    Args:
        label: Its number.
        class_name: Its name.
        share: Of the labelled neighbours, 0 to 1.
        counts: Neighbours of each class.
    """

    label: int
    class_name: str
    share: float
    counts: dict[int, int]


@dataclass(frozen=True, eq=False)
class Neighbors:
    """What lies near a latent.

    Args:
        rows: The k nearest of the set, nearest first.
        distances: 1 - cosine (0 to 2), or Euclidean length, float32.
        labels: Of these rows; -1 without.
        by_class: The nearest of every class, the class with the nearest member first.
        vote: None where no neighbour has a label.
        metric: Which distance.
        seconds: What the search took.
    """

    rows: Int[np.ndarray, " k"]
    distances: Float[np.ndarray, " k"]
    labels: Int[np.ndarray, " k"]
    by_class: tuple[ClassNeighbors, ...]
    vote: Vote | None
    metric: Metric
    seconds: float


def find_neighbors(
    latents: MednfSet,
    query: Float[np.ndarray, " p"] | int,
    *,
    k: int = 10,
    metric: Metric = "cosine",
    engine: Engine = "exact",
    exclude_self: bool = True,
    rows: Sequence[int] | Int[np.ndarray, " m"] | None = None,
) -> Neighbors:
    """The rows of a set nearest to a latent, overall and within every class.

    Args:
        latents: The set.
        query: A latent, or the number of a row.
        k: How many, overall and of each class; fewer where there are not so many.
        metric: cosine, or euclidean.
        engine: exact, or faiss (also exact, an optional package, its index holds all latents in memory; no neighbours by class).
        exclude_self: Leave the query's own row out, where it is one.
        rows: Only among these, such as a split's.

    Raises:
        SetError: when the query does not fit the set.
    """
    start = time.perf_counter()
    own = query if isinstance(query, int | np.integer) else None
    vector = latents.latent(int(own)) if own is not None else np.asarray(query, dtype=np.float32)
    _check_query(latents, vector, k)
    allowed = np.full(len(latents), rows is None)
    if rows is not None:
        allowed[np.asarray(rows, dtype=np.int64)] = True
    if own is not None and exclude_self:
        allowed[own] = False
    members = np.flatnonzero(allowed)
    if engine == "faiss":
        nearest, distances = _search_faiss(latents, vector, metric, members, k)
        by_class = []
    else:
        rough = measure(latents, vector, metric)
        nearest, distances = _refine(latents, vector, metric, rough, members, k)
        by_class = [
            ClassNeighbors(label, latents.name_of(label), *_refine(latents, vector, metric, rough, of_class, k))
            for label, of_class in _split_by_class(latents.labels, members)
        ]
    by_class.sort(key=lambda found: (float(found.distances[0]), found.label))
    labels = latents.labels[nearest]
    seconds = time.perf_counter() - start
    return Neighbors(nearest, distances, labels, tuple(by_class), vote_of(latents, labels), metric, seconds)


def _split_by_class(labels: np.ndarray, members: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Labels of some rows, each with the rows that have it; rows without a label are left out."""
    own = labels[members]
    return [(int(label), members[own == label]) for label in np.unique(own) if label >= 0]


@dataclass(frozen=True, eq=False)
class Rough:
    """Distances of all rows to a latent from float32 products (squared for euclidean), and how far off each may be, `(n,)`."""

    distances: Float[np.ndarray, " n"]
    errors: Float[np.ndarray, " n"]


def measure(latents: MednfSet, query: Float[np.ndarray, " p"], metric: Metric) -> Rough:
    """Distance of every row to a latent in one pass over the map.

    Squared norms are computed on the way and kept with the set, so that the next query has them. Cores share the blocks, not each
    block's small products: a core that other programs keep busy would hold up the others after every one.
    """
    import torch

    from medfuncta_core.fields.cores import spread

    length = float(np.linalg.norm(query)) or 1.0
    vector = torch.from_numpy(query / length)
    known = latents.kept.get(_NORMS)
    products = torch.empty(len(latents))
    norms = torch.empty(len(latents)) if known is None else torch.from_numpy(known)
    rows_per_block = max(1, BLOCK_NUMBERS // latents.latent_dim)
    blocks = list(latents.blocks(rows_per_block))
    buffers = torch.empty(min(torch.get_num_threads(), len(blocks)), rows_per_block, latents.latent_dim)

    def work(worker: int, number: int) -> None:
        first, stored = blocks[number]
        block = buffers[worker, : len(stored)].copy_(torch.from_numpy(stored))
        torch.mv(block, vector, out=products[first : first + len(stored)])
        if known is None:
            torch.sum(block.square_(), dim=1, out=norms[first : first + len(stored)])

    spread(len(blocks), len(buffers), work)
    latents.kept[_NORMS] = norms.numpy()
    unit = (latents.latent_dim + 8) * 2.0**-24  # bound of a float32 sum of p products, relative to |a| |b|
    lengths = norms.sqrt().numpy()
    if metric == "cosine":
        cosine = products.numpy() / np.maximum(lengths, 1e-30)
        return Rough(1 - cosine, np.full(len(latents), 4 * unit, np.float32))
    return Rough((norms - 2 * length * products + length**2).numpy(), (unit * (lengths + length) ** 2).astype(np.float32))


_NORMS = "squared norms"


def warm_up(latents: MednfSet) -> None:
    """Read a set through once, so that its first query is as quick as later ones: pages in memory, norms known.

    Raises:
        SetError: naming a shard that is missing or damaged.
    """
    if _NORMS not in latents.kept:
        measure(latents, np.zeros(latents.latent_dim, np.float32), "euclidean")


def exact_distances(rows: Float[np.ndarray, "m p"], query: Float[np.ndarray, " p"], metric: Metric) -> Float[np.ndarray, " m"]:
    """Distances in float64, rounded to float32; the cosine distance to a latent of length zero is 1."""
    members, vector = rows.astype(np.float64), query.astype(np.float64)
    if metric == "euclidean":
        return np.linalg.norm(members - vector, axis=1).astype(np.float32)
    lengths = np.linalg.norm(members, axis=1) * np.linalg.norm(vector)
    cosine = np.divide(members @ vector, lengths, out=np.zeros(len(members)), where=lengths > 0)
    return np.clip(1 - cosine, 0, 2).astype(np.float32)


def _refine(
    latents: MednfSet, query: np.ndarray, metric: Metric, rough: Rough, members: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of some rows and their distances, ties by row.

    Every row that could be among them, given how far off the rough distances may be, is measured again in float64.
    """
    if k < len(members):
        worst = rough.distances[members] + rough.errors[members]
        reach = np.partition(worst, k - 1)[k - 1]  # k rows are at most so far
        members = members[rough.distances[members] - rough.errors[members] <= reach]
    pieces = [members[first : first + _ROWS_AT_ONCE] for first in range(0, len(members), _ROWS_AT_ONCE)]
    measured = [exact_distances(latents.latents(piece), query, metric) for piece in pieces]
    exact = np.concatenate([np.empty(0, np.float32), *measured])
    order = np.argsort(exact, kind="stable")[:k]
    return members[order], exact[order]


_ROWS_AT_ONCE = 4096


def vote_of(latents: MednfSet, labels: Int[np.ndarray, " k"]) -> Vote | None:
    """The majority of neighbours' labels, given nearest first; None when none has a label."""
    known = [int(label) for label in labels if label >= 0]
    if not known:
        return None
    counts = {label: known.count(label) for label in dict.fromkeys(known)}  # in the order of their nearest member
    winner = max(counts, key=lambda label: counts[label])
    return Vote(winner, latents.name_of(winner), counts[winner] / len(known), counts)


def _search_faiss(
    latents: MednfSet, query: np.ndarray, metric: Metric, members: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of some rows by a flat faiss index, which is kept with the set: all latents in memory as float32."""
    index = latents.kept.get(f"faiss {metric}")
    if index is None:
        index = latents.kept[f"faiss {metric}"] = _build_faiss(latents, metric)
    faiss: Any = import_module("faiss")
    vector = query / (np.linalg.norm(query) or 1) if metric == "cosine" else query
    among = faiss.SearchParameters(sel=faiss.IDSelectorBatch(members))
    _, found = index.search(vector[None], min(len(members), k + SPARE), params=among)
    candidates = np.sort(found[0][found[0] >= 0])
    exact = exact_distances(latents.latents(candidates), query, metric)
    order = np.argsort(exact, kind="stable")[:k]
    return candidates[order], exact[order]


def _build_faiss(latents: MednfSet, metric: Metric) -> Any:
    try:
        faiss: Any = import_module("faiss")
    except ModuleNotFoundError as error:
        raise SetError("engine faiss: the package is not there; pip install faiss-cpu, or use the exact engine") from error
    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    index = faiss.IndexFlat(latents.latent_dim, kind)
    for _, stored in latents.blocks():
        block = stored.astype(np.float32)
        if metric == "cosine":
            block /= np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-30)
        index.add(block)
    return index


def _check_query(latents: MednfSet, query: np.ndarray, k: int) -> None:
    if query.shape != (latents.latent_dim,):
        raise SetError(f"{latents.path}: latents have {latents.latent_dim} numbers, the query {query.shape}; use its own network")
    if not np.isfinite(query).all():
        raise SetError("the query contains NaN or infinite numbers; fit the signal again")
    if k < 1:
        raise SetError(f"k = {k}: ask for at least one neighbour")
