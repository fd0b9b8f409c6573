"""Classifiers that are trained: the paper's MLP, logistic regression, and ResNet50 and EfficientNet-B0 on pixels, from scratch.

Sources: the paper, Sec. 3 (3 layers, ReLU, dropout, AdamW with 1e-3, 50 epochs, the weights of the best validation accuracy) and
Table 3, whose 1.2 million parameters on latents of 2048 are layers of 512 and 256; dropout 0.3, batches of 32 and the first layer
for grey pictures as in the published code. That code keeps a reference where the paper speaks of the best epoch's weights, so it
tests the last epoch's; here they are copied.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

WIDTHS = (512, 256)
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse weights of logistic regression's penalty that are tried (scikit-learn's C); the best on val is kept."""

Batch = Callable[[Int[np.ndarray, " b"]], Tensor]
"""Inputs of some signals, by their places."""


@dataclass(frozen=True)
class Labelled:
    """Signals to learn from, or to be tested on: how to get some of them, and their classes `(n,)`."""

    batch: Batch
    labels: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class NetworkStep:
    """Where a training is, after a batch.

    Args:
        step: Batches done, of `steps`.
        steps: Batches in all.
        epoch: Epochs completed.
        accuracy: On val, of the epoch that was just completed; None in between.
        best_epoch: With the best accuracy on val so far; 0 before the first.
        best_accuracy: Its accuracy.
    """

    step: int
    steps: int
    epoch: int
    accuracy: float | None
    best_epoch: int
    best_accuracy: float


def make_mlp(features: int, classes: int, dropout: float) -> nn.Sequential:
    """The paper's classifier of latents: three linear layers with ReLU and dropout between them."""
    first, second = WIDTHS
    hidden = [
        nn.Linear(features, first),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Dropout(dropout),
    ]
    return nn.Sequential(*hidden, nn.Linear(second, classes))


def make_pixel_network(name: str, channels: int, classes: int) -> nn.Module:
    """ResNet50 (He et al., 2016) or EfficientNet-B0 (Tan and Le, 2019) with random weights, its first layer for the channels."""
    from torchvision import models  # seconds to import

    if name == "resnet50":
        network: Any = models.resnet50(weights=None, num_classes=classes)
        if channels != 3:
            network.conv1 = _with_channels(network.conv1, channels)
    else:
        network = models.efficientnet_b0(weights=None, num_classes=classes)
        if channels != 3:
            network.features[0][0] = _with_channels(network.features[0][0], channels)
    return network


def _with_channels(layer: nn.Conv2d, channels: int) -> nn.Conv2d:
    size, stride, padding = (tuple(map(int, of)) for of in (layer.kernel_size, layer.stride, layer.padding))
    return nn.Conv2d(channels, layer.out_channels, size, stride, padding, bias=False)  # type: ignore[arg-type]


def count_parameters(network: nn.Module) -> int:
    """Numbers that are learned."""
    return sum(parameter.numel() for parameter in network.parameters())


class RandomState:
    """A random state of its own for initial weights and dropout, which torch draws from its global one."""

    def __init__(self, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._state = torch.get_rng_state()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Draw from it here, and leave the global one as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._state)
            yield
            self._state = torch.get_rng_state()


