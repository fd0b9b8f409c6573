"""What keeps a bad file from doing harm: limits that are checked before memory is taken, and errors of one line."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import numpy as np

from medfuncta_core.errors import MedFunctaError, SignalError

MAX_DECODED_BYTES = 2**31
"""Largest array one file may decode to, in bytes; a file's header is compared with this before anything is allocated."""

MAX_DATA_SET_BYTES = 2**35
"""Largest array of a data set, in bytes: the biggest of MedMNIST's files decodes to 13.5e9."""

MAX_ARCHIVE_MEMBERS = 20_000
"""Most files an archive may hold; a long CT series has a few thousand."""

# warnings.catch_warnings changes interpreter-wide state, so two visitors' readers must not overlap inside it.
_THIRD_PARTY = threading.RLock()


def one_line(error: BaseException, limit: int = 160) -> str:
    """An exception's message on one line, cut at `limit` characters; its type's name when it has no message."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


@contextmanager
def guarded(name: str, what: str, remedy: str = "check that the file is whole, or export it again") -> Iterator[None]:
    """Read with third-party code: one SignalError whatever it raises, its warnings and log lines kept quiet.

    Warnings are a process's, so only one thread at a time is inside: hold it around the reading alone.

    Args:
        name: The file, for the message.
        what: What it was read as, with its article: "a PNG image".
        remedy: What the user can do, continuing the sentence after a semicolon.

    Raises:
        SignalError: for any exception but the library's own, which pass unchanged.
    """
    with _THIRD_PARTY, warnings.catch_warnings(), _silent_loggers(), translated(name, what, remedy):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def translated(name: str, what: str, remedy: str = "check that the file is whole, or export it again") -> Iterator[None]:
    """Turn whatever goes wrong with a file's values into one SignalError; NumPy's warnings are off, for this thread alone.

    Args and Raises as `guarded`.
    """
    with np.errstate(all="ignore"):
        try:
            yield
        except MedFunctaError:
            raise
        except MemoryError as error:
            raise SignalError(f"{name}: not enough memory to read it as {what}; crop or downsample it first") from error
        # Parsers of foreign formats raise nearly everything on hostile bytes: struct.error, RecursionError, KeyError …
        except Exception as error:
            raise SignalError(f"{name}: cannot be read as {what} ({one_line(error)}); {remedy}") from error


@contextmanager
def _silent_loggers() -> Iterator[None]:
    """Keep the readers' own log lines off the terminal: what matters is in the error or the notes."""
    loggers = [logging.getLogger(name) for name in ("nibabel.global", "pydicom", "tifffile", "PIL")]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def check_size(name: str, shape: tuple[int, ...], itemsize: int, limit: int = MAX_DECODED_BYTES) -> None:
    """Refuse an array that is empty or would take more than `limit` bytes, before it is allocated.

    Args:
        name: The file, for the message.
        shape: The shape that the file claims, channels and frames included.
        itemsize: Bytes per value once decoded.
        limit: Largest size accepted, in bytes.

    Raises:
        SignalError: if the claimed shape is empty, negative or too large.
    """
    if not shape or min(shape) < 1:
        raise SignalError(
            f"{name}: holds no values (shape {format_shape(shape)}); choose a file with at least two points an axis"
        )
    claimed = prod(int(length) for length in shape) * itemsize
    if claimed > limit:
        raise SignalError(
            f"{name}: claims {format_shape(shape)} values, {claimed / 2**30:.3g} GiB decoded, more than the limit of "
            f"{limit / 2**30:.3g} GiB; crop or downsample it first"
        )


def format_shape(shape: tuple[int, ...]) -> str:
    """A shape as people write it, with multiplication signs between: 1024 x 1024."""
    return " x ".join(str(length) for length in shape) if shape else "0"
