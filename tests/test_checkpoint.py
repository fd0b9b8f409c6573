"""Checkpoints on disk: round trip, files that are broken or of another field, and galleries and tables of latents."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_field_config
from safetensors.torch import load_file, save_file

from medfuncta_core.checkpoint import (
    Gallery,
    LatentTable,
    list_checkpoints,
    load_checkpoint,
    load_gallery,
    load_latents,
    read_latent,
    save_checkpoint,
    save_gallery,
    save_latents,
    update_metrics,
)
from medfuncta_core.config import CheckpointConfig, FitConfig, Metrics, SignalSpec
from medfuncta_core.errors import CheckpointError
from medfuncta_core.fields import ModulatedSIREN

METRICS = Metrics(split="test", n=3, fit_steps=20, mse=1e-3, psnr=30.0, ssim=0.9)


def _field(coord_dim: int = 2, seed: int = 0) -> ModulatedSIREN:
    return ModulatedSIREN(tiny_field_config(coord_dim), generator=torch.Generator().manual_seed(seed))


def _config(field: ModulatedSIREN, name: str = "tiny") -> CheckpointConfig:
    return CheckpointConfig(
        name=name,
        field=field.config,
        signal=SignalSpec(kind="image", shape=(8, 6)),
        fit=FitConfig(steps=7, inner_lr=0.02),
        step=12,
        metrics=(METRICS,),
        licence="CC BY 4.0",
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A whole checkpoint of the tiny image field."""
    field = _field()
    return save_checkpoint(tmp_path / "tiny", field, _config(field))


def _rewrite_config(directory: Path, **changes: object) -> None:
    values = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(values | changes))


def test_checkpoint_round_trip_is_exact(tmp_path: Path) -> None:
    field = _field()
    config = _config(field)
    loaded = load_checkpoint(save_checkpoint(tmp_path / "deep" / "er", field, config))
    assert loaded.config == config
    assert loaded.path == tmp_path / "deep" / "er"
    for name, value in field.state_dict().items():
        assert torch.equal(loaded.field.state_dict()[name], value)
    assert sorted(path.name for path in (tmp_path / "deep" / "er").iterdir()) == ["CARD.md", "config.json", "model.safetensors"]


def test_modulation_matrices_stored_as_float16_halve_the_file_and_stay_what_they_are_from_then_on(tmp_path: Path) -> None:
    field = _field()
    config = _config(field).model_copy(update={"modulation_dtype": "float16"})
    directory = save_checkpoint(tmp_path / "half", field, config)
    whole = save_checkpoint(tmp_path / "whole", field, _config(field)) / "model.safetensors"
    matrices = 2 * sum(value.numel() for name, value in field.named_parameters() if name in ("shift_weight", "scale_weight"))
    assert (directory / "model.safetensors").stat().st_size == pytest.approx(whole.stat().st_size - matrices, abs=64)
    stored, loaded = load_file(directory / "model.safetensors"), load_checkpoint(directory)
    assert {str(value.dtype) for name, value in stored.items() if "shift_weight" not in name} == {"torch.float32"}
    for name, value in field.state_dict().items():
        now = loaded.field.state_dict()[name]
        assert now.dtype == torch.float32
        assert torch.equal(now, value.half().float() if name == "shift_weight" else value)
    again = load_checkpoint(save_checkpoint(tmp_path / "again", loaded.field, loaded.config))
    assert all(torch.equal(value, again.field.state_dict()[name]) for name, value in loaded.field.state_dict().items())
    assert "stored as float16" in (directory / "CARD.md").read_text()
    with torch.no_grad():
        field.get_parameter("shift_weight")[0, 0, 0] = 1e6  # finite, but not in float16
    with pytest.raises(CheckpointError, match="shift_weight is too large for float16; store it as float32"):
        save_checkpoint(tmp_path / "half", field, config)


