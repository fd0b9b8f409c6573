"""Whether a set is what it says: every number finite, every digest right, its own network there, and its stated PSNR true.

Nothing stops at the first fault: each becomes a line that names the file or the row, and what to do about it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medfuncta_core import metrics
from medfuncta_core.errors import MedFunctaError
from medfuncta_core.fitting import Fitter
from medfuncta_core.learning.validating import MAX_PSNR
from medfuncta_core.mednf.choosing import choose_batch_size, choose_rows
from medfuncta_core.mednf.mednf_set import MednfSet, open_set
from medfuncta_core.mednf.network import load_network
from medfuncta_core.mednf.registry import data_of
from medfuncta_core.mednf.shards import Shard, find_shards, read_shard, shard_name
from medfuncta_core.signals import DataSet, load_data_set

SAMPLE = 64
PSNR_TOLERANCE_DB = 0.05
"""How far a PSNR measured here may be from the stated one: machines sum in other orders."""

_BLOCK_ROWS = 4096


@dataclass
class VerifyReport:
    """What was looked at, and what is wrong.

    Args:
        set: The folder.
        rows: Signals the table states.
        shards: Files it states.
        shards_checked: Of these, how many were read whole.
        rows_finite: Latents read and found finite.
        decoded: Rows of the sample that decode to finite numbers that are not all alike.
        compared: Rows whose stated PSNR was measured again on the data.
        largest_difference_db: Between stated and measured PSNR; None where nothing was compared.
        network: Where the network was found, "" when it was not.
        problems: One line each; empty when all is well.
        seconds: It took.
    """

    set: str
    rows: int
    shards: int
    shards_checked: int = 0
    rows_finite: int = 0
    decoded: int = 0
    compared: int = 0
    largest_difference_db: float | None = None
    network: str = ""
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """All of it with strict JSON's types."""
        return asdict(self) | {"ok": self.ok}


@dataclass(frozen=True)
class VerifyStep:
    """Where a check is: rows read or decoded of all that will be, and the report so far."""

    done: int
    total: int
    report: VerifyReport


def verify_set(
    path: str | Path,
    data: str | Path | None = None,
    *,
    sample: int = SAMPLE,
    device: str = "auto",
    cache_dir: str | Path | None = None,
) -> Iterator[VerifyStep]:
    """Check a set against its own digests, its network and, where they are given, the signals it was fitted to.

    Args:
        path: Folder of the set.
        data: The data it was encoded from, as for `encode`; without them stated qualities are not checked.
        sample: How many rows to decode, spread over classes.
        device: auto, cpu or cuda.
        cache_dir: As for `load_data_set`.

    Yields:
        A step every few thousand rows; the last one's report is complete.

    Raises:
        SetError: when the folder is no set at all.
        DataSetError, SignalError: when the data cannot be opened.
    """
    start, opened = time.perf_counter(), open_set(path)
    report = VerifyReport(str(path), len(opened), opened.info.shards)
    chosen = np.sort(choose_sample(opened, sample))
    total = len(opened) + len(chosen)
    done = 0
    for rows in _check_shards(opened, report):
        done += rows
        yield VerifyStep(done, total, report)
    _check_places(opened, report)
    for rows in _check_sample(opened, report, chosen, data, device, cache_dir):
        done += rows
        yield VerifyStep(done, total, report)
    report.seconds = time.perf_counter() - start
    yield VerifyStep(total, total, report)


