"""The speed benchmark on tiny sizes: both sides compute the same, and the report says what the issue of speed asks for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.counting import ProductCounter
from benchmarks.speed import main
from benchmarks.workloads import Workload, gradient_difference, prepare
from medfuncta_core.config import PRESETS

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


def test_speed_reports_both_sides_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--json", "--no-memory", "--repeats", "1", "--configs", "ecg-187", "--batch", "2", "--device", "cpu"])
    report = json.loads(capsys.readouterr().out)
    assert [run["task"] for run in report["runs"]] == ["meta-step", "fit"]
    for run in report["runs"]:
        assert run["ratio"] == pytest.approx(run["seconds"]["plain"] / run["seconds"]["ours"])
        assert 0 < run["share_of_ceiling"]["ours"]
    assert report["runs"][0]["gradient_difference_from_float64"] < 1e-5
    assert report["machine"]["date"]


def test_speed_counts_the_products_of_the_baseline() -> None:
    workload = Workload.of("ecg-187", 2, quick=True)
    with ProductCounter() as counter:
        prepare(workload, "fit", "plain", CPU)()
    field, points = workload.field, 2 * 12
    forward = 2 * points * (field.width + (field.depth - 2) * field.width**2 + field.width)
    modulations = 2 * 2 * field.modulated_layers * field.width * field.latent_dim
    backward = 2 * points * ((field.depth - 3) * field.width**2 + field.width)  # down to the first modulated layer
    steps = workload.fit_steps
    assert counter.flop == steps * (forward + backward + 2 * modulations) + forward + modulations


def test_speed_measures_memory_in_a_process_of_its_own() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "speed.py"), "--memory-of", "ours", "fit"]
    command += ["--quick", "--configs", "ecg-187", "--batch", "2", "--device", "cpu"]
    ours = torch.ones(2**28)  # 1 GiB that is not the child's
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert 100 < found["peak"] < ours.nbytes / 2**20
    assert 0 <= found["step"] < found["peak"]


def test_workload_shrinks_its_context_until_the_baseline_fits() -> None:
    whole = Workload.of("volume-32", 1)
    assert whole.within(10**12) == whole
    small = whole.within(2**32)
    assert small.plain_bytes() <= 2**32
    assert small.selection_ratio < PRESETS["volume-32"].meta.selection_ratio


@pytest.mark.parametrize("name", ["ecg-187", "image-64-small", "volume-32-small"])
def test_meta_gradient_in_float32_agrees_with_autograd_in_float64(name: str) -> None:
    workload = Workload(name, {1: (31,), 2: (7, 6), 3: (4, 5, 3)}[PRESETS[name].field.coord_dim], 2, 3, 1, 0.5)
    assert gradient_difference(workload, CPU) < 1e-5
