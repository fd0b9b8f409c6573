"""Neighbours: numbers by hand, agreement with the plain definition, every class, and who votes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mednf_material import write_set

from medfuncta_core.errors import SetError
from medfuncta_core.mednf import find_neighbors, warm_up
from medfuncta_core.mednf.mednf_set import MednfSet
from medfuncta_core.mednf.neighbors import Metric, vote_of

BY_HAND = np.array([[3, 4], [6, 8], [4, 3], [-3, -4], [0, 1], [0, 0]], dtype=np.float32)


@pytest.fixture
def by_hand(tmp_path: Path) -> MednfSet:
    return write_set(tmp_path / "s", BY_HAND, [0, 1, 1, 0, -1, 2])


def test_cosine_neighbors_match_numbers_by_hand(by_hand: MednfSet) -> None:
    found = find_neighbors(by_hand, np.array([3, 4], np.float32), k=6)
    assert found.rows.tolist() == [0, 1, 2, 4, 5, 3]
    np.testing.assert_allclose(found.distances, [0, 0, 1 - 24 / 25, 1 - 4 / 5, 1, 2], atol=1e-6)
    assert found.labels.tolist() == [0, 1, 1, -1, 2, 0]


def test_euclidean_neighbors_match_numbers_by_hand(by_hand: MednfSet) -> None:
    found = find_neighbors(by_hand, np.array([3, 4], np.float32), k=4, metric="euclidean")
    assert found.rows.tolist() == [0, 2, 4, 1]
    np.testing.assert_allclose(found.distances, [0, 2**0.5, 18**0.5, 5], rtol=1e-6)


def test_every_class_has_its_own_nearest(by_hand: MednfSet) -> None:
    found = find_neighbors(by_hand, np.array([6, 8], np.float32), k=2, metric="euclidean")
    assert [(of.label, of.class_name, of.rows.tolist()) for of in found.by_class] == [
        (1, "class 1", [1, 2]),
        (0, "class 0", [0, 3]),
        (2, "class 2", [5]),
    ]
    np.testing.assert_allclose(found.by_class[1].distances, [5, 15], rtol=1e-6)


def test_a_row_is_not_its_own_neighbor(by_hand: MednfSet) -> None:
    assert find_neighbors(by_hand, 0, k=1).rows.tolist() == [1]
    assert find_neighbors(by_hand, 0, k=1, exclude_self=False).rows.tolist() == [0]
    assert find_neighbors(by_hand, 0, k=9, rows=[3, 4]).rows.tolist() == [4, 3]
    only = find_neighbors(by_hand, 0, k=9, rows=[4])
    assert only.rows.tolist() == [4]
    assert only.by_class == ()
    assert only.vote is None
    assert find_neighbors(by_hand, 0, rows=[0]).rows.tolist() == []


def test_vote_counts_and_breaks_ties_by_the_nearest(by_hand: MednfSet) -> None:
    vote = vote_of(by_hand, np.array([1, 0, -1, 0, 1]))
    assert vote is not None
    assert (vote.label, vote.share, vote.counts) == (1, 0.5, {1: 2, 0: 2})
    assert vote_of(by_hand, np.array([-1, -1])) is None


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), p=st.integers(1, 9), k=st.integers(1, 12))
def test_neighbors_equal_the_plain_definition(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, metric: Metric, seed: int, n: int, p: int, k: int
) -> None:
    rng = np.random.default_rng(seed)
    latents = (rng.normal(size=(n, p)) * 10.0 ** rng.integers(-3, 3)).astype(dtype)
    latents[rng.integers(0, n, 3)] = latents[0]  # ties
    opened = write_set(tmp_path_factory.mktemp("sets") / "s", latents, rng.integers(0, 3, n).tolist(), dtype=dtype)
    query = rng.normal(size=p).astype(np.float32)
    stored, wanted = latents.astype(np.float64), query.astype(np.float64)
    if metric == "cosine":
        lengths = np.maximum(np.linalg.norm(stored, axis=1) * np.linalg.norm(wanted), 1e-300)
        distances = 1 - stored @ wanted / lengths
    else:
        distances = np.linalg.norm(stored - wanted, axis=1)
    found = find_neighbors(opened, query, k=k, metric=metric)
    assert len(set(found.rows.tolist())) == len(found.rows) == min(k, n)
    np.testing.assert_allclose(found.distances, np.sort(distances)[:k], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(distances[found.rows], found.distances, rtol=1e-5, atol=1e-6)
    for of in found.by_class:
        own = np.sort(distances[opened.labels == of.label])[:k]
        np.testing.assert_allclose(of.distances, own, rtol=1e-5, atol=1e-6)


def test_near_duplicates_far_from_the_origin_are_told_apart(tmp_path: Path) -> None:
    """|a|^2 - 2ab + |b|^2 in float32 would call these all equal."""
    far = np.full((200, 4), 1000, np.float32)
    far[:, 0] += np.arange(200) * 1e-3
    opened = write_set(tmp_path / "s", far, [0] * 200, rows_per_shard=64)
    found = find_neighbors(opened, far[0], k=3, metric="euclidean")
    np.testing.assert_allclose(found.distances, [0, 1e-3, 2e-3], atol=1e-4)


def test_warming_up_changes_no_answer(by_hand: MednfSet) -> None:
    cold = find_neighbors(by_hand, 0)
    by_hand.kept.clear()
    warm_up(by_hand)
    known = dict(by_hand.kept)
    warm = find_neighbors(by_hand, 0)
    assert len(known) == 1
    assert all(np.shares_memory(by_hand.kept[name], values) for name, values in known.items())  # not worked out again
    assert warm.rows.tolist() == cold.rows.tolist()
    np.testing.assert_array_equal(warm.distances, cold.distances)


def test_queries_that_do_not_fit_say_so(by_hand: MednfSet) -> None:
    with pytest.raises(SetError, match="latents have 2 numbers, the query"):
        find_neighbors(by_hand, np.zeros(3, np.float32))
    with pytest.raises(SetError, match="NaN"):
        find_neighbors(by_hand, np.array([np.nan, 0], np.float32))
    with pytest.raises(SetError, match="no row 6"):
        find_neighbors(by_hand, 6)
    with pytest.raises(SetError, match="at least one"):
        find_neighbors(by_hand, 0, k=0)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_faiss_finds_what_the_exact_search_finds_or_says_how_to_get_it(tmp_path: Path, metric: Metric) -> None:
    rng = np.random.default_rng(0)
    stored = rng.normal(size=(400, 16)).astype(np.float16)
    opened = write_set(tmp_path / "s", stored, rng.integers(0, 3, 400).tolist(), rows_per_shard=150)
    if find_spec("faiss") is None:
        with pytest.raises(SetError, match="pip install faiss-cpu, or use the exact engine"):
            find_neighbors(opened, 7, metric=metric, engine="faiss")
        return
    for query in (7, stored[9].astype(np.float32) + 0.1):
        for rows in (None, range(0, 400, 3)):
            exact = find_neighbors(opened, query, metric=metric, rows=rows)
            found = find_neighbors(opened, query, metric=metric, rows=rows, engine="faiss")
            np.testing.assert_array_equal(found.rows, exact.rows)
            np.testing.assert_array_equal(found.distances, exact.distances)
            assert found.vote == exact.vote
            assert found.by_class == ()
