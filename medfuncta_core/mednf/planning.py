"""What an encoding is going to do, fixed before it starts, so that whoever goes on with it does exactly the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from medfuncta_core.atomic import write_atomically
from medfuncta_core.config import Config, DataSetInfo, FitMethod, SignalSpec
from medfuncta_core.errors import ConfigError, SetError
from medfuncta_core.mednf.choosing import choose_rows
from medfuncta_core.mednf.metadata import METADATA_FILE, MODEL_FOLDER, PLAN_FOLDER, read_info
from medfuncta_core.signals import DataSet, find_splits, load_data_set

PLAN_FILE = "plan.json"


class EncodeRequest(Config):
    """What a user chooses about a set."""

    splits: tuple[Literal["train", "val", "test"], ...] | None = Field(
        default=None, description="Parts of the data; every one it has when None."
    )
    limit: int | None = Field(default=None, ge=1, description="At most so many signals of each split, evenly spread.")
    per_class: int | None = Field(default=None, ge=1, description="At most so many signals of each class and split: balanced.")
    dtype: Literal["float16", "float32"] = Field(default="float16", description="How latents are stored.")
    rows_per_shard: int = Field(default=4096, ge=1, description="Signals of a shard file.")
    batch_size: int | None = Field(default=None, ge=1, description="Signals fitted together; chosen by memory when None.")
    fit_steps: int | None = Field(default=None, ge=1, description="Steps of each fit, H; the checkpoint's own when None.")
    method: FitMethod = Field(default="gradient_descent", description="As in the paper, whatever the checkpoint's own.")
    name: str | None = Field(default=None, description="Of the set; the folder's when None.")
    licence: str = Field(default="", description="Licence of the latents; the data's when empty.")
    task: str = Field(default="", description="What the labels are for, in words.")
    model: Literal["copy", "refer"] = Field(
        default="copy",
        description="Put the network into the set, or only say which of the checkpoints it is, by name and digest.",
    )


class EncodePlan(Config):
    """`plan.json`: the request, what it means for these data, and what must not change half-way."""

    format_version: Literal[1] = 1
    request: EncodeRequest
    name: str
    splits: tuple[str, ...]
    counts: tuple[int, ...] = Field(description="Signals of each split that are fitted.")
    batch_size: int = Field(ge=1)
    fit_steps: int = Field(ge=1)
    data: DataSetInfo
    data_sha256: tuple[str, ...] = Field(description="Of each split's file or listing.")
    checkpoint: str
    checkpoint_sha256: str

    @property
    def rows(self) -> int:
        """Signals of the whole set."""
        return sum(self.counts)

    @property
    def shards(self) -> int:
        """Files they are stored in."""
        return -(-self.rows // self.request.rows_per_shard)

    def shard_rows(self, shard: int) -> range:
        """Rows of the set that a shard holds."""
        first = shard * self.request.rows_per_shard
        return range(first, min(first + self.request.rows_per_shard, self.rows))

    def batches(self, shard: int) -> list[range]:
        """The rows of a shard in the batches they are fitted in; always the same, because sums depend on their company."""
        rows = self.shard_rows(shard)
        return [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]


@dataclass(frozen=True, eq=False)
class Selection:
    """The signals of a set, split after split.

    Args:
        parts: Every split as opened.
        indices: `(m,)` each, which of its signals.
    """

    parts: tuple[DataSet, ...]
    indices: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return sum(len(chosen) for chosen in self.indices)

    def locate(self, rows: range) -> list[tuple[DataSet, np.ndarray]]:
        """A run of the set's rows as splits with the indices of their signals."""
        found, start = [], 0
        for part, chosen in zip(self.parts, self.indices, strict=True):
            own = chosen[max(0, rows.start - start) : max(0, rows.stop - start)]
            found += [(part, own)] if len(own) else []
            start += len(chosen)
        return found

    def values(self, rows: range) -> np.ndarray:
        """Signals of a run of rows, `(b, *shape, c)` float32 in [0, 1]."""
        return np.concatenate([part.batch(own) for part, own in self.locate(rows)])


