"""Which signals to fit, and how many at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medfuncta_core.config import FieldConfig

ACTIVATION_BUDGET = 2**25
"""Hidden activations of a batch that is fitted together on a CPU: 128 MiB in float32, a few times that with their gradients."""

LARGEST_BATCH = 4096
"""Signals of a batch on a GPU, whatever its memory: beyond it nothing gets faster."""


def choose_batch_size(field: FieldConfig, shape: Sequence[int], device: str = "cpu") -> int:
    """How many signals of a shape to fit together, at least 1, so that memory does not grow with the data set or the shape.

    Args:
        field: Its width and depth decide what a signal needs.
        shape: Points per axis.
        device: cpu, or cuda: then an eighth of the memory that is free now may hold activations; the rest is for gradients.
    """
    activations = math.prod(shape) * field.width * field.depth
    if device != "cuda":
        return max(1, min(256, ACTIVATION_BUDGET // activations))
    import torch

    free_bytes, _ = torch.cuda.mem_get_info()
    return max(1, min(LARGEST_BATCH, free_bytes // 8 // (4 * activations)))


def classes_of(labels: np.ndarray) -> tuple[int, ...]:
    """The classes that occur, rising; -1 is none."""
    return tuple(int(label) for label in np.unique(labels[labels >= 0]))


def rows_of_class(labels: np.ndarray, label: int | None) -> np.ndarray:
    """Rows of a class, or all rows."""
    return np.arange(len(labels)) if label is None else np.flatnonzero(labels == label)


def choose_rows(labels: np.ndarray | None, count: int, per_class: int) -> np.ndarray:
    """A balanced sample: of every class up to `per_class`, evenly spread over the split; the same ones each time.

    Args:
        labels: `(count,)` class indices, or None: then the whole split is one class.
        count: Signals of the split.
        per_class: How many of each.

    Returns:
        Row numbers, the classes in turn, so that the first few show all of them.
    """
    classes = [np.arange(count)] if labels is None else [np.flatnonzero(labels == label) for label in np.unique(labels)]
    spread = [
        members[np.linspace(0, len(members) - 1, min(per_class, len(members))).round().astype(np.int64)] for members in classes
    ]
    turns = np.concatenate([np.arange(len(members)) for members in spread])
    return np.concatenate(spread)[np.argsort(turns, kind="stable")]