def choose_sample(opened: MednfSet, sample: int) -> np.ndarray:
    """About `sample` rows, the classes in turn, evenly spread over the set."""
    per_class = -(-sample // max(1, len(np.unique(opened.labels))))
    return choose_rows(opened.labels, len(opened), per_class)[:sample]


def _check_shards(opened: MednfSet, report: VerifyReport) -> Iterator[int]:
    """Every shard's header, digest and numbers; yields rows read."""
    for index in range(opened.info.shards):
        try:
            shard = read_shard(opened.path / shard_name(index, opened.info.shards))
        except MedFunctaError as error:
            report.problems.append(str(error))
            continue
        if (shard.latent_dim, shard.dtype.name) != (opened.latent_dim, opened.info.dtype):
            report.problems.append(
                f"{shard.path}: latents of {shard.latent_dim} {shard.dtype.name}, the set has {opened.latent_dim} "
                f"{opened.info.dtype}; this shard is of another set"
            )
            continue
        yield from _check_numbers(shard, report)
        report.shards_checked += 1
    known = {shard_name(index, opened.info.shards) for index in range(opened.info.shards)}
    strays = sorted(file.name for file in find_files(opened.path) if file.name not in known)
    report.problems += [f"{opened.path / name}: is no part of this set; delete it" for name in strays]


def find_files(directory: Path) -> list[Path]:
    """Everything that looks like a shard."""
    return list({*find_shards(directory).values(), *directory.glob("latents-*-of-*.safetensors")})


def _check_numbers(shard: Shard, report: VerifyReport) -> Iterator[int]:
    stored = shard.map()
    for first in range(0, len(stored), _BLOCK_ROWS):
        finite = np.isfinite(stored[first : first + _BLOCK_ROWS]).min(1)  # of booleans: all of them
        report.rows_finite += int(finite.sum())
        if not finite.all():
            row = first + int(np.argmin(finite))
            report.problems.append(f"{shard.path}: the latent in row {row} is not finite; encode the set again")
        yield len(finite)
    if shard.sha256 and shard.digest() != shard.sha256:
        report.problems.append(f"{shard.path}: corrupted, its numbers are not those of its digest; copy it again")


def _check_places(opened: MednfSet, report: VerifyReport) -> None:
    """Whether the table's shard and row are where its rows really lie."""
    try:
        counts = [shard.rows for shard in opened.shards]
    except MedFunctaError as error:
        if not report.problems:
            report.problems.append(str(error))
        return
    shards = np.repeat(np.arange(len(counts)), counts)
    rows = np.concatenate([np.arange(count) for count in counts])
    wrong = (opened.column("shard") != shards) | (opened.column("row") != rows)
    if wrong.any():
        report.problems.append(
            f"{opened.path}: the table places row {int(np.argmax(wrong))} where it is not stored; copy the set again"
        )


def _check_sample(
    opened: MednfSet,
    report: VerifyReport,
    chosen: np.ndarray,
    data: str | Path | None,
    device: str,
    cache_dir: str | Path | None,
) -> Iterator[int]:
    """Decode some rows, and compare them with their signals; yields rows done."""
    try:
        network = opened.checkpoint_path
        fitter = Fitter(load_network(opened), device=device)
        report.network = str(network)
        if fitter.field.config.latent_dim != opened.latent_dim:
            report.problems.append(
                f"{network}: takes latents of {fitter.field.config.latent_dim} numbers, the set's have {opened.latent_dim}"
            )
            return
        _ = opened.shards
    except MedFunctaError as error:
        report.problems += [str(error)] if str(error) not in report.problems else []
        return
    shape = opened.shape or (16,) * fitter.field.config.coord_dim
    signals = _Originals(opened, data, fitter, cache_dir) if data is not None else None
    if signals is not None and signals.problem:
        report.problems.append(signals.problem)
        signals = None
    batch = choose_batch_size(fitter.field.config, shape, fitter.device.type)
    for first in range(0, len(chosen), batch):
        rows = chosen[first : first + batch]
        decoded = fitter.decode_batch(opened.latents(rows), shape)
        for row, values in zip(rows, decoded, strict=True):
            if np.isfinite(values).all() and values.std() > 0:
                report.decoded += 1
            else:
                report.problems.append(f"{opened.path}: row {row} decodes to nothing; encode the set again")
        if signals is not None:
            _compare(opened, report, rows, torch.from_numpy(decoded), torch.from_numpy(signals.values(rows)))
        yield len(rows)


def _compare(opened: MednfSet, report: VerifyReport, rows: np.ndarray, decoded: torch.Tensor, truth: torch.Tensor) -> None:
    measured = metrics.psnr(decoded, truth).clamp(max=MAX_PSNR).numpy()
    for row, found in zip(rows, measured, strict=True):
        stated = float(opened.column("psnr")[row])
        if math.isnan(stated):
            continue
        report.compared += 1
        difference = abs(float(found) - stated)
        report.largest_difference_db = max(difference, report.largest_difference_db or 0.0)
        if difference > PSNR_TOLERANCE_DB:
            report.problems.append(
                f"{opened.path}: row {row} ({opened.describe(int(row))['id']}) states a PSNR of {stated:.2f} dB, "
                f"its latent decodes to {float(found):.2f} dB; encode the set again"
            )


class _Originals:
    """The signals that a set's rows were fitted to, a split opened when it is first asked for."""

    def __init__(self, opened: MednfSet, data: str | Path, fitter: Fitter, cache_dir: str | Path | None) -> None:
        self._ids = opened.column("id")
        self._data, self._cache_dir = data_of(str(data)), cache_dir
        self._spec = fitter.checkpoint.config.signal if fitter.checkpoint else None
        self._parts: dict[str, DataSet] = {}
        first = self._open(str(self._ids[0]).partition("/")[0])
        same = not opened.info.data.sha256 or first.sha256 == opened.info.data.sha256
        self.problem = "" if same else f"{data}: not the data that {opened.name} was encoded from; give the same file"

    def _open(self, split: str) -> DataSet:
        if split not in self._parts:
            self._parts[split] = load_data_set(self._data, split, spec=self._spec, cache_dir=self._cache_dir)
        return self._parts[split]

    def values(self, rows: np.ndarray) -> np.ndarray:
        """`(b, *shape, c)` float32 in [0, 1]."""
        places = [str(self._ids[row]).partition("/") for row in rows]
        return np.concatenate([self._open(split).batch([int(index)]) for split, _, index in places])