def test_checkpoint_is_loaded_frozen_and_leaves_random_numbers_alone(directory: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    field = load_checkpoint(directory).field
    assert not field.training
    assert not any(parameter.requires_grad for parameter in field.parameters())
    assert torch.equal(torch.rand(1), expected)


def test_save_checkpoint_replaces_an_older_one_and_keeps_other_files(directory: Path) -> None:
    (directory / "latents.safetensors").write_bytes(b"kept")
    newer = _field(seed=1)
    save_checkpoint(directory, newer, _config(newer, name="newer"), card="# my own\n")
    loaded = load_checkpoint(directory)
    assert loaded.config.name == "newer"
    assert torch.equal(loaded.field.last_weight, newer.last_weight)
    assert (directory / "CARD.md").read_text() == "# my own\n"
    assert (directory / "latents.safetensors").read_bytes() == b"kept"
    assert not list(directory.glob(".*"))


def test_save_checkpoint_interrupted_leaves_the_old_file(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in directory.iterdir()}

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    field = _field(seed=1)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be written \(No space left on device\)"):
        save_checkpoint(directory, field, _config(field))
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_save_checkpoint_refuses_weights_that_are_not_finite_or_not_its_own(tmp_path: Path) -> None:
    field = _field()
    with pytest.raises(CheckpointError, match="another field"):
        save_checkpoint(tmp_path / "a", field, _config(_field(coord_dim=3)))
    with torch.no_grad():
        field.last_bias[0] = torch.inf
    with pytest.raises(CheckpointError, match="last_bias contains NaN or infinite"):
        save_checkpoint(tmp_path / "a", field, _config(field))
    assert not (tmp_path / "a").exists()


def test_save_checkpoint_names_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    field = _field()
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(tmp_path / "file", field, _config(field))


def test_load_checkpoint_says_what_is_there_instead(directory: Path) -> None:
    parent = directory.parent
    (parent / "empty").mkdir()
    (parent / "best.model").write_bytes(b"")
    for path, message in (
        (parent / "other", r"other: no such checkpoint; .* has tiny"),
        (parent / "empty", r"no config\.json in it"),
        (parent / "best.model", "import-official"),
        (directory / "model.safetensors", "give the checkpoint's directory"),
        (parent / "nowhere" / "x", "check the path"),
    ):
        with pytest.raises(CheckpointError, match=message) as caught:
            load_checkpoint(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b'"text"', b"\xff\xfe", b"null", b"[" * 100_000, b"{}"])
