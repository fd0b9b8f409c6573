"""Planes that share a crosshair, regions drawn on them, boxes of files, films: by hand, on grids that are turned and skewed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_geometry import AFFINES
from test_volumes import interpolate, ramp_file

from medfuncta_core.config import FieldConfig
from medfuncta_core.decoding import watched_decoder
from medfuncta_core.errors import SignalError
from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.figures import resolution_csv
from medfuncta_core.figures.flights import FILM_HEIGHT, Look, fly_through
from medfuncta_core.fitting import Fitter
from medfuncta_core.geometry import VolumeGeometry, crop_box, geometry_of, geometry_of_file
from medfuncta_core.signals import Signal, read_signal
from medfuncta_core.signals.normalising import to_file_units
from medfuncta_core.signals.opening import open_volume
from medfuncta_core.signals.regions import crop_volume
from medfuncta_core.signals.volume_file import Slab, volume_of_signal
from medfuncta_core.volumes import (
    Window,
    clamp_index,
    depth_of,
    link_planes,
    middle_index,
    picked_index,
    place_on,
    region_voxels,
    view_between,
    view_cut,
)

SHAPE = (9, 7, 8)
UPRIGHT = VolumeGeometry(SHAPE, np.diag([2.0, 3.0, 4.0, 1.0]), True)


@given(affine=AFFINES, index=st.tuples(*(st.floats(0, count - 1) for count in SHAPE)))
@settings(max_examples=25, deadline=None, database=None)
def test_crosshair_is_found_again_on_every_plane(affine: np.ndarray, index: tuple[float, float, float]) -> None:
    geometry = VolumeGeometry(SHAPE, affine, True)
    for plane in link_planes(geometry, index):
        np.testing.assert_allclose(picked_index(geometry, plane.cut, *plane.cross), index, atol=1e-6)
        for (axis, sign), share in zip((plane.right, plane.down), plane.cross, strict=True):
            along = (index[axis] + 0.5) / SHAPE[axis]  # what the browser computes
            assert share == pytest.approx(along if sign > 0 else 1 - along, abs=1e-6)
        assert {plane.across, plane.right[0], plane.down[0]} == {0, 1, 2}


def test_planes_say_where_they_lie_and_only_where_that_is_known() -> None:
    axial, coronal, sagittal = link_planes(UPRIGHT, (1.5, 2.0, 3.0))
    assert (axial.place, axial.across) == ("z = 12.0 mm, slice 4 of 8", 2)
    assert coronal.place == "y = 6.0 mm, slice 3 of 7"
    assert sagittal.place == "x = 3.0 mm, slice 2.5 of 9"
    assert (axial.right, axial.down) == ((0, -1), (1, -1))  # the patient's right on the left, front on top
    unknown = VolumeGeometry(SHAPE, np.eye(4), False, "voxels")
    assert [plane.place for plane in link_planes(unknown, middle_index(unknown))] == [
        "slice 5 of 9",
        "slice 4 of 7",
        "slice 5 of 8",
    ]


def test_crosshair_stays_in_the_volume() -> None:
    assert clamp_index(UPRIGHT, [-3, 2.5, 99]) == (0.0, 2.5, 7.0)
    oblique = link_planes(UPRIGHT, (4, 3, 4))[0].cut
    assert place_on(UPRIGHT, oblique, (4, 3, 4)) == pytest.approx((0.5, 0.5))


def test_region_is_made_of_the_voxels_under_the_rectangle() -> None:
    index = (4.0, 3.0, 4.0)
    axial = link_planes(UPRIGHT, index)[0]
    # From the left edge (the patient's right, the last voxel) a third of 9 voxels; from the top edge (front) 2 of 7.
    low, high = region_voxels(UPRIGHT, axial, (0.0, 0.0, 1 / 3, 2 / 7), (2, 5), UPRIGHT)
    assert (low, high) == ((6, 5, 2), (9, 7, 6))
    finer = UPRIGHT.resampled((17, 13, 15))
    low, high = region_voxels(UPRIGHT, axial, (0.0, 0.0, 1 / 3, 2 / 7), (2, 5), finer)
    assert (low, high) == ((11, 9, 3), (17, 13, 12))
    tiny = region_voxels(UPRIGHT, axial, (0.5, 0.5, 0.51, 0.51), (7, 7), UPRIGHT)
    assert all(b - a >= 2 and a >= 0 and b <= count for a, b, count in zip(*tiny, SHAPE, strict=True))
    assert depth_of(UPRIGHT, axial, index, (0.0, 0.0, 1.0, 1.0)) == (2, 6)  # sides of 18 and 21 mm, slices of 4 mm
    assert depth_of(UPRIGHT, axial, (4.0, 3.0, 0.0), (0.0, 0.0, 0.01, 0.01)) == (0, 1)


@given(affine=AFFINES)
@settings(max_examples=8, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_box_of_a_file_holds_what_the_box_of_the_volume_holds(tmp_path: Path, affine: np.ndarray) -> None:
    path = ramp_file(SHAPE, affine, tmp_path)
    low, high = (2, 1, 3), (7, 6, 8)
    cropped, expected = crop_volume(open_volume(path), low, high), crop_box(read_signal(path), low, high)
    found = cropped.read()
    np.testing.assert_allclose(to_file_units(found), to_file_units(expected), rtol=1e-5, atol=1e-3)
    assert found.affine is not None
    assert expected.affine is not None
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-5)
    assert geometry_of_file(cropped).shape == (5, 5, 5)
    assert found.notes[-1] == expected.notes[-1] == "Cut to the region of voxels 2 to 6 × 1 to 5 × 3 to 7."


def test_box_of_a_file_is_cut_from_every_slab(volume_values: np.ndarray) -> None:
    signal = Signal(volume_values, "volume", "v.npy")
    volume = volume_of_signal(signal)

    def single_slices() -> Iterator[Slab]:
        for start, values in volume.slabs():
            yield from (Slab(start + k, values[:, :, k : k + 1]) for k in range(values.shape[2]))

    one_by_one = replace(volume, slabs=single_slices)
    found = crop_volume(one_by_one, (1, 0, 2), (3, 5, 5)).read()
    np.testing.assert_allclose(to_file_units(found), volume_values[1:3, 0:5, 2:5], atol=1e-6)
    with pytest.raises(SignalError, match="at least 2 voxels"):
        crop_volume(volume, (1, 0, 2), (2, 5, 5))
    with pytest.raises(SignalError, match="inside the volume"):
        crop_volume(volume, (1, 0, 2), (3, 6, 5))


def test_decoder_tells_how_far_it_is_and_can_be_given_up() -> None:
    field = ModulatedSIREN(FieldConfig(coord_dim=3, depth=3, width=7, latent_dim=5, omega_first=3, omega_last=6))
    fitter, latent = Fitter(field, device="cpu"), np.linspace(-1, 1, 5, dtype=np.float32)
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32)
    told: list[int] = []
    found = watched_decoder(fitter, latent, told.append, chunk_points=20)(points)
    np.testing.assert_array_equal(found, fitter.decode_at(latent, points))
    assert told == [20, 20, 10]

    def give_up(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watched_decoder(fitter, latent, give_up, chunk_points=20)(points)


def test_film_goes_from_the_first_slice_to_the_last(tmp_path: Path) -> None:
    signal = read_signal(ramp_file(SHAPE, np.diag([2.0, 3.0, 4.0, 1.0]), tmp_path))
    look = Look(Window(signal.value_range[0] + 20, 60), truth=signal)
    frames = list(fly_through(signal, interpolate(signal), look, 0, 4))
    assert len({frame.shape for frame in frames}) == 1
    assert frames[0].shape[0] == FILM_HEIGHT
    means = [float(frame[:, : frame.shape[1] // 3].mean()) for frame in frames]
    assert means == sorted(means)  # the ramp rises towards the head
    assert means[0] < means[-1]


def test_same_cut_through_several_fields(volume_values: np.ndarray) -> None:
    signal = Signal(volume_values, "volume", "v.npy")
    cut = link_planes(geometry_of(signal), (2.0, 2.0, 2.0))[0].cut
    decode = interpolate(signal)
    first, second = view_between(signal, [decode, lambda coords: 1 - decode(coords)], cut, (5, 6))
    view = view_cut(signal, decode, cut, (5, 6))
    np.testing.assert_allclose(first, view.reconstruction)
    np.testing.assert_allclose(first + second, 1, atol=1e-6)
    assert view.mean_error == pytest.approx(float(view.error.mean()))


def test_resolution_table_has_a_line_for_every_method() -> None:
    methods = {"field": {"psnr": 20.5, "ssim": 0.7}, "linear": {"psnr": None, "ssim": 1.0}}
    text = resolution_csv({"runs": [{"source": "test split", "factor": 8 / 3, "methods": methods}]})
    assert text.splitlines() == [
        "source,factor,method,psnr_db,ssim",
        "test split,2.667,field,20.5,0.7",
        "test split,2.667,linear,,1.0",
    ]
