"""The demo gallery: latents fitted from a test split, small enough to ship, decoded on demand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from safetensors.numpy import save

from medfuncta_core.atomic import write_atomically
from medfuncta_core.checkpoint.latents import read_tensors
from medfuncta_core.errors import CheckpointError


@dataclass(frozen=True, eq=False)
class Gallery:
    """Latents of one checkpoint, with what a page shows beside them.

    Args:
        checkpoint: Name of the checkpoint that fitted them.
        latents: float32 `(n, p)`.
        labels: int64 `(n,)`; -1 where a signal has no label.
        psnr: float32 `(n,)`, dB on the whole signal.
        ids: Where each comes from, such as "test/17".
        class_names: Names of the labels, by number.
        shape: Points per axis of the signals fitted.
        data: Name of the data set; its licence is in the checkpoint's card.
        fit_steps: Steps behind every latent.
    """

    checkpoint: str
    latents: Float[np.ndarray, "n p"]
    labels: Int[np.ndarray, " n"]
    psnr: Float[np.ndarray, " n"]
    ids: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    data: str = ""
    fit_steps: int = 20

    def __len__(self) -> int:
        return len(self.latents)

    def class_name(self, row: int) -> str:
        """Name of a row's class; its number where names are not known, "" without a label."""
        label = int(self.labels[row])
        if label < 0:
            return ""
        return self.class_names[label] if label < len(self.class_names) else str(label)


def save_gallery(path: str | Path, gallery: Gallery) -> Path:
    """Write a gallery: the arrays as tensors, the rest as JSON in the header.

    Raises:
        CheckpointError: when rows are missing, values are not finite, or the place cannot be written.
    """
    _check(gallery, path)
    tensors = {
        "latents": np.ascontiguousarray(gallery.latents, dtype=np.float32),
        "labels": np.ascontiguousarray(gallery.labels, dtype=np.int64),
        "psnr": np.ascontiguousarray(gallery.psnr, dtype=np.float32),
    }
    about = {
        "checkpoint": gallery.checkpoint,
        "ids": gallery.ids,
        "class_names": gallery.class_names,
        "shape": gallery.shape,
        "data": gallery.data,
        "fit_steps": gallery.fit_steps,
    }
    return write_atomically(Path(path), save(tensors, metadata={"format": "medfuncta-gallery", "gallery": json.dumps(about)}))


def load_gallery(path: str | Path) -> Gallery:
    """Read what `save_gallery` wrote.

    Raises:
        CheckpointError: when the file is missing, truncated, not a gallery, or its columns do not fit together.
    """
    tensors, header = read_tensors(Path(path))
    try:
        about = json.loads(header["gallery"])
        gallery = Gallery(
            checkpoint=str(about["checkpoint"]),
            latents=tensors["latents"],
            labels=tensors["labels"],
            psnr=tensors["psnr"],
            ids=tuple(str(name) for name in about["ids"]),
            class_names=tuple(str(name) for name in about["class_names"]),
            shape=tuple(int(points) for points in about["shape"]),
            data=str(about["data"]),
            fit_steps=int(about["fit_steps"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: not a gallery; write one with the gallery command") from error
    _check(gallery, path)
    return gallery


def _check(gallery: Gallery, path: str | Path) -> None:
    rows = gallery.latents.shape[:1]
    columns = (gallery.labels.shape, gallery.psnr.shape, (len(gallery.ids),))
    if gallery.latents.ndim != 2 or any(column != rows for column in columns):
        raise CheckpointError(f"{path}: latents, labels, psnr and ids of a gallery need one row each per signal")
    if not np.isfinite(gallery.latents).all():
        raise CheckpointError(f"{path}: a latent contains NaN or infinite values; fit the gallery again")