def test_load_checkpoint_names_a_broken_configuration(content: bytes, directory: Path) -> None:
    (directory / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json: ") as caught:
        load_checkpoint(directory)
    assert "\n" not in str(caught.value)


def test_load_checkpoint_refuses_other_versions_and_unknown_keys(directory: Path) -> None:
    _rewrite_config(directory, format_version=2)
    with pytest.raises(CheckpointError, match="format version 2, this library reads version 1; update"):
        load_checkpoint(directory)
    _rewrite_config(directory, format_version=1, surprise=True)
    with pytest.raises(CheckpointError, match="surprise"):
        load_checkpoint(directory)


def test_load_checkpoint_names_truncated_or_missing_weights(directory: Path) -> None:
    weights = directory / "model.safetensors"
    whole = weights.read_bytes()
    for content in (b"", whole[:7], whole[: len(whole) // 2], whole[:-1], b"\x80\x02}." * 20):
        weights.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.safetensors: truncated or not a safetensors file"):
            load_checkpoint(directory)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: missing"):
        load_checkpoint(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"last_bias": torch.full((1,), torch.nan)}, "last_bias contains NaN"),
        ({"last_bias": torch.ones(2)}, r"last_bias has shape \(2,\)"),
        ({"last_bias": torch.ones(1, dtype=torch.float64)}, "last_bias is float64"),
        ({"last_bias": torch.ones(1, dtype=torch.float16)}, "last_bias is float16; it is stored as float32"),
        ({"extra": torch.ones(2)}, "extra does not belong"),
        ({"last_bias": None, "extra": torch.ones(1)}, "extra does not belong|last_bias is missing"),
        ({"last_bias": None}, "holds .* numbers"),
    ],
)
def test_load_checkpoint_names_the_weight_that_does_not_fit(change: dict, message: str, directory: Path) -> None:
    weights = load_file(directory / "model.safetensors") | change
    save_file({name: value for name, value in weights.items() if value is not None}, directory / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(directory)


def test_load_checkpoint_refuses_files_of_two_checkpoints(directory: Path) -> None:
    field = json.loads((directory / "config.json").read_text())["field"]
    _rewrite_config(directory, field=field | {"omega_first": 4.0})  # same shapes, other field
    with pytest.raises(CheckpointError, match="describes another field"):
        load_checkpoint(directory)


def test_load_checkpoint_of_an_absurd_field_takes_no_memory(directory: Path) -> None:
    save_file(load_file(directory / "model.safetensors"), directory / "model.safetensors")  # without the header's description
    field = json.loads((directory / "config.json").read_text())["field"]
    _rewrite_config(directory, field=field | {"width": 10**9, "depth": 10**9})
    with pytest.raises(CheckpointError, match="numbers"):
        load_checkpoint(directory)


def test_list_checkpoints_reads_configurations_and_skips_what_is_none(directory: Path) -> None:
    root = directory.parent
    field = _field()
    save_checkpoint(root / "another", field, _config(field, name="another"))
    save_checkpoint(root / "broken", field, _config(field))
    (root / "broken" / "config.json").write_text("{")
    (root / "empty").mkdir()
    (root / "another" / "model.safetensors").write_bytes(b"not read")
    assert [(found.path.name, found.config.name) for found in list_checkpoints(root)] == [
        ("another", "another"),
        ("tiny", "tiny"),
    ]
    assert list_checkpoints(root / "nowhere") == []


def test_update_metrics_replaces_the_same_split_and_rewrites_the_card(directory: Path) -> None:
    weights = (directory / "model.safetensors").read_bytes()
    update_metrics(directory, Metrics(split="val", n=2, spread=True, fit_steps=20, mse=1e-4, psnr=40.25))
    config = update_metrics(directory, METRICS.model_copy(update={"psnr": 31.5}))
    assert load_checkpoint(directory).config == config
    assert [(known.split, known.psnr) for known in config.metrics] == [("val", 40.25), ("test", 31.5)]
    card = (directory / "CARD.md").read_text()
    assert "| val | 2 | 20 | gradient descent | 40.25 | - | - | 1.000e-04 |" in card
    assert "31.50" in card
    assert card.count("medfuncta_core evaluate") == 1  # training's own validation is not what evaluate measures
    assert "--split test --limit 3 --fit-steps 20" in card
    assert "30.00" not in card
    assert (directory / "model.safetensors").read_bytes() == weights


def test_gallery_round_trip(tmp_path: Path) -> None:
    rows = np.random.default_rng(0)
    gallery = Gallery(
        checkpoint="tiny",
        latents=rows.standard_normal((3, 5), dtype=np.float32),
        labels=np.array([0, 4, -1]),
        psnr=np.array([30.5, 31.0, np.inf], dtype=np.float32),
        ids=("test/0", "test/7", "test/9"),
        class_names=("no finding", "Pneumonie, rechts"),
        shape=(8, 6),
        data="mini",
        fit_steps=20,
    )
    loaded = load_gallery(save_gallery(tmp_path / "gallery" / "tiny.safetensors", gallery))
    for name in ("checkpoint", "ids", "class_names", "shape", "data", "fit_steps"):
        assert getattr(loaded, name) == getattr(gallery, name)
    for name in ("latents", "labels", "psnr"):
        assert np.array_equal(getattr(loaded, name), getattr(gallery, name))
    assert [loaded.class_name(row) for row in range(3)] == ["no finding", "4", ""]


def test_gallery_refuses_rows_that_do_not_fit_and_other_files(tmp_path: Path, directory: Path) -> None:
    row = {"latents": np.zeros((2, 5), np.float32), "labels": np.zeros(2, np.int64), "psnr": np.zeros(2, np.float32)}
    with pytest.raises(CheckpointError, match="one row each"):
        save_gallery(tmp_path / "g.safetensors", Gallery(checkpoint="tiny", ids=("test/0",), **row))
    row["latents"][0, 0] = np.nan
    with pytest.raises(CheckpointError, match="NaN"):
        save_gallery(tmp_path / "g.safetensors", Gallery(checkpoint="tiny", ids=("test/0", "test/1"), **row))
    with pytest.raises(CheckpointError, match="not a gallery"):
        load_gallery(directory / "model.safetensors")
    with pytest.raises(CheckpointError, match="no such file"):
        load_gallery(tmp_path / "g.safetensors")


def test_latents_round_trip_and_refusal(tmp_path: Path, directory: Path) -> None:
    table = LatentTable(
        np.ones((3, 5), np.float32), np.array([[0, 1], [1, 1], [0, 0]]), ("train", "", "test"), np.array([0, 5, 1])
    )
    loaded = load_latents(save_latents(tmp_path / "l.safetensors", table))
    assert loaded.splits == table.splits
    assert np.array_equal(loaded.labels, table.labels)
    assert np.array_equal(loaded.indices, table.indices)
    assert len(loaded) == 3
    with pytest.raises(CheckpointError, match="not a file of latents"):
        load_latents(directory / "model.safetensors")


def test_read_latent_takes_arrays_and_rows(tmp_path: Path) -> None:
    latents = np.arange(15, dtype=np.float32).reshape(3, 5)
    file = save_latents(tmp_path / "l.safetensors", LatentTable(latents, np.zeros(3, np.int64), ("test",) * 3, np.arange(3)))
    np.save(tmp_path / "flat.npy", latents[1].astype(np.float64))
    np.save(tmp_path / "row#7", latents[2:3])
    assert np.array_equal(read_latent(f"{file}#2", 5), latents[2])
    assert np.array_equal(read_latent(str(tmp_path / "flat.npy"), 5), latents[1])
    assert np.array_equal(read_latent(str(tmp_path / "row#7.npy"), 5), latents[2])
    np.save(tmp_path / "nan.npy", np.full(5, np.nan))
    np.save(tmp_path / "words.npy", np.array(["a"] * 5))
    np.save(tmp_path / "pickled.npy", np.array([object()] * 5), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "flat.npy").read_bytes()[:-3])
    (tmp_path / "empty.npy").write_bytes(b"")
    for source, message in (
        (f"{file}#3", "no row 3; it has rows 0 to 2"),
        (f"{file}", "not a readable"),
        (f"{tmp_path}/none.npy", "no such file"),
        (f"{tmp_path}/flat.npy#0", "not a safetensors file"),
        (f"{tmp_path}/nan.npy", "NaN"),
        (f"{tmp_path}/words.npy", "no array of real numbers"),
        (f"{tmp_path}/pickled.npy", "not a readable"),
        (f"{tmp_path}/cut.npy", "not a readable"),
        (f"{tmp_path}/empty.npy", "not a readable"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_latent(source, 5)
    with pytest.raises(CheckpointError, match="latents have 6 numbers"):
        read_latent(f"{file}#0", 6)


def test_describing_checkpoints_and_opening_galleries_leaves_torch_alone() -> None:
    root = Path(__file__).resolve().parents[1]
    code = (
        "import sys; from medfuncta_core.checkpoint import list_checkpoints, load_gallery;"
        "found = list_checkpoints('checkpoints'); load_gallery(f'assets/gallery/{found[0].path.name}.safetensors');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
