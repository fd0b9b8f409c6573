"""What is told about a data set before training: counts, classes, range and samples, without reading it whole."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfuncta_core.errors import DataSetError, SignalError
from medfuncta_core.signals import load_data_set, survey_data_set, surveying
from medfuncta_core.signals.archives import unpack_folder
from medfuncta_core.signals.medmnist_files import Download, download_medmnist, find_medmnist, list_medmnist
from medfuncta_core.signals.sources import Source


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, allow_pickle=False, **arrays)
    return path


def a_set(**more: np.ndarray) -> dict[str, np.ndarray]:
    """Twenty 8x6 pictures whose number is their brightness, in three classes, and four to validate on."""
    pictures = np.arange(20, dtype=np.uint8)[:, None, None] + np.zeros((20, 8, 6), np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 3
    return {"train_images": pictures, "train_labels": labels, "val_images": pictures[:4], "val_labels": labels[:4]} | more


def test_survey_of_an_archive_counts_classes_and_shows_evenly_spread_samples(tmp_path: Path) -> None:
    file = save(tmp_path / "set.npz", **a_set(class_names=np.array(["round", "long", "flat"])))
    found = survey_data_set(file, samples=3)
    assert (found.name, found.kind, found.shape, found.channels) == ("set", "image", (8, 6), 1)
    assert found.counts == {"train": 20, "val": 4}
    assert found.classes == {
        "round": {"train": 7, "val": 2},
        "long": {"train": 7, "val": 1},
        "flat": {"train": 6, "val": 1},
    }
    assert found.value_range == (0, 19)
    assert found.looked_at == 20
    assert [round(float(values.mean()) * 255) for values in found.samples] == [0, 10, 19]
    assert found.captions == ("round", "long", "long")


def test_survey_reads_no_more_than_its_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(tmp_path / "set.npz", **a_set())
    monkeypatch.setattr(surveying, "SURVEY_BYTES", 5 * 48)
    found = survey_data_set(file)
    assert found.looked_at == 5
    assert found.value_range == (0, 4)
    assert found.counts["train"] == 20  # from the header
    assert found.captions[-1] == "class 1"  # row 4, not row 19


def test_survey_reads_arrays_stored_columns_first(tmp_path: Path) -> None:
    arrays = a_set()
    arrays["train_images"] = np.asfortranarray(arrays["train_images"] * np.arange(1, 7, dtype=np.uint8))
    found = survey_data_set(save(tmp_path / "set.npz", **arrays), samples=2)
    np.testing.assert_array_equal(found.samples[1][..., 0], arrays["train_images"][19] / np.float32(255))
    assert found.value_range == (0, 19 * 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val_images": None}, "has no val_images"),
        ({"train_images": np.full((20, 8, 6), np.nan, np.float32)}, "signal 0 holds NaN"),
        ({"train_labels": np.zeros(3, np.uint8)}, "3 labels for 20 signals"),
        ({"train_images": np.zeros((20, 2, 2, 2, 2, 2))}, "are no signals"),
    ],
)
def test_survey_refuses_what_training_could_not_use(tmp_path: Path, change: dict, message: str) -> None:
    arrays = {name: values for name, values in (a_set() | change).items() if values is not None}
    with pytest.raises((DataSetError, SignalError), match=message) as caught:
        survey_data_set(save(tmp_path / "set.npz", **arrays))
    assert "\n" not in str(caught.value)


def test_survey_says_where_several_labels_are_not_counted(tmp_path: Path) -> None:
    found = survey_data_set(save(tmp_path / "set.npz", **a_set(train_labels=np.ones((20, 14), np.uint8))))
    assert found.classes == {}
    assert "several labels" in found.notes[0]
    assert found.captions[:2] == ("#0", "#2")


@pytest.mark.parametrize("name", ["nowhere.npz", "notes.pdf"])
def test_survey_of_no_data_set_is_one_line(tmp_path: Path, name: str) -> None:
    if name == "notes.pdf":
        (tmp_path / name).write_bytes(b"%PDF")
    with pytest.raises(DataSetError, match=name):
        survey_data_set(tmp_path / name)


def picture(shade: int, shape: tuple[int, int] = (8, 6)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full(shape, shade, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> Source:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return Source("scans.zip", content=buffer.getvalue())


def test_zip_of_class_folders_becomes_a_folder_that_trains(tmp_path: Path) -> None:
    names = [f"scans/{label}/{number}.png" for label in ("sick", "well") for number in range(30)]
    source = zipped({name: picture(10 + index) for index, name in enumerate(names)} | {"__MACOSX/scans/._0.png": b"x"})
    folder = unpack_folder(source, tmp_path / "scans")
    found = survey_data_set(folder)
    assert list(found.classes) == ["sick", "well"]
    assert sum(found.counts.values()) == 60
    assert {split: sum(per[split] for per in found.classes.values()) for split in found.counts} == found.counts
    assert len(load_data_set(folder, "train")) == found.counts["train"]
    assert 10 <= found.value_range[0] < found.value_range[1] <= 69
    assert unpack_folder(source, folder) == folder
    assert sorted(child.name for child in tmp_path.iterdir()) == ["scans"]  # nothing temporary stays


def test_zip_with_split_folders_and_windows_separators_keeps_them(tmp_path: Path) -> None:
    files = {f"{split}\\a\\{k}.png": picture(k) for split in ("train", "val") for k in range(2)}
    found = survey_data_set(unpack_folder(zipped(files), tmp_path / "set"))
    assert found.counts == {"train": 2, "val": 2}
    assert list(found.classes) == ["a"]


def test_zip_never_writes_outside_its_folder(tmp_path: Path) -> None:
    files = {"../../evil.png": picture(1), "/etc/evil.png": picture(2), "a/b.png": picture(3)}
    unpack_folder(zipped(files), tmp_path / "deep" / "set")
    assert not (tmp_path / "evil.png").exists()
    assert {file.name for file in (tmp_path / "deep" / "set").rglob("*.png")} == {"evil.png", "b.png"}


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_broken_zip_is_one_line_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SignalError, match=r"scans\.zip"):
        unpack_folder(Source("scans.zip", content=content), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_folder_with_a_bad_file_names_it(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        for k in range(2):
            (tmp_path / split / "a" / f"{k}.png").write_bytes(picture(k))
    (tmp_path / "train" / "a" / "1.png").write_bytes(picture(5)[:40])
    with pytest.raises(SignalError, match=r"1\.png"):
        survey_data_set(tmp_path)


def test_folder_of_different_shapes_says_that_they_are_resized(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        for k in range(2):
            (tmp_path / split / "a" / f"{k}.png").write_bytes(picture(k, (8, 6 + k)))
    found = survey_data_set(tmp_path)
    assert "differ in shape" in found.notes[0]
    assert [values.shape for values in found.samples] == [(8, 6, 1), (8, 7, 1)]


def test_survey_of_a_table_of_beats_counts_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.random((60, 187)), rng.integers(0, 2, 60)])
    np.savetxt(tmp_path / "beats.csv", rows, delimiter=",", fmt="%.4f")
    found = survey_data_set(tmp_path / "beats.csv")
    assert found.kind == "ecg"
    assert sum(found.counts.values()) == 60
    assert sum(sum(per.values()) for per in found.classes.values()) == 60


class Reply(io.BytesIO):
    """What a server sends, with its length announced."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.headers = {"Content-Length": str(len(content))}


def test_download_tells_how_far_it_is_and_leaves_nothing_when_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * 10_000
    flag = find_medmnist("breastmnist")
    assert flag is not None
    flag = replace(flag, md5=hashlib.md5(content, usedforsecurity=False).hexdigest())
    monkeypatch.setattr("urllib.request.urlopen", lambda request, timeout: Reply(content))
    given_up = download_medmnist(flag, tmp_path)
    assert next(given_up) == Download(2**20, len(content))
    given_up.close()
    assert list(tmp_path.iterdir()) == []
    assert [piece.done for piece in download_medmnist(flag, tmp_path)] == [2**20, 2 * 2**20, len(content)]
    assert (tmp_path / "breastmnist.npz").read_bytes() == content


def test_list_of_medmnist_has_its_sets_and_sizes() -> None:
    found = list_medmnist()
    assert len(found) == 18
    assert found["chestmnist"] == (28, 64, 128, 224)
    assert found["organmnist3d"] == (28, 64)
