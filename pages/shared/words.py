"""Numbers as people say them."""

from __future__ import annotations


def seconds_words(seconds: float) -> str:
    """A duration with two or three digits: 45 ms, 3.2 s, 4 min, 2.5 h, 3.1 days."""
    for limit, unit, factor in ((0.9995, "ms", 1e3), (99.5, "s", 1.0), (5970, "min", 1 / 60), (172_800, "h", 1 / 3600)):
        if seconds < limit:
            return f"{_short(seconds * factor)} {unit}"
    return f"{_short(seconds / 86_400)} days"


def bytes_words(count: float) -> str:
    """An amount of memory: 512 MB, 3.4 GB."""
    return f"{_short(count / 1e6)} MB" if count < 0.9995e9 else f"{_short(count / 1e9)} GB"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"
