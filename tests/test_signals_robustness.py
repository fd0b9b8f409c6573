"""No file can make read_signal do anything but return a signal or raise one line with a remedy."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_signals_reading import GREY, dicom_bytes, make_dicom, nifti_bytes, png, zip_bytes

from medfuncta_core.config import SignalSpec
from medfuncta_core.errors import MedFunctaError, SignalError
from medfuncta_core.signals import Signal, read_signal

EXTENSIONS = [
    ".png", ".jpg", ".tif", ".bmp", ".gif", ".webp", ".dcm", "", ".nii", ".nii.gz", ".npy", ".npz", ".zip", ".csv", ".txt",
    ".hea", ".dat", ".atr", ".xyz",
]  # fmt: skip
SPECS = [
    None,
    SignalSpec(kind="image", shape=(8, 6)),
    SignalSpec(kind="volume", shape=(4, 5, 6), normalisation="quantile", limits=(0.01, 0.99)),
    SignalSpec(kind="ecg", shape=(16,), normalisation="range", sampling_rate=125),
]


def npy(values: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, **options)
    return stream.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=True, **arrays)
    return stream.getvalue()


def header_record() -> dict[str, bytes]:
    return {"r.hea": b"r 1 360 100\nr.dat 16 200 16 0 0 0 0 II\n", "r.dat": np.arange(100, dtype="<i2").tobytes()}


def valid_files() -> dict[str, bytes]:
    colour = Image.fromarray(np.dstack([GREY, GREY, 255 - GREY]))
    volume = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    slices = {f"{k}.dcm": dicom_bytes(make_dicom(np.full((8, 6), k), position=k)) for k in range(3)}
    return {
        "a.png": png(colour),
        "b.jpg": png(colour, "JPEG"),
        "c.tif": png(colour, "TIFF", compression="tiff_lzw"),
        "d.dcm": dicom_bytes(make_dicom(np.arange(48).reshape(8, 6), WindowCenter=5, WindowWidth=9)),
        "e.nii": nifti_bytes(volume, slope=2.0),
        "f.nii.gz": gzip.compress(nifti_bytes(volume)),
        "g.npy": npy(np.arange(48.0).reshape(8, 6)),
        "h.npz": npz(test_images=np.zeros((3, 8, 6), np.uint8), test_labels=np.zeros((3, 1), np.uint8)),
        "i.csv": b"a,label\n" + b"\n".join(b"%d,%d" % (k, k % 2) for k in range(16)),
        "j.zip": zip_bytes(slices),
        "k.zip": zip_bytes(header_record()),
        "l.gif": png(colour, "GIF"),
        "m.bmp": png(colour, "BMP"),
    }


VALID = valid_files()


def attempt(content: bytes, name: str, spec: SignalSpec | None) -> None:
    """Either a good signal, or an error of the library in one line that starts with the file's name."""
    try:
        signal = read_signal(content, name, spec=spec)
    except MedFunctaError as error:
        text = str(error)
        assert "\n" not in text
        assert len(text) < 500
        return
    assert np.isfinite(signal.values).all()
    if spec is not None:
        assert signal.shape == spec.shape


fuzz = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@fuzz
@given(content=st.binary(max_size=600), suffix=st.sampled_from(EXTENSIONS), spec=st.sampled_from(SPECS))
def test_read_signal_survives_random_bytes(content: bytes, suffix: str, spec: SignalSpec | None) -> None:
    attempt(content, f"x{suffix}", spec)


@pytest.mark.parametrize("name", sorted(VALID))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(drawn=st.data())
def test_read_signal_survives_damaged_files(name: str, drawn: st.DataObject) -> None:
    content = bytearray(VALID[name])
    kept = drawn.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))), label="kept bytes")
    content = content[:kept]
    for _ in range(drawn.draw(st.integers(0, 6), label="changes")):
        # Headers are where damage hurts, so half of it goes there.
        reach = drawn.draw(st.sampled_from([min(len(content), 400), len(content)]))
        if reach:
            content[drawn.draw(st.integers(0, reach - 1))] = drawn.draw(st.integers(0, 255))
    attempt(bytes(content), name, drawn.draw(st.sampled_from(SPECS)))


@fuzz
@given(header=st.text(max_size=200), rows=st.lists(st.text(max_size=40), max_size=6), spec=st.sampled_from(SPECS))
def test_read_signal_survives_any_text(header: str, rows: list[str], spec: SignalSpec | None) -> None:
    text = "\n".join([header, *rows]).encode("utf-8", "replace")
    for name in ("x.csv", "x.hea", "x.txt"):
        attempt(text, name, spec)
    attempt(zip_bytes({"x.hea": text, "x.dat": text}), "x.zip", spec)


@fuzz
@given(
    fields=st.lists(
        st.sampled_from(["r", "1", "2", "360", "100", "-5", "1e9", "16", "212", "nan", "../r.dat", "r.dat", "0"]), max_size=12
    )
)
def test_read_signal_survives_any_record_header(fields: list[str]) -> None:
    half = len(fields) // 2
    text = f"{' '.join(fields[:half])}\n{' '.join(fields[half:])}\n".encode()
    attempt(zip_bytes({"r.hea": text, "r.dat": bytes(300)}), "r.zip", SPECS[3])


def test_read_signal_survives_a_valid_file_of_every_kind() -> None:
    for name, content in VALID.items():
        assert isinstance(read_signal(content, name), Signal)


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def npy_claiming(shape: str, dtype: str = "<f8") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text


