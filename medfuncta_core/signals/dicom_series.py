"""A series of DICOM slices, in a folder, an archive or one enhanced file, as one volume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from medfuncta_core.errors import SignalError
from medfuncta_core.signals.dicom import decode, display_window, is_inverted, open_dataset, value_unit
from medfuncta_core.signals.dicom_places import Place, locate
from medfuncta_core.signals.guarding import check_size, format_shape, guarded, one_line
from medfuncta_core.signals.series_stacking import Stack, check_rescale, choose_series, stack_slices
from medfuncta_core.signals.sources import Source
from medfuncta_core.signals.volume_file import SLAB_VALUES, Slab, VolumeFile


def open_series(name: str, files: Iterable[Source]) -> VolumeFile:
    """The largest series among the files as a volume, slices sorted along their common normal, pixels still in the files.

    Args:
        name: The folder's, archive's or file's name.
        files: DICOM files of one slice, or enhanced ones of many; others are passed over.

    Returns:
        The volume `(column, row, slice, 1)` in rescaled units with its affine (RAS+ mm), if the files give positions. Slices
        that are missing, or lie at uneven steps, are interpolated, and a warning says so.

    Raises:
        SignalError: if no two slices belong together, or their volume would be too large.
    """
    found, damaged = _locate_all(files)
    if not found:
        reason = f" ({damaged[0]})" if damaged else ""
        raise SignalError(f"{name}: holds no readable DICOM slices{reason}; choose the folder that directly holds a series")
    warnings: list[str] = []
    if damaged:
        warnings.append(f"{len(damaged)} DICOM files could not be read and were left out ({damaged[0]}).")
    return open_places(name, found, warnings)


def open_places(name: str, found: list[Place], warnings: list[str]) -> VolumeFile:
    """A volume of slices whose places are known.

    Args:
        name: For people.
        found: At least one place.
        warnings: What is doubtful so far; more is added.

    Raises:
        SignalError: as `open_series`.
    """
    stack = stack_slices(name, choose_series(name, found, warnings), warnings)
    rows, columns = stack.slices[0].shape
    shape = (columns, rows, len(stack.rows))
    check_size(name, shape, 4)
    units_known = check_rescale(stack.slices, warnings)
    with guarded(name, "a DICOM series"):
        middle = stack.slices[len(stack.slices) // 2]
        dataset = open_dataset(middle.source)
        nominal, unit, inverted = display_window(dataset), value_unit(dataset) if units_known else "", is_inverted(dataset)
        # Decoding one slice now names a missing decoder before anything else is done, and shows what the units are worth.
        pixels = _decode_place(middle, dataset)
    if unit == "HU" and pixels.min() >= 0 and middle.rescale is not None and middle.rescale[1] >= 0:
        warnings.append(
            "No value of its middle slice is below 0 HU, where air is -1000: the rescale intercept looks wrong, and so may be "
            "every window in HU."
        )
    note = f"Stacked {len(stack.slices)} slices of {format_shape((rows, columns))} to a volume."
    return VolumeFile(
        name, shape, 1, lambda: _read_slabs(name, stack), affine=stack.affine, spacing=stack.spacing, unit=unit,
        nominal_range=nominal, inverted=inverted, notes=(note, *warnings), warnings=tuple(warnings),
    )  # fmt: skip


def _locate_all(files: Iterable[Source]) -> tuple[list[Place], list[str]]:
    """The places of all slices, and why files that should have some could not be read."""
    found: list[Place] = []
    damaged: list[str] = []
    for file in files:
        try:
            found += locate(file)
        except SignalError as error:
            text = str(error)
            damaged.append(one_line(error) if file.name in text else f"{file.name}: {one_line(error)}")
    return found, damaged


def _read_slabs(name: str, stack: Stack) -> Iterator[Slab]:
    """The volume's slices in order `(column, row, k, 1)`; neighbours are kept only as long as they are interpolated."""
    together = max(1, SLAB_VALUES // int(np.prod(stack.slices[0].shape)))
    held: dict[int, np.ndarray] = {}
    opened: tuple[Source, Any] | None = None
    planes: list[np.ndarray] = []
    for k, row in enumerate(stack.rows):
        left, share = int(row), np.float32(row - int(row))
        needed = (left, left + 1) if share > 0 else (left,)
        for index in needed:
            if index in held:
                continue
            place = stack.slices[index]
            with guarded(name, "a DICOM series"):
                if opened is None or opened[0] is not place.source:
                    opened = place.source, open_dataset(place.source)
                held[index] = _decode_place(place, opened[1]).T.astype(np.float32)
        held = {index: held[index] for index in needed}
        planes.append(held[left] if share == 0 else held[left] * (1 - share) + held[left + 1] * share)
        if len(planes) == together or k == len(stack.rows) - 1:
            yield Slab(k + 1 - len(planes), np.stack(planes, axis=2)[..., None])
            planes = []


def _decode_place(place: Place, dataset: Any) -> np.ndarray:
    """A slice's values in the unit of its rescale, `(row, column)`."""
    pixels = decode(place.source.name, dataset, place.frame)
    if place.frame is None or place.rescale is None or "RescaleSlope" in dataset:
        return pixels
    return pixels * place.rescale[0] + place.rescale[1]
