"""Fixtures that every test file may use: small signals of awkward shapes, fields of a few hundred parameters, real data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from medfuncta_core.config import FieldConfig
from medfuncta_core.signals.signal import Signal

ROOT = Path(__file__).resolve().parents[1]

# Without a GPU, kernels run in Triton's interpreter, which must be known before anything imports Triton.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

torch.set_num_threads(1)  # the workers are the parallelism; also keeps sums in the same order everywhere


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Where real signals lie on a developer's machine, beside the repository; the folder need not exist."""
    return ROOT.parent / "shared" / "data"


@pytest.fixture
def ecg_values() -> np.ndarray:
    """A 16-sample beat, `(16, 1)` float32 in [0, 1]: a slow wave and one sharp peak."""
    time = np.linspace(0, 1, 16, dtype=np.float32)
    beat = 0.3 + 0.1 * np.sin(2 * np.pi * time) + 0.6 * np.exp(-(((time - 0.4) / 0.05) ** 2))
    return beat[:, None].astype(np.float32)


@pytest.fixture
def image_values() -> np.ndarray:
    """A grey picture of 8 rows and 6 columns, `(8, 6, 1)` float32 in [0, 1], alike in no two directions."""
    rows, columns = np.mgrid[0:8, 0:6].astype(np.float32)
    return (0.5 + 0.5 * np.sin(0.9 * rows + 0.1 * rows * columns))[..., None].astype(np.float32)


@pytest.fixture
def volume_values() -> np.ndarray:
    """A volume of 4, 5 and 6 points, `(4, 5, 6, 1)` float32 in [0, 1], alike in no two directions."""
    i, j, k = np.mgrid[0:4, 0:5, 0:6].astype(np.float32)
    return (0.5 + 0.5 * np.cos(0.7 * i - 0.3 * j + 0.2 * k * k))[..., None].astype(np.float32)


@pytest.fixture
def ecg_signal(ecg_values: np.ndarray) -> Signal:
    """The 16-sample beat as read from a file at 125 samples per second."""
    return Signal(ecg_values, kind="ecg", name="beat.csv", spacing=(0.008,), spacing_unit="s", original_shape=(16,))


@pytest.fixture
def image_signal(image_values: np.ndarray) -> Signal:
    """The 8x6 picture as read from an 8-bit file."""
    return Signal(image_values, kind="image", name="picture.png", value_range=(0.0, 255.0), original_shape=(8, 6))


@pytest.fixture
def volume_signal(volume_values: np.ndarray) -> Signal:
    """The 4x5x6 volume as read from a file with voxels of 1, 1.5 and 2 millimetres."""
    return Signal(
        volume_values,
        kind="volume",
        name="volume.nii.gz",
        spacing=(1.0, 1.5, 2.0),
        spacing_unit="mm",
        affine=np.diag([1.0, 1.5, 2.0, 1.0]),
        original_shape=(4, 5, 6),
    )


def tiny_field_config(coord_dim: int, channels: int = 1) -> FieldConfig:
    """A field of a few hundred parameters: four layers, two of them modulated, every size different."""
    return FieldConfig(coord_dim=coord_dim, channels=channels, depth=4, width=7, latent_dim=5, omega_first=3.0, omega_last=6.0)


@pytest.fixture
def ecg_config() -> FieldConfig:
    """A tiny field over one axis."""
    return tiny_field_config(1)


@pytest.fixture
def image_config() -> FieldConfig:
    """A tiny field over two axes."""
    return tiny_field_config(2)


@pytest.fixture
def volume_config() -> FieldConfig:
    """A tiny field over three axes."""
    return tiny_field_config(3)
