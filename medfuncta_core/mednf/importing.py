"""A published MedNF folder (`model.pt` and `train|val|test/datapoint_N.pt`) as a set, shard after shard, read in parallel.

Published latents say nothing of how well they decode: PSNR and SSIM of such a set are unknown.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from medfuncta_core.atomic import write_atomically
from medfuncta_core.checkpoint.datapoints import Datapoint, Reading, find_datapoints, read_datapoints
from medfuncta_core.checkpoint.descriptions import WEIGHTS_FILE
from medfuncta_core.checkpoint.official import import_official
from medfuncta_core.config import KIND_OF_AXES, CheckpointConfig, Config, DataSetInfo
from medfuncta_core.errors import MedFunctaError, SetError
from medfuncta_core.mednf.card import make_set_card
from medfuncta_core.mednf.metadata import (
    CARD_FILE,
    LABELS_COLUMN,
    METADATA_FILE,
    MODEL_FOLDER,
    SetInfo,
    write_metadata,
)
from medfuncta_core.mednf.registry import EDGE, RegisteredSet, find_registered
from medfuncta_core.mednf.shards import DTYPES, find_shards, shard_name, write_shard
from medfuncta_core.signals.sources import hash_file

MODEL_FILES = ("model.pt", "best.model", "last.model")
MARKER = ".importing"
MEDNF_SOURCE = "https://doi.org/10.5281/zenodo.14898708"


class ImportRequest(Config):
    """What a user says about a published folder."""

    dtype: Literal["float16", "float32"] = Field(
        default="float32", description="How latents are stored; float32 keeps every bit."
    )
    rows_per_shard: int = Field(default=4096, ge=1, description="Files of a shard; it has fewer rows where some were unreadable.")
    registered: str | None = Field(
        default=None, description="Which of the paper's sets it is; recognised by its folder's name or recipe when None."
    )
    class_names: tuple[str, ...] = Field(default=(), description="Names of the classes by number; the registry's when empty.")
    name: str | None = Field(default=None, description="Of the set; the folder's when None.")
    licence: str = Field(default="", description="Licence of the latents; the registry's when empty.")
    task: str = Field(default="", description="What the labels are for; the registry's when empty.")


@dataclass(frozen=True)
class ImportStep:
    """Where an import is: files looked at of all there are, latents kept, and a line for each file that was left out."""

    done: int
    total: int
    kept: int
    problems: tuple[str, ...]


def import_set(
    folder: str | Path, out: str | Path, request: ImportRequest | None = None, *, workers: int | None = None, **field: Any
) -> Iterator[ImportStep]:
    """Turn a published folder into a set, without running anything from its files.

    Args:
        folder: With `model.pt` (or `best.model`, `last.model`) and `train`, `val`, `test`, or the files themselves.
        out: Folder of the set; new, or left by an import that was stopped.
        request: Number format, names, licence.
        workers: Processes that read; None takes one a core when there are many files.
        field: What `import_official` takes to understand the network: omega_first, omega_increment, yaml, residual, shape.

    Yields:
        A step a shard; after the last one the set is complete.

    Raises:
        CheckpointError: when there is no network, no latent, or none that can be read.
        SetError: when the place holds a set, or cannot be written.
    """
    source, directory, request = Path(folder), Path(out), request or ImportRequest()
    files = find_datapoints(source)
    known, model = _recognise(request, source), _find_model(source)
    if known is not None and field.get("shape") is None and field.get("yaml") is None:
        field["shape"] = (EDGE, EDGE)
    _claim(directory)
    try:
        name = request.name or directory.resolve().name
        config = import_official(model, out=directory / MODEL_FOLDER, name=name, **field).config
        known = known or (find_registered(config.data.name) if config.data is not None else None)
        yield from _import_latents(files, directory, request, known, config, workers)
    except MedFunctaError:
        _discard(directory)
        raise


def _import_latents(
    files: list[Datapoint],
    directory: Path,
    request: ImportRequest,
    known: RegisteredSet | None,
    config: CheckpointConfig,
    workers: int | None,
) -> Iterator[ImportStep]:
    """The shards, then table and card."""
    shards = -(-len(files) // request.rows_per_shard)
    readings = iter(read_datapoints(files, config.field.latent_dim, workers))
    kept: list[tuple[Reading, int, int]] = []
    problems: list[str] = []
    for shard in range(shards):
        taken = list(islice(readings, request.rows_per_shard))
        good = [(reading, latent) for reading in taken if (latent := reading.latent) is not None]
        problems += [reading.problem for reading in taken if reading.latent is None]
        latents = np.empty((len(good), config.field.latent_dim), DTYPES[request.dtype])
        for row, (reading, latent) in enumerate(good):
            latents[row] = latent
            kept.append((_without_latent(reading), shard, row))
        write_shard(directory / shard_name(shard, shards), latents)
        done = min((shard + 1) * request.rows_per_shard, len(files))
        yield ImportStep(done, len(files), len(kept), tuple(problems))
    if not kept:
        raise SetError(problems[0])
    _finish(directory, request, known, config, kept, shards)


def _without_latent(reading: Reading) -> Reading:
    """The latent is in its shard; all of them at once need not fit into memory."""
    return Reading(reading.datapoint, None, reading.label)


def _find_model(folder: Path) -> Path:
    found = next((folder / name for name in MODEL_FILES if (folder / name).is_file()), None)
    if found is None:
        raise SetError(f"{folder}: has latents but no {MODEL_FILES[0]}; put the network that made them beside them")
    return found


def _recognise(request: ImportRequest, folder: Path) -> RegisteredSet | None:
    if request.registered is None:
        return find_registered(folder.resolve().name)
    known = find_registered(request.registered)
    if known is None:
        raise SetError(f"{request.registered}: no registered set has this name; see: set registry")
    return known


def _claim(directory: Path) -> None:
    """Mark an empty or new folder as being imported to; what an import that was stopped has left there goes."""
    if (directory / MARKER).exists() and not (directory / METADATA_FILE).exists():
        _discard(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise SetError(f"{directory}: is there already and not empty; choose another folder")
    write_atomically(directory / MARKER, b"", SetError)


def _discard(directory: Path) -> None:
    """Only what an import writes: the folder may be the user's."""
    shutil.rmtree(directory / MODEL_FOLDER, ignore_errors=True)
    for file in (*find_shards(directory).values(), *directory.glob(".*.tmp"), directory / CARD_FILE, directory / MARKER):
        file.unlink(missing_ok=True)
    with suppress(OSError):
        directory.rmdir()


