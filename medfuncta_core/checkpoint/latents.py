"""Latents with their labels in one safetensors file: what an import brings along, until they become a MedNF set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from medfuncta_core.atomic import write_atomically
from medfuncta_core.errors import CheckpointError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class LatentTable:
    """One row a signal.

    Args:
        latents: float32 `(n, p)`.
        labels: int64 `(n,)`, or `(n, m)` where a signal has several labels at once; -1 where it has none.
        splits: "train", "val", "test", or "" where the files did not say, one a row.
        indices: int64 `(n,)`, the number of the signal in its split.
    """

    latents: Float[np.ndarray, "n p"]
    labels: Int[np.ndarray, "n ..."]
    splits: tuple[str, ...]
    indices: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.latents)


def save_latents(path: str | Path, table: LatentTable) -> Path:
    """Write a table; the splits are stored as codes, their names in the file's header.

    Raises:
        CheckpointError: when the place cannot be written.
    """
    names = ("", *SPLITS)
    tensors = {
        "latents": np.ascontiguousarray(table.latents, dtype=np.float32),
        "labels": np.ascontiguousarray(table.labels, dtype=np.int64),
        "split": np.array([names.index(split) for split in table.splits], dtype=np.int64),
        "index": np.ascontiguousarray(table.indices, dtype=np.int64),
    }
    header = {"format": "medfuncta-latents", "splits": json.dumps(names)}
    return write_atomically(Path(path), save(tensors, metadata=header))


def load_latents(path: str | Path) -> LatentTable:
    """Read what `save_latents` wrote.

    Raises:
        CheckpointError: when the file is missing, truncated, or no such table.
    """
    tensors, header = read_tensors(Path(path))
    try:
        names = json.loads(header["splits"])
        splits = tuple(str(names[code]) for code in tensors["split"])
        table = LatentTable(tensors["latents"], tensors["labels"], splits, tensors["index"])
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: not a file of latents; write one with import-official --latents") from error
    if table.latents.ndim != 2 or not len(table.latents) == len(table.labels) == len(splits) == len(table.indices):
        raise CheckpointError(f"{path}: its columns have different lengths; write it anew")
    return table


def read_latent(source: str, latent_dim: int) -> Float[np.ndarray, " p"]:
    """One latent: a `.npy` file of P numbers, or `FILE#ROW` of a safetensors file with a tensor `latents`.

    Args:
        source: `latent.npy`, `latents.safetensors#3`, `gallery.safetensors#0`; rows count from 0.
        latent_dim: P of the field it is meant for.

    Returns:
        float32 `(P,)`.

    Raises:
        CheckpointError: when the file, the row, the length or the values do not fit.
    """
    name, separator, row = source.rpartition("#")
    if separator and row.isdecimal() and not Path(source).exists():
        latents = read_tensors(Path(name))[0].get("latents")
        if latents is None or latents.ndim != 2:
            raise CheckpointError(f"{name}: holds no latents; give a file with a tensor latents (n, p)")
        if int(row) >= len(latents):
            raise CheckpointError(f"{name}: no row {row}; it has rows 0 to {len(latents) - 1}")
        latent = latents[int(row)]
    else:
        latent = _read_npy(Path(source))
    if latent.shape not in ((latent_dim,), (1, latent_dim)):
        raise CheckpointError(
            f"{source}: shape {latent.shape}, this checkpoint's latents have {latent_dim} numbers; use the one it came from"
        )
    latent = latent.reshape(latent_dim).astype(np.float32)
    if not np.isfinite(latent).all():
        raise CheckpointError(f"{source}: contains NaN or infinite values; fit the signal again")
    return latent


def is_latent_file(file: Path, latent_dim: int) -> bool:
    """Whether a `.npy` file holds as many numbers as a latent; one that cannot be read counts, so that reading it says why."""
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False).size == latent_dim
    except (OSError, ValueError, EOFError):
        return True


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors of a safetensors file and its header's metadata.

    Raises:
        CheckpointError: when it is missing, truncated or of another format.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; check the path")
    try:
        with safe_open(path, framework="numpy") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}
    except (SafetensorError, OSError, ValueError, TypeError) as error:  # TypeError: a number format that numpy lacks
        raise CheckpointError(f"{path}: truncated or not a safetensors file; write or copy it again") from error


def _read_npy(path: Path) -> np.ndarray:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give latent.npy or FILE.safetensors#ROW")
    try:
        latent = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"{path}: not a readable .npy file of numbers; fit the signal again") from error
    if not isinstance(latent, np.ndarray) or latent.dtype.kind not in "fiu":
        raise CheckpointError(f"{path}: holds no array of real numbers; give a latent.npy")
    return latent
