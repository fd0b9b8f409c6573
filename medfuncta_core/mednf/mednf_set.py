"""A MedNF set, opened: its table at hand, its latents on the disk until they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from medfuncta_core.checkpoint import read_latent
from medfuncta_core.errors import SetError
from medfuncta_core.mednf.metadata import METADATA_FILE, SetInfo, as_array, read_columns, read_info
from medfuncta_core.mednf.networks import find_network
from medfuncta_core.mednf.shards import Shard, read_shard, shard_name


@dataclass(frozen=True, eq=False)
class MednfSet:
    """Latents of many signals with their labels and qualities.

    Nothing is read before it is needed, and latents are never all read at once: 500,000 of length 2048 are 2 GB.

    Args:
        path: The folder.
        info: What holds for all rows.
        columns: Names of the table's columns.
    """

    path: Path
    info: SetInfo
    columns: tuple[str, ...]

    def __len__(self) -> int:
        return self.info.rows

    @property
    def name(self) -> str:
        """The set's name."""
        return self.info.name

    @property
    def latent_dim(self) -> int:
        """P."""
        return self.info.latent_dim

    @property
    def shape(self) -> tuple[int, ...]:
        """Points per axis of the signals, without channels."""
        return self.info.shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the labels, by number."""
        return self.info.class_names

    @property
    def checkpoint_path(self) -> Path:
        """The shared network that decodes these latents: the set's own `model/`, or the checkpoint that it names.

        Raises:
            SetError: when it is not there, or has other weights than the latents were fitted with.
        """
        return find_network(self.path, self.info.checkpoint, self.info.checkpoint_sha256)

    @cached_property
    def metadata(self) -> pa.Table:
        """The whole table, a row a signal."""
        return read_columns(self.path)

    @cached_property
    def kept(self) -> dict[str, Any]:
        """What was worked out once for this opened set: columns, and what searching needs."""
        return {}

    def column(self, name: str) -> np.ndarray:
        """A column `(n,)`: numbers (NaN for unknown), or text as objects; only this column is read.

        Raises:
            SetError: when there is no such column.
        """
        if name not in self.columns:
            raise SetError(f"{self.path}: has no column {name}; it has {', '.join(self.columns)}")
        if name not in self.kept:
            self.kept[name] = as_array(read_columns(self.path, [name]).column(name))
        return self.kept[name]

    @cached_property
    def labels(self) -> Int[np.ndarray, " n"]:
        """Class of every row; -1 where there is none."""
        return np.nan_to_num(self.column("label").astype(np.float64), nan=-1).astype(np.int64)

    def class_name(self, row: int) -> str:
        """Name of a row's class, "" without a label."""
        return self.name_of(int(self.labels[row]))

    def name_of(self, label: int) -> str:
        """Name of a class; its number where names are not known, "" for -1."""
        return "" if label < 0 else self.class_names[label] if label < len(self.class_names) else str(label)

    def rows_of(self, split: str | None = None, label: int | None = None) -> Int[np.ndarray, " m"]:
        """Rows of a split, of a class, or of both."""
        chosen = np.ones(len(self), dtype=bool)
        if split is not None:
            chosen &= self.column("split") == split
        if label is not None:
            chosen &= self.labels == label
        return np.flatnonzero(chosen)

    def describe(self, row: int) -> dict[str, Any]:
        """Everything the table knows of a row.

        Raises:
            SetError: when there is no such row.
        """
        self._check_rows(np.array([row]))
        return self.metadata.slice(row, 1).to_pylist()[0]

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """Headers of all shards.

        Raises:
            SetError: naming the first that is missing, damaged or of another set.
        """
        found = tuple(read_shard(self.path / shard_name(index, self.info.shards)) for index in range(self.info.shards))
        for shard in found:
            if (shard.latent_dim, shard.dtype.name) != (self.latent_dim, self.info.dtype):
                raise SetError(
                    f"{shard.path}: latents of {shard.latent_dim} {shard.dtype.name}, the set has {self.latent_dim} "
                    f"{self.info.dtype}; this shard is of another set"
                )
        rows = sum(shard.rows for shard in found)
        if rows != len(self):
            raise SetError(f"{self.path}: its shards hold {rows} rows, its table {len(self)}; copy it again")
        return found

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum([shard.rows for shard in self.shards])])

    @cached_property
    def _maps(self) -> list[np.ndarray]:
        return [shard.map() for shard in self.shards]

    def latent(self, row: int) -> Float[np.ndarray, " p"]:
        """One latent, float32."""
        return self.latents([row])[0]

    def latents(self, rows: Sequence[int] | Int[np.ndarray, " b"] | slice) -> Float[np.ndarray, "b p"]:
        """Some latents, float32, in the order asked for; nothing else is read.

        Raises:
            SetError: when a row does not exist or a shard is damaged.
        """
        chosen = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64).reshape(-1)
        self._check_rows(chosen)
        shards = np.searchsorted(self._starts, chosen, side="right") - 1
        out = np.empty((len(chosen), self.latent_dim), np.float32)
        for index in np.unique(shards):
            places = np.flatnonzero(shards == index)
            out[places] = self._maps[index][chosen[places] - self._starts[index]]
        return out

    def blocks(self, rows_per_block: int = 8192) -> Iterator[tuple[int, np.ndarray]]:
        """All latents as stored, in order: the first row of a block and a view `(b, p)` of the memory map."""
        for start, stored in zip(self._starts, self._maps, strict=False):
            for first in range(0, len(stored), rows_per_block):
                yield int(start) + first, stored[first : first + rows_per_block]

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the whole content; quick, because shards state theirs in their headers."""
        digest = hashlib.sha256((self.path / METADATA_FILE).read_bytes())
        for shard in self.shards:
            digest.update((shard.sha256 or shard.digest()).encode())
        return digest.hexdigest()

    def _check_rows(self, rows: np.ndarray) -> None:
        if len(rows) and not (0 <= rows.min() and rows.max() < len(self)):
            wrong = int(rows.min() if rows.min() < 0 else rows.max())
            raise SetError(f"{self.path}: no row {wrong}; it has rows 0 to {len(self) - 1}")


@dataclass(frozen=True)
class SetSummary:
    """What `list_sets` finds: a folder and what holds for the whole set."""

    path: Path
    info: SetInfo


def open_set(path: str | Path) -> MednfSet:
    """Open a set; at any size this reads one footer.

    Raises:
        SetError: when the folder is no finished set.
    """
    directory = Path(path)
    info, columns = read_info(directory)
    return MednfSet(directory, info, columns)


def list_sets(root: str | Path) -> list[SetSummary]:
    """The finished sets in the folders of `root`, by name; broken ones are left out (`open_set` says what is wrong with one)."""
    found: list[SetSummary] = []
    for directory in sorted(Path(root).glob("*/")):
        try:
            found.append(SetSummary(directory, read_info(directory)[0]))
        except SetError:
            continue
    return found


def find_latent(source: str, latent_dim: int) -> Float[np.ndarray, " p"]:
    """One latent: a row of a set (`SET#ROW`), or whatever `read_latent` reads.

    Args:
        source: `sets/ecg#3`, `latent.npy`, `latents.safetensors#3`.
        latent_dim: P of the field it is meant for.

    Returns:
        float32 `(P,)`.

    Raises:
        SetError, CheckpointError: when set, file, row or length do not fit.
    """
    name, separator, row = source.rpartition("#")
    if not (separator and row.isdecimal() and Path(name).is_dir()):
        return read_latent(source, latent_dim)
    latents = open_set(name)
    if latents.latent_dim != latent_dim:
        raise SetError(
            f"{name}: latents of {latents.latent_dim} numbers, this checkpoint's have {latent_dim}; "
            f"use the set's own network, {latents.info.checkpoint}"
        )
    return latents.latent(int(row))
