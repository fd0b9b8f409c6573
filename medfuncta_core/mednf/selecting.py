"""A part of a set that somebody chose: how many of each class, the mean latent, what to look at, and files to take home."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from medfuncta_core.errors import SetError
from medfuncta_core.mednf.embedding import LatentMap
from medfuncta_core.mednf.map_files import AXES
from medfuncta_core.mednf.mednf_set import MednfSet

ROWS_AT_ONCE = 4096
MOST_NUMBERS = 2**27
"""Of the latents in a file that is made in memory: 256 MiB as float16."""


@dataclass(frozen=True)
class ClassCount:
    """How many of a class are in a selection, and in the set; label -1 is none."""

    label: int
    name: str
    count: int
    total: int


def count_classes(latents: MednfSet, rows: Int[np.ndarray, " m"]) -> tuple[ClassCount, ...]:
    """The classes of some rows, the most frequent first."""
    labels, counts = np.unique(latents.labels[rows], return_counts=True)
    found = [
        ClassCount(int(label), latents.name_of(int(label)) or "no class", int(count), int((latents.labels == label).sum()))
        for label, count in zip(labels, counts, strict=True)
    ]
    return tuple(sorted(found, key=lambda of: (-of.count, of.label)))


def mean_latent(latents: MednfSet, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, " p"]:
    """The mean of some latents, added up in float64.

    Raises:
        SetError: when there are none.
    """
    if len(rows) == 0:
        raise SetError(f"{latents.path}: no rows are chosen; choose at least one")
    total = np.zeros(latents.latent_dim)
    for first in range(0, len(rows), ROWS_AT_ONCE):
        total += latents.latents(rows[first : first + ROWS_AT_ONCE]).sum(axis=0, dtype=np.float64)
    return (total / len(rows)).astype(np.float32)


def spread_rows(latents: MednfSet, rows: Int[np.ndarray, " m"], most: int) -> Int[np.ndarray, " k"]:
    """At most so many of some rows, every class in its share, evenly over each; class by class."""
    ordered = rows[np.argsort(latents.labels[rows], kind="stable")]
    return ordered[np.linspace(0, len(ordered) - 1, min(most, len(ordered))).round().astype(np.int64)]


def selection_archive(latents: MednfSet, rows: Int[np.ndarray, " m"], made: LatentMap) -> bytes:
    """An `.npz` of latents as stored, rows, ids, splits, labels, class names, and places on the map; no pickled objects in it.

    Raises:
        SetError: when the latents are more than fit a file made in memory.
    """
    if len(rows) * latents.latent_dim > MOST_NUMBERS:
        most = MOST_NUMBERS // latents.latent_dim
        raise SetError(f"{len(rows):,} latents of {latents.latent_dim:,} are too many for one file; choose at most {most:,}")
    words = {name: np.array([value or "" for value in latents.column(name)[rows]]) for name in ("id", "split", "class_name")}
    arrays: dict[str, Any] = {"latents": latents.latents(rows).astype(latents.info.dtype), "rows": rows, **words}
    arrays |= {"labels": latents.labels[rows], "map": made.coords[rows], "class_names": np.array(latents.class_names)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def selection_table(latents: MednfSet, rows: Int[np.ndarray, " m"], made: LatentMap) -> str:
    """A CSV: row, place on the map, and everything the set's table says, a line a signal."""
    table = latents.metadata.take(rows).to_pylist()
    axes = AXES[: made.coords.shape[1]]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["set_row", *(f"map_{axis}" for axis in axes), *latents.columns])
    for row, entry in zip(rows, table, strict=True):
        places = [f"{place:.6g}" for place in made.coords[row]]
        writer.writerow([int(row), *places, *("" if entry[name] is None else entry[name] for name in latents.columns)])
    return buffer.getvalue()
