"""Looking at volumes: windows by hand, cuts of a known ramp, labels, and exports that nibabel lays over the input."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_geometry import AFFINES

from medfuncta_core.config import FieldConfig, SignalSpec
from medfuncta_core.errors import ConfigError, SignalError
from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.fitting import Fitter
from medfuncta_core.geometry import crop_box, geometry_of, oblique_cut, orthogonal_cuts
from medfuncta_core.report import signal_file
from medfuncta_core.signals import Signal, prepare_signal, read_signal
from medfuncta_core.signals.normalising import to_file_units
from medfuncta_core.volumes import (
    Window,
    decode_onto,
    export_geometries,
    fly_cuts,
    in_units_of,
    read_labels,
    view_cut,
    whole_window,
)
from medfuncta_core.volumes.viewing import sample_values

SLOPE = np.array([3.0, -2.0, 1.5])
"""Value for every millimetre to the right, front and head of a ramp: it tells where a voxel lies."""


def ramp_file(shape: tuple[int, int, int], affine: np.ndarray, folder: Path) -> Path:
    """A NIfTI file whose values are a linear function of where its voxels lie."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    values = (index @ affine[:3, :3].T + affine[:3, 3]) @ SLOPE
    path = folder / "ramp.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float64), affine), path)
    return path


def open_nifti(path: Path) -> nibabel.Nifti1Image:
    image = nibabel.load(path)
    assert isinstance(image, nibabel.Nifti1Image)
    return image


def lies_over(content: bytes, folder: Path) -> float:
    """By how many millimetres the values of a written ramp are off, at the places where nibabel says its voxels lie."""
    path = folder / "out.nii.gz"
    path.write_bytes(content)
    image = open_nifti(path)
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
    affine = np.asarray(image.affine)
    expected = (index @ affine[:3, :3].T + affine[:3, 3]) @ SLOPE
    return float(np.abs(image.get_fdata() - expected).max() / np.linalg.norm(SLOPE))


def interpolate(signal: Signal):
    """The signal itself as a field, linear between its voxels."""
    geometry = geometry_of(signal)
    return lambda coords: sample_values(signal.values, geometry.field_to_index(coords.astype(np.float64)), linear=True)


@given(affine=AFFINES, factor=st.sampled_from(["1×", "2×", "File"]))
@settings(max_examples=15, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_export_lies_over_the_input(tmp_path: Path, affine: np.ndarray, factor: str) -> None:
    path = ramp_file((9, 7, 8), affine, tmp_path)
    original = read_signal(path)
    prepared = prepare_signal(original, SignalSpec(kind="volume", shape=(5, 6, 7), channels=1, normalisation="range"))
    target = export_geometries(prepared, geometry_of(original))[factor]
    *_, last = decode_onto(prepared, interpolate(prepared), target, part_points=50)
    assert last.signal is not None
    assert last.done == last.total == np.prod(target.shape)
    assert lies_over(signal_file(last.signal), tmp_path) < 0.01 * min(geometry_of(original).spacing)
    if factor == "File":
        np.testing.assert_allclose(np.asarray(open_nifti(tmp_path / "out.nii.gz").affine), affine, atol=1e-4)
        assert last.signal.shape == (9, 7, 8)


def test_export_of_a_crop_lies_over_it_and_is_dark_elsewhere(tmp_path: Path) -> None:
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0.2, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
    original = read_signal(ramp_file((9, 7, 8), affine, tmp_path))
    part = crop_box(original, (2, 1, 3), (7, 6, 8))
    prepared = prepare_signal(part, SignalSpec(kind="volume", shape=(5, 5, 5), channels=1, normalisation="range"))
    *_, fine = decode_onto(prepared, interpolate(prepared), export_geometries(prepared)["2×"])
    assert fine.signal is not None
    assert lies_over(signal_file(fine.signal), tmp_path) < 0.1
    *_, whole = decode_onto(prepared, interpolate(prepared), geometry_of(original))
    assert whole.signal is not None
    inside = np.zeros(original.shape, bool)
    inside[2:7, 1:6, 3:8] = True
    np.testing.assert_allclose(to_file_units(whole.signal)[inside], to_file_units(original)[inside], atol=1e-2)
    assert (whole.signal.values[~inside] == 0).all()


def test_export_without_an_affine_claims_no_orientation(tmp_path: Path, volume_values: np.ndarray) -> None:
    signal = Signal(volume_values, "volume", "v.npy", spacing=(1.0, 1.5, 2.0), spacing_unit="mm")
    *_, last = decode_onto(signal, interpolate(signal), export_geometries(signal)["2×"])
    assert last.signal is not None
    assert last.signal.affine is None
    path = tmp_path / "v.nii.gz"
    path.write_bytes(signal_file(last.signal))
    header = open_nifti(path).header
    assert (header["sform_code"], header["qform_code"]) == (0, 0)
    np.testing.assert_allclose(header.get_zooms(), np.array([1.0, 1.5, 2.0]) * [3 / 7, 4 / 9, 5 / 11], rtol=1e-6)


def test_decode_at_agrees_with_decode_on_a_grid() -> None:
    field = ModulatedSIREN(FieldConfig(coord_dim=3, depth=4, width=7, latent_dim=5, omega_first=3, omega_last=6))
    fitter, latent = Fitter(field, device="cpu"), np.linspace(-1, 1, 5, dtype=np.float32)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (4, 5, 6)), indexing="ij"), axis=-1).reshape(-1, 3)
    found = fitter.decode_at(latent, grid, chunk_points=7)
    np.testing.assert_allclose(found.reshape(4, 5, 6, 1), fitter.decode(latent, (4, 5, 6)), atol=1e-6)
    with pytest.raises(ConfigError, match="points of 3 coordinates"):
        fitter.decode_at(latent, grid[:, :2])
    with pytest.raises(ConfigError, match="length 5"):
        fitter.decode_at(latent[:4], grid)


