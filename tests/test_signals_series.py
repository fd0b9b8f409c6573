"""Broken series and headers get a clear word each, and whatever can be put right lies where the patient was."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from test_signals_reading import dicom_bytes, in_units, make_dicom, nifti_bytes, zip_bytes

from medfuncta_core.config import SignalSpec
from medfuncta_core.errors import SignalError
from medfuncta_core.signals import Signal, count_signals, read_signal

VOLUME = SignalSpec(kind="volume", shape=(4, 5, 6), normalisation="range")
PLANES = np.arange(9)[:, None, None] * 100 + np.arange(48).reshape(8, 6)


def series(offsets, planes=PLANES, **tags) -> dict[str, bytes]:
    """Slices at heights in mm, each with its own picture."""
    return {f"{n}.dcm": dicom_bytes(make_dicom(planes[n], position=z, **tags)) for n, z in enumerate(offsets)}


def read(files: dict[str, bytes]) -> Signal:
    return read_signal(zip_bytes(files), "series.zip")


def warning(signal: Signal, words: str) -> str:
    """The one warning with some words; every warning is among the notes."""
    assert set(signal.warnings) <= set(signal.notes)
    (found,) = [text for text in signal.warnings if words in text]
    return found


def test_whole_series_has_no_warning() -> None:
    signal = read(series([0, 3, 6, 9], Modality="CT", RescaleSlope=1, RescaleIntercept=-1024))
    assert signal.warnings == ()
    assert signal.unit == "HU"


def test_missing_slices_are_filled_in_where_they_belong() -> None:
    signal = read(series([0, 2, 4, 10, 12]))
    assert signal.shape == (6, 8, 7)
    assert signal.spacing == pytest.approx((0.5, 2, 2))
    assert "2 of 7 slices, 2 mm apart, are missing" in warning(signal, "missing")
    assert "after slice 3, is 6 mm" in warning(signal, "missing")
    heights = in_units(signal)[0, 0, :, 0]
    np.testing.assert_allclose(heights, [0, 100, 200, 200 + 100 / 3, 200 + 200 / 3, 300, 400], atol=1e-2)


def test_uneven_slices_are_resampled_to_even_ones() -> None:
    signal = read(series([0, 2, 4.9, 7, 9.3]))
    assert "2 to 2.9 mm apart" in warning(signal, "apart")
    assert signal.affine is not None
    assert signal.shape == (6, 8, 5)
    last = signal.affine @ [0, 0, 4, 1]
    assert last[2] == pytest.approx(9.3)
    np.testing.assert_allclose(in_units(signal)[0, 0, [0, -1], 0], [0, 400], atol=1e-2)


@settings(max_examples=25, deadline=None)
@given(gaps=st.lists(st.sampled_from([1.0, 2.0, 3.0, 1.37, 0.4]), min_size=2, max_size=6))
def test_slices_lie_at_their_height_however_they_are_spaced(gaps: list[float]) -> None:
    # Each slice shows its own height, so that every voxel of the volume must show the height of its place.
    offsets = np.concatenate([[0], np.cumsum(gaps)])
    planes = np.broadcast_to((1000 * offsets)[:, None, None], (len(offsets), 8, 6))
    signal = read(series(offsets, planes))
    assert signal.affine is not None
    steps = np.arange(signal.shape[2])
    placed = signal.affine[2, 3] + signal.affine[2, 2] * steps
    np.testing.assert_allclose(in_units(signal)[0, 0, :, 0] / 1000, placed, atol=0.06 * max(gaps))


def test_mixed_series_names_what_was_left_out() -> None:
    other = {
        f"b{k}.dcm": dicom_bytes(make_dicom(PLANES[k][:4], position=k, SeriesInstanceUID="9.9", SeriesDescription="localizer"))
        for k in range(3)
    }
    signal = read(series([0, 3, 6, 9, 12]) | other)
    assert signal.shape == (6, 8, 5)
    assert "3 slices ('localizer') of 4 x 6" in warning(signal, "Several series")


def test_duplicate_positions_are_named() -> None:
    signal = read(series([0, 3, 6, 3, 6, 9]))
    assert "2 slices lie where others lie already" in warning(signal, "others")
    assert signal.shape == (6, 8, 4)


def test_damaged_slices_are_named_and_their_gap_too() -> None:
    files = series([0, 3, 6, 9, 12])
    files["2.dcm"] = files["2.dcm"][:-90]
    signal = read(files | {"3.dcm": files["3.dcm"]})
    assert signal.shape == (6, 8, 5)
    assert "2.dcm" in warning(signal, "could not be read")
    assert "1 of 5 slices" in warning(signal, "missing")


@pytest.mark.parametrize("degrees", [0.0, 12.0, -20.0])
def test_gantry_tilt_is_named_and_kept_in_the_affine(degrees: float) -> None:
    shift = 3 * np.tan(np.radians(degrees))
    files = {
        f"{k}.dcm": dicom_bytes(make_dicom(PLANES[k], position=0, ImagePositionPatient=[10, 20 + k * shift, 3 * k]))
        for k in range(4)
    }
    signal = read(files)
    assert signal.affine is not None
    np.testing.assert_allclose(signal.affine @ [0, 0, 3, 1], [-10, -20 - 3 * shift, 9, 1], atol=1e-6)
    if degrees == 0:
        assert signal.warnings == ()
    else:
        assert f"{abs(degrees):.1f} degrees" in warning(signal, "Gantry tilt")


def test_rescale_that_is_missing_differs_or_cannot_be_is_named() -> None:
    without = read(series([0, 3, 6], Modality="CT"))
    assert "not Hounsfield units" in warning(without, "rescale")
    assert without.unit == ""
    differing = series([0, 3, 6], Modality="CT", RescaleSlope=1, RescaleIntercept=-1024)
    differing["1.dcm"] = dicom_bytes(make_dicom(PLANES[1], position=3, Modality="CT", RescaleSlope=1, RescaleIntercept=0))
    assert "intercept -1024 to slope 1, intercept 0" in warning(read(differing), "differs between slices")
    differing["1.dcm"] = dicom_bytes(make_dicom(PLANES[1], position=3, Modality="CT"))
    assert "1 of 3 CT slices" in warning(read(differing), "rescale")
    nothing_below = read(series([0, 3, 6], Modality="CT", RescaleSlope=1, RescaleIntercept=0))
    assert "air is -1000" in warning(nothing_below, "rescale intercept")
    with pytest.raises(SignalError, match="rescale slope 0"):
        read(series([0, 3, 6], Modality="CT", RescaleSlope=0, RescaleIntercept=0))
    # Other modalities have no such unit, and PET scales each slice by its own.
    assert read(series([0, 3, 6], Modality="MR")).warnings == ()


def test_slices_without_positions_are_not_given_a_left_and_right() -> None:
    files = {f"{k}.dcm": dicom_bytes(make_dicom(PLANES[k], SliceThickness=2.5, InstanceNumber=5 - k)) for k in range(4)}
    signal = read(files)
    assert "left and right are unknown" in warning(signal, "2.5 mm apart")
    assert signal.affine is None
    np.testing.assert_allclose(in_units(signal)[0, 0, :, 0], [300, 200, 100, 0], atol=1e-2)


def enhanced(order: list[int], *, placed: bool = True, **tags) -> bytes:
    """One file of many frames, stored in another order than they lie in, as scanners' enhanced CT and MR are."""
    dataset = make_dicom(PLANES[order], NumberOfFrames=len(order), Modality="CT", **tags)
    plane, measures, values = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    measures.PixelSpacing, measures.SliceThickness = [2.0, 0.5], 9.0
    values.RescaleSlope, values.RescaleIntercept = 2.0, -1000.0
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([plane]), Sequence([measures])
    shared.PixelValueTransformationSequence = Sequence([values])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in order:
        position, frame = Dataset(), Dataset()
        position.ImagePositionPatient = [-3.0 * k, 20, 30]
        if placed:
            frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return dicom_bytes(dataset)


