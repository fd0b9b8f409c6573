"""A series of DICOM slices, in a folder or archive, as one volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.dicom import decode, display_window, frame_count, is_inverted, open_dataset, pixel_spacing, value_unit
from medfuncta_core.signals.guarding import check_size, format_shape, guarded
from medfuncta_core.signals.normalising import make_signal
from medfuncta_core.signals.signal import Signal
from medfuncta_core.signals.sources import Source

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class _Slice(NamedTuple):
    """Where a slice lies, without its pixels."""

    source: Source
    series: str
    shape: tuple[int, int]
    orientation: tuple[float, ...]
    position: tuple[float, ...] | None
    number: float
    spacing: tuple[float, float] | None


def read_series(name: str, files: Iterable[Source]) -> Signal:
    """The largest series among the files as a volume, slices sorted along their common normal.

    Args:
        name: The folder's or archive's name.
        files: DICOM files; others are passed over.

    Returns:
        The volume `(column, row, slice, 1)` in rescaled units with its affine (RAS+ mm).

    Raises:
        SignalError: if no two slices belong together, or their volume would be too large.
    """
    found = [place for file in files if (place := _locate(file)) is not None]
    if not found:
        raise SignalError(f"{name}: holds no readable DICOM slices; choose the folder that directly holds a series' files")
    groups = Counter((place.series, place.shape, place.orientation) for place in found)
    chosen, _ = groups.most_common(1)[0]
    notes: list[str] = []
    if len(groups) > 1:
        notes.append(f"Holds {len(groups)} series or slice shapes; the one with the most slices was taken.")
    slices, offsets = _sort([place for place in found if (place.series, place.shape, place.orientation) == chosen], notes)
    if len(slices) < 2:
        raise SignalError(f"{name}: holds a single slice at distinct positions; give that file alone, or the whole series")
    rows, columns = slices[0].shape
    check_size(name, (columns, rows, len(slices)), 4)
    with guarded(name, "a DICOM series"):
        first = open_dataset(slices[0].source)
        volume = np.empty((columns, rows, len(slices), 1), np.float32)
        for k, place in enumerate(slices):
            volume[:, :, k, 0] = decode(place.source.name, open_dataset(place.source), None).T
        nominal, unit, inverted = display_window(first), value_unit(first), is_inverted(first)
    affine = _make_affine(slices, offsets, notes)
    spacing = tuple(float(step) for step in np.sqrt((affine[:3, :3] ** 2).sum(axis=0)))
    notes.insert(0, f"Stacked {len(slices)} slices of {format_shape((rows, columns))} to a volume.")
    return make_signal(
        volume, "volume", name, nominal_range=nominal, full_depth=False, inverted=inverted, notes=tuple(notes), unit=unit,
        affine=affine, spacing=spacing, spacing_unit="mm", original_shape=(columns, rows, len(slices)),
    )  # fmt: skip


def _locate(source: Source) -> _Slice | None:
    """A file's place in its series, or None when it is not a grey slice."""
    if source.head(132)[128:] != b"DICM":
        return None
    try:
        with guarded(source.name, "a DICOM file"):
            dataset = open_dataset(source)
            if frame_count(dataset) > 1 or int(dataset.get("SamplesPerPixel", 1)) != 1:
                return None
            return _place(source, dataset)
    except SignalError:
        return None


def _place(source: Source, dataset: Any) -> _Slice:
    """The tags that decide where a slice belongs."""
    orientation = tuple(round(float(part), 4) for part in dataset.get("ImageOrientationPatient") or ())
    position = tuple(float(part) for part in dataset.get("ImagePositionPatient") or ())
    usable = len(orientation) == 6 and len(position) == 3 and bool(np.isfinite([*orientation, *position]).all())
    return _Slice(
        source=source,
        series=str(dataset.get("SeriesInstanceUID", "")),
        shape=(int(dataset.Rows), int(dataset.Columns)),
        orientation=orientation if usable and np.linalg.norm(np.cross(orientation[:3], orientation[3:])) > 0.5 else _AXIAL,
        position=position if usable else None,
        number=float(dataset.get("InstanceNumber") or 0),
        spacing=pixel_spacing(dataset),
    )


def _sort(slices: list[_Slice], notes: list[str]) -> tuple[list[_Slice], np.ndarray]:
    """Slices in order along their normal, one a position, and their distances along it in mm."""
    if any(place.position is None for place in slices):
        notes.append("Slices without positions were sorted by instance number, 1 mm apart.")
        ordered = sorted(slices, key=lambda place: (place.number, place.source.name))
        return [place._replace(position=None) for place in ordered], np.arange(len(ordered), dtype=float)
    normal = np.cross(slices[0].orientation[:3], slices[0].orientation[3:])
    along = {id(place): float(np.dot(normal, place.position or (0, 0, 0))) for place in slices}
    ordered = sorted(slices, key=lambda place: (along[id(place)], place.number, place.source.name))
    kept = [ordered[0]]
    for place in ordered[1:]:
        if along[id(place)] - along[id(kept[-1])] > 1e-3:
            kept.append(place)
    if len(kept) < len(ordered):
        notes.append(f"Left out {len(ordered) - len(kept)} slices at positions already taken.")
    return kept, np.array([along[id(place)] for place in kept])


def _make_affine(slices: list[_Slice], offsets: np.ndarray, notes: list[str]) -> np.ndarray:
    """Voxel (column, row, slice) to RAS+ millimetres `(4, 4)`, from DICOM's LPS+ positions (PS3.3 C.7.6.2.1.1)."""
    steps = np.diff(offsets)
    if steps.max() - steps.min() > 0.01 * np.median(steps) + 1e-3:
        notes.append(
            f"Slices lie {steps.min():.3g} to {steps.max():.3g} mm apart; even spacing was assumed, so look for missing slices."
        )
    first, last = slices[0], slices[-1]
    row_step, column_step = first.spacing or (1.0, 1.0)
    if first.spacing is None:
        notes.append("The files do not give pixel spacing; 1 mm was assumed.")
    across, down = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    start, stop = np.array(first.position or (0, 0, 0)), np.array(last.position or (0, 0, 0))
    through = (stop - start) / (len(slices) - 1) if first.position is not None else np.cross(across, down)
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ np.stack([across * column_step, down * row_step, through], axis=1)
    affine[:3, 3] = _LPS_TO_RAS @ start
    return affine
