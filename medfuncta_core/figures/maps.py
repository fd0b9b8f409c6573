"""The map of a latent space as the browser draws it: positions and colours as bytes, and which points a visitor chose."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from medfuncta_core.figures.classes import CIVIDIS, CLASS_COLOURS, NO_CLASS, class_colour, ramp

UNKNOWN = 255
"""Code of points that have no value."""
MAX_GROUPS = 24
"""A column of more different values than this is numbers on a scale, or, being text, its most frequent ones and the rest."""


@dataclass(frozen=True, eq=False)
class Colouring:
    """How the points of a map are coloured.

    Args:
        codes: Index into the palette, point by point; `UNKNOWN` without a value.
        palette: Colours as "#RRGGBB".
        groups: Name, code and number of points of what a legend can switch on and off.
        scale: `low`, `high`, `label` and `stops` of a scale; None for groups.
    """

    codes: UInt8[np.ndarray, " n"]
    palette: tuple[str, ...]
    groups: tuple[tuple[str, int, int], ...]
    scale: dict[str, Any] | None = None


def colour_classes(labels: Int[np.ndarray, " n"], names: tuple[str, ...]) -> Colouring:
    """Every class in its own colour, in the legend those that occur; -1 is no class."""
    codes = np.where(labels >= 0, labels % UNKNOWN, UNKNOWN).astype(np.uint8)
    present = [int(label) for label in np.unique(labels) if label >= 0]
    groups = [(names[label] if label < len(names) else str(label), label, int((labels == label).sum())) for label in present]
    palette = tuple(class_colour(label) for label in range(max(present, default=0) + 1))
    return Colouring(codes, palette, (*groups, *_unknown(codes, "no class")))


def colour_column(values: np.ndarray, label: str) -> Colouring:
    """A column of a table: text and a few whole numbers that repeat as groups, other numbers on a scale.

    Args:
        values: `(n,)` numbers, NaN for unknown, or text as objects, None for unknown.
        label: What the column says, with its unit.
    """
    if values.dtype.kind in "OUS":
        return _colour_text(np.array(["" if value is None else str(value) for value in values]))
    numbers = values.astype(np.float64)
    known = np.unique(numbers[np.isfinite(numbers)])
    repeated = len(known) <= min(len(CLASS_COLOURS), len(numbers) // 2)
    if repeated and (known == np.rint(known)).all():
        return _colour_text(np.array(["" if not np.isfinite(n) else f"{n:g}" for n in numbers]))
    return _colour_scale(numbers, label)


def _colour_text(words: np.ndarray) -> Colouring:
    names, inverse, counts = np.unique(words, return_inverse=True, return_counts=True)
    order = [place for place in np.argsort(-counts, kind="stable") if names[place]]
    kept, rest = order[:MAX_GROUPS], order[MAX_GROUPS:]
    table = np.full(len(names), UNKNOWN, dtype=np.uint8)
    table[kept] = np.arange(len(kept))
    table[rest] = len(kept)
    groups = [(str(names[place]), code, int(counts[place])) for code, place in enumerate(kept)]
    if rest:
        groups.append((f"{len(rest):,} others", len(kept), int(counts[rest].sum())))
    codes = table[inverse.reshape(-1)]
    palette = (*(class_colour(code) for code in range(len(kept))), *([NO_CLASS] if rest else []))
    return Colouring(codes, palette, (*groups, *_unknown(codes, "unknown")))


def _colour_scale(numbers: np.ndarray, label: str) -> Colouring:
    """Dark is low, bright is high; the ends are the 1st and 99th percentile, so that one outlier does not grey out the rest."""
    finite = np.isfinite(numbers)
    low, high = np.percentile(numbers[finite], (1, 99)) if finite.any() else (0.0, 1.0)
    share = np.clip((np.where(finite, numbers, low) - low) / max(high - low, 1e-12), 0, 1)
    codes = np.where(finite, np.rint(share * (UNKNOWN - 1)), UNKNOWN).astype(np.uint8)
    scale = {"low": f"{low:.4g}", "high": f"{high:.4g}", "label": label, "stops": list(CIVIDIS)}
    return Colouring(codes, tuple(ramp(CIVIDIS, UNKNOWN)), _unknown(codes, "unknown"), scale)


def _unknown(codes: np.ndarray, words: str) -> tuple[tuple[str, int, int], ...]:
    missing = int((codes == UNKNOWN).sum())
    return ((words, UNKNOWN, missing),) if missing else ()


@dataclass(frozen=True)
class MapFrame:
    """Where a map's coordinates lie in the square (or cube) from -1 to 1 that is drawn: one scale for all axes."""

    centre: tuple[float, ...]
    half_width: float

    def place(self, coords: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Coordinates of the map in the frame."""
        return ((coords - np.array(self.centre)) / self.half_width).astype(np.float32)


def frame_map(coords: Float[np.ndarray, "n d"]) -> MapFrame:
    """The frame that holds all points."""
    low, high = coords.min(0).astype(np.float64), coords.max(0).astype(np.float64)
    return MapFrame(tuple(float(middle) for middle in (low + high) / 2), float(max((high - low).max() / 2, 1e-9)))


def pack_map(coords: Float[np.ndarray, "n d"], colouring: Colouring, *, name: str, label: str) -> bytes:
    """A map as bytes: length of the header, header (JSON), positions (float32) and codes (uint8), 9 bytes a point in 2D.

    Args:
        coords: 2 or 3 axes.
        colouring: Of the same points.
        name: Of the map, for what is sent to it later.
        label: For screen readers.
    """
    positions = np.ascontiguousarray(frame_map(coords).place(coords), dtype="<f4")
    header = {
        "name": name,
        "label": label,
        "count": len(coords),
        "dims": coords.shape[1],
        "points": hashlib.sha256(positions.tobytes()).hexdigest()[:16],
        "colouring": hashlib.sha256(colouring.codes.tobytes()).hexdigest()[:16],
        "palette": [*colouring.palette, *[NO_CLASS] * (UNKNOWN + 1 - len(colouring.palette))],
        "legend": [{"name": words, "code": code, "count": count} for words, code, count in colouring.groups],
        "scale": colouring.scale,
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<I", len(text)) + text + positions.tobytes() + colouring.codes.tobytes()


def read_selection(bits: str, count: int) -> Int[np.ndarray, " m"]:
    """Rows whose bit is set, lowest bit first, in what a map's selection sends; bits beyond `count` are not looked at."""
    packed = np.frombuffer(base64.b64decode(bits), dtype=np.uint8)
    return np.flatnonzero(np.unpackbits(packed, bitorder="little")[:count]).astype(np.int64)
