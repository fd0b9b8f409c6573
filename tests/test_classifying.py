"""Classifying a set: scores by hand and against scikit-learn, k-NN against searched neighbours, scaling, networks, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mednf_material import make_checkpoint, make_data, write_set
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from typer.testing import CliRunner

from benchmarks import classification
from medfuncta_core.checkpoint import load_checkpoint
from medfuncta_core.cli import app
from medfuncta_core.errors import ConfigError, SetError
from medfuncta_core.mednf import MednfSet, encode, find_neighbors, open_set
from medfuncta_core.mednf.classifying import classify
from medfuncta_core.mednf.classifying_estimate import estimate_seconds
from medfuncta_core.mednf.classifying_features import fit_scaler, read_features, split_rows
from medfuncta_core.mednf.classifying_findings import find_findings
from medfuncta_core.mednf.classifying_networks import (
    Labelled,
    RandomState,
    count_parameters,
    fit_logistic,
    make_mlp,
    make_pixel_network,
    predict,
    train_network,
)
from medfuncta_core.mednf.classifying_results import (
    ClassifyRequest,
    ClassifyResult,
    confusion_csv,
    load_results,
    predictions_csv,
    results_csv,
    save_result,
)
from medfuncta_core.mednf.classifying_scores import score
from medfuncta_core.mednf.classifying_votes import vote

SPLITS = ["train"] * 60 + ["val"] * 15 + ["test"] * 30


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> MednfSet:
    """Three classes whose latents differ in one of six directions, and by little: a scale that raw features would lose."""
    rng = np.random.default_rng(0)
    labels = np.arange(len(SPLITS)) % 3
    latents = rng.normal(0, 0.01, (len(SPLITS), 6)).astype(np.float32) + 0.5
    latents[:, 2] += 0.08 * labels
    latents[:, 4] += rng.normal(0, 1, len(SPLITS)).astype(np.float32)  # says nothing, and is a hundred times larger
    return write_set(tmp_path_factory.mktemp("sets") / "blobs", latents, labels.tolist(), splits=SPLITS)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A set of real fits, and the data it was made from."""
    folder = tmp_path_factory.mktemp("encoded")
    data = make_data(folder / "noise.npz", classes=2)
    for _ in encode(make_checkpoint(folder / "tiny"), data, folder / "set", device="cpu"):
        pass
    return folder / "set", data


def run(opened: MednfSet, data: Path | None = None, **settings: object) -> ClassifyResult:
    steps = list(classify(opened, ClassifyRequest.parse(settings, "test"), data=data, device="cpu"))
    shares = [step.share for step in steps]
    assert shares == sorted(shares)
    assert [step.result is not None for step in steps] == [False] * (len(steps) - 1) + [True]
    assert steps[-1].result is not None
    return steps[-1].result


def test_scores_match_numbers_by_hand() -> None:
    truth, shares = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    scores = score(truth, shares.argmax(1), shares)
    assert scores.confusion.tolist() == [[1, 1], [0, 2]]
    assert scores.accuracy == 0.75
    assert scores.f1.tolist() == pytest.approx([2 / 3, 4 / 5])
    assert scores.macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores.auc == 1  # every member of a class has more of it than every other


def test_scores_match_scikit_learn_and_leave_absent_classes_out() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 4, 80)
    shares = np.round(rng.dirichlet(np.ones(4), 80) + 0.3 * np.eye(4)[truth], 1)  # rounded, so that there are ties
    shares /= shares.sum(1, keepdims=True)
    wide = np.concatenate([shares, np.zeros((80, 1))], 1)  # a fifth class that is neither there nor predicted
    scores = score(truth, wide.argmax(1), wide)
    assert scores.macro_f1 == pytest.approx(f1_score(truth, shares.argmax(1), average="macro"))
    assert scores.auc == pytest.approx(roc_auc_score(truth, shares, multi_class="ovr", average="macro"))
    assert np.isnan(scores.f1[4])
    assert score(np.zeros(3, np.int64), np.zeros(3, np.int64), np.ones((3, 2))).auc is None


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 4])
def test_knn_votes_as_the_neighbours_that_searching_finds(blobs: MednfSet, metric: str, k: int) -> None:
    result = run(blobs, method="knn", k=k, metric=metric, scaling="raw")
    train = blobs.rows_of("train")
    for row, predicted in zip(result.rows, result.predicted, strict=True):
        found = find_neighbors(blobs, row, k=k, metric=metric, rows=train).vote  # pyright: ignore[reportArgumentType]
        assert found is not None
        assert predicted == found.label
    assert (result.parameters, result.train_seconds, result.n_test) == (0, 0, 30)


