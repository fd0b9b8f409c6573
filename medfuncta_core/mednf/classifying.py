"""Classify the signals of a MedNF set by their latents, as Table 3 of the paper does, or by their pixels beside it.

Whatever is learned, scaling included, is learned from the training signals; val chooses, and test is looked at once, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from medfuncta_core.errors import ConfigError
from medfuncta_core.fitting import choose_device
from medfuncta_core.mednf.classifying_features import Pixels, fit_scaler, open_pixels, read_features, split_rows
from medfuncta_core.mednf.classifying_networks import (
    STRENGTHS,
    Labelled,
    RandomState,
    count_parameters,
    fit_logistic,
    make_mlp,
    make_pixel_network,
    predict,
    train_network,
)
from medfuncta_core.mednf.classifying_results import PIXEL_NETWORKS, ClassifyRequest, ClassifyResult
from medfuncta_core.mednf.classifying_scores import score
from medfuncta_core.mednf.classifying_votes import vote
from medfuncta_core.mednf.mednf_set import MednfSet

DROPOUT, LEARNING_RATE = 0.3, 1e-3


@dataclass(frozen=True, eq=False)
class ClassifyStep:
    """Where a classification is.

    Args:
        request: Which.
        share: Of its work that is done, 0 to 1.
        doing: In a few words.
        eta_seconds: What is left at this speed; None while that is not known.
        result: Of the last step.
    """

    request: ClassifyRequest
    share: float
    doing: str
    eta_seconds: float | None = None
    result: ClassifyResult | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method makes of the test signals.

    Args:
        shares: `(n, c)` of every class.
        predicted: `(n,)` classes.
        parameters: Numbers learned.
        train_seconds: Learning.
        test_seconds: Classifying.
        best_epoch: Whose weights, where there are epochs.
        val_accuracy: Of these weights.
    """

    shares: Float[np.ndarray, "n c"]
    predicted: np.ndarray
    parameters: int
    train_seconds: float
    test_seconds: float
    best_epoch: int | None = None
    val_accuracy: float | None = None


@dataclass(frozen=True, eq=False)
class Material:
    """What a method learns from: inputs and labels of every split.

    Args:
        inputs: Features `(n, f)`, or pixels.
        rows: `(n,)` of the set.
        labels: `(n,)` classes.
        classes: How many there are.
        device: Where to compute.
    """

    inputs: dict[str, Any]
    rows: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    classes: int
    device: torch.device

    def labelled(self, split: str) -> Labelled:
        """A split for a network: features as they are, pixels with the channels first."""
        inputs = self.inputs[split]
        if isinstance(inputs, Pixels):
            return Labelled(lambda places: torch.from_numpy(np.moveaxis(inputs.batch(places), -1, 1).copy()), self.labels[split])
        features = torch.from_numpy(inputs)
        return Labelled(lambda places: features[torch.from_numpy(places)], self.labels[split])


def classify(
    opened: MednfSet,
    request: ClassifyRequest,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    cache_dir: str | Path | None = None,
) -> Iterator[ClassifyStep]:
    """Learn from a set's training signals, choose by val, and say how well the test signals are classified.

    Args:
        opened: The set, with all three splits.
        request: Method, features, settings.
        data: What the set was encoded from, where pixels are classified; as for `load_data_set`.
        device: auto, cpu or cuda.
        cache_dir: As for `load_data_set`.

    Yields:
        Steps; the last has the result. Whoever stops pulling has cancelled the rest.

    Raises:
        SetError: when a split or class is missing, or the set's network cannot be read.
        DataSetError, SignalError: when the data cannot be read.
        ConfigError: when method and set do not go together.
    """
    yield ClassifyStep(request, 0.0, "reading the set")
    material = read_material(opened, request, data=data, device=device, cache_dir=cache_dir)
    outcome: Outcome | None = None
    for share, doing, eta, found in _METHODS[request.method](request, material):
        outcome = found
        if outcome is None:
            yield ClassifyStep(request, share, doing, eta)
    assert outcome is not None  # every method ends with one
    yield ClassifyStep(request, 1.0, "done", 0.0, _describe(opened, request, material, outcome))


def read_material(
    opened: MednfSet,
    request: ClassifyRequest,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    cache_dir: str | Path | None = None,
) -> Material:
    """Inputs and labels of every split; arguments and errors as for `classify`."""
    rows = split_rows(opened, request.limit)
    labels = {split: opened.labels[of] for split, of in rows.items()}
    classes = max(len(opened.class_names), *(int(of.max()) + 1 for of in labels.values()))
    return Material(_read_inputs(opened, request, rows, data, cache_dir), rows, labels, classes, choose_device(device))


def _read_inputs(
    opened: MednfSet, request: ClassifyRequest, rows: dict[str, np.ndarray], data: Any, cache_dir: Any
) -> dict[str, Any]:
    """Scaled features of every split, or for a network of pictures the signals themselves."""
    if request.method in PIXEL_NETWORKS and opened.info.kind != "image":
        raise ConfigError(f"{request.title} is for images, {opened.name} is of kind {opened.info.kind}; use knn, mlp or logistic")
    if request.inputs == "pixels":
        pixels = open_pixels(opened, rows, data, cache_dir)
        if request.method in PIXEL_NETWORKS:
            return dict(pixels)
        features = {split: of.flat() for split, of in pixels.items()}
    else:
        features = {split: read_features(opened, of, request.space) for split, of in rows.items()}
    scaler = fit_scaler(features["train"], request.scaling)
    return features if scaler is None else {split: scaler.apply(of) for split, of in features.items()}


