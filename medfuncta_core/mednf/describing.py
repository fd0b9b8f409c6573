"""What a set's table says beside the qualities: where every row comes from, and what holds for all of them."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import numpy as np

from medfuncta_core.checkpoint import Checkpoint
from medfuncta_core.config import DataSetInfo
from medfuncta_core.mednf.metadata import LABELS_COLUMN, METADATA_COLUMNS, SetInfo
from medfuncta_core.mednf.planning import EncodePlan, Selection
from medfuncta_core.mednf.registry import RegisteredSet, find_registered
from medfuncta_core.signals import DataSet


def name_classes(checkpoint: Checkpoint | None, data: DataSet, registered: RegisteredSet | None = None) -> tuple[str, ...]:
    """The registry's names of the same classes, else the checkpoint's where the data file has numbers only."""
    several = data.extras[LABELS_COLUMN].shape[1] if LABELS_COLUMN in data.extras else 0
    if registered is not None and len(registered.class_names) == (several or len(data.class_names)):
        return registered.class_names
    known = checkpoint.config.data.class_names if checkpoint and checkpoint.config.data else ()
    numbered = data.class_names == tuple(str(number) for number in range(len(data.class_names)))
    return known if numbered and len(known) == len(data.class_names) else data.class_names


def describe_set(checkpoint: Checkpoint, selection: Selection, plan: EncodePlan) -> tuple[SetInfo, dict[str, Any]]:
    """A set's info, and the columns that do not come from fitting."""
    first = selection.parts[0]
    registered = find_registered(first.name)
    class_names = name_classes(checkpoint, first, registered)
    known, request = checkpoint.config.data, plan.request
    same_data = known is not None and known.sha256 == first.sha256
    licence = first.licence or (known.licence if known is not None and same_data else "")
    licence = licence or (registered.licence if registered is not None else "")
    labelled = first.labels is not None or LABELS_COLUMN in first.extras
    task = registered.task if registered is not None else "classification"
    info = SetInfo(
        name=plan.name,
        rows=plan.rows,
        latent_dim=checkpoint.config.field.latent_dim,
        dtype=request.dtype,
        shards=plan.shards,
        kind=first.kind,
        shape=first.shape,
        channels=first.channels,
        class_names=class_names,
        fit_steps=plan.fit_steps,
        fit_method=plan.request.method,
        checkpoint=plan.checkpoint,
        checkpoint_sha256=plan.checkpoint_sha256,
        data=DataSetInfo(
            name=first.name,
            sha256=first.sha256,
            train_signals=first.train_signals,
            class_names=class_names,
            licence=licence,
            source=first.source if "://" in first.source else known.source if known is not None and same_data else "",
            file=file_name(first),
        ),
        licence=request.licence or licence,
        task=request.task or (task if labelled else ""),
        sample=_describe_sample(plan, selection),
    )
    return info, _origin_columns(selection, class_names) | place_columns(plan.rows, request.rows_per_shard)


def file_name(data: DataSet) -> str:
    """What the data are called anywhere: a file's or folder's name, or MedMNIST's."""
    return data.name if "://" in data.source else PurePath(data.source).name or data.name


def place_columns(rows: int, rows_per_shard: int) -> dict[str, Any]:
    """Shard of every row, and its place in it."""
    numbers = np.arange(rows)
    return {"shard": numbers // rows_per_shard, "row": numbers % rows_per_shard}


def _origin_columns(selection: Selection, class_names: tuple[str, ...]) -> dict[str, Any]:
    """id, split, label, class name, source and whatever else every split's file says about its signals."""
    parts = list(zip(selection.parts, selection.indices, strict=True))
    columns: dict[str, Any] = {"id": [], "split": [], "label": [], "class_name": [], "source": []}
    for part, chosen in parts:
        files = part.extras.get("file")
        labels = [None] * len(chosen) if part.labels is None else [int(label) for label in part.labels[chosen]]
        columns["id"] += [f"{part.split}/{index}" for index in chosen]
        columns["split"] += [part.split] * len(chosen)
        columns["label"] += labels
        columns["class_name"] += [None if label is None else class_names[label] for label in labels]
        columns["source"] += [f"{file_name(part)}#{f'{part.split}/{i}' if files is None else files[i]}" for i in chosen]
    shared = set.intersection(*(set(part.extras) for part in selection.parts)) - {"file", *METADATA_COLUMNS}
    for name in sorted(shared):
        column = np.concatenate([part.extras[name][chosen] for part, chosen in parts])
        columns[name] = column.tolist() if column.ndim > 1 else column
    return columns


def _describe_sample(plan: EncodePlan, selection: Selection) -> str:
    whole = sum(len(part) for part in selection.parts)
    if plan.rows == whole:
        return ""
    rule = f"up to {plan.request.per_class} of each class and split" if plan.request.per_class else "of each split"
    limit = f", at most {plan.request.limit} of a split" if plan.request.limit else ""
    return f"{plan.rows:,} of {whole:,} signals: {rule}{limit}, evenly spread over the file"