def test_knn_breaks_ties_by_the_nearest_voter_and_takes_all_where_k_is_too_large() -> None:
    train, labels = np.array([[0.0], [1.0], [2.1], [9.0]]), np.array([1, 0, 0, 1])
    settings = {"metric": "euclidean", "classes": 3}
    ((predicted, shares),) = vote(train, labels, np.array([[0.4], [8.0]]), k=9, **settings)  # pyright: ignore[reportArgumentType]
    assert predicted.tolist() == [1, 1]
    assert shares.tolist() == [[0.5, 0.5, 0], [0.5, 0.5, 0]]


def test_scaling_is_fitted_on_training_signals_only(blobs: MednfSet) -> None:
    rows = split_rows(blobs)
    train, test = (blobs.latents(rows[split]) for split in ("train", "test"))
    scaler = fit_scaler(train, "standardised")
    assert scaler is not None
    assert scaler.apply(train).mean(0) == pytest.approx(np.zeros(6), abs=1e-4)
    assert scaler.apply(train).std(0) == pytest.approx(np.ones(6), rel=1e-4)
    assert np.abs(scaler.apply(test).mean(0)).max() > 0.01  # its own mean was not taken away
    constant = fit_scaler(np.full((5, 2), 0.3, np.float32), "standardised")
    assert constant is not None
    assert constant.apply(np.array([[0.3, 7.0]], np.float32)).tolist() == [[0, 0]]
    assert fit_scaler(train, "raw") is None


def test_whitened_features_are_uncorrelated_and_no_more_than_signals_tell() -> None:
    rng = np.random.default_rng(2)
    features = (rng.normal(size=(40, 3)) @ rng.normal(size=(3, 5))).astype(np.float32)  # rank 3 in 5 features
    scaler = fit_scaler(features, "whitened")
    assert scaler is not None
    white = scaler.apply(features)
    assert np.cov(white.T) == pytest.approx(np.eye(3), abs=1e-3)
    few = fit_scaler(rng.normal(size=(4, 9)).astype(np.float32), "whitened")
    assert few is not None
    assert few.factors.shape == (9, 3)
    with pytest.raises(ConfigError, match="use standardised"):
        fit_scaler(np.zeros((2, 9000), np.float32), "whitened")


def test_modulations_are_what_the_network_makes_of_latents(encoded: tuple[Path, Path]) -> None:
    opened = open_set(encoded[0])
    rows = np.array([4, 2])
    assert read_features(opened, rows, "latent").tolist() == opened.latents(rows).tolist()
    modulations = read_features(opened, rows, "modulation")
    assert modulations.shape == (2, 2 * 7)  # two modulated layers of seven units
    weights = {name: value.numpy() for name, value in load_checkpoint(opened.checkpoint_path).field.state_dict().items()}
    expected = weights["shift_weight"][1] @ opened.latent(2) + weights["shift_bias"][1]
    assert modulations[1, 7:] == pytest.approx(expected, abs=1e-5)


def test_mlp_has_the_papers_parameters_and_learns(blobs: MednfSet) -> None:
    assert count_parameters(make_mlp(2048, 2, 0.3)) == 2048 * 512 + 512 + 512 * 256 + 256 + 256 * 2 + 2  # 1.2 million, Table 3
    result = run(blobs, method="mlp", epochs=8, batch_size=8)
    assert result.accuracy >= 0.9
    assert result.auc is not None
    assert result.auc > 0.95
    assert result.parameters == count_parameters(make_mlp(6, 3, 0.3))
    assert result.best_epoch is not None
    assert 1 <= result.best_epoch <= 8
    assert np.array(result.confusion).sum() == 30
    truth = [int(blobs.labels[row]) for row in result.rows]
    assert np.mean(np.array(truth) == result.predicted) == result.accuracy


def test_mlp_is_the_same_for_the_same_seed_whatever_else_is_drawn(blobs: MednfSet) -> None:
    first = run(blobs, method="mlp", epochs=2, seed=5)
    torch.rand(7)
    again, other = (run(blobs, method="mlp", epochs=2, seed=seed) for seed in (5, 6))
    assert first.confidence == again.confidence
    assert first.confidence != other.confidence


def test_weights_tested_are_those_of_the_best_epoch_on_val() -> None:
    rng = np.random.default_rng(3)
    inputs, labels = torch.from_numpy(rng.normal(size=(24, 4)).astype(np.float32)), rng.integers(0, 2, 24)
    train, val = Labelled(lambda places: inputs[places], labels), Labelled(lambda places: inputs[places], 1 - labels[:9])
    random = RandomState(0)
    with random.used():
        network = make_mlp(4, 2, 0.0)
    steps = list(train_network(network, train, val, random, epochs=40, batch_size=8, learning_rate=1e-2, seed=0))
    curve = [step.accuracy for step in steps if step.accuracy is not None]
    assert curve[-1] < max(curve)  # the contrary of what it learns: val gets worse
    assert steps[-1].best_epoch == 1 + curve.index(max(curve))
    assert (predict(network, val, 8).argmax(1) == val.labels).mean() == max(curve)


