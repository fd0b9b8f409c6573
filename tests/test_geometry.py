"""Where volumes lie: numbers by hand, letters, cuts that are never mirrored, and affines of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfuncta_core.errors import SignalError
from medfuncta_core.geometry import VolumeGeometry, crop_box, geometry_of, oblique_cut, orthogonal_cuts
from medfuncta_core.signals import Signal

SHAPE = (4, 5, 6)


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    a, b, c = angles
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def make_affine(
    angles: tuple[float, float, float], spacing: tuple[float, float, float], signs: tuple[int, int, int], order: tuple[int, ...]
) -> np.ndarray:
    """Any rotation, spacing, handedness and order of axes."""
    affine = np.eye(4)
    affine[:3, :3] = (rotation(angles) @ np.diag(spacing) @ np.diag(signs))[:, list(order)]
    affine[:3, 3] = [-17.0, 4.5, 120.0]
    return affine


AFFINES = st.builds(
    make_affine,
    st.tuples(*[st.floats(-0.7, 0.7)] * 3),
    st.tuples(*[st.floats(0.3, 5)] * 3),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.permutations(range(3)).map(tuple),
)
"""Oblique, non-isotropic, left- and right-handed."""
NEARLY_STRAIGHT = st.builds(
    make_affine,
    st.tuples(*[st.floats(-0.3, 0.3)] * 3),
    st.tuples(*[st.floats(0.3, 5)] * 3),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.permutations(range(3)).map(tuple),
)
STRAIGHT = {"Axial": "APRL", "Coronal": "SIRL", "Sagittal": "SIAP"}
LPS = np.array([[-2.0, 0, 0, 10], [0, -3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])


def test_field_index_and_millimetres_match_numbers_by_hand() -> None:
    geometry = VolumeGeometry(SHAPE, LPS, True)
    np.testing.assert_allclose(geometry.index_to_mm(np.array([[0, 0, 0], [3, 4, 5]])), [[10, 20, 30], [4, 8, 50]])
    np.testing.assert_allclose(geometry.field_to_mm(np.array([-1.0, -1, -1])), [10, 20, 30])
    np.testing.assert_allclose(geometry.field_to_mm(np.array([1.0, 0, -1])), [4, 14, 30])
    np.testing.assert_allclose(geometry.mm_to_field(np.array([7.0, 14, 40])), [0, 0, 0], atol=1e-12)
    assert geometry.spacing == (2, 3, 4)
    flat = VolumeGeometry((4, 1, 6), LPS, True)
    np.testing.assert_allclose(flat.mm_to_field(np.array([10.0, 20, 30])), [-1, 0, -1])
    np.testing.assert_allclose(flat.field_to_mm(np.array([-1.0, 0, -1])), [10, 20, 30])


@given(AFFINES, st.tuples(*[st.floats(-1, 1)] * 3))
@settings(max_examples=50, deadline=None)
def test_field_to_mm_and_back_is_the_same_point(affine: np.ndarray, coords: tuple[float, float, float]) -> None:
    geometry = VolumeGeometry(SHAPE, affine, True)
    np.testing.assert_allclose(geometry.mm_to_field(geometry.field_to_mm(np.array(coords))), coords, atol=1e-9)


@given(AFFINES, st.tuples(*[st.integers(2, 40)] * 3))
@settings(max_examples=50, deadline=None)
def test_resampled_grid_keeps_the_corner_voxels_in_place(affine: np.ndarray, shape: tuple[int, int, int]) -> None:
    geometry = VolumeGeometry(SHAPE, affine, True)
    finer = geometry.resampled(shape)
    corners = np.array([[-1.0, -1, -1], [1, 1, 1], [1, -1, 1]])
    np.testing.assert_allclose(finer.field_to_mm(corners), geometry.field_to_mm(corners), atol=1e-8)


@pytest.mark.parametrize(
    ("direction", "letters"),
    [((1, 0, 0), "R"), ((-2, 0, 0), "L"), ((0, 3, 0), "A"), ((0, 0, -1), "I"), ((0.2, 0, 1), "S"), ((-1, 0, 0.8), "LS")],
)
def test_letters_are_read_from_the_direction(direction: tuple[float, float, float], letters: str) -> None:
    assert VolumeGeometry(SHAPE, LPS, True).letters(np.array(direction, float)) == letters


def test_letters_are_not_guessed_without_an_affine(volume_values: np.ndarray) -> None:
    geometry = geometry_of(Signal(volume_values, "volume", "v.npy", spacing=(1.0, 1.5, 2.0)))
    assert not geometry.oriented
    assert geometry.unit == "mm"
    assert geometry_of(Signal(volume_values, "volume", "v.npy")).unit == "voxels"
    assert {cut.letters for cut in orthogonal_cuts(geometry, geometry.centre)} == {("", "", "", "")}
    assert [cut.name for cut in orthogonal_cuts(geometry, geometry.centre)] == [f"Across axis {axis}" for axis in (1, 2, 3)]
    with pytest.raises(SignalError, match="only volumes"):
        geometry_of(Signal(volume_values[0], "image", "picture.png"))


@pytest.mark.parametrize("affine", [np.diag([2.0, 3, 4, 1]), LPS], ids=["RAS", "LPS"])
def test_orthogonal_cuts_are_shown_as_radiologists_look(affine: np.ndarray) -> None:
    geometry = VolumeGeometry(SHAPE, affine, True)
    axial, coronal, sagittal = orthogonal_cuts(geometry, geometry.centre)
    assert axial.letters == ("A", "P", "R", "L")
    assert coronal.letters == ("S", "I", "R", "L")
    assert sagittal.letters == ("S", "I", "A", "P")
    assert (axial.height, axial.width) == (15, 8)
    assert (coronal.height, coronal.width) == (24, 8)
    assert (sagittal.height, sagittal.width) == (24, 15)
    assert (axial.voxels, sagittal.voxels) == ((5, 4), (6, 5))


@given(NEARLY_STRAIGHT)
@settings(max_examples=60, deadline=None)
def test_no_cut_is_ever_mirrored(affine: np.ndarray) -> None:
    axial, coronal, sagittal = orthogonal_cuts(VolumeGeometry(SHAPE, affine, True), np.zeros(3))
    assert np.cross(axial.right, axial.down)[2] > 0  # looked at from the feet
    assert np.cross(coronal.right, coronal.down)[1] < 0  # from the front
    assert np.cross(sagittal.right, sagittal.down)[0] > 0  # from the left
    for cut in (axial, coronal, sagittal):
        assert [letters[0] for letters in cut.letters] == list(STRAIGHT[cut.name])


@given(AFFINES, st.tuples(*[st.floats(-1, 1)] * 3))
@settings(max_examples=50, deadline=None)
def test_cuts_meet_at_their_point_and_at_1x_lie_on_voxels(affine: np.ndarray, coords: tuple[float, float, float]) -> None:
    geometry = VolumeGeometry(SHAPE, affine, True)
    point = geometry.field_to_mm(np.array(coords))
    for cut in orthogonal_cuts(geometry, point):
        x, y = cut.place(point)
        np.testing.assert_allclose(cut.at(x, y), point, atol=1e-7)
        index = geometry.mm_to_index(cut.points(cut.pixels(1)).reshape(-1, 3))
        inside = [axis for axis in range(3) if axis != cut.across]
        np.testing.assert_allclose(index[:, inside], np.rint(index[:, inside]), atol=1e-7)
        assert len(np.unique(np.rint(index[:, inside]), axis=0)) == len(index)
        assert geometry.contains(index).all()


def test_part_of_a_cut_shows_the_same_points() -> None:
    geometry = VolumeGeometry(SHAPE, LPS, True)
    cut = orthogonal_cuts(geometry, geometry.centre)[0]
    part = cut.part(0.25, 0.2, 0.75, 0.6)
    np.testing.assert_allclose(part.at(0.5, 0.5), cut.at(0.5, 0.4))
    assert (part.width, part.height) == (cut.width / 2, pytest.approx(cut.height * 0.4))
    assert part.voxels == (2, 2)
    assert part.pixels(8) == (16, 16)


@given(AFFINES, st.tuples(*[st.floats(-180, 180)] * 3), st.floats(-5, 5))
@settings(max_examples=60, deadline=None)
def test_oblique_cut_is_a_rotation_of_the_axial_one(
    affine: np.ndarray, angles: tuple[float, float, float], offset: float
) -> None:
    geometry = VolumeGeometry(SHAPE, affine, True)
    tilt, turn, spin = angles
    flat = oblique_cut(geometry, geometry.centre)
    cut = oblique_cut(geometry, geometry.centre, tilt=tilt, turn=turn, spin=spin, offset=offset)
    frame = [
        np.stack([c.right / c.width, c.down / c.height, np.cross(c.right, c.down) / c.width / c.height]) for c in (flat, cut)
    ]
    np.testing.assert_allclose(frame[1] @ frame[1].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(frame[0]) == pytest.approx(np.linalg.det(frame[1]))
    normal = frame[1][2]
    assert (cut.at(0.3, 0.8) - geometry.centre) @ normal == pytest.approx(offset, abs=1e-7)


def test_oblique_cut_turns_by_the_angles_given() -> None:
    geometry = VolumeGeometry(SHAPE, np.diag([1.0, 1, 1, 1]), True)
    assert oblique_cut(geometry, geometry.centre).letters == ("A", "P", "R", "L")
    assert oblique_cut(geometry, geometry.centre, tilt=90).letters[2:] == ("R", "L")
    assert set(oblique_cut(geometry, geometry.centre, tilt=90).letters[:2]) == {"S", "I"}
    assert oblique_cut(geometry, geometry.centre, spin=90).letters == ("L", "R", "A", "P")
    assert oblique_cut(geometry, geometry.centre, tilt=45).letters[2:] == ("R", "L")


def test_crop_box_keeps_voxels_where_they_lay(volume_values: np.ndarray) -> None:
    signal = Signal(volume_values, "volume", "v", affine=LPS, spacing=(2.0, 3.0, 4.0))
    part = crop_box(signal, (1, 2, 0), (4, 5, 3))
    assert part.shape == (3, 3, 3)
    np.testing.assert_array_equal(part.values, volume_values[1:4, 2:5, 0:3])
    np.testing.assert_allclose(
        geometry_of(part).index_to_mm(np.array([0, 0, 0])), geometry_of(signal).index_to_mm(np.array([1, 2, 0]))
    )
    for low, high in (((0, 0, 0), (1, 5, 6)), ((-1, 0, 0), (4, 5, 6)), ((0, 0, 0), (4, 5, 7))):
        with pytest.raises(SignalError, match="at least 2 voxels"):
            crop_box(signal, low, high)