def select_signals(
    data: str | Path, request: EncodeRequest, spec: SignalSpec | None, cache_dir: str | Path | None = None
) -> Selection:
    """Open the data and choose what the request asks for; without limits, every signal of every split.

    Raises:
        DataSetError: when there is no such data set or split.
        SignalError: when one of its files cannot be read.
    """
    splits = request.splits or find_splits(data) or ("train",)  # opening train says what is wrong with empty data
    parts = tuple(load_data_set(data, split, spec=spec, cache_dir=cache_dir) for split in splits)
    return Selection(parts, tuple(_choose(part, request) for part in parts))


def _choose(part: DataSet, request: EncodeRequest) -> np.ndarray:
    rows = np.arange(len(part))
    if request.per_class is not None:
        rows = np.sort(choose_rows(part.labels, len(part), request.per_class))
    if request.limit is not None and request.limit < len(rows):
        rows = rows[np.linspace(0, len(rows) - 1, request.limit).round().astype(np.int64)]
    return rows


def read_plan(directory: Path) -> EncodePlan | None:
    """The plan of an unfinished set; None where there is none.

    Raises:
        SetError: when it is damaged.
    """
    file = directory / PLAN_FOLDER / PLAN_FILE
    if not file.is_file():
        return None
    try:
        return EncodePlan.parse(json.loads(file.read_text(encoding="utf-8")), str(file))
    except (OSError, ValueError, ConfigError) as error:
        raise SetError(f"{file}: damaged; delete {directory} and encode it anew") from error


def settle_plan(directory: Path, plan: EncodePlan, resume: bool) -> EncodePlan | None:
    """The plan to follow: the new one, written down, or an older one that asks for the same; None when nothing is left to do.

    Args:
        directory: Of the set.
        plan: What this call asks for.
        resume: Whether an older plan may be followed.

    Raises:
        SetError: when the folder holds a set and `resume` is off, or the set is one of other data, weights or settings.
    """
    complete = (directory / METADATA_FILE).exists()
    older = read_plan(directory)
    if (complete or older) and not resume:
        raise SetError(f"{directory}: already holds a set; go on with --resume, or choose another folder")
    if complete:
        info, _ = read_info(directory)
        kept = (info.rows, info.data.sha256, info.checkpoint_sha256, info.fit_steps, info.fit_method, info.dtype)
        request = plan.request
        asked = (plan.rows, plan.data.sha256, plan.checkpoint_sha256, plan.fit_steps, request.method, request.dtype)
        if kept != asked:
            raise SetError(f"{directory}: holds a finished set of other data, weights or settings; choose another folder")
        tidy(directory)
        return None
    if older is not None:
        _require_same(directory, older, plan)
        return older
    write_atomically(directory / PLAN_FOLDER / PLAN_FILE, plan.model_dump_json(indent=2).encode(), SetError)
    return plan


def tidy(directory: Path) -> None:
    """Leave nothing of an encoding beside the finished set: no plan, no half-written file of a process that was killed."""
    shutil.rmtree(directory / PLAN_FOLDER, ignore_errors=True)
    for folder in (directory, directory / MODEL_FOLDER):
        for file in folder.glob(".*.tmp"):
            file.unlink(missing_ok=True)


def _require_same(directory: Path, older: EncodePlan, plan: EncodePlan) -> None:
    """Batches and shards are the older plan's business; anything else that was asked for must be what it says."""
    free = {"batch_size", "rows_per_shard"}
    asked = plan.request.model_dump(exclude=free | (set(EncodeRequest.model_fields) - plan.request.model_fields_set))
    for key, value in asked.items():
        if value != (before := older.request.model_dump()[key]):
            raise SetError(f"{directory}: was begun with {key} {before}, not {value}; resume it as it was begun")
    for what in ("data_sha256", "checkpoint_sha256"):
        if getattr(older, what) != getattr(plan, what):
            raise SetError(
                f"{directory}: was begun with {'other data' if what == 'data_sha256' else 'other weights'}; "
                "resume it with the same, or choose another folder"
            )