def test_logistic_regression_is_scikit_learns_for_two_and_three_classes(blobs: MednfSet) -> None:
    rng = np.random.default_rng(4)
    features = rng.normal(size=(50, 4)).astype(np.float32)
    for classes in (2, 3):
        labels = (features[:, 0] * 2 + rng.normal(size=50)).clip(0, classes - 1).astype(np.int64)
        *_, fitted = fit_logistic(features, labels, features[:20], labels[:20], classes)
        theirs = LogisticRegression(C=fitted.strength, max_iter=200, tol=1e-3).fit(features, labels)
        assert fitted.predict(features) == pytest.approx(theirs.predict_proba(features), abs=1e-4)
    assert run(blobs, method="logistic").accuracy >= 0.9


@pytest.mark.parametrize(("name", "parameters"), [("resnet50", 23.5e6), ("efficientnet", 4.0e6)])
def test_pixel_networks_have_the_papers_parameters(name: str, parameters: float) -> None:
    assert count_parameters(make_pixel_network(name, 1, 2)) == pytest.approx(parameters, rel=0.01)


def test_pixel_network_learns_from_the_data_behind_a_set(encoded: tuple[Path, Path]) -> None:
    path, data = encoded
    opened = open_set(path)
    result = run(opened, data, method="efficientnet", epochs=1, batch_size=6)  # 13 signals: the last one joins a batch
    assert (result.n_features, result.n_train, result.request.features) == (48, 13, "pixels")
    seconds = estimate_seconds(opened, ClassifyRequest(method="efficientnet", epochs=7, batch_size=2), data=data, device="cpu")
    assert seconds > 0
    assert run(opened, data, method="knn", space="pixels").n_features == 48
    with pytest.raises(SetError, match="--data"):
        run(opened, method="resnet50")
    other = make_data(path.parent / "other.npz", classes=3)
    with pytest.raises(SetError, match="other signals or classes"):
        run(opened, other, method="knn", space="pixels")


@pytest.mark.parametrize(
    ("labels", "splits", "message"),
    [
        ([0, 1, 0], ["train", "train", "test"], "no val split"),
        ([0, 1, -1, 0], ["train", "train", "val", "test"], "no signal of its val split has a class"),
        ([0, 0, 0, 0], ["train", "train", "val", "test"], "all its training signals are class 0"),
        ([0, 1, 1, 2], ["train", "train", "val", "test"], "class class 2 is in its test split"),
    ],
)
def test_missing_split_or_class_is_named(tmp_path: Path, labels: list[int], splits: list[str], message: str) -> None:
    opened = write_set(tmp_path / "set", np.ones((len(labels), 3), np.float32), labels, splits=splits)
    with pytest.raises(SetError, match=message):
        run(opened, method="knn")


def test_limit_takes_training_signals_evenly_and_volumes_have_no_picture_network(blobs: MednfSet, tmp_path: Path) -> None:
    assert run(blobs, method="knn", limit=10).n_train == 10
    assert len(split_rows(blobs, 10)["test"]) == 30
    checkpoint = make_checkpoint(tmp_path / "volume", (4, 5, 6))
    for _ in encode(checkpoint, make_data(tmp_path / "volumes.npz", (4, 5, 6), 2), tmp_path / "volumes", device="cpu"):
        pass
    with pytest.raises(ConfigError, match="is for images"):
        run(open_set(tmp_path / "volumes"), method="resnet50")


def test_results_are_kept_and_leave_as_tables(blobs: MednfSet, tmp_path: Path) -> None:
    result = run(blobs, method="knn", k=3)
    save_result(tmp_path, result)
    (tmp_path / "knn-broken.json").write_text("{")
    assert load_results(tmp_path) == [result]
    header, row = results_csv([result]).splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True))["k"] == "3"
    assert confusion_csv(result).splitlines()[0] == "true class,class 0,class 1,class 2"
    lines = predictions_csv(result, [f"test/{row}" for row in result.rows], blobs.labels[list(result.rows)])
    assert len(lines.splitlines()) == 31
    assert sum(int(line[-1]) for line in lines.splitlines()[1:]) == round(30 * result.accuracy)


def test_requests_are_known_by_the_settings_that_matter() -> None:
    assert ClassifyRequest(method="knn", seed=1).key == ClassifyRequest(method="knn", seed=2, epochs=9).key
    assert ClassifyRequest(method="mlp", seed=1).key != ClassifyRequest(method="mlp", seed=2).key
    assert ClassifyRequest(method="knn", k=1).key != ClassifyRequest(method="knn", k=3).key
    assert ClassifyRequest(method="resnet50", space="latent").key == ClassifyRequest(method="resnet50", space="pixels").key


