"""What is classified: latents, the modulations they give, or the signals' own values; scaled by what training signals say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from medfuncta_core.errors import ConfigError, SetError
from medfuncta_core.mednf.mednf_set import MednfSet
from medfuncta_core.signals import DataSet, load_data_set

Space = Literal["latent", "modulation", "pixels"]
Scaling = Literal["raw", "standardised", "whitened"]

SPLITS = ("train", "val", "test")
ROWS_AT_ONCE = 2048
MOST_WHITENED = 8192  # features: their covariance is decomposed, which takes the cube of their number
SMALLEST_SHARE = 1e-6  # of the largest variance; components below are rounding, and whitening would blow them up


def split_rows(opened: MednfSet, limit: int | None = None) -> dict[str, Int[np.ndarray, " m"]]:
    """Rows of the labelled signals of every split.

    Args:
        opened: The set.
        limit: At most so many training signals, evenly spread.

    Raises:
        SetError: when a split or a class is missing, saying which.
    """
    found: dict[str, np.ndarray] = {}
    for split in SPLITS:
        rows = opened.rows_of(split)
        if not len(rows):
            raise SetError(
                f"{opened.path}: has no {split} split; classifying needs train, val and test: encode the data once more "
                "with all three (--split train --split val --split test)"
            )
        found[split] = rows[opened.labels[rows] >= 0]
        if not len(found[split]):
            raise SetError(
                f"{opened.path}: no signal of its {split} split has a class; encode data with one class a signal "
                "(several labels at once cannot be classified)"
            )
    if limit is not None and limit < len(found["train"]):
        found["train"] = found["train"][np.linspace(0, len(found["train"]) - 1, limit).round().astype(np.int64)]
    _require_classes(opened, found)
    return found


def _require_classes(opened: MednfSet, rows: Mapping[str, np.ndarray]) -> None:
    known = np.unique(opened.labels[rows["train"]])
    if len(known) < 2:
        raise SetError(
            f"{opened.path}: all its training signals are {opened.name_of(int(known[0]))}; classifying needs two classes or more"
        )
    for split in SPLITS[1:]:
        unseen = np.setdiff1d(opened.labels[rows[split]], known)
        if len(unseen):
            raise SetError(
                f"{opened.path}: class {opened.name_of(int(unseen[0]))} is in its {split} split but not among the training "
                "signals; encode more of train, or data without that class"
            )


def read_features(opened: MednfSet, rows: Int[np.ndarray, " m"], space: Space) -> Float[np.ndarray, "m f"]:
    """Latents of some rows, or every layer's modulations m_k that they give (Eq. 1), float32.

    Raises:
        SetError, CheckpointError: when latents or the set's network cannot be read.
    """
    latents = opened.latents(rows)
    if space == "latent":
        return latents
    import torch

    from medfuncta_core.checkpoint import load_checkpoint

    field = load_checkpoint(opened.checkpoint_path).field
    pieces: list[np.ndarray] = []
    with torch.no_grad():
        for first in range(0, len(latents), ROWS_AT_ONCE):
            parts = field.modulations(torch.from_numpy(latents[first : first + ROWS_AT_ONCE]))
            pieces.append(torch.cat([part.flatten(1) for part in parts if part is not None], 1).numpy())
    return np.concatenate(pieces)


@dataclass(frozen=True, eq=False)
class Pixels:
    """The signals behind some rows of a set, as their file has them.

    Args:
        data: The split they are in.
        indices: Which of its signals, `(m,)`.
    """

    data: DataSet
    indices: Int[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, places: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b *shape c"]:
        """Some of them, float32 in [0, 1]."""
        return self.data.batch(self.indices[places])

    def flat(self) -> Float[np.ndarray, "m f"]:
        """All of them, every value a feature."""
        return self.data.batch(self.indices).reshape(len(self), -1)


def open_pixels(
    opened: MednfSet, rows: Mapping[str, Int[np.ndarray, " m"]], data: str | Path | None, cache_dir: str | Path | None = None
) -> dict[str, Pixels]:
    """The signals that a set was encoded from.

    Args:
        opened: The set.
        rows: Of every split.
        data: As for `load_data_set`.
        cache_dir: As for `load_data_set`.

    Raises:
        SetError: when `data` is None, or other data.
        DataSetError, SignalError: when it cannot be read.
    """
    if data is None:
        name = opened.info.data.file or opened.info.data.name
        raise SetError(f"{opened.path}: holds latents only; classifying pixels needs the data it was encoded from: --data {name}")
    found: dict[str, Pixels] = {}
    for split, chosen in rows.items():
        part = load_data_set(data, split, cache_dir=cache_dir)
        indices = np.array([int(str(name).rpartition("/")[2]) for name in opened.column("id")[chosen]])
        same = part.labels is not None and indices.max() < len(part)
        if not same or (part.labels[indices] != opened.labels[chosen]).any():  # pyright: ignore[reportOptionalSubscript]
            raise SetError(
                f"{data}: its {split} split has other signals or classes than {opened.path}, which was encoded from "
                f"{opened.info.data.name}; give those data"
            )
        found[split] = Pixels(part, indices)
    return found


@dataclass(frozen=True, eq=False)
class Scaler:
    """How features are scaled: shifted by a mean, then multiplied by a factor each, or by a matrix.

    Args:
        mean: `(f,)`.
        factors: `(f,)`, or `(f, q)` to whiten.
    """

    mean: Float[np.ndarray, " f"]
    factors: Float[np.ndarray, " f"] | Float[np.ndarray, "f q"]

    def apply(self, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n q"]:
        """Scaled features, float32."""
        centred = features - self.mean
        return centred * self.factors if self.factors.ndim == 1 else centred @ self.factors


def fit_scaler(features: Float[np.ndarray, "n f"], scaling: Scaling) -> Scaler | None:
    """A scaler from training features alone: no number of any other split goes into it. None leaves features raw.

    Standardised, every feature has mean 0 and deviation 1; whitened, every principal component, so that all count alike.
    A feature that never changes stays 0, as do components with next to no variance, and no more are kept than signals tell.

    Raises:
        ConfigError: when there are too many features to whiten.
    """
    if scaling == "raw":
        return None
    mean = features.mean(0, dtype=np.float64)
    if scaling == "standardised":
        deviation = features.std(0, dtype=np.float64)
        steady = deviation <= 1e-6 * np.maximum(np.abs(mean), 1e-12)
        return Scaler(mean.astype(np.float32), np.where(steady, 0, 1 / np.where(steady, 1, deviation)).astype(np.float32))
    if features.shape[1] > MOST_WHITENED:
        raise ConfigError(
            f"whitening {features.shape[1]:,} features would take too long (at most {MOST_WHITENED:,}); use standardised"
        )
    centred = (features - mean.astype(np.float32)).astype(np.float32)
    variances, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64) / max(len(features) - 1, 1))
    kept = np.flatnonzero(variances > SMALLEST_SHARE * max(variances[-1], 1e-300))[-max(len(features) - 1, 1) :]
    return Scaler(mean.astype(np.float32), (axes[:, kept] / np.sqrt(variances[kept])).astype(np.float32))
