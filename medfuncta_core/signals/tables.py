"""Tables of numbers: ECGs as CSV, a beat a row, or one recording in columns."""

from __future__ import annotations

import codecs
import csv
import io
from array import array
from collections.abc import Iterator
from typing import IO, NamedTuple, cast

import numpy as np

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.guarding import MAX_DECODED_BYTES, check_size, translated
from medfuncta_core.signals.normalising import make_signal
from medfuncta_core.signals.readings import Reading, check_index
from medfuncta_core.signals.sources import Source

_LABEL_NAMES = {"label", "class", "target", "y", "category"}
_TIME_NAMES = {"t": 1.0, "time": 1.0, "s": 1.0, "sec": 1.0, "seconds": 1.0, "time_s": 1.0, "ms": 1e-3, "time_ms": 1e-3}
_PUBLISHED_LENGTH = 187
_MOST_CLASSES = 100
_FEWEST_SAMPLES = 8
_DECIMAL_COMMA = (";", "\t")


class Table(NamedTuple):
    """A CSV file's numbers.

    Args:
        values: float32 `(rows, columns)`.
        header: Names of the columns, () without a header line.
    """

    values: np.ndarray
    header: tuple[str, ...]


def read_table(source: Source) -> Table:
    """All numbers of a CSV file; delimiter (comma, semicolon, tab, blank) and header line are found out.

    Text is UTF-8, or UTF-16 with a byte order mark as spreadsheets save it; numbers may stand in double quotes.

    Raises:
        SignalError: if it is empty, not text, ragged, or holds words where numbers should be.
    """
    name = source.name
    if not source.byte_count:
        raise SignalError(f"{name}: is empty; choose a file with at least {_FEWEST_SAMPLES} numbers")
    # A number takes two bytes of text at least, so a file is bounded by its own length.
    check_size(name, (source.byte_count,), 2, MAX_DECODED_BYTES)
    with translated(name, "a table of numbers", "save it as CSV with one beat a row or one column"):
        head = source.head(1 << 16)
        encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        beginning = head.decode(encoding, "replace")
        if "\0" in beginning:
            raise SignalError(f"{name}: is not text; save it as CSV, or give it its true extension")
        lines = [line.strip() for line in beginning.splitlines() if line.strip()]
        if not lines:
            raise SignalError(f"{name}: holds only blank lines; choose a file with numbers")
        delimiter = _sniff(lines[-2] if len(lines) > 2 else lines[-1])
        header = _read_header(lines[0], delimiter)
        with source.open() as stream:
            text = io.TextIOWrapper(cast(IO[bytes], stream), encoding=encoding, errors="replace")
            values = _parse(name, text, delimiter, bool(header))
    return Table(values, header)


