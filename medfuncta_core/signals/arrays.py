"""NumPy's own formats, .npy and .npz, with every claim checked before memory is taken and no unpickling ever."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import IO

import numpy as np

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.guarding import MAX_ARCHIVE_MEMBERS, MAX_DECODED_BYTES, check_size, guarded
from medfuncta_core.signals.sources import Source

_PIECE_BYTES = 1 << 20
_REMEDY = "save it again with numpy.save or numpy.savez"


def load_npy(source: Source) -> np.ndarray:
    """The array of a .npy file.

    Args:
        source: The file.

    Returns:
        The array as stored, real-valued, of any shape that is not empty.

    Raises:
        SignalError: if it is truncated, too large, or holds objects, text, records or complex numbers.
    """
    with guarded(source.name, "a .npy array", _REMEDY):
        with source.open() as stream:
            shape, _, dtype = _read_header(stream, source.name)
            _check_claims(source.name, shape, dtype, source.byte_count - stream.tell(), MAX_DECODED_BYTES)
            stream.seek(0)
            return np.lib.format.read_array(stream, allow_pickle=False)


def list_npz(source: Source) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the arrays in a .npz file, from their headers alone.

    Raises:
        SignalError: if the archive is damaged or holds too many members.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    with guarded(source.name, "a .npz archive", _REMEDY), source.open() as stream, zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if len(members) > MAX_ARCHIVE_MEMBERS:
            raise SignalError(f"{source.name}: holds {len(members)} members, more than {MAX_ARCHIVE_MEMBERS}; {_REMEDY}")
        for member in members:
            if member.filename.endswith(".npy"):
                with archive.open(member) as content:
                    shapes[member.filename.removesuffix(".npy")] = _read_header(content, f"{source.name}[{member.filename}]")[0]
    return shapes


def load_npz_array(source: Source, key: str, *, limit: int = MAX_DECODED_BYTES, text: bool = False) -> np.ndarray:
    """One array of a .npz file.

    Args:
        source: The archive.
        key: The array's name, as `list_npz` gives it.
        limit: Largest array accepted, in bytes.
        text: Accept strings too (names of classes).

    Raises:
        SignalError: as `load_npy`, or if the archive has no such key.
    """
    name = f"{source.name}[{key}]"
    with guarded(name, "a .npz array", _REMEDY), source.open() as stream, zipfile.ZipFile(stream) as archive:
        try:
            member = archive.getinfo(f"{key}.npy")
        except KeyError:
            raise SignalError(f"{name}: the archive has no such array; it holds {', '.join(list_npz(source))}") from None
        # Deflate cannot shrink below 1/1032, so a member that claims more lies about its length.
        if member.compress_type == zipfile.ZIP_DEFLATED and member.file_size > 1032 * member.compress_size + 1024:
            raise SignalError(f"{name}: claims more bytes than its compressed data can hold; {_REMEDY}")
        with archive.open(member) as content:
            shape, _, dtype = _read_header(content, name)
            _check_claims(name, shape, dtype, member.file_size - content.tell(), limit, text=text)
        with archive.open(member) as content:
            return np.lib.format.read_array(content, allow_pickle=False)


@dataclass(frozen=True, eq=False)
class Sampling:
    """Some rows of a stored array, and what was met on the way to them.

    Args:
        rows: Chosen rows, evenly spread over those read, as stored.
        low: Least value read.
        high: Greatest value read.
        read: How many rows were read, from the first on.
    """

    rows: np.ndarray
    low: float
    high: float
    read: int


def sample_npz_array(source: Source, key: str, count: int, *, budget: int, limit: int) -> Sampling:
    """A few rows of an array in a .npz file without holding the rest; at most `budget` bytes of it are read.

    Args:
        source: The archive.
        key: The array's name.
        count: Rows wanted.
        budget: Bytes to read before settling for what was met.
        limit: Largest array accepted, in bytes.

    Raises:
        SignalError: as `load_npz_array`; also for NaN or infinite values, naming the row.
    """
    name = f"{source.name}[{key}]"
    with guarded(name, "a .npz array", _REMEDY), source.open() as stream, zipfile.ZipFile(stream) as archive:
        member = archive.getinfo(f"{key}.npy")
        with archive.open(member) as content:
            shape, columns_first, dtype = _read_header(content, name)
            _check_claims(name, shape, dtype, member.file_size - content.tell(), limit)
            if columns_first:  # rows are scattered over the whole file
                return _sample(name, iter([load_npz_array(source, key)]), shape[0], count)
            row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=object))
            read = max(1, min(shape[0], budget // row_bytes))
            piece = max(1, _PIECE_BYTES // row_bytes)
            pieces = (
                np.frombuffer(content.read(row_bytes * held), dtype).reshape(held, *shape[1:])
                for held in (min(piece, read - row) for row in range(0, read, piece))
            )
            return _sample(name, pieces, read, count)


def _sample(name: str, pieces: Iterator[np.ndarray], read: int, count: int) -> Sampling:
    """Evenly spread rows and the range of consecutive pieces of an array of `read` rows."""
    wanted = np.unique(np.linspace(0, read - 1, min(count, read)).round().astype(int))
    kept, low, high, at = [], np.inf, -np.inf, 0
    for piece in pieces:
        low, high = min(low, float(piece.min())), max(high, float(piece.max()))
        if not np.isfinite([low, high]).all():
            axes = tuple(range(1, piece.ndim))
            row = at + int(np.argmin(np.isfinite(piece).all(axis=axes)))
            raise SignalError(f"{name}: signal {row} holds NaN or infinite values; remove or fill it first")
        kept.append(piece[wanted[(wanted >= at) & (wanted < at + len(piece))] - at])
        at += len(piece)
    return Sampling(np.concatenate(kept), low, high, read)


def _read_header(stream: BufferedIOBase | IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and dtype that a .npy header claims; the stream is left at the first value."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise SignalError(f"{name}: .npy version {version[0]}.{version[1]} is for records, not signals; {_REMEDY}")
    return readers[version](stream)


def _check_claims(name: str, shape: tuple[int, ...], dtype: np.dtype, held: int, limit: int, *, text: bool = False) -> None:
    """Refuse what is not plain numbers, too large, or longer than the `held` bytes that follow the header."""
    if dtype.kind == "O":
        raise SignalError(
            f"{name}: holds Python objects, which could run code and are never unpickled; save plain numbers instead"
        )
    if dtype.kind == "c":
        raise SignalError(f"{name}: holds complex numbers ({dtype}); save the magnitude or the real part instead")
    if dtype.kind not in ("biufU" if text else "biuf"):
        raise SignalError(f"{name}: holds {dtype}, not numbers; save integers or floats instead")
    check_size(name, shape or (1,), dtype.itemsize, limit)
    claimed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if claimed > held:
        raise SignalError(f"{name}: is truncated: {claimed} bytes announced, {held} there; copy or download it again")
