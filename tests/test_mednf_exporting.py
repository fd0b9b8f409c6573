"""Exports: the hub's folder, the .npz and the .csv hold what the set holds, and read without this library."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from mednf_material import COUNTS, make_checkpoint, make_data
from typer.testing import CliRunner

from medfuncta_core.cli import app
from medfuncta_core.errors import SetError
from medfuncta_core.mednf import EncodeRequest, encode, open_set
from medfuncta_core.mednf.exporting import export_set
from medfuncta_core.mednf.verifying import verify_set

N = sum(COUNTS.values())


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set that refers to its network, with several shards."""
    place = tmp_path_factory.mktemp("exporting")
    checkpoint = make_checkpoint(place / "checkpoints" / "tiny")
    request = EncodeRequest(rows_per_shard=6, batch_size=6, model="refer", licence="NIH: free use")
    for _ in encode(checkpoint, make_data(place / "noise.npz"), place / "sets" / "noise", request, device="cpu"):
        pass
    return place / "sets" / "noise"


def export(latents: Path, form: Any, out: Path) -> Path:
    *_, last = export_set(latents, form, out)
    assert last.done == last.total == N
    return out


def front_matter(card: str) -> dict[str, Any]:
    """The part of YAML that the cards use: scalars, JSON strings, lists of scalars, and configs of files by split."""
    lines, found, key = card.split("---\n")[1].splitlines(), {}, ""
    for line in lines:
        if line[0] not in " -":
            key, _, value = line.partition(":")
            assert key.isidentifier()
            found[key] = json.loads(value) if value.strip().startswith('"') else value.strip() or []
        else:
            found[key].append(line)
    return found


def test_hub_folder_is_complete_and_readable_by_others(latents: Path, tmp_path: Path) -> None:
    out, opened = export(latents, "hf", tmp_path / "hub"), open_set(latents)
    tables = {split: pq.read_table(out / "data" / f"{split}-00000-of-00001.parquet") for split in COUNTS}
    assert {split: len(table) for split, table in tables.items()} == COUNTS
    for split, table in tables.items():
        rows = opened.rows_of(split)
        np.testing.assert_array_equal(np.stack(table.column("latent").to_numpy()), opened.latents(rows).astype(np.float16))
        assert table.column("label").to_pylist() == opened.labels[rows].tolist()
        assert table.column("id").to_pylist() == opened.column("id")[rows].tolist()


def test_hub_folder_is_itself_a_set_with_its_network(latents: Path, tmp_path: Path) -> None:
    moved = shutil.move(export(latents, "hf", tmp_path / "hub"), tmp_path / "far" / "away")
    opened = open_set(moved)
    assert opened.checkpoint_path == Path(moved) / "model"
    *_, last = verify_set(moved, latents.parents[1] / "noise.npz", device="cpu")
    assert last.report.ok
    with pytest.raises(SetError, match="is there already; choose a new folder"):
        next(export_set(latents, "hf", moved))


def test_cards_front_matter_says_what_the_hub_asks_for(latents: Path, tmp_path: Path) -> None:
    own = front_matter((latents / "README.md").read_text())
    hub = front_matter((export(latents, "hf", tmp_path / "hub") / "README.md").read_text())
    for found in (own, hub):
        assert found["license"] == "other"
        assert found["license_name"] == "NIH: free use"
        assert found["size_categories"] == ["- n<1K"]
        assert found["task_categories"] == ["- feature-extraction"]
    assert "load_dataset" in (tmp_path / "hub" / "README.md").read_text()
    assert own["configs"] == ["- config_name: default", "  data_files: metadata.parquet"]
    assert hub["configs"][2:] == [
        *("  - split: train", "    path: data/train-*.parquet"),
        *("  - split: validation", "    path: data/val-*.parquet"),
        *("  - split: test", "    path: data/test-*.parquet"),
    ]


def test_npz_reads_without_pickles(latents: Path, tmp_path: Path) -> None:
    opened = open_set(latents)
    with np.load(export(latents, "npz", tmp_path / "noise.npz"), allow_pickle=False) as held:
        assert held["latents"].dtype == np.float16
        np.testing.assert_array_equal(held["latents"], opened.latents(slice(None)).astype(np.float16))
        np.testing.assert_array_equal(held["label"], opened.labels)
        np.testing.assert_array_equal(held["psnr"], opened.column("psnr"))
        np.testing.assert_array_equal(held["patient"], opened.column("patient"))
        assert held["id"].tolist() == opened.column("id").tolist()
        assert held["class_names"].tolist() == list(opened.class_names)
        assert held["shape"].tolist() == [8, 6]


def test_csv_command_writes_the_whole_table(latents: Path, tmp_path: Path) -> None:
    out = tmp_path / "noise.csv"
    done = CliRunner().invoke(app, ["set", "export", str(latents), "--format", "csv", "--out", str(out), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["n"] == N
    opened = open_set(latents)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == opened.column("id").tolist()
    np.testing.assert_allclose([float(row["psnr"]) for row in rows], opened.column("psnr"), rtol=1e-6)


def test_failed_export_leaves_nothing(latents: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(latents, tmp_path / "sets" / "noise")
    (damaged / "latents-00003-of-00004.safetensors").unlink()
    for form, out in (("npz", tmp_path / "out" / "noise.npz"), ("hf", tmp_path / "hub")):
        with pytest.raises(SetError):
            for _ in export_set(damaged, form, out):  # type: ignore[arg-type]
                pass
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "hub" / "README.md").exists()
