"""Decoding in runs is decoding at once, may be given up at any time, and stays within its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from medfuncta_core.config import FieldConfig
from medfuncta_core.decoding import assemble, decode_chunks
from medfuncta_core.errors import ConfigError
from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.fitting import Fitter
from medfuncta_core.grids import sampled_context


@pytest.fixture
def fitter(volume_config: FieldConfig) -> Fitter:
    torch.manual_seed(0)
    return Fitter(ModulatedSIREN(volume_config), device="cpu")


def test_decode_chunks_cover_the_grid_and_equal_decoding_at_once(fitter: Fitter) -> None:
    latent = np.linspace(-1, 1, 5, dtype=np.float32)
    chunks = list(decode_chunks(fitter, latent, (4, 5, 6), chunk_points=50))
    assert [(chunk.points.start, chunk.points.stop, chunk.total) for chunk in chunks] == [
        (0, 50, 120),
        (50, 100, 120),
        (100, 120, 120),
    ]
    np.testing.assert_allclose(assemble(iter(chunks), (4, 5, 6)), fitter.decode(latent, (4, 5, 6)), atol=1e-6)


def test_decode_chunks_compute_only_what_is_pulled(fitter: Fitter, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    decode_at = fitter.decode_at
    monkeypatch.setattr(fitter, "decode_at", lambda *a, **k: asked.append(1) or decode_at(*a, **k))
    chunks = decode_chunks(fitter, np.zeros(5, np.float32), (40, 50, 60), chunk_points=1000)
    next(chunks)
    next(chunks)
    del chunks
    assert len(asked) == 2


def test_decode_chunks_refuse_another_fields_shape(fitter: Fitter) -> None:
    with pytest.raises(ConfigError, match="3 axes"):
        next(decode_chunks(fitter, np.zeros(5, np.float32), (4, 5)))
    with pytest.raises(ConfigError, match="no part"):
        assemble(iter(()), (4, 5, 6))


def test_sampled_voxels_are_fitted_like_the_whole_grid(fitter: Fitter, volume_values: np.ndarray) -> None:
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (4, 5, 6)], indexing="ij"), -1).reshape(-1, 3)
    order = np.random.default_rng(0).permutation(120)
    context = sampled_context(places[order].astype(np.float32), volume_values.reshape(-1, 1)[order])
    from medfuncta_core.signals import Signal

    whole = fitter.fit(Signal(volume_values, "volume", "v"))
    np.testing.assert_allclose(fitter.fit(context).latent, whole.latent, atol=1e-5)


_MEASURE = """
import numpy as np, torch
from medfuncta_core.config import PRESETS
from medfuncta_core.decoding import decode_chunks
from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.fitting import Fitter
torch.set_num_threads(1)
peak = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
config = PRESETS["volume-32-small"].field
fitter = Fitter(ModulatedSIREN(config), device="cpu")
before = peak()
for chunk, _ in zip(decode_chunks(fitter, np.zeros(config.latent_dim, np.float32), (256, 256, 256)), range(1)):
    assert chunk.total == 256**3
print((peak() - before) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak memory")
def test_decoding_a_large_grid_takes_little_memory() -> None:
    done = subprocess.run([sys.executable, "-c", _MEASURE], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 400  # MiB, whatever the grid; the result of 256^3 itself is 64
