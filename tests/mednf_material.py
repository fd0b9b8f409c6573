"""What the tests of MedNF sets run on: a tiny checkpoint, a small data set with three splits, and sets written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from conftest import tiny_field_config

from medfuncta_core.checkpoint import save_checkpoint
from medfuncta_core.config import CheckpointConfig, DataSetInfo, FitConfig, SignalSpec
from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.mednf.describing import place_columns
from medfuncta_core.mednf.mednf_set import MednfSet, open_set
from medfuncta_core.mednf.metadata import SetInfo, write_metadata
from medfuncta_core.mednf.shards import DTYPES, shard_name, write_shard

COUNTS = {"train": 13, "val": 3, "test": 5}


def make_checkpoint(folder: Path, shape: tuple[int, ...] = (8, 6)) -> Path:
    """A field of a few hundred parameters with a large inner rate, so that its latents are not all nearly zero."""
    torch.manual_seed(3)
    config = tiny_field_config(len(shape))
    kind = ("ecg", "image", "volume")[len(shape) - 1]
    about = CheckpointConfig(
        name="tiny",
        field=config,
        signal=SignalSpec(kind=kind, shape=shape, normalisation="dtype" if kind == "image" else "range"),
        fit=FitConfig(steps=3, inner_lr=0.5),
        licence="MIT",
    )
    return save_checkpoint(folder, ModulatedSIREN(config), about)


def make_data(file: Path, shape: tuple[int, ...] = (8, 6), classes: int = 3) -> Path:
    """A MedMNIST-style archive of random bytes, with patients beside the labels."""
    rng = np.random.default_rng(5)
    arrays: dict[str, np.ndarray] = {}
    for split, count in COUNTS.items():
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % classes)[:, None].astype(np.uint8)
        arrays[f"{split}_patient"] = rng.integers(0, 99, count)
    np.savez(file, allow_pickle=False, **arrays)
    return file


def write_set(
    folder: Path,
    latents: np.ndarray,
    labels: list[int],
    *,
    splits: list[str] | None = None,
    class_names: tuple[str, ...] = (),
    rows_per_shard: int = 4,
    dtype: str = "float32",
) -> MednfSet:
    """A set of given latents; without a network, so it cannot be decoded."""
    rows, latent_dim = latents.shape
    shards = -(-rows // rows_per_shard)
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        part = latents[shard * rows_per_shard : (shard + 1) * rows_per_shard]
        write_shard(folder / shard_name(shard, shards), part.astype(DTYPES[dtype]))
    info = SetInfo.parse(
        {
            "name": folder.name,
            "rows": rows,
            "latent_dim": latent_dim,
            "dtype": dtype,
            "shards": shards,
            "kind": "image",
            "shape": (8, 6),
            "class_names": class_names or tuple(f"class {label}" for label in range(max(labels, default=-1) + 1)),
            "checkpoint": "tiny",
            "data": DataSetInfo(name="made up"),
        },
        "test",
    )
    known = [None if label < 0 else label for label in labels]
    parts = splits or ["train"] * rows
    columns = {
        "id": [f"{split}/{row}" for row, split in enumerate(parts)],
        "split": parts,
        "label": known,
        "class_name": [None if label is None else info.class_names[label] for label in known],
        "mse": [0.01] * rows,
        "psnr": [20.0] * rows,
        "ssim": [None] * rows,
        "source": ["made up"] * rows,
    }
    write_metadata(folder, info, columns | place_columns(rows, rows_per_shard))
    return open_set(folder)
