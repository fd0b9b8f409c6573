"""What is to be classified and how, and what came of it: both are kept as JSON, one file a result."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field

from medfuncta_core.atomic import write_atomically
from medfuncta_core.config import Config
from medfuncta_core.errors import ConfigError, SetError
from medfuncta_core.mednf.classifying_features import Scaling, Space
from medfuncta_core.mednf.neighbors import Metric

Method = Literal["knn", "mlp", "logistic", "resnet50", "efficientnet"]

PIXEL_NETWORKS: tuple[Method, ...] = ("resnet50", "efficientnet")
METHODS: dict[Method, str] = {
    "knn": "k-NN",
    "mlp": "MLP",
    "logistic": "Logistic regression",
    "resnet50": "ResNet50",
    "efficientnet": "EfficientNet-B0",
}
SPACES: dict[Space, str] = {"latent": "latents", "modulation": "modulations", "pixels": "pixels"}
_SETTINGS: dict[Method, tuple[str, ...]] = {
    "knn": ("k", "metric", "space", "scaling"),
    "mlp": ("space", "scaling", "seed", "epochs", "batch_size"),
    "logistic": ("space", "scaling"),
    **dict.fromkeys(PIXEL_NETWORKS, ("seed", "epochs", "batch_size")),
}


class ClassifyRequest(Config):
    """A classifier and what it sees; the defaults are the protocol of the paper's Table 3."""

    method: Method = "mlp"
    k: int = Field(default=1, ge=1, description="Neighbours that vote, of k-NN.")
    metric: Metric = Field(default="cosine", description="Distance of k-NN.")
    space: Space = Field(default="latent", description="What is classified; ResNet50 and EfficientNet-B0 always see pixels.")
    scaling: Scaling = Field(default="standardised", description="How features are scaled, by training signals alone.")
    seed: int = Field(default=0, ge=0, description="Of initial weights, dropout and order.")
    epochs: int = Field(default=50, ge=1, description="Passes over the training signals, of networks.")
    batch_size: int = Field(default=32, ge=2, description="Signals of an update, of networks.")
    limit: int | None = Field(default=None, ge=2, description="At most so many training signals, evenly spread; all when None.")

    @property
    def inputs(self) -> Space:
        """What the classifier sees."""
        return "pixels" if self.method in PIXEL_NETWORKS else self.space

    @property
    def title(self) -> str:
        """The classifier, as a table has it."""
        return f"k-NN (k = {self.k})" if self.method == "knn" else METHODS[self.method]

    @property
    def features(self) -> str:
        """What it sees, as a table has it."""
        if self.method in PIXEL_NETWORKS:
            return "pixels"
        words = SPACES[self.space] if self.scaling == "raw" else f"{self.scaling} {SPACES[self.space]}"
        return f"{words}, {self.metric}" if self.method == "knn" else words

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that make a difference to this method."""
        return self.model_dump(include={"method", "limit", *_SETTINGS[self.method]})

    @property
    def key(self) -> str:
        """Equal for requests with equal results; fit for a file's name."""
        return f"{self.method}-{hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Mistake:
    """A test signal that was taken for another class: its row, its class, the predicted one, and the share that one got."""

    row: int
    truth: int
    predicted: int
    confidence: float


