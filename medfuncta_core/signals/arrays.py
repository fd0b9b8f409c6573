"""NumPy's own formats, .npy and .npz, with every claim checked before memory is taken and no unpickling ever."""

from __future__ import annotations

import zipfile
from io import BufferedIOBase
from typing import IO

import numpy as np

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.guarding import MAX_ARCHIVE_MEMBERS, MAX_DECODED_BYTES, check_size, guarded
from medfuncta_core.signals.sources import Source

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
            shape, dtype = _read_header(stream, source.name)
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
            shape, dtype = _read_header(content, name)
            _check_claims(name, shape, dtype, member.file_size - content.tell(), limit, text=text)
        with archive.open(member) as content:
            return np.lib.format.read_array(content, allow_pickle=False)


def _read_header(stream: BufferedIOBase | IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype that a .npy header claims; the stream is left at the first value."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise SignalError(f"{name}: .npy version {version[0]}.{version[1]} is for records, not signals; {_REMEDY}")
    shape, _, dtype = readers[version](stream)
    return shape, dtype


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
