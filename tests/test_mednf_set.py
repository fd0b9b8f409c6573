"""The set's files: rows come back as they were stored, from a map, and what is broken is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mednf_material import write_set
from safetensors.numpy import load_file

from medfuncta_core.errors import SetError
from medfuncta_core.mednf import METADATA_COLUMNS, list_sets, open_set
from medfuncta_core.mednf.mednf_set import find_latent
from medfuncta_core.mednf.shards import write_shard

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_set_gives_back_rows_in_the_order_asked_for(tmp_path: Path, dtype: str) -> None:
    stored = RNG.normal(size=(10, 5)).astype(dtype)
    opened = write_set(tmp_path / "s", stored, [0] * 10, dtype=dtype)
    assert len(opened) == 10
    np.testing.assert_array_equal(opened.latents([9, 0, 4, 4]), stored[[9, 0, 4, 4]].astype(np.float32))
    np.testing.assert_array_equal(opened.latents(slice(2, 9, 3)), stored[2:9:3].astype(np.float32))
    np.testing.assert_array_equal(opened.latent(7), stored[7].astype(np.float32))
    assert opened.latents([]).shape == (0, 5)
    blocks = list(opened.blocks(3))
    assert [first for first, _ in blocks] == [0, 3, 4, 7, 8]
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), stored)
    assert blocks[0][1].dtype == stored.dtype


def test_set_files_are_readable_without_the_library(tmp_path: Path) -> None:
    stored = RNG.normal(size=(6, 3)).astype(np.float32)
    write_set(tmp_path / "s", stored, [2, 0, 1, -1, 0, 0], class_names=("a", "b", "c"))
    table = pq.read_table(tmp_path / "s" / "metadata.parquet").to_pydict()
    assert tuple(table) == METADATA_COLUMNS
    assert table["label"] == [2, 0, 1, None, 0, 0]
    assert table["class_name"] == ["c", "a", "b", None, "a", "a"]
    shards = [load_file(tmp_path / "s" / f"latents-0000{n}-of-00002.safetensors")["latents"] for n in range(2)]
    for row in range(6):
        np.testing.assert_array_equal(shards[table["shard"][row]][table["row"][row]], stored[row])


def test_set_columns_and_rows_of_a_class(tmp_path: Path) -> None:
    opened = write_set(tmp_path / "s", np.eye(5), [1, 0, -1, 1, 1], splits=["train", "train", "val", "test", "train"])
    assert opened.labels.tolist() == [1, 0, -1, 1, 1]
    assert opened.rows_of(label=1).tolist() == [0, 3, 4]
    assert opened.rows_of("train", 1).tolist() == [0, 4]
    assert opened.class_name(2) == ""
    assert opened.class_name(0) == "class 1"
    assert np.isnan(opened.column("ssim")).all()
    assert opened.describe(3)["id"] == "test/3"
    with pytest.raises(SetError, match="no column colour; it has id"):
        opened.column("colour")
    for row in (5, -1):
        with pytest.raises(SetError, match=rf"no row {row}; it has rows 0 to 4"):
            opened.latent(row)


def test_fingerprint_changes_with_any_number(tmp_path: Path) -> None:
    stored = RNG.normal(size=(6, 3)).astype(np.float32)
    first, same = (write_set(tmp_path / name / "s", stored, [0] * 6) for name in "ab")
    stored[5, 2] += 1e-6
    other = write_set(tmp_path / "c" / "s", stored, [0] * 6)
    assert first.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize("cut", [0, 7, 60, 120])
def test_truncated_shard_is_named(tmp_path: Path, cut: int) -> None:
    write_set(tmp_path / "s", np.eye(8), [0] * 8)
    shard = tmp_path / "s" / "latents-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:cut])
    with pytest.raises(SetError, match=r"latents-00001-of-00002.safetensors: this shard is damaged"):
        open_set(tmp_path / "s").latent(0)


def test_missing_and_foreign_shards_are_named(tmp_path: Path) -> None:
    write_set(tmp_path / "s", np.eye(8), [0] * 8)
    shard = tmp_path / "s" / "latents-00000-of-00002.safetensors"
    write_shard(shard, np.zeros((4, 7), np.float32))
    with pytest.raises(SetError, match=r"latents-00000.*this shard is of another set"):
        open_set(tmp_path / "s").latent(0)
    shard.unlink()
    with pytest.raises(SetError, match=r"latents-00000-of-00002.safetensors: this shard is missing"):
        open_set(tmp_path / "s").latent(0)


def test_shard_refuses_numbers_that_float16_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(SetError, match="row 1 is not finite as float16; store the set as float32"):
        write_shard(tmp_path / "s.safetensors", np.array([[1.0], [np.inf]], np.float16))


def test_folders_that_are_no_set_say_why(tmp_path: Path) -> None:
    with pytest.raises(SetError, match="no such set"):
        open_set(tmp_path / "nothing")
    with pytest.raises(SetError, match=r"no metadata.parquet in it"):
        open_set(tmp_path)
    (tmp_path / "begun" / ".encoding").mkdir(parents=True)
    with pytest.raises(SetError, match="its encoding is not finished; go on with: encode"):
        open_set(tmp_path / "begun")
    write_set(tmp_path / "good", np.eye(3), [0, 1, 2])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "metadata.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(SetError, match=r"metadata.parquet: damaged"):
        open_set(tmp_path / "bad")
    assert [found.path.name for found in list_sets(tmp_path)] == ["good"]


def test_find_latent_takes_a_row_of_a_set(tmp_path: Path) -> None:
    opened = write_set(tmp_path / "s", np.eye(5), [0] * 5)
    np.testing.assert_array_equal(find_latent(f"{opened.path}#2", 5), np.eye(5)[2])
    with pytest.raises(SetError, match="latents of 5 numbers, this checkpoint's have 4"):
        find_latent(f"{opened.path}#2", 4)
