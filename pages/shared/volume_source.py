"""Which volume is fitted: a file's, a stored one, a region of either, on a grid or at random voxels of the file."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import streamlit as st

from medfuncta_core.errors import CheckpointError, MedFunctaError, SignalError
from medfuncta_core.signals import Signal
from pages.shared import state
from pages.shared.gallery import pick_item
from pages.shared.sidebar import Choice
from pages.shared.sources import is_carried, read_source
from pages.shared.state import SetRow, Source, Stored, Upload

if TYPE_CHECKING:
    from medfuncta_core.signals.volume_file import VolumeFile

VOXELS = (20_000, 50_000, 100_000, 200_000)


@dataclass(frozen=True)
class Region:
    """A box of a volume that is fitted as a field of its own: first voxels and first ones beyond, in the file's grid."""

    whole: Hashable
    low: tuple[int, int, int]
    high: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class VolumeInput:
    """A volume, ready to be fitted.

    Args:
        signal: As the checkpoint wants it.
        origin: What it was made from; equal for equal volumes.
        source: Where it comes from.
        index: Which volume of a 4D file.
        region: The box of the file that it is, or None for all of it.
        voxels: A `VoxelSample` that is fitted instead of the signal's grid, or None.
    """

    signal: Signal
    origin: Hashable
    source: Source
    index: int = 0
    region: Region | None = None
    voxels: Any = field(default=None, repr=False)

    @cached_property
    def file(self) -> VolumeFile | None:
        """The volume's file, cut to the region; None for a stored one, which has no other voxels than the fitted ones."""
        from medfuncta_core.signals.regions import crop_volume

        if not isinstance(self.source, Upload):
            return None
        opened = _open(self.source, self.index)
        return opened if opened is None or self.region is None else crop_volume(opened, self.region.low, self.region.high)

    @cached_property
    def original(self) -> Signal | None:
        """The file's own voxels, at most 192 an axis of a large file, in the units of the fitted volume."""
        from medfuncta_core.signals.streaming import LARGE_VOXELS, overview
        from medfuncta_core.volumes import in_units_of

        if self.file is None or self.file.channels != self.signal.channels:
            return None
        whole = self.file.read() if self.file.voxels <= LARGE_VOXELS else overview(self.file, 192)
        return in_units_of(whole, self.signal)


def enter_volumes() -> None:
    """A signal of another kind that another page left is not this page's."""
    source = state.recall("source")
    try:
        if isinstance(source, Stored):
            kind = state.kind_of(source)
        else:
            kind = state.inspect_upload(source)[0] if source and is_carried(source) else None
    except (MedFunctaError, KeyError):
        return
    if kind not in (None, "volume"):
        state.choose_source(None)


def show_set_picker() -> None:
    """Rows of the MedNF sets that hold volumes, where there are any."""
    names = [name for name in state.list_set_names() if _is_of_volumes(name)]
    if not names:
        return
    with st.expander("Or pick a row of a set", icon=":material/dataset:"):
        first, second, third = st.columns([3, 2, 2], vertical_alignment="bottom")
        name = first.selectbox("Set", names, key="volume_set")
        opened = state.load_set(name)
        row = second.number_input(f"Row (0 to {len(opened) - 1:,})", 0, len(opened) - 1, 0, key=f"volume_row-{name}")
        if third.button("Open this volume", key="open_row", width="stretch"):
            pick_item(SetRow(name, int(row)))
            st.rerun()


def _is_of_volumes(name: str) -> bool:
    try:
        return state.load_set(name).info.kind == "volume"
    except MedFunctaError:
        return False


def choose_voxels() -> int | None:
    """Random voxels of the file instead of a resampled grid, and how many; None for the grid."""
    how = st.segmented_control(
        "Fit to",
        ["The resampled volume", "Random voxels of the file"],
        default="The resampled volume",
        required=True,
        key="volume_points",
        help="A field needs points, not a grid: voxels can be drawn from a file of any size as it is, at its full resolution.",
    )
    if how != "Random voxels of the file":
        return None
    return st.select_slider("Voxels drawn", VOXELS, value=VOXELS[0], format_func=lambda n: f"{n:,}", key="volume_voxels")


def read_volume(source: Source, choice: Choice, voxels: int | None) -> VolumeInput:
    """The volume to fit; kept until something about it changes.

    Args:
        source: What the visitor chose.
        choice: Checkpoint and device.
        voxels: How many random voxels of a file are fitted; None for the checkpoint's grid.

    Raises:
        MedFunctaError: when the file cannot be read, or is no volume.
    """
    signal, origin = read_source(source, choice)
    region = state.recall("volume_region")
    region = region if region is not None and region.whole == origin else None
    key = (origin, region, voxels, choice.name, state.field_version(choice.name))
    kept = state.recall("volume_input")
    if kept is None or kept[0] != key:
        index = origin[2] if isinstance(source, Upload) else 0  # type: ignore[index]
        with st.spinner("Reading the volume", show_time=True):
            read = _make(VolumeInput(signal, origin, source, index, region), choice, voxels)
        state.remember("volume_input", (key, replace(read, origin=key)))
    return state.recall("volume_input")[1]


def _make(whole: VolumeInput, choice: Choice, voxels: int | None) -> VolumeInput:
    """The volume itself, or its region, or voxels of either."""
    from medfuncta_core.signals.regions import crop_volume
    from medfuncta_core.signals.sampling import sample_voxels
    from medfuncta_core.signals.streaming import prepare_volume
    from medfuncta_core.signals.volume_file import volume_of_signal

    spec = choice.config.signal
    if spec is None or spec.kind != "volume" or whole.signal.kind != "volume":
        raise CheckpointError(f"{choice.name} is not for volumes; choose a checkpoint of volumes on the left")
    file = whole.file
    if whole.region is not None and file is None:
        file = crop_volume(volume_of_signal(whole.signal), whole.region.low, whole.region.high)
    if whole.region is not None and file is not None:
        whole = replace(whole, signal=prepare_volume(file, spec))
    if voxels is None:
        return whole
    if file is None:
        raise SignalError(f"{whole.signal.name}: is stored without its file's voxels; fit its resampled volume, or drop the file")
    sample = sample_voxels(file, spec, voxels)
    return replace(whole, signal=sample.signal, voxels=sample)


def _open(source: Upload, index: int) -> VolumeFile | None:
    """The file, opened; None where its volume is a stack of pictures, which only a checkpoint's wish makes one."""
    from medfuncta_core.signals.opening import open_volume

    try:
        return open_volume(source.content, source.name, index=index)
    except SignalError:
        return None


def fit_region(whole: VolumeInput, low: tuple[int, int, int], high: tuple[int, int, int]) -> None:
    """Make a box of a volume what is fitted from the next run on."""
    first = whole.region.low if whole.region else (0, 0, 0)
    low, high = (tuple(a + b for a, b in zip(corner, first, strict=True)) for corner in (low, high))  # type: ignore[assignment]
    state.remember("volume_region", Region(_whole_origin(whole), low, high))


def leave_region() -> None:
    """Fit all of the volume again."""
    state.remember("volume_region", None)


def _whole_origin(volume: VolumeInput) -> Hashable:
    return volume.origin[0]  # type: ignore[index]  # the first of what `read_volume` knows it by
