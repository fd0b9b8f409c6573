"""How slices become a volume: their order and even steps along the normal, and a plain word for whatever is doubtful."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.dicom_places import Place
from medfuncta_core.signals.guarding import format_shape

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_TILT_DEGREES = 0.5
_MOST_STEPS = 16
"""A gap of more steps than this many times the slices is no lattice with holes."""


class Stack(NamedTuple):
    """Slices in order, and where the volume's slices lie between them.

    Args:
        slices: One a position, along the normal.
        rows: `(n,)` places of the volume's slices in units of `slices`: 2.5 is half-way between the third and the fourth.
        affine: Voxel (column, row, slice) to RAS+ millimetres `(4, 4)`, or None when the files give no positions.
        spacing: In mm, or None.
    """

    slices: list[Place]
    rows: np.ndarray
    affine: np.ndarray | None
    spacing: tuple[float, ...] | None


def choose_series(name: str, found: list[Place], warnings: list[str]) -> list[Place]:
    """The slices that belong together: those of the largest series, of one shape and orientation."""
    groups = Counter((place.series, place.shape, place.orientation) for place in found)
    (chosen, count), *others = groups.most_common()
    if others:
        named = {(place.series, place.shape, place.orientation): place.description for place in found}
        listed = [f"{number} slices{_quoted(named[group])} of {format_shape(group[1])}" for group, number in others]
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        warnings.append(
            f"Several series are mixed in it: {count} slices{_quoted(named[chosen])} of {format_shape(chosen[1])} were taken, "
            f"{', '.join(listed[:3])}{more} were not."
        )
    return [place for place in found if (place.series, place.shape, place.orientation) == chosen]


def stack_slices(name: str, places: list[Place], warnings: list[str]) -> Stack:
    """Order slices along their normal and find the even grid that they lie on.

    Args:
        name: For messages.
        places: Of one series, shape and orientation.
        warnings: Sentences are added to them.

    Raises:
        SignalError: when fewer than two slices lie at different places.
    """
    if any(place.position is None for place in places):
        return _stack_by_number(name, places, warnings)
    normal = np.cross(places[0].orientation[:3], places[0].orientation[3:])
    along = {id(place): float(np.dot(normal, place.position or (0, 0, 0))) for place in places}
    ordered = sorted(places, key=lambda place: (along[id(place)], place.number, place.source.name))
    kept = [ordered[0]]
    for place in ordered[1:]:
        if along[id(place)] - along[id(kept[-1])] > 1e-3:
            kept.append(place)
    if len(kept) < 2:
        raise SignalError(f"{name}: holds a single slice at distinct positions; give that file alone, or the whole series")
    if len(kept) < len(ordered):
        text = f"{len(ordered) - len(kept)} slices lie where others lie already (phases or echoes of one series?)"
        warnings.append(f"{text}: the first of each place, by instance number, was taken.")
    rows = _even_rows(np.array([along[id(place)] for place in kept]), kept, warnings)
    affine = _make_affine(kept, len(rows), warnings)
    return Stack(kept, rows, affine, tuple(float(step) for step in np.sqrt((affine[:3, :3] ** 2).sum(axis=0))))


def check_rescale(places: list[Place], warnings: list[str]) -> bool:
    """Whether the values of CT slices are Hounsfield units as far as the files say; other modalities have units of their own."""
    if places[0].modality != "CT":
        return True
    known = [place.rescale for place in places if place.rescale is not None]
    if not known:
        warnings.append("CT without a rescale slope and intercept: values are as stored, not Hounsfield units.")
        return False
    if len(known) < len(places):
        missing = len(places) - len(known)
        warnings.append(f"{missing} of {len(places)} CT slices have no rescale slope and intercept; theirs are as stored.")
        return False
    if len(set(known)) > 1:
        (low, high) = min(known, key=lambda pair: pair[1]), max(known, key=lambda pair: pair[1])
        if low[1] == high[1]:
            low, high = min(known), max(known)
        warnings.append(
            f"The rescale differs between slices (slope {low[0]:g}, intercept {low[1]:g} to slope {high[0]:g}, intercept "
            f"{high[1]:g}); each slice was scaled by its own, look for steps between them."
        )
    return True


def _quoted(description: str) -> str:
    return f" ({description!r})" if description else ""


def _stack_by_number(name: str, places: list[Place], warnings: list[str]) -> Stack:
    """Slices that do not all say where they lie, by instance number; where they lie in the patient stays unknown."""
    ordered = sorted(places, key=lambda place: (place.number, place.source.name))
    if len(ordered) < 2:
        raise SignalError(f"{name}: holds a single slice; give that file alone, or the whole series")
    step = ordered[0].thickness or 1.0
    warnings.append(
        f"Not all slices say where they lie: they were sorted by number, {step:g} mm apart, and left and right are unknown."
    )
    spacing = (*reversed(ordered[0].spacing or (1.0, 1.0)), step)
    return Stack([place._replace(position=None) for place in ordered], np.arange(len(ordered), dtype=float), None, spacing)


def _even_rows(offsets: np.ndarray, slices: list[Place], warnings: list[str]) -> np.ndarray:
    """Even steps along the normal in units of slices: the slices themselves, a finer lattice with holes, or between them."""
    steps = np.diff(offsets)
    if steps.max() - steps.min() <= 0.01 * np.median(steps) + 1e-3:
        return np.arange(len(offsets), dtype=float)
    span, index = offsets[-1] - offsets[0], np.arange(len(offsets), dtype=float)
    for step in _lattice_steps(steps, slices):
        count = round(span / step) + 1
        if count <= _MOST_STEPS * len(slices) and np.abs(steps / step - np.rint(steps / step)).max() <= 0.05:
            widest = int(np.argmax(steps))
            warnings.append(
                f"{count - len(slices)} of {count} slices, {step:.3g} mm apart, are missing (the widest gap, after slice "
                f"{widest + 1}, is {steps[widest]:.3g} mm); they were filled in between their neighbours."
            )
            break
    else:
        count = round(span / float(np.median(steps))) + 1
        warnings.append(
            f"Slices lie {steps.min():.3g} to {steps.max():.3g} mm apart; {count} slices {span / (count - 1):.3g} mm apart were "
            "interpolated from them."
        )
    rows = np.interp(np.linspace(offsets[0], offsets[-1], count), offsets, index)
    return np.where(np.abs(rows - np.rint(rows)) < 0.051, np.rint(rows), rows)


def _lattice_steps(steps: np.ndarray, slices: list[Place]) -> list[float]:
    """Steps that the slices may have been scanned at, largest first."""
    claimed = {place.thickness for place in slices if place.thickness is not None}
    return sorted({float(steps.min()), float(np.median(steps)), *claimed}, reverse=True)


def _make_affine(slices: list[Place], count: int, warnings: list[str]) -> np.ndarray:
    """Voxel (column, row, slice) to RAS+ millimetres `(4, 4)`, from DICOM's LPS+ positions (PS3.3 C.7.6.2.1.1)."""
    first, last = slices[0], slices[-1]
    row_step, column_step = first.spacing or (1.0, 1.0)
    if first.spacing is None:
        warnings.append("The files do not give pixel spacing; 1 mm was assumed.")
    elif len({place.spacing for place in slices}) > 1:
        warnings.append("Pixel spacing differs between slices; that of the first was taken for all.")
    across, down = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    start, stop = np.array(first.position), np.array(last.position)
    through = (stop - start) / (count - 1)
    normal = np.cross(across, down)
    cosine = np.dot(through, normal) / (np.linalg.norm(through) * np.linalg.norm(normal))
    tilt = float(np.degrees(np.arccos(np.clip(abs(cosine), 0, 1))))
    if tilt > _TILT_DEGREES:
        warnings.append(
            f"Gantry tilt: slices are stacked {tilt:.1f} degrees off their normal. The affine says so, but the voxel grid is "
            "sheared and shown as if it were not."
        )
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ np.stack([across * column_step, down * row_step, through], axis=1)
    affine[:3, 3] = _LPS_TO_RAS @ start
    return affine
