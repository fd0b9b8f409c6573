"""Published folders become sets: same numbers, labels, one network; what cannot be read is named; nothing of it is run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from published_files import PublishedCase, expected_values, save_datapoint, save_module, save_state
from test_official import _Touch
from typer.testing import CliRunner

from medfuncta_core.checkpoint import load_checkpoint
from medfuncta_core.checkpoint.datapoints import find_datapoints, read_datapoints
from medfuncta_core.cli import app
from medfuncta_core.errors import CheckpointError, MedFunctaError, SetError
from medfuncta_core.fitting import Fitter
from medfuncta_core.mednf import MednfSet, open_set
from medfuncta_core.mednf.importing import ImportRequest, ImportStep, import_set
from medfuncta_core.mednf.verifying import verify_set

OFFICIAL = ROOT.parent / "shared" / "official" / "image"
CASE = PublishedCase(shape=(8, 6), channels=3)
LATENTS = 0.3 * torch.randn(9, CASE.latent_dim, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Nine latents in three splits, numbers with gaps, labels 0 to 2."""
    folder = tmp_path / "published"
    for row, (split, number) in enumerate(PLACES):
        save_datapoint(folder / split / f"datapoint_{number}.pt", LATENTS[row], torch.tensor([row % 3]))
    save_module(CASE.build(), folder / "model.pt")
    return folder


PLACES = [("train", 0), ("train", 2), ("train", 10), ("train", 11), ("val", 1), ("val", 3), ("test", 0), ("test", 1), ("test", 7)]


def run(folder: Path, out: Path, request: ImportRequest | None = None, **how: object) -> tuple[MednfSet, ImportStep]:
    *_, last = import_set(folder, out, request, **how)  # type: ignore[arg-type]
    return open_set(out), last


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_imported_set_decodes_as_the_published_network(published: Path, tmp_path: Path, dtype: str) -> None:
    request = ImportRequest.parse({"dtype": dtype, "rows_per_shard": 4, "licence": "MIT", "class_names": ("a", "b", "c")}, "")
    opened, last = run(published, tmp_path / "set", request, shape=(8, 6))
    assert (last.done, last.total, last.kept, last.problems) == (9, 9, 9, ())
    np.testing.assert_array_equal(opened.latents(slice(None)), LATENTS.numpy().astype(dtype).astype(np.float32))
    assert opened.column("id").tolist() == [f"{split}/{number}" for split, number in PLACES]
    assert opened.labels.tolist() == [row % 3 for row in range(9)]
    assert opened.class_name(4) == "b"
    assert opened.describe(8)["source"] == "test/datapoint_7.pt"
    assert (opened.info.shards, opened.info.licence, opened.info.task) == (3, "MIT", "classification")
    fitter = Fitter(load_checkpoint(opened.checkpoint_path), device="cpu")
    decoded = fitter.decode_batch(opened.latents(slice(None)), (8, 6), clamp=False).reshape(9, -1, 3)
    np.testing.assert_allclose(decoded, expected_values(CASE.build(), LATENTS), atol=1e-5 if dtype == "float32" else 5e-3)
    *_, checked = verify_set(tmp_path / "set", device="cpu")
    assert checked.report.problems == []
    assert "| test | 3 | - | - | a 1, b 1, c 1 |" in (opened.path / "README.md").read_text()


def test_the_published_implementations_own_folder_imports(published: Path, tmp_path: Path) -> None:
    folder = OFFICIAL / "set" if OFFICIAL.exists() else published
    opened, last = run(folder, tmp_path / "imported")
    assert last.problems == ()
    assert len(opened) == len(find_datapoints(folder))
    if OFFICIAL.exists():
        expected = np.load(OFFICIAL / "expected.npz")
        np.testing.assert_array_equal(opened.latents(slice(None)), expected["latents"])
        assert opened.labels.tolist() == [0, 1, 0, 1]
        assert opened.class_names == ("0", "1")


