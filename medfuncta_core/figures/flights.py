"""A flight through a volume: input, reconstruction and error of one plane after the other, as the frames of a film."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from medfuncta_core.figures.volume_pictures import CutPictures, cut_pictures, join_pictures
from medfuncta_core.geometry import Cut, geometry_of
from medfuncta_core.signals import Signal
from medfuncta_core.volumes import CutView, Decode, LabelMap, Window, fly_cuts, view_cut

FILM_HEIGHT = 280


@dataclass(frozen=True, eq=False)
class Look:
    """How cuts are shown.

    Args:
        window: In the file's unit.
        error_limit: Error of the brightest colour, as a share of the value range.
        smooth: Interpolate between the input's voxels.
        truth: Shown as the input instead of what was fitted, in its units.
        labels: Laid over input and reconstruction.
        opacity: Of the labels, 0 to 1.
    """

    window: Window
    error_limit: float = 0.2
    smooth: bool = False
    truth: Signal | None = None
    labels: LabelMap | None = None
    opacity: float = 0.5


def picture_cut(signal: Signal, view: CutView, cut: Cut, look: Look) -> CutPictures:
    """The pictures of a cut that was viewed."""
    labels = None if look.labels is None else look.labels.on_cut(signal, cut, view.error.shape)
    return cut_pictures(view, look.window, signal.value_range, look.error_limit, labels=labels, opacity=look.opacity)


def fly_through(
    signal: Signal, decode: Decode, look: Look, plane: int, frames: int, factor: float = 2.0
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames of a flight from the first slice of a plane's direction to its last, also between the slices.

    Args:
        signal: As it was fitted.
        decode: Its field.
        look: How cuts are shown.
        plane: Which of `orthogonal_cuts`, 0 to 2.
        frames: How many, at least 2.
        factor: Pixels for every voxel.

    Yields:
        Input, reconstruction and error beside each other, all frames of one size.
    """
    for cut in fly_cuts(geometry_of(signal), plane, frames):
        view = view_cut(signal, decode, cut, cut.pixels(factor), truth=look.truth, smooth=look.smooth)
        pictures = picture_cut(signal, view, cut, look)
        yield join_pictures((pictures.input, pictures.reconstruction, pictures.error), cut.width / cut.height, FILM_HEIGHT)