def test_enhanced_file_lies_where_its_frames_say() -> None:
    signal = read_signal(enhanced([2, 0, 3, 1]), "enhanced.dcm")
    assert signal.kind == "volume"
    assert signal.spacing == pytest.approx((0.5, 2, 3))
    assert signal.warnings == ()
    # The normal of (0,1,0) and (0,0,-1) is (-1,0,0): frames follow falling x, and PLANES[k] has its frame's number.
    np.testing.assert_allclose(in_units(signal)[0, 0, :, 0], np.arange(4) * 200 - 1000, atol=1e-2)
    assert signal.affine is not None
    # Column 1, row 2, slice 3: LPS (-9, 20 + 0.5, 30 - 4), so RAS has the first two negated.
    np.testing.assert_allclose(signal.affine @ [1, 2, 3, 1], [9, -20.5, 26, 1], atol=1e-6)
    assert count_signals(enhanced([0, 1, 2]), "e.dcm") == 1


def test_frames_without_places_are_not_given_a_left_and_right() -> None:
    signal = read_signal(enhanced([0, 1, 2], placed=False, SliceThickness=4), "enhanced.dcm")
    assert signal.affine is None
    assert "left and right are unknown" in warning(signal, "where its frames lie")
    assert signal.spacing is not None
    assert signal.spacing[2] == 4


