"""prepare_signal makes of a file what the training data made of it: compared with the stored training data itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medfuncta_core.config import SignalSpec
from medfuncta_core.errors import SignalError
from medfuncta_core.signals import Signal, count_signals, load_data_set, prepare_signal, read_signal, with_values
from medfuncta_core.signals.ecg import find_beats
from medfuncta_core.signals.resizing import resize_image, resize_linear
from medfuncta_core.signals.turning import reorient

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
RAW = SHARED / "raw"
ECG = SignalSpec(kind="ecg", shape=(187,), normalisation="range", sampling_rate=125)
BRAIN = SignalSpec(kind="volume", shape=(32, 32, 32), normalisation="quantile", limits=(0.005, 0.995))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(1 / max(float(np.mean((a - b) ** 2)), 1e-15)))


def picture(values: np.ndarray) -> Signal:
    return Signal(values.astype(np.float32), "image", "p.png", value_range=(0.0, 255.0), nominal_range=(0.0, 255.0))


@pytest.mark.parametrize(("edge", "split", "row"), [(64, "train", 0), (128, "train", 0), (224, "train", 0)])
def test_prepare_signal_reproduces_stored_chest_xrays(edge: int, split: str, row: int) -> None:
    # Measured: Pillow's bicubic on bytes is exact; Lanczos 48.6 dB, box 42.8, skimage antialiased 40.4 (at 64 x 64).
    spec = SignalSpec(kind="image", shape=(edge, edge))
    if RAW.is_dir():
        made = read_signal(RAW / "chest_xray_1024.png", spec=spec)
        stored = load_data_set(SHARED / f"nihcxr_{edge}.npz", split).batch([row])[0]
        assert f"Resized from 1024 x 1024 to {edge} x {edge} with antialiasing." in made.notes
    else:
        made, stored = prepare_signal(picture(np.ones((256, 256, 1))), spec), np.ones((edge, edge, 1), np.float32)
    np.testing.assert_array_equal(made.values, stored)


def test_prepare_signal_reproduces_the_stored_dermatoscope_image() -> None:
    spec = SignalSpec(kind="image", shape=(64, 64), channels=3)
    if RAW.is_dir():
        made = read_signal(RAW / "dermatoscope_224.jpg", spec=spec).values
        # JPEG decoders may differ by a grey level, hence not exactly; here they do not.
        assert psnr(made, load_data_set(SHARED / "ham10000_64.npz", "test").batch([26])[0]) > 50
    assert prepare_signal(picture(np.ones((24, 18, 3))), spec).values.shape == (64, 64, 3)


def test_prepare_signal_reproduces_the_stored_hippocampus() -> None:
    if RAW.is_dir():
        made = read_signal(RAW / "hippocampus_190.nii.gz", spec=BRAIN)
        stored = load_data_set(SHARED / "hippocampus3d_32.npz", "val").batch([12])[0]
        # The stored volume's own rounding to bytes allows 58.9 dB.
        assert psnr(made.values, stored) > 58
    ramp = np.linspace(0, 1, 37, dtype=np.float32)[:, None, None, None] * np.ones((1, 52, 30, 1), np.float32)
    resized = resize_linear(Signal(ramp, "volume", "v"), (32, 32, 32))
    np.testing.assert_allclose(resized.values[:, 3, 3, 0], np.linspace(0, 1, 32), atol=1e-6)


def test_prepare_signal_cuts_the_stored_heartbeats() -> None:
    if not RAW.is_dir():
        assert prepare_signal(synthetic_record(annotated=True), ECG).shape == (187,)
        return
    stored = [load_data_set(SHARED / "mitbih_full_187.npz", split) for split in ("train", "val", "test")]
    records = np.load(SHARED / "mitbih_full_187.npz")
    rows = np.concatenate([s.values[records[f"{s.split}_records"] == 100, :, 0] for s in stored])
    record = read_signal(RAW / "100.hea")
    assert count_signals(RAW / "100.hea", spec=ECG) == len(find_beats(record, 125)[1]) == 2271
    worst = [np.abs(rows - prepare_signal(record, ECG, index=k).values[:, 0]).max(1).min() for k in range(0, 2271, 227)]
    assert max(worst) < 1e-4


def synthetic_record(*, annotated: bool) -> Signal:
    wave = np.zeros(360 * 30, np.float32)
    peaks = np.arange(200, len(wave) - 400, 300)
    for peak in peaks:
        wave[peak - 4 : peak + 5] += np.bartlett(9)
    events = tuple((int(peak), "N") for peak in peaks) if annotated else ()
    return Signal(
        wave[:, None], "ecg", "r", spacing=(1 / 360,), spacing_unit="s", value_range=(-1.0, 2.0), unit="mV", events=events
    )


@pytest.mark.parametrize("annotated", [True, False])
def test_prepare_signal_finds_beats_with_and_without_annotations(annotated: bool) -> None:
    record = synthetic_record(annotated=annotated)
    beat = prepare_signal(record, ECG, index=2)
    # 300 samples at 360 Hz are 104.17 at 125 Hz; 1.2 of them are 125.
    assert beat.values[:, 0].argmax() <= 1 or beat.values[103:107].max() == 1
    assert (beat.values[125:] == 0).all()
    assert beat.values[100:110].max() > 0.5
    assert (beat.values.min(), beat.values.max()) == (0, 1)
    assert beat.class_name == ("N" if annotated else "")
    assert any("Padded from 125 to 187" in note for note in beat.notes)
    with pytest.raises(SignalError, match="beats 0 to"):
        prepare_signal(record, ECG, index=9999)


def test_prepare_signal_pads_short_beats_and_resamples_long_ones() -> None:
    ramp = np.linspace(0, 1, 16, dtype=np.float32)[:, None]
    assert (prepare_signal(Signal(ramp, "ecg", "b"), ECG).values[16:] == 0).all()
    long = prepare_signal(Signal(np.linspace(0, 1, 500, dtype=np.float32)[:, None], "ecg", "b"), ECG)
    np.testing.assert_allclose(long.values[:, 0], np.linspace(0, 1, 187), atol=0.01)
    whole = Signal(np.random.default_rng(0).random((187, 1)).astype(np.float32), "ecg", "b")
    np.testing.assert_allclose(
        prepare_signal(whole, ECG).values, (whole.values - whole.values.min()) / np.ptp(whole.values), atol=1e-6
    )


def test_prepare_signal_crops_to_the_aspect_and_reports_it() -> None:
    wide = np.zeros((8, 16, 1))
    wide[:, 4:12] = 1
    prepared = prepare_signal(picture(wide), SignalSpec(kind="image", shape=(8, 8)))
    assert (prepared.values == 1).all()
    assert prepared.notes == ("Cropped from 8 x 16 to the 8 x 8 at its centre.",)


def test_prepare_signal_converts_colours_and_says_so() -> None:
    red = np.zeros((8, 6, 3))
    red[..., 0] = 1
    grey = prepare_signal(picture(red), SignalSpec(kind="image", shape=(8, 6)))
    assert grey.values[0, 0, 0] == pytest.approx(0.299)
    assert "grey" in grey.notes[0]
    back = prepare_signal(grey, SignalSpec(kind="image", shape=(8, 6), channels=3))
    assert back.values.shape == (8, 6, 3)
    assert (back.values == grey.values).all()


def test_prepare_signal_does_not_alias() -> None:
    stripes = np.tile(np.array([0.0, 1.0] * 32)[None, :, None], (64, 1, 1))
    small = prepare_signal(picture(stripes), SignalSpec(kind="image", shape=(8, 8)))
    assert np.abs(small.values - 0.5).max() < 0.05
    volume = Signal(np.tile(stripes[None].astype(np.float32), (16, 1, 1, 1)), "volume", "v")
    thin = prepare_signal(volume, SignalSpec(kind="volume", shape=(16, 16, 10)))
    assert np.abs(thin.values[:, :, 1:-1] - 0.5).max() < 0.05


def test_prepare_signal_turns_volumes_to_ras() -> None:
    values = np.random.default_rng(0).random((4, 5, 6, 1)).astype(np.float32)
    affine = np.array([[0, 0, -2.0, 50], [-1, 0, 0, 60], [0, 3, 0, 70], [0, 0, 0, 1]])
    turned = reorient(Signal(values, "volume", "v", affine=affine, spacing=(1, 3, 2)))
    assert turned.shape == (6, 4, 5)
    assert turned.spacing == (2, 1, 3)
    assert turned.affine is not None
    # The same point of the patient holds the same value.
    world = affine @ [1, 2, 3, 1]
    i, j, k = np.rint(np.linalg.inv(turned.affine) @ world)[:3].astype(int)
    assert turned.values[i, j, k, 0] == values[1, 2, 3, 0]


def test_prepare_signal_takes_the_middle_slice_first() -> None:
    values = np.zeros((4, 5, 6, 1), np.float32)
    values[1, 4, 3] = 1
    volume = Signal(values, "volume", "v", affine=np.eye(4), spacing=(1, 1, 1))
    spec = SignalSpec(kind="image", shape=(5, 4))
    assert prepare_signal(volume, spec).values[0, 2, 0] == 1
    assert prepare_signal(volume, spec, index=3).values.max() == 0
    with pytest.raises(SignalError, match="slices 0 to 5"):
        prepare_signal(volume, spec, index=6)


@pytest.mark.parametrize(("normalisation", "limits"), [("range", None), ("quantile", (0.01, 0.99)), ("dtype", None)])
def test_prepare_signal_makes_zeros_of_a_constant(normalisation, limits) -> None:
    constant = Signal(np.full((8, 6, 1), 0.25, np.float32), "image", "c", value_range=(0.0, 100.0))
    prepared = prepare_signal(constant, SignalSpec(kind="image", shape=(8, 6), normalisation=normalisation, limits=limits))
    assert (prepared.values == 0).all()
    assert prepared.value_range[0] == pytest.approx(25)
    assert "constant" in prepared.notes[-1]


def test_prepare_signal_windows_in_file_units() -> None:
    ramp = Signal(
        np.linspace(0, 1, 48, dtype=np.float32).reshape(8, 6, 1), "image", "ct", value_range=(-1000.0, 1000.0), unit="HU"
    )
    prepared = prepare_signal(ramp, SignalSpec(kind="image", shape=(8, 6), normalisation="window", limits=(-100, 300)))
    hounsfield = np.linspace(-1000, 1000, 48).reshape(8, 6)
    np.testing.assert_allclose(prepared.values[..., 0], np.clip((hounsfield + 100) / 400, 0, 1), atol=1e-4)
    assert prepared.value_range == pytest.approx((-100, 300))


@pytest.mark.parametrize(("have", "want"), [("image", "volume"), ("image", "ecg"), ("ecg", "image"), ("volume", "ecg")])
def test_prepare_signal_refuses_other_kinds_with_a_remedy(have, want) -> None:
    shapes = {"ecg": (16,), "image": (8, 6), "volume": (4, 5, 6)}
    signal = Signal(np.zeros((*shapes[have], 1), np.float32), have, "file.x")
    with pytest.raises(SignalError, match=r"file\.x.*checkpoint is for.*; give"):
        prepare_signal(signal, SignalSpec(kind=want, shape=shapes[want]))


def test_with_values_keeps_corner_voxels_in_place() -> None:
    affine = np.array([[2.0, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    signal = Signal(np.zeros((4, 5, 6, 1), np.float32), "volume", "v", affine=affine, spacing=(2, 3, 4))
    finer = with_values(signal, np.zeros((7, 9, 11, 1), np.float32))
    assert finer.affine is not None
    assert finer.spacing == pytest.approx((1, 1.5, 2))
    assert finer.affine @ [6, 8, 10, 1] == pytest.approx(affine @ [3, 4, 5, 1])


def test_prepare_signal_leaves_what_is_prepared() -> None:
    spec = SignalSpec(kind="volume", shape=(4, 5, 6), normalisation="quantile", limits=(0.05, 0.95))
    values = np.random.default_rng(0).random((4, 5, 6, 1)).astype(np.float32)
    signal = Signal(values, "volume", "v", affine=np.diag([-1.0, 1, 1, 1]))
    prepared = prepare_signal(signal, spec)
    assert signal.prepared_for is None
    assert prepared.prepared_for == spec
    assert not np.allclose(prepared.values, values[::-1], atol=0.01)
    assert prepare_signal(prepared, spec) is prepared
    other = spec.model_copy(update={"limits": (0.2, 0.8)})
    assert prepare_signal(prepared, other).prepared_for == other
    assert not np.allclose(prepare_signal(prepared, other).values, prepared.values, atol=0.01)


def test_prepare_signal_leaves_the_values_of_a_data_sets_rows(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 6), dtype=np.uint8)
    np.savez(tmp_path / "v.npz", test_images=stored)
    row = load_data_set(tmp_path / "v.npz", "test").signal(1)
    same = SignalSpec(kind="volume", shape=(4, 5, 6), normalisation="quantile", limits=(0.05, 0.95))
    assert prepare_signal(row, same) is row
    np.testing.assert_array_equal(row.values[..., 0] * 255, stored[1])
    smaller = prepare_signal(row, same.model_copy(update={"shape": (4, 5, 3)}))
    assert [note.split()[0] for note in smaller.notes] == ["Resized"]
    np.testing.assert_array_equal(smaller.values[..., [0, -1], 0], row.values[..., [0, -1], 0])


def test_prepare_signal_says_antialiased_only_where_it_was() -> None:
    volume = Signal(np.zeros((12, 5, 6, 1), np.float32), "volume", "v")
    notes = {shape: resize_linear(volume, shape).notes[-1] for shape in ((8, 5, 6), (6, 5, 3), (5, 10, 6))}
    assert [("antialiasing" in note, "linearly" in note) for note in notes.values()] == [
        (False, True),
        (False, True),
        (True, False),
    ]
    assert "antialiasing" in resize_image(picture(np.zeros((8, 6, 1))), (4, 12)).notes[-1]
    assert "bicubic" in resize_image(picture(np.zeros((8, 6, 1))), (16, 12)).notes[-1]


def test_with_values_is_prepared_only_on_the_same_grid() -> None:
    spec = SignalSpec(kind="image", shape=(8, 6))
    prepared = prepare_signal(picture(np.ones((8, 6, 1))), spec)
    assert with_values(prepared, np.zeros((8, 6, 1), np.float32)).prepared_for == spec
    assert with_values(prepared, np.zeros((16, 12, 1), np.float32)).prepared_for is None
