"""Files that exist whole or not at all: written under a temporary name, flushed to the disk, renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from medfuncta_core.errors import CheckpointError, MedFunctaError


def write_atomically(path: Path, content: bytes, error: type[MedFunctaError] = CheckpointError) -> Path:
    """Replace `path` by `content` so that a reader, or a crash, only ever meets the old file or the new one.

    Args:
        path: Where to write; missing parent directories are made.
        content: The whole file.
        error: What to raise.

    Returns:
        `path`.

    Raises:
        MedFunctaError: of the kind `error`, when the place cannot be written; an older file is then still there.
    """
    with writing(path, error) as file:
        file.write(content)
    return path


@contextmanager
def writing(path: Path, error: type[MedFunctaError] = CheckpointError) -> Iterator[BinaryIO]:
    """As `write_atomically`, for what is too large to be held at once: a file that takes `path`'s place when the block ends well.

    Args:
        path: Where to write; missing parent directories are made.
        error: What to raise.

    Yields:
        The temporary file, open for writing; it is gone when the block raises.

    Raises:
        MedFunctaError: of the kind `error`, when the place cannot be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would hide a shared file from other users
        temporary.replace(path)
        _flush_directory(path.parent)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise error(f"{path}: cannot be written ({reason}); choose another place or free some space") from problem
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()  # already renamed when all went well


def _flush_directory(directory: Path) -> None:
    """A rename is only safe from a power cut once its directory is flushed; systems that cannot do that are left alone."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
