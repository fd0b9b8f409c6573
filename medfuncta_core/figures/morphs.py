"""A morph's frames as a browser plays them: one pixel a point for pictures and planes, an ECG between its two ends on paper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from medfuncta_core.config import Kind
from medfuncta_core.figures.frames import render_frame, render_planes
from medfuncta_core.figures.pictures import encode_png, error_values, to_data_url, to_magma
from medfuncta_core.figures.plots import OKABE_ITO
from medfuncta_core.mednf.morphs import Frames

Parts = Sequence[np.ndarray]
"""One signal: a picture or ECG `(*shape, c)`, or the three planes `(h, w, c)` of a volume."""

PAPER_UNITS = (160, 100)


def part_pixels(parts: Parts, kind: Kind, height: int, gap: int = 4) -> np.ndarray:
    """A signal as a picture of at least so many rows, for films and filmstrips; a volume's planes with a gap between them."""
    return render_planes(parts, height, gap) if kind == "volume" else render_frame(parts[0], kind, height)


def film(
    tracks: Sequence[Frames], kind: Kind, height: int, *, only: Sequence[int] | None = None, back: bool = False
) -> list[UInt8[np.ndarray, "h w 3"]]:
    """The pictures of a film: every track's frame beside the others', a volume's planes below the others'.

    Args:
        height: Of a track, at least, in pixels.
        only: Frames to show; all when None.
        back: There and back again, so that an endless film does not jump.
    """
    shown = list(range(len(tracks[0])) if only is None else only)
    pictures = [_beside([part_pixels(track.frame(index), kind, height) for track in tracks], kind) for index in shown]
    return pictures + pictures[-2:0:-1] if back else pictures


def _beside(pictures: list[np.ndarray], kind: Kind) -> np.ndarray:
    down = kind == "volume"
    space = np.full((4, pictures[0].shape[1], 3) if down else (pictures[0].shape[0], 4, 3), 255, dtype=np.uint8)
    parts = [part for picture in pictures for part in (space, picture)][1:]
    return np.concatenate(parts, axis=0 if down else 1)


def part_url(parts: Parts, kind: Kind, ghosts: Sequence[Parts] = ()) -> str:
    """A signal as a `data:` address, a pixel for each point.

    Args:
        ghosts: For an ECG, the two ends that lie faintly under it.
    """
    if kind == "ecg":
        return to_data_url(draw_between([ghost[0][:, 0] for ghost in ghosts], parts[0][:, 0]), "image/svg+xml")
    return to_data_url(encode_png(part_pixels(parts, kind, 1, 1)))


def difference_url(first: Parts, second: Parts, kind: Kind, limit: float) -> str:
    """Where two signals differ, in magma from 0 to `limit`, as a `data:` address; the same arrangement as `part_url`."""
    coloured = [to_magma(error_values(a, b), limit).astype(np.float32) / 255 for a, b in zip(first, second, strict=True)]
    return part_url(coloured, kind)


def part_aspect(parts: Parts, kind: Kind) -> float:
    """Width by height of what `part_url` draws."""
    if kind == "ecg":
        return PAPER_UNITS[0] / PAPER_UNITS[1]
    pixels = part_pixels(parts, kind, 1, 1)
    return pixels.shape[1] / pixels.shape[0]


def draw_between(ghosts: Sequence[Float[np.ndarray, " n"]], trace: Float[np.ndarray, " n"]) -> bytes:
    """An ECG as a line on pink paper, as SVG; under it, faint and dashed, those it lies between."""
    width, height = PAPER_UNITS
    grid = "".join(f'<path d="M{x} 0V{height}"/>' for x in range(10, width, 10))
    grid += "".join(f'<path d="M0 {y}H{width}"/>' for y in range(10, height, 10))
    lines = [
        f'<polyline points="{_points(ghost)}" stroke="{colour}" stroke-width=".9" stroke-dasharray="{dash}"/>'
        for ghost, colour, dash in zip(ghosts, OKABE_ITO, ("4 2", "1.2 1.6"), strict=False)
    ]
    lines.append(f'<polyline points="{_points(trace)}" stroke="#1b2733" stroke-width="1.5"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"><rect width="{width}" height="{height}" '
        f'fill="#fff5f0"/><g stroke="#f3c4b1" stroke-width=".4">{grid}</g>'
        f'<g fill="none" stroke-linejoin="round">{"".join(lines)}</g></svg>'
    ).encode()


def _points(trace: Float[np.ndarray, " n"]) -> str:
    width, height = PAPER_UNITS
    x, y = np.linspace(4, width - 4, len(trace)), height - 6 - (height - 12) * np.clip(trace, 0, 1)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
