"""Several processes that train one field, started by torchrun as a user does: the same result, and a rank may be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from conftest import ROOT
from safetensors.torch import load_file
from typer.testing import CliRunner

from medfuncta_core.cli import app
from medfuncta_core.learning import Ranks
from medfuncta_core.learning.state import STATE_FILE, load_state
from medfuncta_core.runs import RunFolder, read_status

SETTINGS = (
    *("depth=4", "width=6", "latent_dim=5", "omega_first=3", "omega_last=9", "batch_size=5", "inner_steps=2", "outer_lr=1e-3"),
    *("validate_every=10", "validate_signals=5", "fit.steps=3", "meta.inner_lr=0.1", "meta.selection_ratio=0.5"),
)
PATIENT = 300.0  # seconds; a loaded machine is slow, not wrong


def command(data: Path, out: Path, steps: int) -> list[str]:
    script = str(ROOT / "tests" / "float64_ranks.py")
    base = [script, "train", "--preset", "image-64-small", "--data", str(data), "--out", str(out), "--shape", "8,6"]
    return [*base, "--device", "cpu", "--steps", str(steps), "--set", *SETTINGS]


def started(arguments: list[str], output: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with output.open("wb") as opened:
        return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, stdout=opened, stderr=opened)


def wait_for(folder: RunFolder, steps: int, child: subprocess.Popen[bytes]) -> None:
    """Until a state with so many steps is saved."""
    file, end = folder.checkpoint / STATE_FILE, time.monotonic() + PATIENT
    while not file.exists() or load_state(file).progress.step < steps:
        assert child.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)


def ranks_of(launcher: int) -> dict[int, int]:
    """Process numbers of torchrun's workers, by rank."""
    found = {}
    for children in Path(f"/proc/{launcher}/task").glob("*/children"):
        for pid in children.read_text().split():
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            found |= {int(entry[5:]): int(pid) for entry in variables if entry.startswith(b"RANK=")}
    return found


def test_two_ranks_one_of_them_killed_train_what_one_process_trains(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (18, 8, 6), dtype=np.uint8)
    data = tmp_path / "mini.npz"
    np.savez(data, allow_pickle=False, train_images=values[:13], val_images=values[13:])
    one, two = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "two")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1", "--monitor-interval=0.2"]
    steps = 60
    group = started([*launcher, *command(data, two.path, steps)], tmp_path / "two.txt")
    wait_for(two, 20, group)
    os.kill(ranks_of(group.pid)[1], signal.SIGKILL)  # torchrun ends the other one too and starts both again
    torch.set_default_dtype(torch.float64)
    try:
        alone = CliRunner().invoke(app, command(data, one.path, steps)[1:])
    finally:
        torch.set_default_dtype(torch.float32)
    assert alone.exit_code == 0, alone.output
    assert group.wait(PATIENT) == 0, (tmp_path / "two.txt").read_text()
    assert read_status(two).state == read_status(one).state == "finished"
    log = (two.path / "log.txt").read_text()
    assert "resumed at step" in log, log
    left, right = (load_state(folder.checkpoint / STATE_FILE).tensors for folder in (one, two))
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert value.dtype == torch.float64 or name.startswith("adam.step")
        assert torch.allclose(value, right[name], rtol=1e-6, atol=1e-9), name
    weights = [load_file(folder.checkpoint / "best" / "model.safetensors") for folder in (one, two)]
    assert all(torch.allclose(value, weights[1][name], rtol=1e-6, atol=1e-9) for name, value in weights[0].items())
    told = [
        {line["step"]: line for line in map(json.loads, folder.metrics.read_text().splitlines()) if line["event"] == "step"}
        for folder in (one, two)
    ]
    assert list(told[0]) == list(told[1]) == list(range(1, steps + 1))
    for step, line in told[0].items():
        assert np.isclose(line["loss"], told[1][step]["loss"], rtol=1e-6)


def test_ranks_share_a_batch_whole_and_evenly() -> None:
    for world in (1, 2, 3, 5):
        shares = [Ranks(rank, world).share(5) for rank in range(world)]
        assert [row for share in shares for row in range(5)[share]] == list(range(5))
        assert max(len(range(5)[share]) for share in shares) - min(len(range(5)[share]) for share in shares) <= 1
