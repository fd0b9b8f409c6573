"""`promote`: a run's best weights become a checkpoint that says where its data comes from."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from medfuncta_core.checkpoint import load_checkpoint
from medfuncta_core.cli import app


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of two steps on 8x6 images."""
    arrays = {}
    for split, count in (("train", 5), ("val", 3), ("test", 2)):
        arrays[f"{split}_images"] = np.random.default_rng(0).integers(0, 256, (count, 8, 6), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count)[:, None] % 2
    np.savez(tmp_path / "mini.npz", **arrays)  # type: ignore[arg-type]
    settings = ["depth=4", "width=6", "latent_dim=3", "batch_size=2", "inner_steps=1", "validate_every=1", "fit.steps=2"]
    arguments = ["train", "--preset", "image-64-small", "--data", str(tmp_path / "mini.npz"), "--out", str(tmp_path / "run")]
    arguments += ["--shape", "8,6", "--steps", "2", "--device", "cpu", *(f"--set={setting}" for setting in settings)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return tmp_path / "run"


def test_promote_makes_a_checkpoint_of_the_best_weights(run: Path, tmp_path: Path) -> None:
    arguments = ["promote", str(run), "--out", str(tmp_path / "named"), "--licence", "CC BY 4.0", "--classes", "calm, busy"]
    arguments += ["--source", "Made by a test", "--normalisation", "quantile", "--limits", "0.01,0.99", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    best, promoted = load_checkpoint(run / "checkpoint" / "best"), load_checkpoint(tmp_path / "named")
    assert json.loads(result.stdout)["step"] == best.config.step
    for name, value in best.field.state_dict().items():
        assert torch.equal(promoted.field.state_dict()[name], value)
    config = promoted.config
    assert (config.name, config.licence, config.metrics) == ("named", "CC BY 4.0", ())
    assert config.data is not None
    assert (config.data.source, config.data.file, config.data.class_names) == ("Made by a test", "mini.npz", ("calm", "busy"))
    assert config.signal is not None
    assert (config.signal.normalisation, config.signal.limits) == ("quantile", (0.01, 0.99))
    assert "--data mini.npz" in (tmp_path / "named" / "CARD.md").read_text()


def test_promote_stores_half_as_much_when_asked(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["promote", str(run), "--out", str(tmp_path / "half"), "--half"])
    assert result.exit_code == 0, result.output
    best, promoted = load_checkpoint(run / "checkpoint" / "best"), load_checkpoint(tmp_path / "half")
    assert promoted.config.modulation_dtype == "float16"
    stored, trained = (checkpoint.field.state_dict()["shift_weight"] for checkpoint in (promoted, best))
    assert torch.equal(stored, trained.half().float())


def test_promote_refuses_what_is_no_run_and_limits_that_are_no_numbers(run: Path, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["promote", str(tmp_path), "--out", str(tmp_path / "x")]).exit_code == 1
    assert CliRunner().invoke(app, ["promote", str(run), "--out", str(tmp_path / "x"), "--limits", "low"]).exit_code == 2
    wrong = CliRunner().invoke(app, ["promote", str(run), "--out", str(tmp_path / "x"), "--limits", "0,1"])
    assert wrong.exit_code == 1
    assert "limits" in wrong.stderr
    assert not (tmp_path / "x").exists()