def nifti_claiming(*shape: int) -> bytes:
    content = bytearray(nifti_bytes(np.zeros((4, 5, 6), np.float32)))
    content[40:56] = struct.pack("<8h", len(shape), *shape, *[1] * (7 - len(shape)))
    return bytes(content)


def zip_bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(3):
            with archive.open(f"{k}.dcm", "w", force_zip64=True) as member:
                for _ in range(8):
                    member.write(bytes(1 << 20))
    content = bytearray(stream.getvalue())
    # Claim 2 GiB a member in the central directory.
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        content[at + 24 : at + 28] = struct.pack("<I", 0x7FFFFFFF)
        at = content.find(b"PK\x01\x02", at + 4)
    return bytes(content)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pickle-was-run",)


def oversized_dicom() -> bytes:
    dataset = make_dicom(np.zeros((8, 6)))
    dataset.Rows = dataset.Columns = 60000
    return dicom_bytes(dataset)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 64), np.uint8))
NAN_VOLUME = np.full((4, 5, 6), np.nan, np.float32)
BAD_FILES = {
    "empty.png": (b"", "is empty"),
    "text.png": (b"this is a letter, not a picture", "is not a picture"),
    "text.nii.gz": (b"hello", "is not the NIfTI"),
    "text.npy": (b"hello", "is not the .npy"),
    "text.zip": (b"hello", "is not the .zip"),
    "text.dcm": (b"hello, I am not DICOM at all", "DICOM"),
    "unknown.xyz": (b"hello", "give PNG"),
    "bomb.png": (png_claiming(60000, 60000), "pixels"),
    "truncated.png": (png(NOISE)[:5000], "cannot be read as an image"),
    "truncated.jpg": (VALID["b.jpg"][: len(VALID["b.jpg"]) // 2], "cannot be read as an image"),
    "truncated.dcm": (VALID["d.dcm"][:-40], "DICOM"),
    "truncated.nii": (VALID["e.nii"][:-10], "truncated"),
    "truncated.nii.gz": (VALID["f.nii.gz"][:-20], "NIfTI"),
    "truncated.npy": (VALID["g.npy"][:-8], "truncated"),
    "truncated.zip": (VALID["j.zip"][:-30], "zip"),
    "huge.npy": (npy_claiming("(100000, 100000, 10)"), "GiB"),
    "none.npy": (npy_claiming("(0, 5)"), "no values"),
    "huge.nii": (nifti_claiming(20000, 20000, 20000), "GiB"),
    "huge.dcm": (oversized_dicom(), "GiB"),
    "bomb.nii.gz": (gzip.compress(nifti_claiming(2000, 2000, 2000) + bytes(1000)), "GiB"),
    "bomb.zip": (zip_bomb(), "zip"),
    "objects.npy": (npy(np.array([Evil()], object), allow_pickle=True), "never unpickled"),
    "complex.npy": (npy(np.ones((8, 6), complex)), "complex"),
    "words.npy": (npy(np.array(["a", "b"])), "not numbers"),
    "nan.npy": (npy(np.full((8, 6), np.nan)), "NaN"),
    "infinite.npy": (npy(np.array([0.0] * 20 + [np.inf])), "infinite"),
    "nan.nii": (nifti_bytes(NAN_VOLUME), "NaN"),
    "span.npy": (npy(np.array([-1.7e308, 1.7e308] * 10)), "span"),
    "words.csv": (b"time,mV\n0,1\n1,high\n", "line 3"),
    "ragged.csv": (b"1,2,3\n4,5\n", "line 2"),
    "empty.csv": (b"\n\n\n", "blank"),
    "nan.csv": (b"\n".join([b"1", b"nan"] * 10), "NaN"),
    "binary.csv": (bytes(range(256)), "not text"),
    "pickle.npy": (pickle.dumps(Evil()), "is not the .npy"),
    "nested.zip": (zip_bytes({"inner.zip": VALID["j.zip"]}), "another .zip"),
    "several.zip": (zip_bytes({"a.png": VALID["a.png"], "b.png": VALID["a.png"]}), "give one of them"),
    "outside.zip": (
        zip_bytes({"r.hea": b"r 1 360 10\n../../etc/hosts 16 200 16 0 0 0 0 II\n"}),
        "r.hea: cannot be read as a WFDB record",
    ),
    "long.zip": (zip_bytes({"r.hea": b"r 1 360 2000000000\nr.dat 16 200 16 0 0 0 0 II\n", "r.dat": bytes(40)}), r"GiB"),
}


@pytest.mark.parametrize("name", sorted(BAD_FILES))
def test_read_signal_says_what_is_wrong_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    content, expected = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    for source, shown in ((content, name), (tmp_path / name, None)):
        with pytest.raises(SignalError) as caught:
            read_signal(source, shown)
        text = str(caught.value)
        assert expected in text
        assert text.startswith((name, Path(name).stem, "r.hea"))
        assert ";" in text, "no remedy"
        assert "\n" not in text
    assert not (tmp_path / "pickle-was-run").exists()
    assert capfd.readouterr() == ("", "")


def test_read_signal_needs_a_name_for_bytes_and_a_path_that_exists(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match="name="):
        read_signal(b"abc")
    with pytest.raises(SignalError, match="no such file"):
        read_signal(tmp_path / "missing.png")
    with pytest.raises(SignalError, match="folder without files"):
        read_signal(tmp_path)
    with pytest.raises(SignalError, match=r"usable path|no such file"):
        read_signal("a\0b")
    with pytest.raises(SignalError, match="negative"):
        read_signal(VALID["a.png"], "a.png", index=-1)