def train_network(
    network: nn.Module,
    train: Labelled,
    val: Labelled,
    random: RandomState,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> Iterator[NetworkStep]:
    """Train with AdamW, and leave the weights of the epoch that was best on val in the network.

    Args:
        network: With its initial weights, on its device.
        train: To learn from.
        val: To choose the epoch by.
        random: What dropout draws from.
        epochs: Passes over `train`.
        batch_size: Signals of an update; a last one alone joins the batch before, as batch normalisation needs two.
        learning_rate: Of AdamW.
        seed: Of the order of the signals.
    """
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    order, labels = np.random.default_rng(seed), torch.from_numpy(train.labels)
    device = next(network.parameters()).device
    per_epoch = len(_cut(np.arange(len(train)), batch_size))
    best_epoch, best_accuracy, best = 0, -1.0, copy.deepcopy(network.state_dict())
    for epoch in range(1, epochs + 1):
        for number, places in enumerate(_cut(order.permutation(len(train)), batch_size), start=1):
            with random.used():
                network.train()
                loss = F.cross_entropy(network(train.batch(places).to(device)), labels[places].to(device))
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
            if number < per_epoch:
                step = (epoch - 1) * per_epoch + number
                yield NetworkStep(step, epochs * per_epoch, epoch - 1, None, best_epoch, max(best_accuracy, 0))
        accuracy = float((predict(network, val, batch_size).argmax(1) == val.labels).mean())
        if accuracy > best_accuracy:
            best_epoch, best_accuracy, best = epoch, accuracy, copy.deepcopy(network.state_dict())
        yield NetworkStep(epoch * per_epoch, epochs * per_epoch, epoch, accuracy, best_epoch, best_accuracy)
    network.load_state_dict(best)


def _cut(places: np.ndarray, batch_size: int) -> list[np.ndarray]:
    pieces = [places[first : first + batch_size] for first in range(0, len(places), batch_size)]
    if len(pieces) > 1 and len(pieces[-1]) == 1:
        pieces[-2:] = [np.concatenate(pieces[-2:])]
    return pieces


@torch.no_grad()
def predict(network: nn.Module, signals: Labelled, batch_size: int) -> Float[np.ndarray, "n c"]:
    """What a network gives to every class, as shares that sum to 1."""
    network.eval()
    device = next(network.parameters()).device
    pieces = (np.arange(first, min(first + batch_size, len(signals))) for first in range(0, len(signals), batch_size))
    return np.concatenate([network(signals.batch(places).to(device)).softmax(1).cpu().numpy() for places in pieces])


@dataclass(frozen=True, eq=False)
class Logistic:
    """A fitted logistic regression.

    Args:
        weight: `(f, c)`.
        bias: `(c,)`.
        strength: Inverse weight of its penalty.
        accuracy: On val.
    """

    weight: Float[np.ndarray, "f c"]
    bias: Float[np.ndarray, " c"]
    strength: float
    accuracy: float

    def predict(self, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n c"]:
        """Shares of the classes."""
        return torch.from_numpy(features @ self.weight + self.bias).softmax(1).numpy()


def fit_logistic(
    train: Float[np.ndarray, "n f"],
    labels: Int[np.ndarray, " n"],
    val: Float[np.ndarray, "v f"],
    val_labels: Int[np.ndarray, " v"],
    classes: int,
) -> Iterator[Logistic]:
    """Logistic regression for every strength of the penalty; the last one yielded is the best on val."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    best: Logistic | None = None
    for strength in STRENGTHS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # nearly separable: more iterations change no prediction
            fitted = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(train, labels)
        found = _spread(fitted, classes, strength)
        accuracy = float((found.predict(val).argmax(1) == val_labels).mean())
        found = Logistic(found.weight, found.bias, strength, accuracy)
        best = found if best is None or accuracy > best.accuracy else best
        yield best


def _spread(fitted: Any, classes: int, strength: float) -> Logistic:
    """One column a class, also for two classes, of which scikit-learn keeps one, and for classes without training signals."""
    rows, known = fitted.coef_, fitted.classes_
    if len(known) == 2:
        rows, offsets = np.concatenate([-rows, rows]) / 2, np.concatenate([-fitted.intercept_, fitted.intercept_]) / 2
    else:
        offsets = fitted.intercept_
    weight, bias = np.zeros((rows.shape[1], classes)), np.full(classes, -np.inf)
    weight[:, known], bias[known] = rows.T, offsets
    return Logistic(weight.astype(np.float32), bias.astype(np.float32), strength, 0.0)
