"""Checking a set: a good one passes, and every kind of damage is named with its file or row."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mednf_material import COUNTS, make_checkpoint, make_data
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from medfuncta_core.cli import app
from medfuncta_core.mednf import EncodeRequest, encode, open_set
from medfuncta_core.mednf.metadata import write_metadata
from medfuncta_core.mednf.verifying import VerifyReport, choose_sample, verify_set

N = sum(COUNTS.values())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `noise.npz` and the set `noise` that was encoded from it, in four shards."""
    folder = tmp_path_factory.mktemp("verifying")
    request = EncodeRequest(rows_per_shard=6, batch_size=6)
    for _ in encode(make_checkpoint(folder / "tiny"), make_data(folder / "noise.npz"), folder / "noise", request, device="cpu"):
        pass
    return folder


@pytest.fixture
def latents(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(made / "noise", tmp_path / "noise")


def check(latents: Path, data: Path | None = None) -> VerifyReport:
    *_, last = verify_set(latents, data)  # on whatever device there is
    assert last.done == last.total
    return last.report


def test_good_set_passes_with_all_its_rows_read(made: Path) -> None:
    report = check(made / "noise", made / "noise.npz")
    assert report.ok
    assert (report.rows_finite, report.shards_checked, report.decoded, report.compared) == (N, 4, N, N)
    assert report.largest_difference_db is not None
    assert report.largest_difference_db < 1e-3
    alone = check(made / "noise")
    assert alone.ok
    assert (alone.decoded, alone.compared, alone.largest_difference_db) == (N, 0, None)


def test_corrupted_shard_is_named_and_the_others_are_still_checked(latents: Path) -> None:
    shard = latents / "latents-00002-of-00004.safetensors"
    content = bytearray(shard.read_bytes())
    content[-2] ^= 1
    shard.write_bytes(content)
    (problem,) = check(latents).problems
    assert problem.startswith(f"{shard}: corrupted")
    shard.write_bytes(content[:-5])
    (latents / "latents-00000-of-00004.safetensors").unlink()
    report = check(latents)
    assert [problem.partition(": ")[0].rpartition("/")[2] for problem in report.problems] == [
        "latents-00000-of-00004.safetensors",
        "latents-00002-of-00004.safetensors",
    ]
    assert report.shards_checked == 2


def test_numbers_that_are_not_finite_are_named_by_row(latents: Path) -> None:
    shard = latents / "latents-00001-of-00004.safetensors"
    stored = load_file(shard)["latents"].copy()
    stored[3, 2] = np.nan
    save_file({"latents": stored}, shard)  # without a digest, as another program would
    problems = check(latents).problems
    assert any("latents-00001" in problem and "row 3 is not finite" in problem for problem in problems)
    assert any("row 9 decodes to nothing" in problem for problem in problems)


def test_swapped_latents_contradict_the_stated_psnr(latents: Path, made: Path) -> None:
    shard = latents / "latents-00000-of-00004.safetensors"
    stored = load_file(shard)["latents"]
    save_file({"latents": stored[::-1].copy()}, shard)
    assert check(latents).ok  # nothing in the set itself tells
    problems = check(latents, made / "noise.npz").problems
    assert 1 < len(problems) <= 6
    assert all("states a PSNR of" in problem and "(train/" in problem for problem in problems)


def test_other_network_other_data_and_strays_are_named(latents: Path, made: Path) -> None:
    other = make_data(made / "other.npz", classes=2)
    assert any("not the data that noise was encoded from" in problem for problem in check(latents, other).problems)
    stray = latents / "latents-00007-of-00009.safetensors"
    shutil.copyfile(latents / "latents-00001-of-00004.safetensors", stray)
    assert check(latents).problems == [f"{stray}: is no part of this set; delete it"]
    stray.unlink()
    with (latents / "model" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\1")
    assert any("not the weights that noise was encoded with" in problem for problem in check(latents).problems)


def test_table_that_places_rows_elsewhere_is_found(latents: Path) -> None:
    opened = open_set(latents)
    columns = {name: opened.column(name) for name in opened.columns}
    columns["row"] = columns["row"][::-1].copy()
    write_metadata(latents, opened.info, columns)
    assert any("the table places row 0 where it is not stored" in problem for problem in check(latents).problems)


def test_sample_takes_all_classes_in_turn(made: Path) -> None:
    opened = open_set(made / "noise")
    chosen = choose_sample(opened, 6)
    assert sorted(opened.labels[chosen].tolist()) == [0, 0, 1, 1, 2, 2]
    assert len(choose_sample(opened, 4)) == 4


def test_verify_command_reports_json_and_fails_on_damage(latents: Path, made: Path) -> None:
    command = ["set", "verify", str(latents), "--json", "--device", "cpu"]
    done = CliRunner().invoke(app, [*command, "--data", str(made / "noise.npz")])
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert report["ok"]
    assert report["compared"] == N
    (latents / "latents-00003-of-00004.safetensors").unlink()
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "latents-00003-of-00004" in json.loads(done.stdout)["problems"][0]
