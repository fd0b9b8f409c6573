"""The published sets' latents, a file a signal (`train|val|test/datapoint_N.pt`), read in order and in parallel.

A file holds `modulations`, P numbers, and `label`, one class or a yes or no for each. What cannot be read is named and left out.
"""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from medfuncta_core.checkpoint.latents import SPLITS
from medfuncta_core.checkpoint.pickles import as_tensor, read_pickle
from medfuncta_core.errors import CheckpointError

Datapoint = tuple[str, int, Path]  # split, number, file

PARALLEL_FROM = 5_000
"""Files below which starting processes, each with a torch of its own, takes longer than reading."""

FILES_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Reading:
    """What came of one file.

    Args:
        datapoint: Its split, number and path.
        latent: float32 `(p,)`, or None when it could not be read.
        label: int64 `()`, or `(m,)` where it has several; -1 where it has none.
        problem: Why it could not be read, naming it; "" otherwise.
    """

    datapoint: Datapoint
    latent: Float[np.ndarray, " p"] | None
    label: Int[np.ndarray, "*m"]
    problem: str = ""


def find_datapoints(folder: Path) -> list[Datapoint]:
    """All `datapoint_N.pt` of a published set, by split and number.

    Args:
        folder: The one with `train`, `val` and `test`, or one of these.

    Raises:
        CheckpointError: when there is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; give the one with train, val and test, or one of these")
    places = [(split, folder / split) for split in SPLITS if (folder / split).is_dir()]
    places = places or [(folder.resolve().name if folder.resolve().name in SPLITS else "", folder)]
    files: list[Datapoint] = []
    for split, place in places:
        named = [(re.fullmatch(r"datapoint_(\d+)\.pt", file.name), file) for file in place.iterdir()]
        files += sorted((split, int(match[1]), file) for match, file in named if match)
    if not files:
        raise CheckpointError(f"{folder}: no datapoint_N.pt in it; give the folder of a published set")
    return files


def read_datapoints(files: Sequence[Datapoint], latent_dim: int, workers: int | None = None) -> Iterator[Reading]:
    """Read files, one result each, in their order.

    Args:
        files: As `find_datapoints` lists them.
        latent_dim: P of the field they belong to.
        workers: Processes; None takes one a core when there are many files, 0 reads here.

    Yields:
        Latent and label, or what is wrong with the file; the first readable one decides how many labels a signal has.
    """
    if workers is None:
        workers = (os.cpu_count() or 1) if len(files) >= PARALLEL_FROM else 0
    runs = [files[first : first + FILES_AT_ONCE] for first in range(0, len(files), FILES_AT_ONCE)]
    labels: tuple[int, ...] | None = None
    with _pool(workers) as pool:
        jobs = (map if pool is None else pool.map)(partial(_read_run, latent_dim=latent_dim), runs)
        for results in jobs:
            for reading in results:
                if reading.latent is not None:
                    labels = reading.label.shape if labels is None else labels
                    if reading.label.shape != labels:
                        reading = _left_out(reading, int(np.prod(labels, dtype=np.int64)))
                yield reading


@contextmanager
def _pool(workers: int) -> Iterator[Executor | None]:
    """Processes that start anew: a fork would copy torch's threads in whatever state they are."""
    if workers < 1:
        yield None
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_alone)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _alone() -> None:
    torch.set_num_threads(1)  # the processes are the parallelism


def _left_out(reading: Reading, expected: int) -> Reading:
    file = reading.datapoint[2]
    problem = f"{file}: {reading.label.size} labels where the others have {expected}; left out"
    return Reading(reading.datapoint, None, reading.label, problem)


def _read_run(files: Sequence[Datapoint], latent_dim: int) -> list[Reading]:
    return [_read_one(datapoint, latent_dim) for datapoint in files]


def _read_one(datapoint: Datapoint, latent_dim: int) -> Reading:
    try:
        return Reading(datapoint, *_read_content(datapoint[2], latent_dim))
    except CheckpointError as error:
        return Reading(datapoint, None, np.array(-1), str(error))


def _read_content(file: Path, latent_dim: int) -> tuple[np.ndarray, np.ndarray]:
    content = read_pickle(file)
    if not isinstance(content, dict) or "modulations" not in content:
        raise CheckpointError(f"{file}: no modulations in it; not a latent of the published implementation")
    latent = as_tensor(content["modulations"], f"{file}: modulations")
    if latent.numel() != latent_dim:
        raise CheckpointError(f"{file}: {latent.numel()} modulations, the field has {latent_dim}; a latent of another field")
    try:
        label = torch.as_tensor(content.get("label", -1))
        if label.numel() > label.untyped_storage().nbytes():
            raise ValueError("claims more labels than the file holds")
        label = label.to(torch.int64).flatten().numpy()
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{file}: its label is no number; save it again") from error
    return latent.reshape(-1).numpy(), label.reshape(()) if label.size == 1 else label