class ClassifyResult(Config):
    """How well a classifier does on the test split, and what it took."""

    request: ClassifyRequest
    set_name: str
    fingerprint: str = Field(default="", description="Of the set, as `MednfSet.fingerprint`.")
    class_names: tuple[str, ...]
    n_train: int
    n_val: int
    n_test: int
    n_features: int = Field(description="Numbers a signal that the classifier sees, after scaling.")
    parameters: int = Field(description="Numbers that were learned; 0 for k-NN.")
    train_seconds: float = Field(description="Learning alone, without reading and scaling; 0 for k-NN.")
    test_seconds: float = Field(description="Classifying the test split.")
    best_epoch: int | None = Field(default=None, description="Whose weights were tested; None where there are no epochs.")
    val_accuracy: float | None = Field(default=None, description="Of these weights; None for k-NN, which chooses nothing.")
    accuracy: float
    macro_f1: float
    auc: float | None = Field(description="Mean of the classes' areas under the curve, each against the rest.")
    f1: tuple[float | None, ...] = Field(description="Of every class; None for one that is neither there nor predicted.")
    confusion: tuple[tuple[int, ...], ...] = Field(description="Truth in rows, prediction in columns.")
    device: str
    rows: tuple[int, ...] = Field(description="Of the set: the test signals.")
    predicted: tuple[int, ...] = Field(description="Their classes, as predicted.")
    confidence: tuple[float, ...] = Field(description="Share that the predicted class got.")

    @property
    def counts(self) -> Int[np.ndarray, "c c"]:
        """The confusion matrix as an array."""
        return np.array(self.confusion)

    def mistakes(self, truth: Int[np.ndarray, " n"]) -> list[Mistake]:
        """The test signals that were not recognised, the surest mistakes first.

        Args:
            truth: Classes of the result's rows.
        """
        signals = zip(self.rows, truth, self.predicted, self.confidence, strict=True)
        wrong = [Mistake(row, int(true), guess, share) for row, true, guess, share in signals if true != guess]
        return sorted(wrong, key=lambda mistake: (-mistake.confidence, mistake.row))

    def summary(self) -> dict[str, Any]:
        """Everything but the single signals, for JSON: the settings that matter first."""
        signals = {"rows", "predicted", "confidence"}
        return (
            self.request.settings | {"inputs": self.request.inputs} | self.model_dump(mode="json", exclude=signals | {"request"})
        )

    def line(self) -> str:
        """The result for people."""
        auc = "-" if self.auc is None else f"{self.auc:.3f}"
        return (
            f"{self.request.title:<20} {self.request.features:<32} {self.parameters:>11,} {self.train_seconds:>8.1f} "
            f"{100 * self.accuracy:>7.2f} {self.macro_f1:>6.3f} {auc:>6}"
        )


HEADING = f"{'classifier':<20} {'on':<32} {'parameters':>11} {'train s':>8} {'acc. %':>7} {'F1':>6} {'AUC':>6}"
"""Above `ClassifyResult.line`."""


def results_csv(results: Sequence[ClassifyResult]) -> str:
    """A row a result, as in the paper's Table 3, with every setting that matters."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    settings = tuple(name for name in ClassifyRequest.model_fields if name != "method")
    numbers = ("parameters", "train_seconds", "accuracy", "macro_f1", "auc", "n_train", "n_val", "n_test", "n_features")
    writer.writerow(["classifier", "inputs", *settings, *numbers])
    for result in results:
        kept = result.request.settings
        row = [getattr(result, name) for name in numbers]
        writer.writerow([result.request.title, result.request.inputs, *(kept.get(name, "") for name in settings), *row])
    return buffer.getvalue()


def predictions_csv(result: ClassifyResult, ids: Iterable[str], truth: Int[np.ndarray, " n"]) -> str:
    """A row a test signal: the set's row and id, the true class, the predicted one, and the share it got.

    Args:
        result: Whose predictions.
        ids: Of the result's rows.
        truth: Their classes.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["row", "id", "true_class", "predicted_class", "confidence", "right"])
    for row, name, true, guess, share in zip(result.rows, ids, truth, result.predicted, result.confidence, strict=True):
        words = result.class_names[true], result.class_names[guess]
        writer.writerow([row, name, *words, f"{share:.4f}", int(true == guess)])
    return buffer.getvalue()


def confusion_csv(result: ClassifyResult) -> str:
    """The confusion matrix with its classes: truth in rows, prediction in columns."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["true class", *result.class_names])
    writer.writerows([name, *counts] for name, counts in zip(result.class_names, result.confusion, strict=True))
    return buffer.getvalue()


def save_result(folder: Path, result: ClassifyResult) -> Path:
    """Keep a result; one of an equal request is replaced.

    Raises:
        SetError: when the place cannot be written.
    """
    return write_atomically(folder / f"{result.request.key}.json", result.model_dump_json().encode(), SetError)


def load_results(folder: Path) -> list[ClassifyResult]:
    """The results kept in a folder, oldest first; files of another version are left out."""
    found: list[ClassifyResult] = []
    for file in sorted(folder.glob("*-*.json"), key=lambda file: file.stat().st_mtime_ns):
        try:
            found.append(ClassifyResult.parse(json.loads(file.read_text(encoding="utf-8")), str(file)))
        except (OSError, ValueError, ConfigError):
            continue
    return found
