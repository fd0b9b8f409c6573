"""Maps on the disk: a Parquet file each, known by the set's content and how the map was made, written whole."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medfuncta_core.atomic import write_atomically
from medfuncta_core.errors import ConfigError, SetError
from medfuncta_core.mednf.embedding import LatentMap
from medfuncta_core.mednf.map_request import EmbedRequest
from medfuncta_core.mednf.mednf_set import MednfSet
from medfuncta_core.signals.medmnist_files import default_cache_dir

MAP_FOLDER = "maps"
FORMAT = 1
AXES = ("x", "y", "z")
_KEY = b"mednf map"


def map_file(latents: MednfSet, request: EmbedRequest) -> Path:
    """Where a map is, or where it is to be written: in the set's folder, else, for one that is read only, in the user's cache."""
    known = json.dumps([FORMAT, latents.fingerprint, request.relevant], sort_keys=True)
    name = f"{request.method}-{request.dims}d-{hashlib.sha256(known.encode()).hexdigest()[:16]}.parquet"
    inside = latents.path / MAP_FOLDER / name
    if inside.is_file() or os.access(inside.parent if inside.parent.is_dir() else latents.path, os.W_OK):
        return inside
    return default_cache_dir() / MAP_FOLDER / name


def write_map(path: Path, latents: MednfSet, made: LatentMap) -> Path:
    """A row a signal: id, split, class_name, x, y (and z), and whether the row made the map or was placed in it.

    Raises:
        SetError: when the place cannot be written.
    """
    about = {"format": FORMAT, "request": made.request.model_dump(), "set": latents.name, "fingerprint": made.fingerprint}
    about |= {"seconds": round(made.seconds, 3), "shares": made.shares}
    columns: dict[str, object] = {name: latents.metadata.column(name) for name in ("id", "split", "class_name")}
    columns |= {axis: made.coords[:, place] for place, axis in enumerate(AXES[: made.coords.shape[1]])}
    table = pa.table(columns | {"fitted": made.fitted}).replace_schema_metadata({_KEY: json.dumps(about).encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return write_atomically(path, buffer.getvalue(), SetError)


def read_map(path: Path, latents: MednfSet) -> LatentMap:
    """A map that `write_map` wrote.

    Raises:
        SetError: when the file is damaged, or of another set.
    """
    try:
        schema = pq.read_schema(path)
        about = json.loads((schema.metadata or {})[_KEY])
        axes = [axis for axis in AXES if axis in schema.names]
        table = pq.read_table(path, columns=[*axes, "fitted"])
        coords = np.stack([table.column(axis).to_numpy() for axis in axes], axis=1).astype(np.float32)
        request = EmbedRequest.parse(about["request"], str(path))
        made = LatentMap(
            coords,
            table.column("fitted").to_numpy(),
            request,
            about["fingerprint"],
            float(about["seconds"]),
            tuple(about["shares"]),
        )
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, ConfigError) as error:
        raise SetError(f"{path}: damaged, or no map of a set; delete it and make it again") from error
    if made.fingerprint != latents.fingerprint or len(made.coords) != len(latents):
        raise SetError(f"{path}: a map of another set; make it again with embed {latents.path}")
    return made
