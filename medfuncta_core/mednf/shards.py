"""Shards of a MedNF set: safetensors files of one tensor `latents`, a row a signal, that are written whole and memory-mapped.

The header carries a digest of the numbers, so that a damaged shard can be told from a good one without anything else.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from medfuncta_core.atomic import write_atomically
from medfuncta_core.errors import SetError

DTYPES: dict[str, np.dtype] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
_STORED = {"F16": DTYPES["float16"], "F32": DTYPES["float32"]}
_MAX_HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class Shard:
    """Where the numbers of a shard lie.

    Args:
        path: The file.
        rows: Signals in it.
        latent_dim: P.
        dtype: float16 or float32.
        offset: Bytes before the first number.
        sha256: Digest of the numbers' bytes as the header states it; "" in files by other hands.
    """

    path: Path
    rows: int
    latent_dim: int
    dtype: np.dtype
    offset: int
    sha256: str

    def map(self) -> np.ndarray:
        """The latents `(rows, p)` as stored, read from the disk as they are touched; the file never changes."""
        if self.rows == 0:
            return np.empty((0, self.latent_dim), self.dtype)
        return np.memmap(self.path, self.dtype, "c", self.offset, (self.rows, self.latent_dim))

    def digest(self) -> str:
        """SHA-256 of the numbers as they are now."""
        return _digest(self.map())


def shard_name(index: int, count: int) -> str:
    """`latents-00003-of-00012.safetensors`: counted from 0, of `count`."""
    return f"latents-{index:05d}-of-{count:05d}.safetensors"


def find_shards(directory: Path) -> dict[int, Path]:
    """The shard files of a directory by their index, whatever count their names state."""
    named = ((re.fullmatch(r"latents-(\d{5,})-of-\d{5,}\.safetensors", file.name), file) for file in directory.iterdir())
    return {int(match[1]): file for match, file in named if match}


def write_shard(path: Path, latents: np.ndarray) -> Path:
    """Write a shard, whole or not at all.

    Args:
        path: As `shard_name` says.
        latents: float16 or float32 `(n, p)`, finite.

    Raises:
        SetError: when a latent is not finite or the place cannot be written.
    """
    if not np.isfinite(latents).all():
        row = int(np.argmin(np.isfinite(latents).all(1)))
        raise SetError(f"{path.name}: the latent of row {row} is not finite as {latents.dtype}; store the set as float32")
    latents = np.ascontiguousarray(latents)
    content = save({"latents": latents}, metadata={"sha256": _digest(latents)})  # several keys would come in a random order
    return write_atomically(path, content, SetError)


def read_shard(path: Path) -> Shard:
    """Read a shard's header.

    Raises:
        SetError: naming the file, when it is missing, truncated, or holds something else.
    """
    try:
        byte_count = path.stat().st_size
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            if not 2 <= header_bytes <= min(_MAX_HEADER_BYTES, byte_count - 8):
                raise ValueError("no safetensors header")
            header = json.loads(file.read(header_bytes))
        entry = header["latents"]
        (rows, latent_dim), (first, last) = entry["shape"], entry["data_offsets"]
        dtype = _STORED[entry["dtype"]]
        if first < 0 or last - first != rows * latent_dim * dtype.itemsize or 8 + header_bytes + last > byte_count:
            raise ValueError("fewer numbers than stated")
        stated = str((header.get("__metadata__") or {}).get("sha256", ""))
    except FileNotFoundError:
        raise SetError(f"{path}: this shard is missing; copy it again, or go on encoding with --resume") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UnicodeDecodeError) as error:
        raise SetError(f"{path}: this shard is damaged; delete it and encode with --resume, or copy it again") from error
    return Shard(path, rows, latent_dim, dtype, 8 + header_bytes + first, stated)


def _digest(latents: np.ndarray) -> str:
    digest = hashlib.sha256()
    for first in range(0, len(latents), _DIGEST_ROWS):
        digest.update(latents[first : first + _DIGEST_ROWS].tobytes())
    return digest.hexdigest()


_DIGEST_ROWS = 4096
