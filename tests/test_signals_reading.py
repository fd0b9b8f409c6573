"""read_signal on good files of every format, made here so that every number is known."""

from __future__ import annotations

import gzip
import io
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless, generate_uid

from medfuncta_core.config import SignalSpec
from medfuncta_core.errors import SignalError
from medfuncta_core.signals import Signal, count_signals, guarding, read_signal, reading

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
GREY = np.arange(48, dtype=np.uint8).reshape(8, 6) * 5
IMAGE = SignalSpec(kind="image", shape=(8, 6))
VOLUME = SignalSpec(kind="volume", shape=(4, 5, 6), normalisation="range")


def png(picture: Image.Image, form: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def in_units(signal: Signal) -> np.ndarray:
    low, high = signal.value_range
    return signal.values * (high - low) + low


def make_dicom(pixels: np.ndarray, *, position: float | None = None, **tags) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = pixels.astype("<u2").tobytes()
    if position is not None:
        dataset.SeriesInstanceUID = "1.2.3"
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [10, 20, position]
        dataset.PixelSpacing = [2.0, 0.5]
    for key, value in tags.items():
        setattr(dataset, key, value)
    return dataset


def dicom_bytes(dataset: FileDataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def nifti_bytes(values: np.ndarray, affine: np.ndarray | None = None, *, slope: float | None = None) -> bytes:
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    if slope is not None:
        image.header.set_slope_inter(slope, -3.0)
    return image.to_bytes()


def zip_bytes(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_read_signal_keeps_grey_bytes(form: str) -> None:
    signal = read_signal(png(Image.fromarray(GREY), form), f"a.{form.lower()}")
    assert signal.kind == "image"
    assert signal.original_shape == (8, 6)
    assert signal.value_range == (0.0, 255.0)
    np.testing.assert_allclose(in_units(signal)[..., 0], GREY, atol=1e-4)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_read_signal_keeps_sixteen_bits(form: str) -> None:
    deep = (np.arange(48, dtype=np.uint16) * 1300).reshape(8, 6)
    signal = read_signal(png(Image.fromarray(deep), form), "deep.png")
    assert signal.value_range == (0.0, 65535.0)
    np.testing.assert_allclose(in_units(signal)[..., 0], deep, atol=0.01)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_read_signal_keeps_sixteen_bits_of_colour_tiffs(compression: str | None) -> None:
    deep = (np.arange(8 * 6 * 3, dtype=np.uint16) * 400).reshape(8, 6, 3)
    stream = io.BytesIO()
    tifffile.imwrite(stream, deep, photometric="rgb", compression=compression)
    signal = read_signal(stream.getvalue(), "deep.tif")
    np.testing.assert_allclose(in_units(signal), deep, atol=0.01)


def test_read_signal_lays_alpha_over_black() -> None:
    rgba = np.full((8, 6, 4), 200, np.uint8)
    rgba[:4, :, 3], rgba[4:, :, 3] = 255, 0
    signal = read_signal(png(Image.fromarray(rgba)), "a.png")
    assert in_units(signal)[0, 0] == pytest.approx([200, 200, 200])
    assert in_units(signal)[7, 0] == pytest.approx([0, 0, 0])
    assert any("alpha" in note for note in signal.notes)


def test_read_signal_resolves_palettes_to_grey_or_colour() -> None:
    indexed = Image.new("P", (6, 8), 1)
    indexed.putpalette([0, 0, 0, 10, 20, 30])
    assert in_units(read_signal(png(indexed), "p.png"))[0, 0] == pytest.approx([10, 20, 30])
    indexed.putpalette([0, 0, 0, 90, 90, 90])
    grey = read_signal(png(indexed), "p.png")
    assert grey.channels == 1
    assert in_units(grey)[0, 0, 0] == pytest.approx(90)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG"])
def test_read_signal_turns_pictures_upright_once(form: str) -> None:
    picture = Image.fromarray(np.repeat(np.repeat(GREY[:2, :2], 16, 0), 24, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    signal = read_signal(png(picture, form, exif=exif), f"a.{form.lower()}")
    assert signal.shape == (48, 32)
    expected = np.rot90(np.asarray(picture), -1)
    assert np.abs(in_units(signal)[..., 0] - expected).max() < 6
    assert any("EXIF" in note for note in signal.notes)


def test_read_signal_picks_pages_or_stacks_them() -> None:
    pages = [Image.fromarray(GREY + k) for k in range(4)]
    content = png(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert count_signals(content, "s.tif") == 4
    assert in_units(read_signal(content, "s.tif", index=2))[0, 0, 0] == pytest.approx(2)
    assert read_signal(content, "s.tif", spec=VOLUME).shape == (4, 5, 6)
    with pytest.raises(SignalError, match="pages 0 to 3"):
        read_signal(content, "s.tif", index=4)


def test_read_signal_applies_dicom_rescale_and_names_window() -> None:
    dataset = make_dicom(
        np.arange(48).reshape(8, 6), RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=[-960, 0], WindowWidth=[41, 9]
    )
    dataset.Modality, dataset.PixelSpacing = "CT", [0.5, 0.25]
    signal = read_signal(dicom_bytes(dataset), "ct.dcm")
    np.testing.assert_allclose(in_units(signal)[..., 0], np.arange(48).reshape(8, 6) * 2 - 1000, atol=1e-3)
    assert (signal.unit, signal.spacing) == ("HU", (0.5, 0.25))
    assert signal.nominal_range == (-980.5, -940.5)
    prepared = read_signal(dicom_bytes(dataset), "ct.dcm", spec=IMAGE)
    assert prepared.value_range == pytest.approx((-980.5, -940.5))
    assert prepared.values[0, 0, 0] == 0
    assert prepared.values[7, 5, 0] == 1
    assert prepared.values[1, 0, 0] == 0
    assert prepared.values[2, 0, 0] == pytest.approx((-976 + 980.5) / 40, abs=1e-4)


def test_read_signal_inverts_monochrome1_and_keeps_its_units() -> None:
    signal = read_signal(dicom_bytes(make_dicom(np.arange(48).reshape(8, 6), PhotometricInterpretation="MONOCHROME1")), "a.dcm")
    assert signal.values[0, 0, 0] == 1
    assert signal.values[7, 5, 0] == 0
    np.testing.assert_allclose(in_units(signal)[..., 0], np.arange(48).reshape(8, 6), atol=1e-4)
    assert any("MONOCHROME1" in note for note in signal.notes)


def test_read_signal_reads_dicom_frames_one_by_one_or_as_volume() -> None:
    frames = np.arange(4 * 8 * 6).reshape(4, 8, 6)
    cine = dicom_bytes(make_dicom(frames, NumberOfFrames=4))
    assert count_signals(cine, "c.dcm") == 4
    np.testing.assert_allclose(in_units(read_signal(cine, "c.dcm", index=3))[..., 0], frames[3], atol=1e-3)
    assert read_signal(cine, "c.dcm", spec=VOLUME).shape == (4, 5, 6)
    thick = read_signal(dicom_bytes(make_dicom(frames, NumberOfFrames=4, SliceThickness=3)), "c.dcm")
    assert thick.kind == "volume"
    np.testing.assert_allclose(in_units(thick)[..., 0], frames.transpose(2, 1, 0), atol=1e-3)


@pytest.mark.parametrize("as_zip", [True, False])
def test_read_signal_sorts_a_dicom_series_and_gives_its_affine(as_zip: bool, tmp_path: Path) -> None:
    planes = np.arange(5 * 8 * 6).reshape(5, 8, 6)
    order = [3, 0, 4, 1, 2]
    files = {f"s/{n}.dcm": dicom_bytes(make_dicom(planes[k], position=100 + 3 * k)) for n, k in enumerate(order)}
    if as_zip:
        signal = read_signal(zip_bytes(files | {"s/readme.txt": b"hello"}), "series.zip")
    else:
        for name, content in files.items():
            (tmp_path / Path(name).name).write_bytes(content)
        signal = read_signal(tmp_path)
    np.testing.assert_allclose(in_units(signal)[..., 0], planes.transpose(2, 1, 0), atol=1e-3)
    assert signal.spacing == pytest.approx((0.5, 2.0, 3.0))
    assert signal.affine is not None
    # Column 1, row 2, slice 3: LPS (10 + 0.5, 20 + 2 * 2, 100 + 9), so RAS has the first two negated.
    assert signal.affine @ [1, 2, 3, 1] == pytest.approx([-10.5, -24, 109, 1])


def test_read_signal_names_a_missing_dicom_decoder() -> None:
    dataset = make_dicom(np.zeros((8, 6)))
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xf7\0\x0b\x10\0\x08\0\x06"])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    with pytest.raises(SignalError, match=r"compressed as JPEG-LS Lossless.*save it uncompressed"):
        read_signal(dicom_bytes(dataset), "j.dcm")


@pytest.mark.parametrize("packed", [True, False])
def test_read_signal_keeps_nifti_affine_and_slope(packed: bool) -> None:
    values = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    affine = np.array([[0, -2.0, 0, 7], [3, 0, 0, 8], [0, 0, 4, 9], [0, 0, 0, 1]])
    content = nifti_bytes(values.copy(), affine, slope=0.5)
    stored = nibabel.Nifti1Image.from_bytes(content)
    signal = read_signal(gzip.compress(content) if packed else content, "v.nii.gz" if packed else "v.nii")
    np.testing.assert_allclose(in_units(signal)[..., 0], stored.get_fdata(), atol=1e-3)
    assert signal.affine is not None
    np.testing.assert_allclose(signal.affine, affine, atol=1e-5)
    assert signal.spacing == pytest.approx((3, 2, 4))


def test_read_signal_picks_a_nifti_frame() -> None:
    values = np.arange(240, dtype=np.float32).reshape(4, 5, 6, 2)
    content = nifti_bytes(values)
    assert count_signals(content, "v.nii") == 2
    signal = read_signal(content, "v.nii", index=1)
    np.testing.assert_allclose(in_units(signal)[..., 0], values[..., 1], atol=1e-3)
    assert "Frame 2 of 2." in signal.notes


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " "])
@pytest.mark.parametrize("header", [True, False])
def test_read_signal_reads_a_column_of_any_delimiter(delimiter: str, header: bool) -> None:
    lines = [f"{k / 10}{delimiter}{k * k}" for k in range(16)]
    content = "\n".join(([f"time{delimiter}mV"] if header else []) + lines).encode()
    signal = read_signal(content, "e.csv")
    assert signal.shape == (16,)
    if header:
        assert signal.spacing == pytest.approx((0.1,))
        np.testing.assert_allclose(in_units(signal)[:, 0], np.arange(16) ** 2, atol=1e-3)


def test_read_signal_reads_rows_with_a_trailing_class() -> None:
    beats = np.random.default_rng(0).random((3, 187)).round(4)
    content = "\n".join(",".join(f"{v:.4f}" for v in [*row, k]) for k, row in enumerate(beats)).encode()
    assert count_signals(content, "mitbih_test.csv") == 3
    signal = read_signal(content, "mitbih_test.csv", index=2)
    assert (signal.label, signal.shape) == (2, (187,))
    np.testing.assert_allclose(in_units(signal)[:, 0], beats[2], atol=1e-6)


def test_read_signal_does_not_take_zero_padding_for_a_class() -> None:
    row = ",".join(["1", "0.5", "0.25"] + ["0"] * 184).encode()
    signal = read_signal(row, "beat.csv")
    assert signal.shape == (187,)
    assert signal.label is None


@pytest.mark.parametrize(
    ("shape", "kind", "channels"),
    [((16,), "ecg", 1), ((8, 6), "image", 1), ((8, 6, 3), "image", 3), ((4, 5, 6), "volume", 1), ((8, 6, 1), "image", 1)],
)
@pytest.mark.parametrize("packed", [True, False])
def test_read_signal_tells_arrays_by_their_axes(shape: tuple[int, ...], kind: str, channels: int, packed: bool) -> None:
    values = np.random.default_rng(0).normal(size=shape)
    stream = io.BytesIO()
    (np.savez if packed else np.save)(stream, values)
    signal = read_signal(stream.getvalue(), "a.npz" if packed else "a.npy")
    assert (signal.kind, signal.channels) == (kind, channels)
    np.testing.assert_allclose(in_units(signal).reshape(shape), values, atol=1e-5)


def test_read_signal_picks_a_row_when_a_checkpoint_says_what_a_row_is() -> None:
    stream = io.BytesIO()
    np.save(stream, np.arange(5 * 16, dtype=np.float32).reshape(5, 16))
    spec = SignalSpec(kind="ecg", shape=(16,), normalisation="range")
    assert count_signals(stream.getvalue(), "b.npy", spec) == 5
    assert read_signal(stream.getvalue(), "b.npy", spec=spec, index=4).value_range == (64.0, 79.0)


def test_read_signal_believes_content_not_extension() -> None:
    assert read_signal(png(Image.fromarray(GREY)), "really.dcm").kind == "image"
    assert read_signal(dicom_bytes(make_dicom(np.arange(48).reshape(8, 6))), "really.png").original_shape == (8, 6)


def test_read_signal_reads_a_record_from_disk_and_from_a_zip(tmp_path: Path) -> None:
    import wfdb

    wave = np.sin(np.linspace(0, 60, 720))[:, None].repeat(2, axis=1) * [1.0, 2.0]
    with warnings.catch_warnings(action="ignore"):  # wfdb's writer uses what pandas deprecates
        wfdb.wrsamp(
            "r1", fs=360, units=["mV", "mV"], sig_name=["V5", "MLII"], p_signal=wave, fmt=["16", "16"], write_dir=str(tmp_path)
        )
        wfdb.wrann("r1", "atr", np.array([100, 400]), symbol=["N", "V"], write_dir=str(tmp_path))
    for source in (tmp_path / "r1.hea", tmp_path / "r1", tmp_path / "r1.dat", tmp_path):
        signal = read_signal(source)
        assert signal.events == ((100, "N"), (400, "V"))
        np.testing.assert_allclose(in_units(signal)[:, 0], wave[:, 1], atol=1e-3)
        assert (signal.unit, signal.spacing, signal.spacing_unit) == ("mV", (1 / 360,), "s")
    packed = zip_bytes({f"x/{file.name}": file.read_bytes() for file in tmp_path.iterdir()})
    np.testing.assert_array_equal(read_signal(packed, "r1.zip").values, read_signal(tmp_path / "r1.hea").values)
    with pytest.raises(SignalError, match=r"r1\.dat"):
        read_signal((tmp_path / "r1.hea").read_bytes(), "r1.hea")
    with pytest.raises(SignalError, match=r"r1\.hea"):
        read_signal((tmp_path / "r1.dat").read_bytes(), "r1.dat")


def test_read_signal_reads_the_raw_files_of_every_format() -> None:
    raw = SHARED / "raw"
    names = (
        ["chest_xray_1024.png", "dermatoscope_224.jpg", "hippocampus_190.nii.gz", "dicom_series", "100.hea"]
        if raw.is_dir()
        else []
    )
    for name in names:
        assert read_signal(raw / name).values.dtype == np.float32


def test_read_signal_reads_quoted_numbers() -> None:
    for first in ([], ['"time","mV"']):
        rows = [*first, *(f'"{k / 10}","{k * k}"' for k in range(16))]
        assert read_signal("\n".join(rows).encode(), "q.csv", index=0).shape == (16,)
    signal = read_signal(",".join(f'"{k}"' for k in range(16)).encode(), "row.csv")
    np.testing.assert_allclose(in_units(signal)[:, 0], np.arange(16), atol=1e-5)
    decimal = read_signal("\n".join(f'"{k},5";"{k}"' for k in range(16)).encode(), "comma.csv")
    np.testing.assert_allclose(in_units(decimal)[:, 0], np.arange(16) + 0.5, atol=1e-5)
    column = read_signal("\n".join(f'"{k}"' for k in range(16)).encode(), "column.csv")
    np.testing.assert_allclose(in_units(column)[:, 0], np.arange(16), atol=1e-5)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
def test_read_signal_reads_tables_with_a_byte_order_mark(encoding: str) -> None:
    text = "\n".join(["time,mV", *(f"{k / 10},{k * k}" for k in range(16))])
    signal = read_signal(("\ufeff" + text if encoding == "utf-16-be" else text).encode(encoding), "excel.csv")
    assert signal.spacing == pytest.approx((0.1,))
    np.testing.assert_allclose(in_units(signal)[:, 0], np.arange(16) ** 2, atol=1e-3)
    with pytest.raises(SignalError, match="is not text"):
        read_signal(text.encode("utf-32"), "wide.csv")


def test_read_signal_prepares_outside_the_readers_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    free: list[bool] = []

    def prepare(signal: Signal, spec: SignalSpec, *, index: int = 0) -> Signal:
        with ThreadPoolExecutor(1) as other:
            free.append(other.submit(guarding._THIRD_PARTY.acquire, timeout=5).result())
            other.submit(guarding._THIRD_PARTY.release).result()
        return signal

    monkeypatch.setattr(reading, "prepare_signal", prepare)
    read_signal(png(Image.fromarray(GREY)), "p.png", spec=SignalSpec(kind="image", shape=(8, 6)))
    assert free == [True]