def test_command_prints_the_numbers_of_the_library(blobs: MednfSet, tmp_path: Path) -> None:
    one = CliRunner().invoke(app, ["classify", str(blobs.path), "--method", "knn", "-k", "3", "--device", "cpu", "--json"])
    assert one.exit_code == 0, one.output
    report = json.loads(one.stdout)
    expected = run(blobs, method="knn", k=3)
    assert (report["accuracy"], report["macro_f1"], report["k"]) == (expected.accuracy, expected.macro_f1, 3)
    assert report["results"][0]["confusion"] == [list(row) for row in expected.confusion]
    options = ["--method", "knn", "-k", "1", "-k", "3", "--method", "logistic", "--device", "cpu", "--out", str(tmp_path)]
    several = CliRunner().invoke(app, ["classify", str(blobs.path), *options])
    assert [line.split("  ")[0] for line in several.stdout.splitlines()[1:]] == [
        "k-NN (k = 1)",
        "k-NN (k = 3)",
        "Logistic regression",
    ]
    assert len(load_results(tmp_path)) == 3


def test_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    opened = write_set(tmp_path / "set", np.ones((2, 3), np.float32), [0, 1])
    found = CliRunner().invoke(app, ["classify", str(opened.path), "--method", "knn"])
    assert found.exit_code == 1
    assert found.stderr.strip().startswith("error: ")
    assert len(found.stderr.strip().splitlines()) == 1
    assert CliRunner().invoke(app, ["classify", str(opened.path), "--method", "svm"]).exit_code == 2


def test_findings_compare_what_was_measured(blobs: MednfSet) -> None:
    raw, standardised = (run(blobs, method="knn", metric="euclidean", scaling=scaling) for scaling in ("raw", "standardised"))
    assert standardised.accuracy > raw.accuracy + 0.2  # a number that says nothing and is large drowns the others
    first, scalings = find_findings([raw, standardised])
    assert f"right for {100 * 10 / 30:.1f} % of the test signals" in first
    assert f"the best result, {100 * standardised.accuracy:.1f} % by k-NN (k = 1)" in first
    assert f"raw {100 * raw.accuracy:.1f} %, standardised {100 * standardised.accuracy:.1f} %" in scalings
    assert find_findings([]) == []


def test_findings_say_when_latents_do_worse_than_pixels(encoded: tuple[Path, Path]) -> None:
    opened = open_set(encoded[0])
    results = [run(opened, encoded[1], method="knn", space=space) for space in ("latent", "modulation", "pixels")]
    change = 100 * (results[0].accuracy - results[2].accuracy)
    said = find_findings(results)
    assert any(f"{abs(change):.1f} points" in sentence and "cannot tell apart" in sentence for sentence in said)
    assert any(f"instead of pixels, in points of accuracy: k-NN (k = 1) {change:+.1f}" in sentence for sentence in said)
    assert any(sentence.startswith("Modulations instead of the latents") for sentence in said)


def test_benchmark_encodes_classifies_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data(tmp_path / "noise.npz", classes=2)
    make_checkpoint(tmp_path / "checkpoints" / "tiny")
    source = classification.Source("tiny", "Noise", data.name, "tiny", studied_steps=(1,))
    monkeypatch.setattr(classification, "SOURCES", (source,))
    monkeypatch.setattr(classification, "TABLE", classification.TABLE[:2])
    monkeypatch.setattr(classification, "STUDY", classification.STUDY[:1])
    monkeypatch.setattr(classification, "NETWORKS", classification.NETWORKS[1:])
    options = ["--data-folder", str(tmp_path), "--sets-folder", str(tmp_path / "sets"), "--points", "6", "--device", "cpu"]
    options += ["--checkpoints", str(tmp_path / "checkpoints"), "--pixel-seconds", "0", "--json", str(tmp_path / "out.json")]
    classification.main(options)
    (measured,) = json.loads((tmp_path / "out.json").read_text())["sets"]
    assert [result["classifier"] for result in measured["results"][:2]] == ["k-NN (k = 1)", "k-NN (k = 3)"]
    assert [left["classifier"] for left in measured["left_out"]] == ["EfficientNet-B0"]  # no time was allowed
    assert "on 6 × 6 points" in measured["about"]
    assert any("Latents of 1 fit steps" in sentence for sentence in measured["findings"])
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "sets").rglob("*.json") if file.parent.parent.name == "results"}
    classification.main(options)
    assert kept == {file: file.stat().st_mtime_ns for file in kept}