def test_unreadable_files_are_named_and_left_out(published: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    (published / "train" / "datapoint_2.pt").write_bytes(b"broken")
    torch.save({"modulations": _Touch(os.system, f"touch {witness}")}, published / "train" / "datapoint_10.pt")
    for number in (1, 3):
        save_datapoint(published / "val" / f"datapoint_{number}.pt", torch.full((6,), torch.nan), torch.tensor([0]))
    opened, last = run(published, tmp_path / "set", ImportRequest(rows_per_shard=2))
    assert [problem.split(": ")[0] for problem in last.problems] == [
        str(published / place / f"datapoint_{number}.pt")
        for place, number in (("train", 2), ("train", 10), ("val", 1), ("val", 3))
    ]
    assert "refused" in last.problems[1]
    assert not witness.exists()
    assert opened.column("id").tolist() == ["train/0", "train/11", "test/0", "test/1", "test/7"]
    np.testing.assert_array_equal(opened.latents(slice(None)), LATENTS[[0, 3, 6, 7, 8]].numpy())
    *_, checked = verify_set(tmp_path / "set", device="cpu")
    assert checked.report.problems == []
    assert checked.report.shards_checked == 5  # the third has no rows, and is whole all the same


def test_several_processes_read_the_same_in_the_same_order(published: Path) -> None:
    (published / "val" / "datapoint_1.pt").write_bytes(b"broken")
    files = find_datapoints(published) * 60  # more than one run
    here, there = (list(read_datapoints(files, CASE.latent_dim, workers)) for workers in (0, 2))
    assert [(a.datapoint, a.problem) for a in here] == [(b.datapoint, b.problem) for b in there]
    for a, b in zip(here, there, strict=True):
        assert (a.latent is None) == (b.latent is None) == bool(a.problem)
        if a.latent is not None and b.latent is not None:
            np.testing.assert_array_equal(a.latent, b.latent)
        assert np.array_equal(a.label, b.label)


def test_registered_names_bring_classes_task_and_licence(published: Path, tmp_path: Path) -> None:
    moved = shutil.move(published, tmp_path / "DermaNF")
    opened, _ = run(Path(moved), tmp_path / "mine")
    assert opened.info.licence == "CC BY-NC 4.0"
    assert opened.class_name(1) == "basal cell carcinoma"
    assert opened.shape == (64, 64)
    assert "zenodo" in opened.info.data.source
    with pytest.raises(SetError, match="HeartNF: no registered set has this name"):
        run(Path(moved), tmp_path / "other", ImportRequest(registered="HeartNF"))
    with pytest.raises(SetError, match="2 class names for 3 classes"):
        run(Path(moved), tmp_path / "other", ImportRequest(class_names=("a", "b")))
    assert not (tmp_path / "other").exists()


def test_several_labels_a_signal_become_a_column(tmp_path: Path) -> None:
    labels = torch.randint(0, 2, (5, 14))
    for number in range(5):
        save_datapoint(tmp_path / "chestnf" / "train" / f"datapoint_{number}.pt", LATENTS[number], labels[number])
    save_module(CASE.build(), tmp_path / "chestnf" / "model.pt")
    opened, _ = run(tmp_path / "chestnf", tmp_path / "set")
    np.testing.assert_array_equal(np.stack(list(opened.column("labels"))), labels.numpy())
    assert opened.labels.tolist() == [-1] * 5
    assert opened.class_names[0] == "atelectasis"


def test_folders_that_cannot_become_sets_leave_nothing(published: Path, tmp_path: Path) -> None:
    (published / "model.pt").unlink()
    with pytest.raises(SetError, match=r"has latents but no model\.pt"):
        run(published, tmp_path / "set")
    save_state(CASE.build(), published / "best.model")
    with pytest.raises(CheckpointError, match="--omega-first and --omega-increment"):
        run(published, tmp_path / "set")
    for file in published.glob("*/datapoint_*.pt"):
        file.write_bytes(b"broken")
    with pytest.raises(MedFunctaError, match=r"datapoint_0\.pt: truncated"):
        run(published, tmp_path / "set", omega_first=CASE.w0, omega_increment=CASE.increment)
    with pytest.raises(CheckpointError, match=r"no datapoint_N\.pt in it"):
        run(tmp_path, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_import_never_touches_what_is_there(published: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "model").mkdir(parents=True)
    (mine / "model" / "thesis.txt").write_text("years")
    with pytest.raises(SetError, match="is there already and not empty"):
        run(published, mine)
    assert (mine / "model" / "thesis.txt").read_text() == "years"


def test_stopped_import_starts_over(published: Path, tmp_path: Path) -> None:
    steps = import_set(published, tmp_path / "set", ImportRequest(rows_per_shard=3))
    next(steps)
    del steps
    with pytest.raises(SetError, match=r"no metadata\.parquet"):
        open_set(tmp_path / "set")
    opened, last = run(published, tmp_path / "set", ImportRequest(rows_per_shard=2))
    assert (len(opened), last.kept) == (9, 9)
    assert sorted(file.name for file in opened.path.iterdir()) == [
        "README.md",
        *(f"latents-0000{n}-of-00005.safetensors" for n in range(5)),
        "metadata.parquet",
        "model",
    ]


def test_import_official_command_takes_a_folder(published: Path, tmp_path: Path) -> None:
    (published / "val" / "datapoint_3.pt").write_bytes(b"")
    command = ["import-official", str(published), "--out", str(tmp_path / "set"), "--dtype", "float16", "--shape", "8,6"]
    done = CliRunner().invoke(app, [*command, "--classes", "a, b,c", "--licence", "CC BY 4.0", "--json"])
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["n"], report["dtype"], report["classes"], len(report["left_out"])) == (8, "float16", ["a", "b", "c"], 1)
    assert "left out: " in done.stderr
    assert "license: cc-by-4.0" in (tmp_path / "set" / "README.md").read_text()
    assert CliRunner().invoke(app, [*command, "--latents", str(published)]).exit_code == 2
