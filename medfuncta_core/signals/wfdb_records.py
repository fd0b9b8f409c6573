"""WFDB records, PhysioNet's format: a header, its samples, and annotated heartbeats where there are any."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.ecg import BEAT_CLASSES
from medfuncta_core.signals.guarding import check_size, guarded
from medfuncta_core.signals.normalising import make_signal
from medfuncta_core.signals.readings import Reading
from medfuncta_core.signals.signal import Signal
from medfuncta_core.signals.sources import Source

_LEADS = ("MLII", "II", "ML2", "LEAD II")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")


def read_record(source: Source) -> Reading:
    """The record of which `source` is a part, found beside it.

    Args:
        source: Its .hea, .dat or .atr file on disk.

    Returns:
        The whole record `(samples, 1)`: lead II where there is one, otherwise the first; annotated beats as `events`.

    Raises:
        SignalError: if a part of the record is missing or damaged.
    """
    if source.path is None:
        raise SignalError(f"{source.name}: {_missing_partner(source)}; give a .zip with all files of the record")
    header = source.path.with_suffix(".hea")
    if not header.is_file():
        raise SignalError(f"{source.name}: its header {header.name} is missing; put the record's files into one folder")
    return Reading(_read(header.stem, header.parent), 1)


def read_record_archive(name: str, files: list[Source]) -> Reading:
    """The record in an archive, unpacked into a folder that is gone afterwards.

    Raises:
        SignalError: if the archive holds no header, or several.
    """
    headers = [file for file in files if file.suffix == ".hea"]
    if len(headers) != 1:
        raise SignalError(f"{name}: holds {len(headers)} WFDB headers; zip one record, its .hea with its .dat")
    with tempfile.TemporaryDirectory(prefix="medfuncta-") as folder:
        for file in files:
            # Only plain names reach the disk, so a member called ../../x lands nowhere.
            if _PLAIN_NAME.fullmatch(file.name):
                (Path(folder) / file.name).write_bytes(file.content or b"")
        return Reading(_read(Path(headers[0].name).stem, Path(folder)), 1)


def _missing_partner(source: Source) -> str:
    """Which files a lone part of a record lacks."""
    stem = Path(source.name).stem
    if source.suffix != ".hea":
        return f"a WFDB record also needs its header {stem}.hea"
    lines = source.head(1 << 16).decode("utf-8", "replace").splitlines()
    named = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")][1:]
    files = sorted({entry for entry in named if _PLAIN_NAME.fullmatch(entry)}) or [f"{stem}.dat"]
    return f"a WFDB header without its samples {', '.join(files)}"


def _read(record: str, folder: Path) -> Signal:
    """The record of that name in a folder."""
    name = f"{record}.hea"
    with guarded(name, "a WFDB record"):
        import wfdb

        header = wfdb.rdheader(str(folder / record))
        _check_header(name, header, folder)
        content: Any = wfdb.rdrecord(str(folder / record), channels=[_choose_lead(header)])
        if content.p_signal is None or not content.p_signal.size:
            raise SignalError(f"{name}: holds no samples; copy the record again")
        events = _read_events(folder / record, len(content.p_signal))
        samples, rate = content.p_signal[:, :1], float(content.fs)
        unit, lead, total = str(content.units[0]), str(content.sig_name[0]), int(header.n_sig or 1)
    notes = [f"Lead {lead} of {total}."] if total > 1 else []
    return make_signal(
        samples, "ecg", record, notes=tuple(notes), unit=unit, spacing=(1 / rate,), spacing_unit="s", events=events,
        original_shape=(len(samples), total) if total > 1 else (len(samples),),
    )  # fmt: skip


def _check_header(name: str, header: Any, folder: Path) -> None:
    """Refuse a header that claims too much, or names files elsewhere or missing."""
    import wfdb

    if not isinstance(header, wfdb.Record):
        raise SignalError(f"{name}: is a record of several segments; give one of its segments")
    if not header.n_sig or not header.fs or not np.isfinite(float(header.fs)) or float(header.fs) <= 0:
        raise SignalError(f"{name}: names no leads or no sampling rate; check the header")
    for file in set(header.file_name or ()):
        if not _PLAIN_NAME.fullmatch(str(file)):
            raise SignalError(
                f"{name}: names its samples {str(file)[:60]!r}, not a file beside it; put the record into one folder"
            )
        if not (folder / str(file)).is_file():
            raise SignalError(f"{name}: its samples {file} are missing; put both files into one folder, or one .zip")
    check_size(name, (int(header.sig_len) if header.sig_len is not None else 1, int(header.n_sig)), 8)
    held = sum((folder / str(file)).stat().st_size for file in set(header.file_name or ()))
    if header.sig_len and int(header.sig_len) > 64 * max(held, 1):
        raise SignalError(f"{name}: announces {header.sig_len} samples, its files hold {held} bytes; copy the record again")


def _choose_lead(header: Any) -> int:
    """Index of lead II, on which the paper's set was made, or 0."""
    names = [str(lead).upper() for lead in header.sig_name or ()]
    return next((names.index(lead) for lead in _LEADS if lead in names), 0)


def _read_events(record: Path, samples: int) -> tuple[tuple[int, str], ...]:
    """Annotated beats of an .atr file beside the record; () without one."""
    import wfdb

    if not record.with_suffix(".atr").is_file():
        return ()
    annotation = wfdb.rdann(str(record), "atr")
    pairs = zip(annotation.sample, annotation.symbol or (), strict=True)
    return tuple(sorted((int(at), str(symbol)) for at, symbol in pairs if symbol in BEAT_CLASSES and 0 <= at < samples))
