"""Uploaded data sets, kept whole on the disk: a run that goes on for days, or is resumed, opens its data by a path."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from medfuncta_core.atomic import write_atomically
from medfuncta_core.errors import DataSetError
from medfuncta_core.signals.archives import unpack_folder
from medfuncta_core.signals.sources import Source

MAX_UPLOAD_BYTES = 2**30
"""Largest upload that is kept; what is larger is better given as a path."""


def keep_data_set(content: bytes, name: str, root: str | Path) -> Path:
    """Keep an uploaded `.npz`, table or zipped folder of files; the same upload is kept once.

    Args:
        content: The upload's bytes.
        name: Its name; the extension tells what it is, and nothing else of it but letters and digits reaches the disk.
        root: Folder of all kept data sets.

    Returns:
        The file, or the folder that an archive was unpacked to; its name ends with a part of the content's SHA-256.

    Raises:
        DataSetError: if it is of another kind, too large, or cannot be written.
        SignalError: if an archive is damaged, encrypted, or would unpack to too much.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in (".npz", ".zip", ".csv"):
        raise DataSetError(f"{name}: is no data set; give a .npz, a .csv of beats, or a .zip of a folder of files")
    if len(content) > MAX_UPLOAD_BYTES:
        raise DataSetError(f"{name}: is larger than {MAX_UPLOAD_BYTES / 2**30:.0f} GiB; give its path on this machine instead")
    stem = re.sub(r"[^\w-]+", "-", Path(name).stem).strip("-_")[:48] or "data"
    kept = Path(root) / f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}"
    if suffix == ".zip":
        return unpack_folder(Source(name, content=content), kept)
    file = kept.with_suffix(suffix)
    return file if file.exists() else write_atomically(file, content, DataSetError)


def list_kept(root: str | Path) -> tuple[Path, ...]:
    """Data sets that were kept, by name."""
    folder = Path(root)
    if not folder.is_dir():
        return ()
    kept = (path for path in folder.iterdir() if not path.name.startswith("."))
    return tuple(sorted(path for path in kept if path.is_dir() or path.suffix in (".npz", ".csv")))
