"""`metadata.parquet` of a MedNF set: a row a signal, and, in the file's own header, what holds for the whole set."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from medfuncta_core.atomic import write_atomically
from medfuncta_core.config import Config, DataSetInfo, FitMethod, Kind
from medfuncta_core.errors import ConfigError, SetError

METADATA_FILE = "metadata.parquet"
MODEL_FOLDER = "model"
CARD_FILE = "README.md"
PLAN_FOLDER = ".encoding"  # where encode keeps what it needs to go on; gone once the set is complete

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # split/index
        pa.field("split", pa.string()),
        pa.field("label", pa.int64()),
        pa.field("class_name", pa.string()),
        pa.field("mse", pa.float32()),
        pa.field("psnr", pa.float32()),
        pa.field("ssim", pa.float32()),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),  # inside the shard
        pa.field("source", pa.string()),
    ]
)
METADATA_COLUMNS = tuple(SCHEMA.names)
LABELS_COLUMN = "labels"  # beside them, where a signal has several labels at once

_KEY = b"mednf"


class SetInfo(Config):
    """What holds for a whole set; stored as JSON in the header of `metadata.parquet`."""

    format_version: Literal[1] = 1
    name: str
    rows: int = Field(ge=1, description="Signals.")
    latent_dim: int = Field(ge=1, description="Length of a latent, P.")
    dtype: Literal["float16", "float32"]
    shards: int = Field(ge=1)
    kind: Kind
    shape: tuple[int, ...] = Field(default=(), description="Points per axis of the signals; () where an import did not say.")
    channels: int = Field(default=1, ge=1)
    class_names: tuple[str, ...] = ()
    fit_steps: int = Field(default=20, ge=1, description="Steps behind every latent, H.")
    fit_method: FitMethod = Field(default="gradient_descent", description="How they were fitted.")
    checkpoint: str = Field(description="Name of the shared network's checkpoint.")
    checkpoint_sha256: str = Field(default="", description="SHA-256 of its model.safetensors.")
    data: DataSetInfo
    licence: str = Field(default="", description="Licence of the latents: that of the data they were fitted to.")
    task: str = Field(default="", description="What the labels are for.")
    sample: str = Field(default="", description="How signals were chosen, when not all of the data are in the set.")


def write_metadata(directory: Path, info: SetInfo, columns: dict[str, Any]) -> Path:
    """Write the table; with it a set is complete.

    Args:
        directory: Of the set.
        info: What holds for all rows.
        columns: All of `METADATA_COLUMNS`, and any others; sequences or arrays of `info.rows` values, None for unknown.

    Raises:
        SetError: when columns are missing or of other lengths, or the place cannot be written.
    """
    missing = [name for name in METADATA_COLUMNS if name not in columns]
    if missing or any(len(column) != info.rows for column in columns.values()):
        raise SetError(f"{directory}: metadata need {info.rows} values of each of {', '.join(METADATA_COLUMNS)}")
    extras = [name for name in columns if name not in METADATA_COLUMNS]
    arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in SCHEMA]
    arrays += [pa.array(columns[name], from_pandas=True) for name in extras]
    fields = [*SCHEMA, *(pa.field(name, array.type) for name, array in zip(extras, arrays[len(SCHEMA) :], strict=True))]
    schema = pa.schema(fields, metadata={_KEY: info.model_dump_json().encode()})
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), buffer, compression="zstd")
    return write_atomically(directory / METADATA_FILE, buffer.getvalue(), SetError)


def read_info(directory: Path) -> tuple[SetInfo, tuple[str, ...]]:
    """What holds for a whole set, and its columns' names, from the table's footer alone.

    Raises:
        SetError: when the folder is no finished set.
    """
    file = directory / METADATA_FILE
    if not file.is_file():
        raise SetError(_explain_missing(directory))
    try:
        schema = pq.read_schema(file, memory_map=True)
        info = SetInfo.model_validate_json((schema.metadata or {})[_KEY])
    except (OSError, pa.ArrowException, ValueError, KeyError, ConfigError) as error:
        raise SetError(f"{file}: damaged, or not of a MedNF set; copy it again, or encode the set anew") from error
    missing = [name for name in METADATA_COLUMNS if name not in schema.names]
    if missing:
        raise SetError(f"{file}: has no column {missing[0]}; copy it again, or encode the set anew")
    return info, tuple(schema.names)


def read_columns(directory: Path, names: list[str] | None = None) -> pa.Table:
    """Some columns of the table, or all.

    Raises:
        SetError: when the file is damaged.
    """
    file = directory / METADATA_FILE
    try:
        return pq.read_table(file, columns=names, memory_map=True)
    except (OSError, pa.ArrowException) as error:
        raise SetError(f"{file}: damaged or gone; copy it again, or encode the set anew") from error


def as_array(column: pa.ChunkedArray) -> np.ndarray:
    """A column as numpy knows it: numbers as numbers (NaN for unknown), text and lists as objects."""
    return column.to_numpy()


def _explain_missing(directory: Path) -> str:
    if (directory / PLAN_FOLDER).is_dir():
        return f"{directory}: its encoding is not finished; go on with: encode … --out {directory} --resume"
    if directory.is_dir():
        return f"{directory}: no {METADATA_FILE} in it; a MedNF set is a folder that encode has written"
    return f"{directory}: no such set; check the path"
