"""Encoding: every signal once, qualities of what is stored, and the same files whatever was killed on the way."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from mednf_material import COUNTS, make_checkpoint, make_data

from medfuncta_core import metrics
from medfuncta_core.checkpoint import load_checkpoint
from medfuncta_core.errors import CheckpointError, DataSetError, SetError, SignalError
from medfuncta_core.fitting import Fitter
from medfuncta_core.mednf import EncodeRequest, encode, open_set
from medfuncta_core.mednf import encoding as encoding_module
from medfuncta_core.signals import load_data_set

REQUEST = EncodeRequest(rows_per_shard=6, batch_size=4)
N = sum(COUNTS.values())


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("material")
    return make_checkpoint(folder / "tiny"), make_data(folder / "noise.npz")


def run(material: tuple[Path, Path], out: Path, request: EncodeRequest = REQUEST, resume: bool = False) -> Path:
    for _ in encode(*material, out, request, resume=resume, device="cpu"):
        pass
    return out


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, however deep and hidden."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def undisturbed(material: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return contents(run(material, tmp_path_factory.mktemp("undisturbed") / "noise"))


def test_encode_stores_every_signal_once(material: tuple[Path, Path], tmp_path: Path) -> None:
    opened = open_set(run(material, tmp_path / "noise"))
    assert len(opened) == N
    assert opened.info.shards == 4
    assert opened.column("id").tolist() == [f"{split}/{row}" for split, count in COUNTS.items() for row in range(count)]
    assert opened.labels.tolist() == [row % 3 for count in COUNTS.values() for row in range(count)]
    assert opened.describe(14)["source"] == "noise.npz#val/1"
    patients = np.concatenate([np.load(material[1])[f"{split}_patient"] for split in COUNTS])
    np.testing.assert_array_equal(opened.column("patient"), patients)
    assert sorted(file.name for file in opened.path.iterdir()) == [
        "README.md",
        *(f"latents-0000{n}-of-00004.safetensors" for n in range(4)),
        "metadata.parquet",
        "model",
    ]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_stated_qualities_are_those_of_the_stored_latents(material: tuple[Path, Path], tmp_path: Path, dtype: str) -> None:
    opened = open_set(run(material, tmp_path / "noise", EncodeRequest.model_validate({"dtype": dtype, "batch_size": 4})))
    fitter = Fitter(load_checkpoint(opened.checkpoint_path), device="cpu")
    val = load_data_set(material[1], "val")
    for row, index in ((13, 0), (15, 2)):
        decoded = fitter.decode(opened.latent(row), (8, 6))
        prediction, truth = (as_batch(values) for values in (decoded, val.batch([index])[0]))
        assert opened.column("psnr")[row] == pytest.approx(float(metrics.psnr(prediction, truth)), abs=1e-4)
        assert opened.column("ssim")[row] == pytest.approx(float(metrics.ssim(prediction, truth)), abs=1e-5)
    alone = fitter.fit(val.signal(2)).latent
    np.testing.assert_allclose(opened.latent(15), alone, atol=2e-3 if dtype == "float16" else 1e-5)


def as_batch(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values)[None]


class Killed(BaseException):
    """Stands for a process that is gone: nothing of the library catches it."""


def crashing_replace(fatal: int) -> Callable[[Path, Path], Path]:
    """`Path.replace` that dies at its `fatal`-th call: after it when that is odd, else before, leaving a temporary file."""
    replace, calls = Path.replace, itertools.count(1)

    def crash(self: Path, target: Path) -> Path:
        if next(calls) != fatal:
            return replace(self, target)
        if fatal % 2:
            replace(self, target)
        else:
            (target.parent / f".{target.name}.half.tmp").write_bytes(b"half")
        raise Killed

    return crash


def test_encode_survives_a_kill_at_every_write(
    material: tuple[Path, Path], undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th file is the last one written before the crash; for every n."""
    fatal = 0
    while True:
        fatal += 1
        out = tmp_path / str(fatal) / "noise"
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", crashing_replace(fatal))
            try:
                run(material, out)
            except Killed:
                pass
            else:
                break
        run(material, out, resume=True)
        assert contents(out) == undisturbed, fatal
    assert fatal > N // 4 + 4


