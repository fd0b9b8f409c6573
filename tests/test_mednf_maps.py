"""Maps of sets: principal components, placing new latents, UMAP and t-SNE in a process of its own, maps as files, selections."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mednf_material import write_set
from typer.testing import CliRunner

from medfuncta_core import mednf
from medfuncta_core.cli import app
from medfuncta_core.errors import ConfigError, SetError
from medfuncta_core.mednf import EmbedRequest, LatentMap, MednfSet, embed, map_file, place_latent, read_map, write_map
from medfuncta_core.mednf.embedding import draw_rows
from medfuncta_core.mednf.placing import place_points
from medfuncta_core.mednf.reducing import fit_basis
from medfuncta_core.runs.mapping import MapJob

PCA = EmbedRequest(method="pca")


def two_groups(folder: Path, each: int = 40, latent_dim: int = 9) -> MednfSet:
    """Two tight groups of latents far from each other, one class each."""
    rng = np.random.default_rng(2)
    latents = rng.normal(0, 0.1, (2 * each, latent_dim))
    latents[each:, 3] += 8
    return write_set(folder, latents.astype(np.float32), [0] * each + [1] * each, rows_per_shard=23)


def apart(coords: np.ndarray) -> bool:
    """Whether the two halves lie farther from each other than they are wide."""
    first, second = np.split(coords, 2)
    widest = max(np.linalg.norm(half - half.mean(0), axis=1).max() for half in (first, second))
    return bool(np.linalg.norm(first.mean(0) - second.mean(0)) > 1.5 * widest)


def test_pca_finds_the_direction_by_hand(tmp_path: Path) -> None:
    line = np.arange(-3, 4, dtype=np.float32)[:, None] * np.array([[0.0, -0.6, 0.0, 0.8]], np.float32)
    latents = write_set(tmp_path / "line", line + 5, [0] * 7)
    made = embed(latents, PCA)
    np.testing.assert_allclose(made.coords[:, 0], np.arange(-3, 4), atol=1e-5)  # the largest entry of an axis is positive
    np.testing.assert_allclose(made.coords[:, 1], 0, atol=1e-5)
    assert made.shares[0] == pytest.approx(1)
    assert made.complete


@pytest.mark.parametrize("rows", [6, 30])
def test_pca_axes_are_the_same_from_gram_matrix_and_covariance(tmp_path: Path, rows: int) -> None:
    latents = write_set(tmp_path / "set", np.random.default_rng(0).normal(size=(30, 11)).astype(np.float32), [0] * 30)
    chosen = np.arange(rows)
    basis = fit_basis(latents, chosen, 4)
    values = latents.latents(chosen).astype(np.float64)
    _, singular, axes = np.linalg.svd(values - values.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(np.sum(axes[:4] * basis.axes, axis=1)), 1, atol=1e-4)
    np.testing.assert_allclose(basis.shares, (singular**2 / (singular**2).sum())[:4], rtol=1e-4)


def test_set_larger_than_the_fit_is_mapped_whole_and_says_so(tmp_path: Path) -> None:
    latents = two_groups(tmp_path / "set")
    made = embed(latents, EmbedRequest(method="pca", fit_rows=20, dims=3))
    assert (made.coords.shape, int(made.fitted.sum()), made.complete) == ((80, 3), 20, False)
    assert apart(made.coords)
    np.testing.assert_allclose(place_latent(latents, made, latents.latent(41)), made.coords[41], atol=1e-4)
    assert np.array_equal(draw_rows(80, 20, 1), draw_rows(80, 20, 1))
    assert not np.array_equal(draw_rows(80, 20, 1), draw_rows(80, 20, 2))


def test_new_points_land_on_equals_and_between_neighbours() -> None:
    known = np.array([[0, 0], [2, 0], [50, 50]], np.float32)
    places = np.array([[10, 0], [20, 0], [0, 99]], np.float32)
    placed = place_points(np.array([[0, 0], [1, 0], [1.9, 0]], np.float32), known, places, 2)
    np.testing.assert_allclose(placed[0], [10, 0], atol=1e-3)
    np.testing.assert_allclose(placed[1], [15, 0], atol=1e-3)
    assert 15 < placed[2, 0] <= 20


def test_placing_does_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    known, places, queries = (rng.normal(size=shape).astype(np.float32) for shape in ((30, 5), (30, 2), (11, 5)))
    told: list[float] = []
    whole = place_points(queries, known, places, 7, told.append)
    monkeypatch.setattr("medfuncta_core.mednf.placing.QUERIES_AT_ONCE", 4)
    np.testing.assert_allclose(place_points(queries, known, places, 7, told.append), whole, atol=1e-5)
    assert told == [1.0, 4 / 11, 8 / 11, 1.0]


def test_tsne_keeps_groups_apart_places_the_rest_and_repeats(tmp_path: Path) -> None:
    latents = two_groups(tmp_path / "set", each=25)
    request = EmbedRequest(method="tsne", perplexity=8, fit_rows=40, metric="cosine")
    told: list[str] = []
    made = embed(latents, request, lambda step: told.append(step.words))
    assert apart(made.coords)
    assert any(words.startswith("t-SNE: iteration") for words in told)
    assert "Placing the other 10 rows" in told
    row = int(np.flatnonzero(made.fitted)[3])
    np.testing.assert_allclose(place_latent(latents, made, latents.latent(row)), made.coords[row], atol=1e-2)
    np.testing.assert_array_equal(embed(latents, request).coords, made.coords)


def finish(job: MapJob) -> list[str]:
    """What a job says until it is over."""
    said: list[str] = []
    while job.active():
        said.append(job.step().words)
        time.sleep(0.1)
    return said


def test_umap_is_made_in_a_process_of_its_own(tmp_path: Path) -> None:
    latents = two_groups(tmp_path / "set")
    request = EmbedRequest(neighbors=8)
    job = MapJob(latents, request)
    said = finish(job)
    assert job.error is None
    made = read_map(map_file(latents, request), latents)
    assert apart(made.coords)
    assert made.request == request
    assert {"Reading latents", "Loading UMAP", "Principal components"} & set(said)


def test_cancelled_map_leaves_nothing(tmp_path: Path) -> None:
    latents = two_groups(tmp_path / "set")
    job = MapJob(latents, EmbedRequest(method="tsne"))
    assert job.active()
    job.cancel()
    job.cancel()  # two visitors may press at once
    assert not job.active()
    assert not map_file(latents, EmbedRequest(method="tsne")).exists()
    assert job.error is None


def test_map_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    values = np.ones((20, 4), np.float32)
    latents = write_set(tmp_path / "set", values, [0] * 20)
    shard = latents.shards[2].path
    shard.write_bytes(shard.read_bytes()[:-4] + np.float32(np.nan).tobytes())  # as after a damage on the disk
    job = MapJob(latents, EmbedRequest(method="tsne"))
    finish(job)
    assert "not finite" in str(job.error)
    few = write_set(tmp_path / "few", values[:3], [0] * 3)
    with pytest.raises(SetError, match="3 rows make no map"):
        embed(few, PCA)
    with pytest.raises(ConfigError, match="neighbors"):
        EmbedRequest.parse({"neighbors": 1}, "map")
    fine = two_groups(tmp_path / "fine")
    with pytest.raises(SetError, match="latents of 9 numbers"):
        place_latent(fine, embed(fine, PCA), np.zeros(4, np.float32))


def test_map_file_comes_back_and_is_known_by_content(tmp_path: Path) -> None:
    latents = two_groups(tmp_path / "set")
    made, file = embed(latents, PCA), map_file(latents, PCA)
    write_map(file, latents, made)
    again = read_map(file, latents)
    np.testing.assert_array_equal(again.coords, made.coords)
    assert (again.request, again.shares, again.complete) == (made.request, made.shares, True)
    assert pq.read_schema(file).names == ["id", "split", "class_name", "x", "y", "fitted"]
    assert file.parent == latents.path / "maps"
    assert map_file(latents, PCA.model_copy(update={"neighbors": 99})) == file  # PCA has no neighbours
    assert map_file(latents, PCA.model_copy(update={"dims": 3})) != file
    other = two_groups(tmp_path / "other", each=30)
    assert map_file(other, PCA).name != file.name
    with pytest.raises(SetError, match="map of another set"):
        read_map(file, other)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(SetError, match="damaged"):
        read_map(file, latents)


def test_map_of_a_read_only_set_goes_to_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = two_groups(tmp_path / "set")
    monkeypatch.setenv("MEDFUNCTA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root, whom nothing is denied
    assert map_file(latents, PCA).parent == tmp_path / "cache" / "maps"


def test_embed_command_writes_and_reports(tmp_path: Path) -> None:
    two_groups(tmp_path / "set")
    out = tmp_path / "map.parquet"
    arguments = ["embed", str(tmp_path / "set"), "--method", "pca", "--dims", "3", "--out", str(out), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--progress", str(tmp_path / "progress.json")])
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["n"], report["fitted"], report["file"]) == (80, 80, str(out))
    assert len(report["variance_shares"]) == 3
    assert pq.read_table(out).column("z").to_numpy().shape == (80,)
    assert json.loads((tmp_path / "progress.json").read_text()) == {"words": "Done", "share": 1.0}
    assert CliRunner().invoke(app, ["embed", str(tmp_path / "nothing")]).exit_code == 1
    assert CliRunner().invoke(app, ["embed", str(tmp_path / "set"), "--dims", "4"]).exit_code == 2


def test_selection_is_counted_averaged_and_taken_home(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(8, 3)
    latents = write_set(tmp_path / "set", values, [0, 0, 0, 0, 0, 1, 1, -1], splits=["train"] * 6 + ["test"] * 2)
    made = LatentMap(values[:, :2], np.ones(8, dtype=bool), PCA, latents.fingerprint, 0.0)
    rows = np.array([1, 2, 4, 6, 7])
    assert [(of.label, of.name, of.count, of.total) for of in mednf.count_classes(latents, rows)] == [
        (0, "class 0", 3, 5),
        (-1, "no class", 1, 1),
        (1, "class 1", 1, 2),
    ]
    np.testing.assert_allclose(mednf.mean_latent(latents, rows), values[rows].mean(0))
    assert mednf.spread_rows(latents, rows, 3).tolist() == [7, 2, 6]  # by class, evenly
    assert sorted(mednf.spread_rows(latents, rows, 99)) == rows.tolist()
    with np.load(io.BytesIO(mednf.selection_archive(latents, rows, made)), allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["latents"], values[rows])
        assert archive["id"].tolist() == ["train/1", "train/2", "train/4", "test/6", "test/7"]
        assert archive["labels"].tolist() == [0, 0, 0, 1, -1]
    lines = list(csv.DictReader(io.StringIO(mednf.selection_table(latents, rows, made))))
    assert (lines[3]["set_row"], lines[3]["map_x"], lines[3]["class_name"], lines[4]["label"]) == ("6", "18", "class 1", "")
    with pytest.raises(SetError, match="no rows"):
        mednf.mean_latent(latents, np.array([], dtype=np.int64))
