"""Where the slices of DICOM files lie in the patient: one place a file, or one a frame of an enhanced file."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.dicom import frame_count, frame_distance, open_dataset, pixel_spacing
from medfuncta_core.signals.guarding import guarded
from medfuncta_core.signals.sources import Source

_AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class Place(NamedTuple):
    """Where a slice lies and how its numbers scale, without its pixels.

    Args:
        source: The file.
        frame: Which of the file's frames; None for a file of one.
        series: SeriesInstanceUID.
        description: SeriesDescription, for people.
        patient: PatientID.
        shape: Rows and columns.
        orientation: Directions of a row and of a column in LPS+ (ImageOrientationPatient), rounded.
        position: First pixel's centre in LPS+ mm, or None when the file does not say.
        number: InstanceNumber.
        spacing: Millimetres between rows and between columns, or None.
        thickness: Millimetres between slices as the file claims, or None.
        modality: CT, MR, …
        rescale: Slope and intercept, or None when the file has none.
    """

    source: Source
    frame: int | None
    series: str
    description: str
    patient: str
    shape: tuple[int, int]
    orientation: tuple[float, ...]
    position: tuple[float, ...] | None
    number: float
    spacing: tuple[float, float] | None
    thickness: float | None
    modality: str
    rescale: tuple[float, float] | None


def locate(source: Source) -> list[Place]:
    """The places of a file's slices: none when it holds no grey slices, or frames whose places it does not give.

    Raises:
        SignalError: if it is damaged.
    """
    if source.head(132)[128:] != b"DICM":
        return []
    with guarded(source.name, "a DICOM file"):
        dataset = open_dataset(source)
        if int(dataset.get("SamplesPerPixel", 1)) != 1:
            return []
        frames = frame_count(dataset)
        _check_length(source, dataset, frames)
        if frames == 1 and "PerFrameFunctionalGroupsSequence" not in dataset:
            return [_place(source, None, dataset, dataset, dataset, dataset)]
        return _frame_places(source, dataset, frames)


def _check_length(source: Source, dataset: Any, frames: int) -> None:
    """Refuse a file whose pixels are cut off, so that its slice can be left out before anything is decoded."""
    bits = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("BitsAllocated", 16)) * frames
    pixels = dataset.get("PixelData")
    if pixels is not None and not dataset["PixelData"].is_undefined_length and len(pixels) < bits // 8:
        raise SignalError(
            f"{source.name}: is a truncated DICOM file: {bits // 8} bytes announced, {len(pixels)} there; copy it again"
        )


def _frame_places(source: Source, dataset: Any, frames: int) -> list[Place]:
    """Places of an enhanced file's frames, from the groups that frames share and those of each (PS3.3 C.7.6.16)."""
    each = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    shared = (list(dataset.get("SharedFunctionalGroupsSequence") or ()) or [{}])[0]
    if len(each) != frames:
        return []
    places = []
    for index, groups in enumerate(each):
        position = _group("PlanePositionSequence", groups, shared)
        plane = _group("PlaneOrientationSequence", groups, shared)
        measures = _group("PixelMeasuresSequence", groups, shared)
        if position is None or plane is None:
            return []
        place = _place(source, index, dataset, position, plane, measures or dataset)
        values = _group("PixelValueTransformationSequence", groups, shared)
        places.append(place._replace(number=float(index), rescale=place.rescale if values is None else _rescale(values)))
    return places


def _group(name: str, groups: Any, shared: Any) -> Any:
    """The item of a functional group, a frame's own or the one that all frames share; None where there is none."""
    items = list(groups.get(name) or shared.get(name) or ())
    return items[0] if items else None


def _place(source: Source, frame: int | None, dataset: Any, position: Any, plane: Any, measures: Any) -> Place:
    """The tags that decide where a slice belongs, each from the part of the file that holds it."""
    orientation = tuple(round(float(part), 4) for part in plane.get("ImageOrientationPatient") or ())
    corner = tuple(float(part) for part in position.get("ImagePositionPatient") or ())
    usable = len(orientation) == 6 and len(corner) == 3 and bool(np.isfinite([*orientation, *corner]).all())
    usable = usable and bool(np.linalg.norm(np.cross(orientation[:3], orientation[3:])) > 0.5)
    return Place(
        source=source,
        frame=frame,
        series=str(dataset.get("SeriesInstanceUID", "")),
        description=str(dataset.get("SeriesDescription") or ""),
        patient=str(dataset.get("PatientID") or ""),
        shape=(int(dataset.Rows), int(dataset.Columns)),
        orientation=orientation if usable else _AXIAL,
        position=corner if usable else None,
        number=float(dataset.get("InstanceNumber") or 0),
        spacing=pixel_spacing(measures),
        thickness=frame_distance(measures),
        modality=str(dataset.get("Modality") or ""),
        rescale=_rescale(dataset),
    )


def _rescale(values: Any) -> tuple[float, float] | None:
    """Slope and intercept of a data set or of a frame's group.

    Raises:
        SignalError: if the slope would make all values the same, or is no number.
    """
    slope, intercept = values.get("RescaleSlope"), values.get("RescaleIntercept")
    if slope in (None, "") or intercept in (None, ""):
        return None
    if not np.isfinite([float(slope), float(intercept)]).all() or float(slope) == 0:
        raise SignalError(f"its rescale slope {slope} and intercept {intercept} would leave no picture; export the series again")
    return float(slope), float(intercept)