def test_encode_killed_five_times_equals_the_undisturbed(
    material: tuple[Path, Path], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Processes that get SIGKILL while they fit and write; the last one finishes."""
    out = tmp_path / "noise"
    driver = f"""
import os, random, signal, sys, time
sys.path[:0] = [{str(ROOT)!r}]
import torch
from medfuncta_core.mednf import EncodeRequest, encode
from medfuncta_core.mednf import encoding
torch.set_num_threads(1)
moments = random.Random(1)
for life in range(6):
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        request = EncodeRequest(rows_per_shard=6, batch_size=4)
        for step in encode({str(material[0])!r}, {str(material[1])!r}, {str(out)!r}, request, resume=life > 0, device="cpu"):
            os.write(told, b".")
            time.sleep(0.005)
        os._exit(0)
    os.close(told)
    if life < 5:
        os.read(heard, 1), os.read(heard, 1)
        time.sleep(moments.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", driver], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.split() == ["9"] * 5 + ["0"], done.stderr
    assert contents(out) == undisturbed


def test_resume_of_a_finished_set_changes_nothing(
    material: tuple[Path, Path], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = run(material, tmp_path / "noise")
    (step,) = encode(*material, out, REQUEST, resume=True, device="cpu")
    assert step.done == step.total == N
    assert contents(out) == undisturbed


def test_encode_refuses_what_would_mix_sets(material: tuple[Path, Path], tmp_path: Path) -> None:
    out = run(material, tmp_path / "noise")
    with pytest.raises(SetError, match="already holds a set; go on with --resume"):
        run(material, out)
    other = make_data(tmp_path / "other.npz", classes=2)
    with pytest.raises(SetError, match="holds a finished set of other data"):
        run((material[0], other), out, resume=True)
    begun = tmp_path / "begun" / "noise"
    for step in encode(*material, begun, REQUEST, device="cpu"):
        if step.done:
            break
    with pytest.raises(SetError, match="already holds a set"):
        run(material, begun)
    with pytest.raises(SetError, match="was begun with other data"):
        run((material[0], other), begun, resume=True)
    with pytest.raises(SetError, match="was begun with dtype float16, not float32"):
        run(material, begun, EncodeRequest(dtype="float32"), resume=True)


def test_damaged_shard_is_made_again_on_resume(
    material: tuple[Path, Path], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "noise"
    for step in encode(*material, out, REQUEST, device="cpu"):
        if step.shard == 2:
            break
    shard = out / "latents-00000-of-00004.safetensors"
    damaged = bytearray(shard.read_bytes())
    damaged[-3] ^= 1
    shard.write_bytes(damaged)
    run(material, out, resume=True)
    assert contents(out) == undisturbed


def test_samples_are_balanced_and_keep_their_numbers(material: tuple[Path, Path], tmp_path: Path) -> None:
    opened = open_set(run(material, tmp_path / "s", EncodeRequest(per_class=2, splits=("test", "train"))))
    assert opened.column("id").tolist() == [
        *("test/0", "test/1", "test/2", "test/3", "test/4"),
        *("train/0", "train/1", "train/2", "train/10", "train/11", "train/12"),
    ]
    assert opened.info.sample == "11 of 18 signals: up to 2 of each class and split, evenly spread over the file"
    limited = open_set(run(material, tmp_path / "t", EncodeRequest(limit=2)))
    assert limited.column("id").tolist() == ["train/0", "train/12", "val/0", "val/2", "test/0", "test/4"]


def test_data_of_another_kind_are_refused(material: tuple[Path, Path], tmp_path: Path) -> None:
    volume = make_checkpoint(tmp_path / "volume", (4, 5, 6))
    with pytest.raises((CheckpointError, DataSetError), match="checkpoint"):
        run((volume, material[1]), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_diverging_signal_is_named(material: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit_batch = Fitter.fit_batch
    bright = load_data_set(material[1], "train").batch([5])[0]

    def diverge(self: Fitter, values):
        if any(np.array_equal(value, bright) for value in np.asarray(values)):
            raise SignalError("a fit of the batch diverged")
        return fit_batch(self, values)

    monkeypatch.setattr(encoding_module.Fitter, "fit_batch", diverge)
    with pytest.raises(SignalError, match="noise: signal 5 of train: a fit of the batch diverged"):
        run(material, tmp_path / "s")


def test_two_processes_of_torchrun_make_the_same_set(
    material: tuple[Path, Path], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Real processes that meet over gloo, each with every other shard of one list, so that every signal is fitted once."""
    out, driver = tmp_path / "noise", tmp_path / "driver.py"
    driver.write_text(f"""
import os, sys
sys.path[:0] = [{str(ROOT)!r}]
from pathlib import Path
from medfuncta_core.mednf import EncodeRequest, encode
request = EncodeRequest(rows_per_shard=6, batch_size=4)
fitted = [step.done for step in encode({str(material[0])!r}, {str(material[1])!r}, {str(out)!r}, request, device="cpu")]
Path({str(tmp_path)!r}, os.environ["RANK"]).write_text(str(fitted))
""")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(driver)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["[0, 4, 6, 10, 12, 12]", "[0, 4, 6, 9, 9]"]
    assert contents(out) == undisturbed