def test_view_of_a_voxel_plane_shows_exactly_its_voxels(volume_signal: Signal) -> None:
    geometry = geometry_of(volume_signal)
    axial = orthogonal_cuts(geometry, geometry.index_to_mm(np.array([1.0, 2, 3])))[0]
    view = view_cut(volume_signal, interpolate(volume_signal), axial, axial.pixels(1))
    shown = volume_signal.values[:, :, 3].swapaxes(0, 1)[::-1, ::-1]  # front on top, the patient's right on the left
    np.testing.assert_allclose(view.input, shown, atol=1e-6)
    np.testing.assert_allclose(view.reconstruction, shown, atol=1e-5)
    assert view.error.max() < 1e-5
    assert view.inside.all()


def test_view_between_voxels_is_decoded_there_and_the_input_is_not_smoothed(volume_signal: Signal) -> None:
    geometry = geometry_of(volume_signal)
    axial = orthogonal_cuts(geometry, geometry.index_to_mm(np.array([1.0, 2, 3.5])))[0]
    view = view_cut(volume_signal, interpolate(volume_signal), axial, axial.pixels(4))
    assert view.reconstruction.shape == (20, 16, 1)
    assert set(np.unique(view.input)) <= set(np.unique(volume_signal.values))
    assert view.error.max() < 1e-5  # against the input linear between its voxels
    np.testing.assert_allclose(view.reconstruction[0, 15, 0], volume_signal.values[0, 4, 3:5].mean(), atol=1e-6)


def test_oblique_view_is_black_outside_the_volume(volume_signal: Signal) -> None:
    geometry = geometry_of(volume_signal)
    cut = oblique_cut(geometry, geometry.centre, tilt=40, turn=20)
    view = view_cut(volume_signal, interpolate(volume_signal), cut, cut.pixels(2))
    assert 0 < view.inside.mean() < 1
    assert not view.reconstruction[~view.inside].any()
    assert not view.error[~view.inside].any()
    far = oblique_cut(geometry, geometry.centre, offset=100.0)
    assert not view_cut(volume_signal, interpolate(volume_signal), far, far.pixels(1)).inside.any()


def test_window_maps_file_units_to_grey() -> None:
    window = Window(40, 400)  # -160 is black, 240 white
    values = (np.array([-1000.0, -160, 40, 240, 2000]) + 1000) / 3000
    np.testing.assert_allclose(window.apply(values[:, None], (-1000.0, 2000.0))[:, 0], [0, 0, 0.5, 1, 1], atol=1e-9)
    assert whole_window((-1000.0, 2000.0)) == Window(500, 3000)
    np.testing.assert_allclose(whole_window((5.0, 9.0)).apply(np.array([[0.25]]), (5.0, 9.0)), 0.25)


def test_original_takes_the_units_of_what_was_prepared(volume_values: np.ndarray) -> None:
    original = Signal(volume_values, "volume", "v", value_range=(-100.0, 300.0))
    prepared = Signal(volume_values, "volume", "v", value_range=(0.0, 200.0))
    matched = in_units_of(original, prepared)
    np.testing.assert_allclose(to_file_units(matched), np.clip(to_file_units(original), 0, 200), atol=1e-3)


def test_flight_visits_every_voxel_plane_in_order(volume_signal: Signal) -> None:
    places = [volume_signal.affine[2, 2] * index for index in range(6)] if volume_signal.affine is not None else []
    cuts = list(fly_cuts(geometry_of(volume_signal), 0, 6))
    np.testing.assert_allclose([cut.corner[2] for cut in cuts], places)


def label_file(values: np.ndarray, affine: np.ndarray | None, folder: Path) -> bytes:
    path = folder / "labels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path.read_bytes()


def test_labels_lie_where_their_own_affine_says(volume_signal: Signal, tmp_path: Path) -> None:
    labels = np.zeros((8, 5, 6), np.uint8)
    labels[5, 2, 3] = 2  # voxels half as wide: x = 2.5 mm is the right half of voxel 2
    found = read_labels(label_file(labels, np.diag([0.5, 1.5, 2, 1]), tmp_path), "labels.nii.gz", (4, 5, 6), oriented=True)
    assert found.numbers == (2,)
    geometry = geometry_of(volume_signal)
    axial = orthogonal_cuts(geometry, geometry.index_to_mm(np.array([0.0, 0, 3])))[0]
    on_cut = found.on_cut(volume_signal, axial, (5, 16))
    assert on_cut.sum() == 2 * 2
    place = axial.place(geometry.index_to_mm(np.array([2.5, 2, 3])))
    assert on_cut[int(place[1] * 5), int(place[0] * 16)] == 2


def test_labels_that_cannot_be_labels_are_refused(tmp_path: Path) -> None:
    half = np.full((4, 5, 6), 0.5, np.float32)
    half[0] = 2
    with pytest.raises(SignalError, match="not whole"):
        read_labels(label_file(half, np.eye(4), tmp_path), "half.nii.gz", (4, 5, 6), oriented=True)
    many = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    with pytest.raises(SignalError, match="120 different values"):
        read_labels(label_file(many, np.eye(4), tmp_path), "many.nii.gz", (4, 5, 6), oriented=True)
    with pytest.raises(SignalError, match="own grid"):
        read_labels(label_file(many % 3, np.eye(4), tmp_path), "other.nii.gz", (8, 5, 6), oriented=False)