def _finish(
    directory: Path,
    request: ImportRequest,
    known: RegisteredSet | None,
    config: CheckpointConfig,
    kept: list[tuple[Reading, int, int]],
    shards: int,
) -> None:
    """Table and card; the table last, as it makes a set of the folder."""
    several = kept[0][0].label.ndim > 0
    labels = np.array([reading.label for reading, _, _ in kept])
    class_names = _class_names(request, known, labels)
    columns = _columns(kept, labels, class_names) | ({LABELS_COLUMN: labels.tolist()} if several else {})
    licence = request.licence or (known.licence if known else "")
    signal = config.signal
    info = SetInfo(
        name=config.name,
        rows=len(kept),
        latent_dim=config.field.latent_dim,
        dtype=request.dtype,
        shards=shards,
        kind=signal.kind if signal else KIND_OF_AXES[config.field.coord_dim],
        shape=signal.shape if signal else (),
        channels=config.field.channels,
        class_names=class_names,
        fit_steps=config.fit.steps,
        checkpoint=config.name,
        checkpoint_sha256=hash_file(directory / MODEL_FOLDER / WEIGHTS_FILE),
        data=DataSetInfo(
            name=config.data.name if config.data else known.medmnist if known else config.name,
            class_names=class_names,
            licence=licence,
            source=MEDNF_SOURCE if known else "",
        ),
        licence=licence,
        task=request.task or (known.task if known else "classification" if (labels >= 0).any() else ""),
    )
    write_atomically(directory / CARD_FILE, make_set_card(info, columns).encode(), SetError)
    write_metadata(directory, info, columns)
    (directory / MARKER).unlink(missing_ok=True)


def _class_names(request: ImportRequest, known: RegisteredSet | None, labels: np.ndarray) -> tuple[str, ...]:
    """What was said, else the registry's, else numbers; enough for every label that occurs."""
    needed = labels.shape[1] if labels.ndim > 1 else int(labels.max()) + 1
    if request.class_names and len(request.class_names) < needed:
        raise SetError(f"{len(request.class_names)} class names for {needed} classes; name all of them")
    for names in (request.class_names, known.class_names if known else ()):
        if len(names) >= needed > 0:
            return names
    return tuple(str(label) for label in range(min(needed, 1000)))


def _columns(kept: list[tuple[Reading, int, int]], labels: np.ndarray, class_names: tuple[str, ...]) -> dict[str, Any]:
    single = [None] * len(kept) if labels.ndim > 1 else [None if label < 0 else int(label) for label in labels]
    unknown = [None] * len(kept)
    return {
        "id": [f"{split}/{number}" if split else str(number) for split, number, _ in (known.datapoint for known, _, _ in kept)],
        "split": [reading.datapoint[0] or None for reading, _, _ in kept],
        "label": single,
        "class_name": [
            None if label is None else class_names[label] if label < len(class_names) else str(label) for label in single
        ],
        **dict.fromkeys(("mse", "psnr", "ssim"), unknown),
        "shard": [shard for _, shard, _ in kept],
        "row": [row for _, _, row in kept],
        "source": [
            "/".join(part for part in (reading.datapoint[0], reading.datapoint[2].name) if part) for reading, _, _ in kept
        ],
    }
