"""`prepare`: a folder of volumes becomes a set, trains, and its recipe reaches the checkpoint and the next file."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from test_signals_reading import dicom_bytes, make_dicom, zip_bytes
from typer.testing import CliRunner

from medfuncta_core.checkpoint import load_checkpoint
from medfuncta_core.cli import app
from medfuncta_core.config import SignalSpec
from medfuncta_core.errors import DataSetError
from medfuncta_core.signals import load_data_set, medmnist_files, read_signal, volume_sets
from medfuncta_core.signals.recipes import RECIPES
from medfuncta_core.signals.volume_listing import assign_splits, list_volumes

SETTINGS = ["shape=4,4,4", "canvas=8,8,8", "reduction=average", "orientation=LPS", "normalisation=quantile", "limits=0.01,0.99"]


def save_volume(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(100, 30, (7, 9, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2, 3, 1])), path)
    return path


def series(patient: str, number: str, seed: int) -> dict[str, bytes]:
    planes = np.random.default_rng(seed).integers(0, 900, (5, 8, 6))
    tags = {"PatientID": patient, "SeriesInstanceUID": number}
    return {f"{number}-{k}.dcm": dicom_bytes(make_dicom(planes[k], position=2 * k, **tags)) for k in range(5)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten volumes of seven patients: NIfTI of BIDS, two series in one folder, a zipped one; and a file that is none."""
    top = tmp_path / "scans"
    for n in range(4):
        save_volume(top / f"sub-{n}" / "anat" / f"sub-{n}_T1w.nii.gz", n)
    save_volume(top / "sub-0" / "later" / "sub-0_T1w.nii", 9)
    save_volume(top / "loose.nii", 5)
    (top / "dicom").mkdir()
    for name, content in (series("P7", "1.7", 1) | series("P8", "1.8", 2)).items():
        (top / "dicom" / name).write_bytes(content)
    (top / "zipped.zip").write_bytes(zip_bytes(series("P9", "1.9", 3)))
    (top / "sub-3" / "broken.nii.gz").write_bytes(b"hello")
    (top / "notes.txt").write_text("not a volume")
    return top


