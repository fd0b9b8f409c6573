"""load_data_set on archives, folders, tables and MedMNIST names; no network."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfuncta_core.config import SignalSpec
from medfuncta_core.errors import DataSetError, SignalError
from medfuncta_core.signals import load_data_set, medmnist_files
from medfuncta_core.signals.folders import split_of

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, allow_pickle=True, **arrays)
    return path


def make_npz(folder: Path, shape: tuple[int, ...] = (8, 6), dtype=np.uint8, **extra) -> Path:
    arrays = {}
    for split, count in (("train", 7), ("val", 3), ("test", 5)):
        values = np.random.default_rng(count).integers(0, 256, (count, *shape))
        arrays[f"{split}_images"] = values.astype(dtype) if dtype == np.uint8 else (values / 255).astype(dtype)
        arrays[f"{split}_labels"] = (np.arange(count) % 3).reshape(-1, 1).astype(np.uint8)
    return save(folder / "set.npz", **(arrays | extra))


@pytest.mark.parametrize(
    ("shape", "dtype", "kind", "channels"),
    [
        ((8, 6), np.uint8, "image", 1),
        ((8, 6, 3), np.uint8, "image", 3),
        ((4, 5, 6), np.uint8, "volume", 1),
        ((16,), np.float32, "ecg", 1),
    ],
)
def test_load_data_set_tells_kinds_by_axes(tmp_path: Path, shape, dtype, kind, channels) -> None:
    opened = load_data_set(make_npz(tmp_path, shape, dtype), "test")
    assert (opened.kind, opened.channels, len(opened)) == (kind, channels, 5)
    assert opened.values.dtype == dtype
    batch = opened.batch([4, 0])
    assert batch.dtype == np.float32
    assert batch.shape == (2, *opened.shape, channels)
    stored = np.load(tmp_path / "set.npz")["test_images"][[4, 0]]
    np.testing.assert_allclose(batch.reshape(stored.shape), stored / (255 if dtype == np.uint8 else 1), atol=1e-6)
    assert opened.spec().shape == opened.shape


def test_load_data_set_gives_labels_names_and_hash(tmp_path: Path) -> None:
    path = make_npz(tmp_path, class_names=np.array(["a", "b", "c"]))
    opened = load_data_set(path, "train")
    assert opened.labels is not None
    assert opened.labels.dtype == np.int64
    assert opened.class_names == ("a", "b", "c")
    assert opened.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert opened.info().train_signals == 7
    signal = opened.signal(4)
    assert (signal.label, signal.class_name) == (1, "b")
    with pytest.raises(DataSetError, match="signals 0 to 6"):
        opened.signal(7)


def test_load_data_set_has_no_labels_where_a_signal_has_several(tmp_path: Path) -> None:
    path = save(tmp_path / "m.npz", train_images=np.zeros((2, 8, 6), np.uint8), train_labels=np.zeros((2, 14), np.uint8))
    assert load_data_set(path, "train").labels is None


def test_load_data_set_spreads_a_limit(tmp_path: Path) -> None:
    path = save(tmp_path / "l.npz", train_images=np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 6), np.uint8))
    assert load_data_set(path, "train", limit=4).values[:, 0, 0, 0].tolist() == [0, 3, 6, 9]
    with pytest.raises(DataSetError, match="at least 1"):
        load_data_set(path, "train", limit=0)


def test_load_data_set_scales_floats_that_leave_the_unit_interval(tmp_path: Path) -> None:
    path = save(tmp_path / "f.npz", train_images=np.array([[-2.0, 0, 2, 0] * 4, [5.0] * 16]))
    opened = load_data_set(path, "train")
    assert opened.normalisation == "range"
    np.testing.assert_allclose(opened.values[0, :4, 0], [0, 0.5, 1, 0.5])
    assert (opened.values[1] == 0).all()


def test_load_data_set_brings_an_archive_to_a_spec(tmp_path: Path) -> None:
    spec = SignalSpec(kind="image", shape=(4, 3), channels=3)
    opened = load_data_set(make_npz(tmp_path), "val", spec=spec)
    assert opened.values.shape == (3, 4, 3, 3)
    assert opened.values.dtype == np.uint8
    assert opened.spec() == spec


def test_load_data_set_reproduces_stored_thumbnails_from_larger_ones() -> None:
    spec = SignalSpec(kind="image", shape=(64, 64))
    if SHARED.is_dir():
        made = load_data_set(SHARED / "nihcxr_224.npz", "val", spec=spec, limit=3).batch([0, 1, 2])
        stored = load_data_set(SHARED / "nihcxr_64.npz", "val", limit=3).batch([0, 1, 2])
        # Two reductions instead of one, hence not exact.
        assert 10 * np.log10(1 / np.mean((made - stored) ** 2)) > 40


def test_load_data_set_names_what_is_missing(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", things=np.zeros((2, 8, 6)))
    with pytest.raises(DataSetError, match=r"x\.npz: has no train_images; it holds things"):
        load_data_set(path, "train")
    with pytest.raises(DataSetError, match="no split 'dev'"):
        load_data_set(path, "dev")
    with pytest.raises(DataSetError, match="neither a path nor a MedMNIST name"):
        load_data_set(tmp_path / "nothing", "train")
    (tmp_path / "broken.npz").write_bytes(path.read_bytes()[:100])
    with pytest.raises(SignalError, match=r"broken\.npz"):
        load_data_set(tmp_path / "broken.npz", "train")
    bad = save(tmp_path / "nan.npz", train_images=np.array([[0.0] * 16, [np.nan] * 16]))
    with pytest.raises(DataSetError, match="signal 1 holds NaN"):
        load_data_set(bad, "train")
    objects = save(tmp_path / "o.npz", train_images=np.array([{}, {}], object))
    with pytest.raises(SignalError, match="never unpickled"):
        load_data_set(objects, "train")


def write_pictures(folder: Path, count: int, level: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        Image.fromarray(np.full((8, 6), level + k, np.uint8)).save(folder / f"{folder.name}{k:03d}.png")


def test_load_data_set_divides_a_folder_by_names(tmp_path: Path) -> None:
    write_pictures(tmp_path / "cats", 40, 0)
    write_pictures(tmp_path / "dogs", 40, 100)
    splits = [load_data_set(tmp_path, split) for split in ("train", "val", "test")]
    assert sum(len(split) for split in splits) == 80
    assert len(splits[0]) > 50
    assert all(split.class_names == ("cats", "dogs") for split in splits)
    levels = np.concatenate([split.values[:, 0, 0, 0] for split in splits])
    assert len(set(levels.tolist())) == 80
    for split in splits:
        assert split.labels is not None
        assert ((split.values[:, 0, 0, 0] >= 100) == split.labels).all()
        assert split.values.dtype == np.uint8
    # One more file leaves every other file where it was.
    write_pictures(tmp_path / "birds", 1, 200)
    again = load_data_set(tmp_path, "train")
    assert set(splits[0].values[:, 0, 0, 0].tolist()) <= set(again.values[:, 0, 0, 0].tolist())
    assert splits[0].sha256 != again.sha256 or len(again) == len(splits[0])
    assert split_of("cats/cats000.png") == split_of("cats/cats000.png")


def test_load_data_set_uses_the_folders_own_splits(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train" / "a", 2, 0)
    write_pictures(tmp_path / "train" / "b", 1, 50)
    write_pictures(tmp_path / "Valid" / "b", 1, 90)
    assert load_data_set(tmp_path, "train").values[:, 0, 0, 0].tolist() == [0, 1, 50]
    held = load_data_set(tmp_path, "val", spec=SignalSpec(kind="image", shape=(4, 3), channels=3))
    assert held.labels is not None
    assert held.labels.tolist() == [1]
    assert held.values.shape == (1, 4, 3, 3)
    with pytest.raises(DataSetError, match="no files for test"):
        load_data_set(tmp_path, "test")


def test_load_data_set_refuses_a_folder_of_different_shapes(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train" / "a", 2, 0)
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "train" / "a" / "z.png")
    with pytest.raises(DataSetError, match=r"z\.png is 5 x 5 x 1"):
        load_data_set(tmp_path, "train")


def test_load_data_set_reads_tables_as_published(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((60, 187)).astype(np.float32)
    labelled = np.c_[rows, np.arange(60) % 5]
    for split, part in (("train", labelled[:50]), ("test", labelled[50:])):
        np.savetxt(tmp_path / f"mitbih_{split}.csv", part, delimiter=",", fmt="%.6f")
    test = load_data_set(tmp_path / "mitbih_train.csv", "test")
    assert test.values.shape == (10, 187, 1)
    np.testing.assert_allclose(test.values[..., 0], rows[50:], atol=1e-5)
    assert test.labels is not None
    assert test.labels.tolist() == [k % 5 for k in range(50, 60)]
    assert test.sampling_rate == 125
    train, val = (load_data_set(tmp_path / "mitbih_train.csv", split) for split in ("train", "val"))
    assert len(train) + len(val) == 50
    np.savetxt(tmp_path / "all.csv", labelled, delimiter=",", fmt="%.6f")
    assert sum(len(load_data_set(tmp_path / "all.csv", split)) for split in ("train", "val", "test")) == 60


@pytest.mark.parametrize(
    ("text", "file"),
    [("chestmnist", "chestmnist.npz"), ("chestmnist:64", "chestmnist_64.npz"), ("PathMNIST_224", "pathmnist_224.npz")],
)
def test_find_medmnist_knows_names_and_sizes(text: str, file: str) -> None:
    flag = medmnist_files.find_medmnist(text)
    assert flag is not None
    assert flag.file_name == file
    assert flag.url.startswith("https://")
    assert len(flag.md5) == 32
    with pytest.raises(DataSetError, match="28, 64, 128, 224, not 32"):
        medmnist_files.find_medmnist("chestmnist:32")
    assert medmnist_files.find_medmnist("nomnist") is None


class Served:
    """A download of fixed bytes that counts how often it was asked."""

    def __init__(self, content: bytes | Exception) -> None:
        self.content, self.calls = content, 0

    def __call__(self, request, timeout):
        self.calls += 1
        if isinstance(self.content, Exception):
            raise self.content
        return io.BytesIO(self.content)


def test_load_data_set_downloads_once_and_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_npz(tmp_path).read_bytes()
    real = medmnist_files.find_medmnist("pneumoniamnist")
    assert real is not None
    flag = replace(real, md5=hashlib.md5(content, usedforsecurity=False).hexdigest())
    monkeypatch.setattr("medfuncta_core.signals.data_sets.find_medmnist", lambda text: flag)
    served = Served(content)
    monkeypatch.setattr("urllib.request.urlopen", served)
    monkeypatch.setenv("MEDFUNCTA_CACHE", str(tmp_path / "cache"))
    for _ in range(2):
        opened = load_data_set("pneumoniamnist", "val")
        assert opened.class_names == ("normal", "pneumonia")
        assert opened.name == "pneumoniamnist"
    assert served.calls == 1
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["pneumoniamnist.npz"]
    (tmp_path / "cache" / "pneumoniamnist.npz").write_bytes(content[:-1])
    with pytest.raises(DataSetError, match="delete it"):
        load_data_set("pneumoniamnist", "val")


@pytest.mark.parametrize(
    ("content", "message"), [(b"not the file", "MD5 is"), (OSError("no route to host"), "no route to host.*by hand")]
)
def test_load_data_set_leaves_nothing_behind_when_a_download_fails(tmp_path: Path, monkeypatch, content, message: str) -> None:
    monkeypatch.setattr("urllib.request.urlopen", Served(content))
    with pytest.raises(DataSetError, match=message):
        load_data_set("breastmnist:64", "train", cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 3)])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32])
def test_load_data_set_normalises_raw_numbers_by_the_spec(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    raw = np.random.default_rng(0).integers(100, 200, (3, 4, 5, 6)).astype(dtype)
    path = save(tmp_path / "ct.npz", train_images=raw)
    spec = SignalSpec(kind="volume", shape=shape, normalisation="window", limits=(0, 400))
    opened = load_data_set(path, "train", spec=spec)
    assert opened.spec() == spec
    np.testing.assert_allclose(opened.batch([0, 1, 2])[..., [0, -1], 0], raw[..., [0, -1]] / 400.0, atol=1e-6)
    quantile = spec.model_copy(update={"normalisation": "quantile", "limits": (0.1, 0.9)})
    assert [(row == 1).mean() >= 0.1 for row in load_data_set(path, "train", spec=quantile).values] == [shape == (4, 5, 6)] * 3


def test_load_data_set_says_how_raw_numbers_were_normalised(tmp_path: Path) -> None:
    path = save(tmp_path / "mr.npz", train_images=np.arange(96, dtype=np.int16).reshape(2, 8, 6) - 20)
    asked = load_data_set(path, "train", spec=SignalSpec(kind="image", shape=(8, 6)))
    assert (asked.normalisation, asked.limits) == ("range", None)
    assert load_data_set(path, "train").normalisation == "range"
    np.testing.assert_allclose(asked.values, load_data_set(path, "train").values, atol=1e-6)
    assert asked.values[1].min() == 0


def test_load_data_set_keeps_bytes_whatever_the_spec_says(tmp_path: Path) -> None:
    path = make_npz(tmp_path, (4, 5, 6))
    spec = SignalSpec(kind="volume", shape=(4, 5, 6), normalisation="quantile", limits=(0.005, 0.995))
    opened, plain = load_data_set(path, "train", spec=spec), load_data_set(path, "train")
    np.testing.assert_array_equal(opened.values, plain.values)
    np.testing.assert_array_equal(opened.batch([0, 1])[..., 0], plain.values[:2, ..., 0] / np.float32(255))
    assert opened.spec() == spec == opened.signal(0).prepared_for
    assert plain.signal(0).prepared_for == plain.spec()


def test_load_data_set_refuses_labels_without_end(tmp_path: Path) -> None:
    images = np.zeros((2, 8, 6), np.uint8)
    for most, dtype in ((30_000_000, np.int64), (1e300, np.float64), (2**63, np.uint64)):
        path = save(tmp_path / "labels.npz", train_images=images, train_labels=np.array([0, most], dtype))
        with pytest.raises(DataSetError, match=r"labels\.npz: labels reach .*, more than 100000; number the classes"):
            load_data_set(path, "train")
