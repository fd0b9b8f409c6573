"""write_signal: what is written reads back in the same units and geometry, and a failed write leaves nothing."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from medfuncta_core.errors import SignalError
from medfuncta_core.signals import Signal, read_signal, with_values, write_signal

RANDOM = np.random.default_rng(0)


def units(signal: Signal) -> np.ndarray:
    low, high = signal.value_range
    return signal.values * (high - low) + low


@pytest.mark.parametrize("suffix", [".npy", ".png", ".tiff", ".csv"])
@pytest.mark.parametrize("high", [255.0, 65535.0])
def test_write_signal_keeps_grey_images(tmp_path: Path, suffix: str, high: float) -> None:
    stored = RANDOM.integers(0, int(high) + 1, (8, 12, 1))
    signal = Signal((stored / high).astype(np.float32), "image", "i", value_range=(0.0, high))
    path = write_signal(signal, tmp_path / f"i{suffix}")
    read = np.loadtxt(path, delimiter=",") if suffix == ".csv" else units(read_signal(path))[..., 0]
    np.testing.assert_allclose(read, stored[..., 0], atol=0.51 if high > 255 else 0.02)


@pytest.mark.parametrize("suffix", [".npy", ".png", ".tiff"])
def test_write_signal_keeps_colours(tmp_path: Path, suffix: str) -> None:
    stored = RANDOM.integers(0, 256, (8, 6, 3))
    signal = Signal((stored / 255).astype(np.float32), "image", "i", value_range=(0.0, 255.0))
    np.testing.assert_allclose(units(read_signal(write_signal(signal, tmp_path / f"i{suffix}"))), stored, atol=0.02)


def test_write_signal_keeps_hounsfield_units_in_tiffs(tmp_path: Path) -> None:
    signal = Signal(RANDOM.random((8, 6, 1)).astype(np.float32), "image", "ct", value_range=(-1000.0, 1000.0), unit="HU")
    np.testing.assert_allclose(units(read_signal(write_signal(signal, tmp_path / "i.tif"))), units(signal), atol=0.01)


def test_write_signal_keeps_an_ecg(tmp_path: Path) -> None:
    signal = Signal(RANDOM.random((16, 1)).astype(np.float32), "ecg", "e", value_range=(-2.0, 1.5), unit="mV")
    for suffix in (".csv", ".npy"):
        np.testing.assert_allclose(units(read_signal(write_signal(signal, tmp_path / f"e{suffix}"))), units(signal), atol=1e-5)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_write_signal_scales_the_affine_with_the_resolution(tmp_path: Path, suffix: str) -> None:
    affine = np.array([[0, -2.0, 0, 5], [3, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    source = Signal(RANDOM.random((4, 5, 6, 1)).astype(np.float32), "volume", "v", affine=affine, value_range=(-5.0, 9.0))
    finer = with_values(source, RANDOM.random((7, 9, 11, 1)).astype(np.float32))
    path = write_signal(finer, tmp_path / f"v{suffix}")
    image = nibabel.Nifti1Image.from_filename(path)
    assert image.affine is not None
    np.testing.assert_allclose(image.get_fdata(), units(finer)[..., 0], atol=1e-4)
    # First and last voxel centres stay: spacing 3 (n_old - 1) / (n_new - 1) = 1.5 mm along the first axis.
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], affine @ [0, 0, 0, 1], atol=1e-5)
    np.testing.assert_allclose(image.affine @ [6, 8, 10, 1], affine @ [3, 4, 5, 1], atol=1e-5)
    assert image.header.get_zooms() == pytest.approx((1.5, 1.0, 2.0))


def test_write_signal_refuses_what_a_format_cannot_hold(tmp_path: Path) -> None:
    volume = Signal(np.zeros((4, 5, 6, 1), np.float32), "volume", "v")
    with pytest.raises(SignalError, match=r"\.png does not hold .* volume; choose \.npy"):
        write_signal(volume, tmp_path / "v.png")
    with pytest.raises(SignalError, match=r"cannot write \.doc"):
        write_signal(volume, tmp_path / "v.doc")
    with pytest.raises(SignalError, match="cannot be written"):
        write_signal(volume, tmp_path / "missing" / "v.npy")
    assert list(tmp_path.iterdir()) == []


def test_write_signal_replaces_whole_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signal = Signal(np.zeros((16, 1), np.float32), "ecg", "e")
    path = write_signal(signal, tmp_path / "e.npy")
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(SignalError, match="disk full"):
        write_signal(Signal(np.ones((16, 1), np.float32), "ecg", "e"), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["e.npy"]


def test_write_signal_makes_ordinary_files_without_touching_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> int:
        raise AssertionError("the umask is the whole process's")

    monkeypatch.setattr("os.umask", refuse)
    path = write_signal(Signal(np.zeros((16, 1), np.float32), "ecg", "e"), tmp_path / "e.csv")
    assert path.stat().st_mode & 0o777 == 0o644
