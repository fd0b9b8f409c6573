"""Zip archives of a DICOM series, a WFDB record, a single file or a data set, within limits on members and sizes."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from medfuncta_core.errors import DataSetError, SignalError
from medfuncta_core.signals.guarding import MAX_ARCHIVE_MEMBERS, MAX_DECODED_BYTES, guarded
from medfuncta_core.signals.sources import Source

# Deflate's best; other methods can do better, but no tool makes medical archives with them.
_BEST_RATIO = 1032


def unpack(source: Source) -> list[Source]:
    """The files of an archive, in memory, sorted by name; folders, hidden files and resource forks are left out.

    Args:
        source: The archive.

    Returns:
        One source per member, named by the last part of its path only.

    Raises:
        SignalError: if it is damaged, encrypted, or would unpack to too much.
    """
    with (
        guarded(source.name, "a .zip archive", "zip the files again"),
        source.open() as stream,
        zipfile.ZipFile(stream) as archive,
    ):
        members = [member for member in archive.infolist() if _is_wanted(member)]
        if len(members) > MAX_ARCHIVE_MEMBERS:
            raise SignalError(f"{source.name}: holds {len(members)} files, more than {MAX_ARCHIVE_MEMBERS}; zip one series only")
        if not members:
            raise SignalError(f"{source.name}: holds no files; zip a DICOM series, a WFDB record or one signal")
        _check_sizes(source.name, members)
        return [_extract(source.name, archive, member) for member in sorted(members, key=lambda member: member.filename)]


def unpack_folder(source: Source, target: Path) -> Path:
    """Unpack a zipped data set, a folder a class, so that it can be read like any folder.

    It exists whole or not at all: unpacked under a temporary name, then renamed. Nothing is written outside `target`, whatever
    the members are called, and a single folder around everything is left out.

    Args:
        source: The archive.
        target: Where to; what is there already is taken to be the same archive unpacked before.

    Returns:
        `target`.

    Raises:
        SignalError: as `unpack`.
        DataSetError: if there is no room for it.
    """
    if target.is_dir():
        return target
    with (
        guarded(source.name, "a .zip archive", "zip the files again"),
        source.open() as stream,
        zipfile.ZipFile(stream) as archive,
    ):
        members = [member for member in archive.infolist() if _is_wanted(member)]
        if not members or len(members) > MAX_ARCHIVE_MEMBERS:
            held = f"{len(members):,} files, more than {MAX_ARCHIVE_MEMBERS:,}" if members else "no files"
            raise SignalError(f"{source.name}: holds {held}; zip a folder with a sub-folder of files for each class")
        _check_sizes(source.name, members)
        outer = _common_folder([_parts(member) for member in members])
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            try:
                for member in members:
                    _write_member(source.name, archive, member, temporary, outer)
                temporary.rename(target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except OSError as error:
            raise DataSetError(
                f"{source.name}: cannot be unpacked ({error.strerror}); free some space, or give the path of the unpacked folder"
            ) from error
    return target


def _common_folder(paths: list[tuple[str, ...]]) -> int:
    """How many leading folders all members share, at most one, and never one that names a split or leaves files bare."""
    first = {parts[0] for parts in paths}
    return int(len(first) == 1 and all(len(parts) > 2 for parts in paths))


def _parts(member: zipfile.ZipInfo) -> tuple[str, ...]:
    """A member's folders and name; some tools write Windows' separators."""
    return PurePosixPath(member.filename.replace("\\", "/")).parts


def _write_member(name: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, outer: int) -> None:
    parts = [part for part in _parts(member)[outer:] if part not in ("/", "..", ".")]
    file = folder.joinpath(*parts)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_extract(name, archive, member).head(member.file_size))


def _is_wanted(member: zipfile.ZipInfo) -> bool:
    """Whether a member is a file that a person put there."""
    parts = PurePosixPath(member.filename).parts
    return not member.is_dir() and bool(parts) and not any(part.startswith((".", "__MACOSX")) for part in parts)


def _check_sizes(name: str, members: list[zipfile.ZipInfo]) -> None:
    """Refuse archives that would unpack to too much, or claim more than their bytes can hold."""
    if any(member.flag_bits & 1 for member in members):
        raise SignalError(f"{name}: is encrypted; zip the files without a password")
    total = sum(member.file_size for member in members)
    if total > MAX_DECODED_BYTES or any(member.file_size > _BEST_RATIO * member.compress_size + 1024 for member in members):
        raise SignalError(f"{name}: unpacks to {total / 2**30:.3g} GiB, too much to be a signal; zip fewer files")


def _extract(name: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Source:
    """One member's bytes; never more than it announced."""
    with archive.open(member) as stream:
        content = stream.read(member.file_size + 1)
    if len(content) > member.file_size:
        raise SignalError(f"{name}: {member.filename} is longer than it claims; zip the files again")
    return Source(PurePosixPath(member.filename).name, content=content)