def run(*arguments: object) -> dict:
    result = CliRunner().invoke(app, ["prepare", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def with_settings(settings: list[str] = SETTINGS) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def test_list_volumes_finds_files_series_and_archives_and_whose_they_are(folder: Path) -> None:
    found = {volume.key: volume.patient for volume in list_volumes(folder)}
    assert found == {
        "dicom#1": "P7",
        "dicom#2": "P8",
        "loose.nii": "loose.nii",
        **{f"sub-{n}/anat/sub-{n}_T1w.nii.gz": f"sub-{n}" for n in range(4)},
        "sub-0/later/sub-0_T1w.nii": "sub-0",
        "sub-3/broken.nii.gz": "sub-3",
        "zipped.zip": "zipped.zip",
    }
    assert [volume.key for volume in list_volumes(folder, include="*later*")] == ["sub-0/later/sub-0_T1w.nii"]
    assert {volume.patient for volume in list_volumes(folder, patient="sub-[01]", include="sub-[01]*")} == {"sub-0", "sub-1"}
    with pytest.raises(DataSetError, match="matches"):
        list_volumes(folder, include="*.mha")
    with pytest.raises(DataSetError, match="regular expression"):
        list_volumes(folder, patient="sub-(")


def test_splits_keep_patients_together_and_are_the_same_again(folder: Path) -> None:
    volumes = list_volumes(folder)
    split = assign_splits(volumes, (0.6, 0.2, 0.2), seed=3)
    of_patient = {volume.patient: {other.split for other in split if other.patient == volume.patient} for volume in split}
    assert all(len(splits) == 1 for splits in of_patient.values())
    assert {volume.split for volume in split} == {"train", "val", "test"}
    assert assign_splits(volumes, (0.6, 0.2, 0.2), seed=3) == split
    assert any(assign_splits(volumes, (0.6, 0.2, 0.2), seed=seed) != split for seed in range(4, 9))


def test_prepare_makes_a_set_names_what_it_left_out_and_keeps_the_recipe(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "set.npz"
    report = run(folder, "--out", out, *with_settings())
    assert sum(report[split] for split in ("train", "val", "test")) == 9
    (left_out,) = report["left_out"]
    assert left_out["volume"] == "sub-3/broken.nii.gz"
    assert "is not the NIfTI" in left_out["reason"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scans", "set.npz"]
    train = load_data_set(out, "train")
    spec = SignalSpec.parse(report["recipe"], "report")
    assert train.spec() == spec
    assert train.values.dtype == np.uint8
    # Each row is what reading that file for the checkpoint gives.
    row = next(n for n, name in enumerate(train.extras["file"]) if str(name).startswith("sub-"))
    again = read_signal(folder / str(train.extras["file"][row]), spec=spec)
    np.testing.assert_allclose(train.batch([row])[0], again.values, atol=0.5 / 255 + 1e-6)


def test_prepare_continues_where_it_was_interrupted(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, prepared = tmp_path / "set.npz", []
    original = volume_sets.prepare_signal
    stop = True

    def counting(signal, spec):
        if stop and len(prepared) == 4:
            raise KeyboardInterrupt
        prepared.append(signal.name)
        return original(signal, spec)

    monkeypatch.setattr(volume_sets, "prepare_signal", counting)
    interrupted = CliRunner().invoke(app, ["prepare", str(folder), "--out", str(out), *with_settings()])
    assert interrupted.exit_code != 0
    assert not out.exists()
    stop = False
    report = run(folder, "--out", out, *with_settings())
    assert len(prepared) == 9
    assert len(set(prepared)) == len(prepared)
    assert report["train"] + report["val"] + report["test"] == 9


@pytest.mark.parametrize(("depth", "step"), [("uint8", 255), ("uint16", 65535), ("float32", 1e7)])
def test_prepared_values_are_not_normalised_again(depth: str, step: float, tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        save_volume(tmp_path / "scans" / split / "calm" / "a.nii", 1)
        save_volume(tmp_path / "scans" / split / "busy" / "b.nii", 2)
    out = tmp_path / "set.npz"
    report = run(tmp_path / "scans", "--out", out, "--dtype", depth, "--classes", *with_settings())
    assert [report[split] for split in ("train", "val", "test")] == [2, 2, 2]
    spec = SignalSpec.parse(report["recipe"], "report")
    opened = load_data_set(out, "val", spec=spec)
    assert (opened.class_names, opened.labels.tolist()) == (("busy", "calm"), [0, 1])  # type: ignore[union-attr]
    assert opened.spec() == spec
    expected = read_signal(tmp_path / "scans" / "validation" / "busy" / "b.nii", spec=spec).values
    np.testing.assert_allclose(opened.batch([0])[0], expected, atol=0.5 / step + 1e-6)


def test_strict_leaves_doubtful_volumes_out(folder: Path, tmp_path: Path) -> None:
    (folder / "dicom" / "1.7-2.dcm").unlink()
    lenient = run(folder, "--out", tmp_path / "a.npz", *with_settings())
    assert "missing" in lenient["warnings"][0]["warnings"][0]
    strict = run(folder, "--out", tmp_path / "a.npz", *with_settings(), "--strict")
    assert {entry["volume"] for entry in strict["left_out"]} == {"dicom#1", "sub-3/broken.nii.gz"}


def test_prepare_refuses_what_it_cannot_do_in_one_line(folder: Path, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "set.npz")]
    for arguments, code, words in [
        ([str(folder), *out, "--recipe", "nothing"], 2, "brats"),
        ([str(folder), *out, "--set", "spacing=1"], 1, "spacing_mm"),
        ([str(folder), *out, "--set", "canvas=10,10,10", "--set", "reduction=average"], 1, "whole multiples"),
        ([str(folder), *out, "--split", "1,2"], 2, "three shares"),
        ([str(folder), "--out", str(tmp_path / "set.zip")], 2, ".npz"),
        ([str(tmp_path / "nowhere"), *out], 1, "is not a folder"),
        ([str(folder / "sub-3"), *out, "--include", "broken*"], 1, "none of 1 volumes"),
    ]:
        result = CliRunner().invoke(app, ["prepare", *arguments])
        assert result.exit_code == code, result.output
        assert words in result.stderr.replace("\n", " ")
    assert not (tmp_path / "set.npz").exists()


def test_recipes_are_the_papers() -> None:
    for name in ("brats", "lidc-idri"):
        recipe = RECIPES[name].recipe
        assert recipe is not None
        assert recipe.canvas == (256, 256, 256)
        assert recipe.reduction == "average"
        assert RECIPES[name].shape == (32, 32, 32)
    assert RECIPES["lidc-idri"].recipe.spacing_mm == (1, 1, 1)  # type: ignore[union-attr]


TRAINING = ["depth=3", "width=6", "latent_dim=3", "batch_size=1", "inner_steps=1", "validate_every=1", "fit.steps=1"]


def train(data: str, out: Path, shape: str) -> None:
    arguments = ["train", "--preset", "volume-32-small", "--data", data, "--out", str(out), "--shape", shape, "--steps", "1"]
    result = CliRunner().invoke(app, [*arguments, "--device", "cpu", *(f"--set={setting}" for setting in TRAINING)])
    assert result.exit_code == 0, result.output


def test_recipe_lands_in_the_checkpoint_and_prepares_the_next_file(folder: Path, tmp_path: Path) -> None:
    report = run(folder, "--out", tmp_path / "set.npz", *with_settings())
    train(str(tmp_path / "set.npz"), tmp_path / "run", "4,4,4")
    checkpoint = tmp_path / "run" / "checkpoint" / "best"
    spec = load_checkpoint(checkpoint).config.signal
    assert spec == SignalSpec.parse(report["recipe"], "report")
    assert "cropped or padded to 8 x 8 x 8" in (checkpoint / "CARD.md").read_text()
    arguments = ["fit", str(checkpoint), str(save_volume(tmp_path / "new.nii")), "--device", "cpu", "--json"]
    fitted = CliRunner().invoke(app, arguments)
    assert fitted.exit_code == 0, fitted.output
    assert any("Averaged blocks of 2 x 2 x 2" in note for note in json.loads(fitted.stdout)["notes"])


def test_medmnist_volumes_train_by_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    arrays = {f"{split}_images": generator.integers(0, 256, (2, 6, 6, 6), dtype=np.uint8) for split in ("train", "val", "test")}
    np.savez(tmp_path / "nodulemnist3d_64.npz", **arrays)  # type: ignore[arg-type]
    flag = medmnist_files.find_medmnist("nodulemnist3d:64")
    assert flag is not None
    assert flag.file_name == "nodulemnist3d_64.npz"
    monkeypatch.setenv("MEDFUNCTA_CACHE", str(tmp_path))
    monkeypatch.setattr(medmnist_files, "hash_file", lambda path, kind: flag.md5)
    train("nodulemnist3d:64", tmp_path / "run", "4,4,4")
    config = load_checkpoint(tmp_path / "run" / "checkpoint" / "best").config
    assert config.data is not None
    assert config.data.name == "nodulemnist3d_64"


@pytest.mark.parametrize("name", ["organ", "nodule", "adrenal", "fracture", "vessel", "synapse"])
@pytest.mark.parametrize("edge", [28, 64])
def test_medmnist_names_every_set_of_volumes(name: str, edge: int) -> None:
    flag = medmnist_files.find_medmnist(f"{name}mnist3d:{edge}")
    assert flag is not None
    assert len(flag.md5) == 32
    with pytest.raises(DataSetError, match="28, 64"):
        medmnist_files.find_medmnist(f"{name}mnist3d:128")


def test_fit_takes_random_voxels_and_tells_warnings_apart(folder: Path, tmp_path: Path) -> None:
    run(folder, "--out", tmp_path / "set.npz", *with_settings())
    train(str(tmp_path / "set.npz"), tmp_path / "run", "4,4,4")
    (folder / "dicom" / "1.7-2.dcm").unlink()
    for path in (folder / "dicom").glob("1.8*"):
        path.unlink()
    base = ["fit", str(tmp_path / "run" / "checkpoint" / "best"), str(folder / "dicom"), "--device", "cpu"]
    result = CliRunner().invoke(app, [*base, "--voxels", "50", "--out", str(tmp_path / "fit")])
    assert result.exit_code == 0, result.output
    assert "warning: 1 of 5 slices" in result.stdout
    assert "of 240 voxels were drawn at random." in result.stdout
    assert read_signal(tmp_path / "fit" / "reconstruction.nii.gz").shape == (4, 4, 4)