def nifti_with(values: np.ndarray, sform: np.ndarray, qform: np.ndarray, codes: tuple[int, int] = (1, 1)) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header.set_qform(qform, codes[1])
    header.set_sform(sform, codes[0])
    header.set_zooms((2.0, 3.0, 4.0))
    header["magic"], header["vox_offset"] = b"n+1", 352
    return header.binaryblock + bytes(4) + values.tobytes("F")


VALUES = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
GOOD = np.diag([2.0, 3.0, 4.0, 1.0])


def test_zero_sform_gives_way_to_the_qform() -> None:
    signal = read_signal(nifti_with(VALUES, np.zeros((4, 4)), GOOD), "v.nii")
    assert "all zeros" in warning(signal, "sform is unusable")
    assert "Its qform was used instead." in signal.warnings
    np.testing.assert_allclose(signal.affine, GOOD)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sform", "reason"), [(np.zeros((4, 4)), "zeros"), (np.diag([2.0, 0, 4, 1]), "singular")])
def test_unusable_affine_is_named_and_not_guessed(sform: np.ndarray, reason: str) -> None:
    signal = read_signal(nifti_with(VALUES, sform, GOOD, (1, 0)), "v.nii")
    assert reason in warning(signal, "unusable")
    assert "left and right are unknown" in warning(signal, "axes were taken as stored")
    assert signal.affine is None
    assert signal.spacing == (2, 3, 4)
    prepared = read_signal(nifti_with(VALUES, sform, GOOD, (1, 0)), "v.nii", spec=VOLUME)
    np.testing.assert_allclose(prepared.values[..., 0], VALUES / 119, atol=1e-6)


def test_header_without_orientation_is_not_guessed() -> None:
    signal = read_signal(nifti_with(VALUES, GOOD, GOOD, (0, 0)), "v.nii")
    assert signal.affine is None
    assert warning(signal, "does not say how the volume lies")


def test_disagreeing_sform_and_qform_are_named() -> None:
    mirrored = np.diag([-2.0, 3.0, 4.0, 1.0])
    signal = read_signal(nifti_with(VALUES, mirrored, GOOD), "v.nii")
    assert "12 mm" in warning(signal, "disagree")
    np.testing.assert_allclose(signal.affine, mirrored)  # type: ignore[arg-type]
    nearly = GOOD.copy()
    nearly[0, 3] = 0.1
    assert read_signal(nifti_with(VALUES, nearly, GOOD), "v.nii").warnings == ()


def test_four_dimensional_file_says_which_volume_was_read_and_how_to_choose() -> None:
    content = nifti_bytes(np.stack([VALUES, VALUES + 500, VALUES + 900], -1))
    signal = read_signal(content, "v.nii", index=2)
    assert "number 3 of its 3 volumes was read; index chooses another" in warning(signal, "4D")
    np.testing.assert_allclose(in_units(signal)[..., 0], VALUES + 900, atol=1e-2)
    with pytest.raises(SignalError, match="frames 0 to 2"):
        read_signal(content, "v.nii", index=3)


def test_folder_of_two_enhanced_phases_takes_one(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).write_bytes(enhanced([0, 1, 2]))
    signal = read_signal(tmp_path)
    assert signal.shape == (6, 8, 3)
    assert "3 slices lie where others lie already" in warning(signal, "others")
