"""What every reader gives back: a signal, and how many such the file holds."""

from __future__ import annotations

from typing import NamedTuple

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.signal import Signal


class Reading(NamedTuple):
    """One signal of a file.

    Args:
        signal: As the file has it.
        total: How many signals `index` chose among: pages, rows, frames.
    """

    signal: Signal
    total: int


def check_index(name: str, index: int, count: int, noun: str) -> None:
    """Refuse an index outside the file.

    Raises:
        SignalError: naming what there is.
    """
    if not 0 <= index < count:
        held = f"only one {noun}" if count == 1 else f"{noun}s 0 to {count - 1}"
        raise SignalError(f"{name}: has no {noun} {index}, {held}; choose one of these")
