"""Where a file's bytes come from: a path, or an upload that was never on a disk."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.guarding import one_line


@dataclass(frozen=True)
class Source:
    """One file, opened as often as a reader needs it and never copied.

    Args:
        name: For messages and for the extension; a path's last part or the upload's name.
        path: Where it lies, or None for bytes in memory.
        content: The bytes, or None for a file on disk.
    """

    name: str
    path: Path | None = None
    content: bytes | None = None

    def open(self) -> BufferedIOBase:
        """A new binary stream at the file's start.

        Raises:
            SignalError: if the file cannot be opened.
        """
        if self.content is not None:
            return io.BytesIO(self.content)
        assert self.path is not None
        try:
            return self.path.open("rb")
        except OSError as error:
            raise SignalError(f"{self.name}: cannot be opened ({one_line(error)}); check the path and its permissions") from error

    def head(self, count: int = 4096) -> bytes:
        """The first `count` bytes, or fewer when the file is shorter."""
        if self.content is not None:
            return self.content[:count]
        with self.open() as stream:
            return stream.read(count)

    @property
    def byte_count(self) -> int:
        """Length of the file in bytes."""
        if self.content is not None:
            return len(self.content)
        assert self.path is not None
        return self.path.stat().st_size

    @property
    def suffix(self) -> str:
        """Extension in lower case with its dot, `.nii.gz` kept whole, "" without one."""
        name = self.name.lower()
        return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def make_source(source: str | Path | bytes, name: str | None = None) -> Source:
    """A `Source` of a path or of bytes with a name.

    Args:
        source: Path of an existing file or directory, or a file's bytes.
        name: Name to show; required for bytes, whose extension then hints at the format.

    Raises:
        SignalError: if the path does not exist, or bytes come without a name.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        if not name:
            raise SignalError("bytes without a name: pass name='scan.png' so that the format can be told")
        return Source(name, content=bytes(source))
    path = Path(source).expanduser()
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise SignalError(f"{source}: is not a usable path ({one_line(error)}); check its spelling") from error
    if not exists:
        raise SignalError(f"{source}: no such file or directory; check the path")
    return Source(name or path.name or str(path), path=path)


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()
