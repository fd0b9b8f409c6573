"""A set for others: a self-contained folder for the Hugging Face hub, one .npz, or its table as .csv.

The hub's folder is a MedNF set all the same (`open_set` opens it once it is downloaded); beside it lie the latents with their
table as Parquet, a file or more a split, which is what the hub shows and `datasets.load_dataset` reads.
"""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medfuncta_core.atomic import write_atomically, writing
from medfuncta_core.errors import SetError
from medfuncta_core.mednf.card import make_set_card
from medfuncta_core.mednf.mednf_set import MednfSet, open_set
from medfuncta_core.mednf.metadata import CARD_FILE, METADATA_FILE, MODEL_FOLDER
from medfuncta_core.mednf.networks import copy_model

ExportFormat = Literal["hf", "npz", "csv"]
HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}

_ROWS = 4096
_FILE_BYTES = 256 << 20  # of latents in a Parquet file


@dataclass(frozen=True)
class ExportStep:
    """Rows written of all that will be."""

    done: int
    total: int


def export_set(path: str | Path, form: ExportFormat, out: str | Path) -> Iterator[ExportStep]:
    """Write a set in another form.

    Args:
        path: Folder of the set.
        form: hf (a folder), npz (latents and table in one file, without pickles), or csv (the table alone).
        out: File or folder to write; a file is replaced whole, a folder must be new or empty.

    Yields:
        A step every few thousand rows.

    Raises:
        SetError: when the set cannot be read, its network is missing, or the place cannot be written.
    """
    opened, target = open_set(path), Path(out)
    if form == "csv":
        yield from _write_csv(opened, target)
    elif form == "npz":
        yield from _write_npz(opened, target)
    else:
        yield from _write_hub(opened, target)


def _write_csv(opened: MednfSet, target: Path) -> Iterator[ExportStep]:
    with writing(target, SetError) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(opened.columns)
        for first in range(0, len(opened), _ROWS):
            rows = opened.metadata.slice(first, _ROWS).to_pylist()
            writer.writerows([_cell(row[name]) for name in opened.columns] for row in rows)
            yield ExportStep(min(first + _ROWS, len(opened)), len(opened))
        text.flush()
        text.detach()


def _cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value  # None becomes an empty cell


def _write_npz(opened: MednfSet, target: Path) -> Iterator[ExportStep]:
    with writing(target, SetError) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("latents.npy")  # stored: latents do not compress
        with archive.open(entry, "w", force_zip64=True) as member:
            stored = np.dtype(opened.info.dtype).newbyteorder("<")
            header = {"descr": np.lib.format.dtype_to_descr(stored), "fortran_order": False}
            start = io.BytesIO()
            np.lib.format.write_array_header_1_0(start, header | {"shape": (len(opened), opened.latent_dim)})
            member.write(start.getvalue())
            for first, block in opened.blocks(_ROWS):
                member.write(np.ascontiguousarray(block).tobytes())
                yield ExportStep(first + len(block), len(opened))
        arrays = {name: _plain(opened.column(name)) for name in opened.columns if name not in ("shard", "row")}
        arrays |= {"class_names": np.array(opened.class_names, dtype=np.str_), "shape": np.array(opened.shape, np.int64)}
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(f"{name}.npy", content.getvalue())


def _plain(column: np.ndarray) -> np.ndarray:
    """Text as fixed-width text and lists as rows, so that nothing has to be pickled."""
    if column.dtype != object:
        return column
    if len(column) and isinstance(column[0], np.ndarray):
        return np.stack(list(column))
    return np.array(["" if value is None else str(value) for value in column], dtype=np.str_)


def _write_hub(opened: MednfSet, target: Path) -> Iterator[ExportStep]:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SetError(f"{target}: is there already; choose a new folder for the hub")
    copy_model(opened.checkpoint_path, target / MODEL_FOLDER)
    files: dict[str, str] = {}
    done = 0
    for split in dict.fromkeys(opened.column("split").tolist()):
        name = split or "train"
        files[HUB_SPLITS.get(name, name)] = f"data/{name}-*.parquet"
        for rows in _write_parquet(opened, target, name, np.flatnonzero(opened.column("split") == split)):
            done += rows
            yield ExportStep(done, len(opened))
    for shard in opened.shards:
        with shard.path.open("rb") as source, writing(target / shard.path.name, SetError) as file:
            shutil.copyfileobj(source, file)
    write_atomically(target / METADATA_FILE, (opened.path / METADATA_FILE).read_bytes(), SetError)
    columns = {name: opened.column(name) for name in opened.columns}
    card = make_set_card(opened.info, columns, data_files=files)
    write_atomically(target / CARD_FILE, card.encode(), SetError)


def _write_parquet(opened: MednfSet, target: Path, split: str, rows: np.ndarray) -> Iterator[int]:
    """The rows of a split with their latents, in files that the hub likes; yields rows written."""
    width = opened.latent_dim * np.dtype(opened.info.dtype).itemsize
    per_file = max(_ROWS, _FILE_BYTES // width)
    count = -(-len(rows) // per_file)
    latent = pa.list_(pa.float16() if opened.info.dtype == "float16" else pa.float32(), opened.latent_dim)
    schema = opened.metadata.schema.remove_metadata().append(pa.field("latent", latent))
    for number in range(count):
        chosen = rows[number * per_file : (number + 1) * per_file]
        with (
            writing(target / "data" / f"{split}-{number:05d}-of-{count:05d}.parquet", SetError) as file,
            pq.ParquetWriter(file, schema, compression="zstd") as writer,
        ):
            for first in range(0, len(chosen), _ROWS):
                part = chosen[first : first + _ROWS]
                latents = opened.latents(part).astype(opened.info.dtype).reshape(-1)
                column = pa.FixedSizeListArray.from_arrays(pa.array(latents), opened.latent_dim)
                writer.write_table(opened.metadata.take(part).append_column("latent", column).cast(schema))
                yield len(part)