_Progress = Iterator[tuple[float, str, float | None, Outcome | None]]


def _run_knn(request: ClassifyRequest, material: Material) -> _Progress:
    start, total, done = time.perf_counter(), len(material.labels["test"]), 0
    pieces: list[tuple[np.ndarray, np.ndarray]] = []
    voters, queries = material.inputs["train"], material.inputs["test"]
    settings: Any = {"k": request.k, "metric": request.metric, "classes": material.classes, "device": str(material.device)}
    for piece in vote(voters, material.labels["train"], queries, **settings):
        pieces.append(piece)
        done += len(piece[0])
        seconds = time.perf_counter() - start
        yield done / total, f"{done:,} of {total:,} signals", seconds * (total - done) / done, None
    predicted, shares = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    yield 1.0, "done", 0.0, Outcome(shares, predicted, 0, 0.0, time.perf_counter() - start)


def _run_logistic(request: ClassifyRequest, material: Material) -> _Progress:
    start, fitted = time.perf_counter(), None
    train, val = ((material.inputs[split], material.labels[split]) for split in ("train", "val"))
    for number, found in enumerate(fit_logistic(*train, *val, material.classes), start=1):
        fitted, seconds = found, time.perf_counter() - start
        left = seconds * (len(STRENGTHS) - number) / number
        yield number / len(STRENGTHS), f"penalty {number} of {len(STRENGTHS)}", left, None
    assert fitted is not None
    trained = time.perf_counter()
    shares = fitted.predict(material.inputs["test"])
    taken = trained - start, time.perf_counter() - trained
    parameters = fitted.weight.size + fitted.bias.size
    yield 1.0, "done", 0.0, Outcome(shares, shares.argmax(1), parameters, *taken, val_accuracy=fitted.accuracy)


def _run_network(request: ClassifyRequest, material: Material) -> _Progress:
    random = RandomState(request.seed)
    train, val, test = (material.labelled(split) for split in ("train", "val", "test"))
    network = build_network(request, material, random)
    start, step = time.perf_counter(), None
    for step in train_network(
        network,
        train,
        val,
        random,
        epochs=request.epochs,
        batch_size=request.batch_size,
        learning_rate=LEARNING_RATE,
        seed=request.seed,
    ):
        left = (time.perf_counter() - start) * (step.steps - step.step) / step.step
        best = f", best val accuracy {100 * step.best_accuracy:.1f} %" if step.best_epoch else ""
        yield step.step / step.steps, f"epoch {min(step.epoch + 1, request.epochs)} of {request.epochs}{best}", left, None
    assert step is not None
    trained = time.perf_counter()
    shares = predict(network, test, request.batch_size)
    taken = trained - start, time.perf_counter() - trained
    found = Outcome(shares, shares.argmax(1), count_parameters(network), *taken, step.best_epoch, step.best_accuracy)
    yield 1.0, "done", 0.0, found


def build_network(request: ClassifyRequest, material: Material, random: RandomState) -> torch.nn.Module:
    """The method's network with initial weights from the request's seed."""
    inputs = material.inputs["train"]
    with random.used():
        if isinstance(inputs, Pixels):
            network = make_pixel_network(request.method, inputs.data.channels, material.classes)
        else:
            network = make_mlp(inputs.shape[1], material.classes, DROPOUT)
    return network.to(material.device)


_METHODS = {"knn": _run_knn, "logistic": _run_logistic, **dict.fromkeys(("mlp", *PIXEL_NETWORKS), _run_network)}


def _describe(opened: MednfSet, request: ClassifyRequest, material: Material, outcome: Outcome) -> ClassifyResult:
    rows = material.rows
    scores = score(material.labels["test"], outcome.predicted, outcome.shares)
    inputs = material.inputs["train"]
    n_features = inputs.data.values[0].size if isinstance(inputs, Pixels) else inputs.shape[1]
    confidence = outcome.shares[np.arange(len(outcome.predicted)), outcome.predicted]
    return ClassifyResult(
        request=request,
        set_name=opened.name,
        fingerprint=opened.fingerprint,
        class_names=tuple(opened.name_of(label) for label in range(material.classes)),
        n_train=len(rows["train"]),
        n_val=len(rows["val"]),
        n_test=len(rows["test"]),
        n_features=int(n_features),
        parameters=outcome.parameters,
        train_seconds=outcome.train_seconds,
        test_seconds=outcome.test_seconds,
        best_epoch=outcome.best_epoch,
        val_accuracy=outcome.val_accuracy,
        accuracy=scores.accuracy,
        macro_f1=scores.macro_f1,
        auc=scores.auc,
        f1=tuple(None if np.isnan(value) else float(value) for value in scores.f1),
        confusion=tuple(tuple(int(count) for count in counts) for counts in scores.confusion),
        device=str(material.device),
        rows=tuple(int(row) for row in rows["test"]),
        predicted=tuple(int(label) for label in outcome.predicted),
        confidence=tuple(float(share) for share in confidence),
    )
