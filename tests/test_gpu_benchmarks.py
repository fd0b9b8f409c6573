"""What runs the measurements on a GPU, tried without one: every command is there, and the harness trains in each precision."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.precision import main
from medfuncta_core.kernels.precision import PRECISIONS

ROOT = Path(__file__).resolve().parents[1]


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(["bash", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [("gpu.sh", "out"), ("train_gpu.sh", "volume-32", "data")])
def test_scripts_say_that_there_is_no_gpu(arguments: tuple[str, ...], tmp_path: Path) -> None:
    name, *rest = arguments
    done = script(f"benchmarks/{name}", *(str(tmp_path / part) if part in ("out", "data") else part for part in rest))
    assert done.returncode == 3
    assert "no GPU that torch can use" in done.stderr
    assert not list(tmp_path.iterdir())


def test_gpu_script_lists_all_measurements_within_ten_minutes_each(tmp_path: Path) -> None:
    (tmp_path / "nihcxr_64.npz").touch()
    done = script("benchmarks/gpu.sh", "--dry-run", str(tmp_path / "out"), str(tmp_path))
    assert done.returncode == 0
    steps = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert {"tests", "speed-image-64", "speed-ecg-187", "speed-volume-32", "memory-image-224", "precision"} <= steps.keys()
    assert "--batch 4 --selection-ratio 1.0" in steps["memory-image-224"]


def test_training_script_refuses_unknown_names() -> None:
    assert script("benchmarks/train_gpu.sh", "nothing", "data").returncode == 3  # without a GPU this is said first
    done = subprocess.run(
        ["bash", "benchmarks/train_gpu.sh", "nothing", "data"],
        cwd=ROOT, env=os.environ | {"DEVICE": "cpu"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no flagship named nothing" in done.stderr


def test_precision_trains_every_precision_from_one_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    splits = {f"{split}_{kind}": images if kind == "images" else np.zeros((6, 1), np.int64)
              for split in ("train", "val", "test") for kind in ("images", "labels")}  # fmt: skip
    np.savez(tmp_path / "noise.npz", allow_pickle=False, **splits)
    settings = ["depth=3", "width=8", "latent_dim=4", "omega_last=40", "meta.batch_size=2", "meta.validate_signals=2"]
    settings += ["meta.inner_steps=2", "fit.steps=2", "meta.outer_lr=1e-3"]
    before = torch.get_num_threads()
    main(["--data", str(tmp_path / "noise.npz"), "--steps", "3", "--device", "cpu", "--json", "--set", *settings])
    assert torch.get_num_threads() == before
    report = json.loads(capsys.readouterr().out)
    assert [run["precision"] for run in report["runs"]] == list(PRECISIONS)
    exact, split, tf32, half = (run["training_loss"][0] for run in report["runs"])
    assert exact == pytest.approx(split, rel=1e-5)
    assert exact != tf32
    assert exact != half
    assert report["runs"][0]["loss_against_float32_db"] == 0