def split_labels(table: Table, length: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Beats `(N, samples)` and their classes `(N,)`, if the last column holds classes.

    It does if its header says so, if there is one column more than samples are expected (`length`, or the 187 of the
    published files).

    Args:
        table: Rows of beats.
        length: Samples that a checkpoint expects, or None.
    """
    values, header = table
    expected = values.shape[1] - 1 in (length, _PUBLISHED_LENGTH)
    named = bool(header) and header[-1].strip().lower() in _LABEL_NAMES
    last = values[:, -1]
    whole = bool((last == np.floor(last)).all() and last.min() >= 0 and last.max() < _MOST_CLASSES)
    if values.shape[1] > 2 and whole and (expected or named):
        return values[:, :-1], last.astype(np.int64)
    return values, None


def read_csv(source: Source, index: int, length: int | None = None) -> Reading:
    """An ECG from a CSV file: one of its rows, or its column.

    Args:
        source: The file.
        index: Which row, when each is a beat.
        length: Samples that a checkpoint expects, which helps to tell a class column.

    Returns:
        The beat or recording `(samples, 1)`.

    Raises:
        SignalError: as `read_table`, or if it holds too few numbers.
    """
    table = read_table(source)
    rows, columns = table.values.shape
    if columns < _FEWEST_SAMPLES and rows >= _FEWEST_SAMPLES:
        return _read_column(source, table)
    beats, labels = split_labels(table, length)
    if beats.shape[1] < _FEWEST_SAMPLES:
        raise SignalError(
            f"{source.name}: {rows} x {columns} numbers are too few for an ECG; give at least {_FEWEST_SAMPLES} samples"
        )
    check_index(source.name, index, rows, "row")
    label = None if labels is None else int(labels[index])
    notes = [f"Row {index + 1} of {rows}."] if rows > 1 else []
    if labels is not None:
        notes.append(f"The last column was taken as the class ({label}).")
    signal = make_signal(
        beats[index][:, None], "ecg", f"{source.name} row {index}" if rows > 1 else source.name,
        notes=tuple(notes), original_shape=(beats.shape[1],), label=label, class_name="" if label is None else str(label),
    )  # fmt: skip
    return Reading(signal, rows)


def _read_column(source: Source, table: Table) -> Reading:
    """A recording down the first column that is not the time; a time column gives its sampling rate."""
    values, header = table
    names = [entry.strip().lower().replace(" ", "_").replace("(", "").replace(")", "") for entry in header]
    spacing, first = None, 0
    if values.shape[1] > 1 and names and names[0] in _TIME_NAMES:
        steps, first = np.diff(values[:, 0].astype(np.float64)) * _TIME_NAMES[names[0]], 1
        step = float((values[-1, 0] - values[0, 0]) * _TIME_NAMES[names[0]] / (len(values) - 1))
        spacing = (step,) if step > 0 and bool((steps > 0).all()) else None
    leads = values.shape[1] - first
    notes = (f"Column {first + 1}, the first of {leads} leads.",) if leads > 1 else ()
    signal = make_signal(
        values[:, first : first + 1], "ecg", source.name, notes=notes, spacing=spacing,
        spacing_unit="" if spacing is None else "s", original_shape=(len(values),) if leads == 1 else (len(values), leads),
    )  # fmt: skip
    return Reading(signal, 1)


def _sniff(line: str) -> str | None:
    """The delimiter of a line: the first of semicolon, tab and comma in it, otherwise any blanks (None)."""
    return next((mark for mark in ";\t," if mark in line), None)


def _read_header(line: str, delimiter: str | None) -> tuple[str, ...]:
    """Column names if the first line is not all numbers, otherwise ()."""
    cells = _split_quoted(line, delimiter)
    decimal_comma = delimiter in _DECIMAL_COMMA
    try:
        [float(cell.replace(",", ".") if decimal_comma else cell) for cell in cells if cell.strip()]
    except ValueError:
        return tuple(cells)
    return ()


def _split_quoted(line: str, delimiter: str | None) -> list[str]:
    """A line's cells without the double quotes around them."""
    return next(csv.reader([line], delimiter=delimiter)) if delimiter else [cell.strip('"') for cell in line.split()]


def _parse(name: str, text: io.TextIOWrapper, delimiter: str | None, skip: bool) -> np.ndarray:
    """Numbers `(rows, columns)` float32, decimal commas understood where semicolons or tabs divide."""
    decimal_comma = delimiter in _DECIMAL_COMMA
    numbers, width = array("f"), 0
    for number, line in _content_lines(text, delimiter, int(skip)):
        bare = line.replace(",", ".") if decimal_comma else line
        cells = _split_quoted(bare, delimiter) if '"' in bare else bare.split(delimiter)
        width = width or len(cells)
        if len(cells) != width:
            raise SignalError(f"{name}: line {number} has {len(cells)} numbers, the first {width}; make all rows alike")
        try:
            numbers.extend(map(float, cells))
        except ValueError:
            bad = next((cell for cell in cells if not _is_number(cell)), "").strip()[:20]
            raise SignalError(f"{name}: line {number} holds {bad!r}, not a number; remove text, and leave no gaps") from None
    if not numbers:
        raise SignalError(f"{name}: holds no numbers; choose a file with numbers")
    return np.frombuffer(numbers, np.float32).reshape(-1, width)


def _content_lines(text: io.TextIOWrapper, delimiter: str | None, skipped: int) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines that are neither blank nor comments, without the first `skipped` of them."""
    for number, line in enumerate(text, start=1):
        bare = line.strip().rstrip(delimiter or "")
        if bare and not bare.startswith("#"):
            if skipped:
                skipped -= 1
            else:
                yield number, bare


def _is_number(cell: str) -> bool:
    """Whether the text is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
