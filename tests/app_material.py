"""What the app's tests run on: tiny checkpoints that were really trained, a gallery, and files as a visitor has them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from medfuncta_core.checkpoint import Checkpoint, Gallery, load_checkpoint, save_checkpoint, save_gallery
from medfuncta_core.checkpoint.files import freeze
from medfuncta_core.config import CheckpointConfig, FieldConfig, FitConfig, MetaConfig
from medfuncta_core.fitting import Fitter
from medfuncta_core.learning import TrainingRun, learned_field, train
from medfuncta_core.mednf import encode
from medfuncta_core.signals import DataSet, load_data_set

SHAPES = {"tiny-ecg": (16,), "tiny-picture": (18, 14), "tiny-volume": (4, 5, 6)}


def make_app_material(folder: Path, names: Iterable[str] = SHAPES) -> dict[str, str]:
    """Checkpoints, of every kind if not told otherwise, and a gallery of pictures; the environment that shows them to the app."""
    for name in names:
        _train(folder, name, SHAPES[name])
    return {"MEDFUNCTA_CHECKPOINTS": str(folder / "checkpoints"), "MEDFUNCTA_GALLERY": str(folder / "gallery")}


def make_set(folder: Path, name: str) -> dict[str, str]:
    """A set of all the signals that a tiny checkpoint was made with; the environment variable that shows it to the app."""
    for _ in encode(folder / "checkpoints" / name, folder / f"{name}.npz", folder / "sets" / f"{name}-set", device="cpu"):
        pass
    return {"MEDFUNCTA_SETS": str(folder / "sets")}


def _train(folder: Path, name: str, shape: tuple[int, ...]) -> None:
    """A few dozen outer steps on smooth blobs: enough that a fit improves with every step it takes."""
    file = folder / f"{name}.npz"
    np.savez(file, allow_pickle=False, **_blobs(shape))
    training, validation = load_data_set(file, "train"), load_data_set(file, "val")
    field = FieldConfig(coord_dim=len(shape), depth=4, width=24, latent_dim=16, omega_first=4, omega_last=10, residual=True)
    fit = FitConfig(steps=20, inner_lr=0.5)
    meta = MetaConfig(
        steps=90, batch_size=6, inner_steps=3, inner_lr=0.5, outer_lr=2e-3, warmup_steps=4, validate_every=90, validate_signals=6
    )
    run = TrainingRun(field, meta, fit, training, validation, folder / f"{name}-run", "cpu")
    for _ in train(run):
        pass
    learned, _ = learned_field(run)
    config = CheckpointConfig(name=name, field=field, signal=training.spec(), fit=fit, step=meta.steps, licence="MIT")
    save_checkpoint(folder / "checkpoints" / name, learned, config)
    if name == "tiny-picture":
        _save_gallery(folder, name, Checkpoint(freeze(learned), config), validation)


def copy_checkpoint(source: Path, target: Path, fit: FitConfig | None = None) -> None:
    """The same checkpoint once more, under the target's name, possibly with other fit settings."""
    checkpoint = load_checkpoint(source)
    change = {"name": target.name, "fit": fit or checkpoint.config.fit}
    save_checkpoint(target, checkpoint.field, checkpoint.config.model_copy(update=change))


def _save_gallery(folder: Path, name: str, checkpoint: Checkpoint, signals: DataSet) -> None:
    rows = np.arange(6)
    batch = Fitter(checkpoint, device="cpu").fit_batch(signals.batch(rows))
    gallery = Gallery(
        checkpoint=name,
        latents=batch.latents.numpy(),
        labels=rows % 2,
        psnr=batch.psnr.numpy(),
        ids=tuple(f"test/{row}" for row in rows),
        class_names=("left blob", "right blob"),
        shape=signals.shape,
        data="blobs",
    )
    (folder / "gallery").mkdir(exist_ok=True)
    save_gallery(folder / "gallery" / f"{name}.safetensors", gallery)


def _blobs(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(0, 1, points) for points in shape), indexing="ij")
    arrays: dict[str, np.ndarray] = {}
    for split, count in (("train", 40), ("val", 8), ("test", 8)):
        centres = rng.uniform(0.2, 0.8, (count, len(shape)))
        distance = [sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)) for centre in centres]
        arrays[f"{split}_images"] = np.stack([np.exp(-d / 0.06) for d in distance]).astype(np.float32)
        arrays[f"{split}_labels"] = (centres[:, -1] > 0.5).astype(np.uint8)
    return arrays


def picture_png(bright: bool = True) -> bytes:
    """A grey PNG of 60 by 44 pixels, `bright` or dark, so that two visitors' pictures cannot be taken for one another."""
    rows, columns = np.mgrid[0:44, 0:60] / 60
    wave = 0.5 + 0.4 * np.sin(5 * rows + 4 * columns)
    pixels = np.rint(255 * (0.5 + 0.5 * wave if bright else 0.4 * wave)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def beats_csv() -> bytes:
    """Three beats of 16 samples, one a row."""
    time = np.linspace(0, 1, 16)
    beats = [np.exp(-(((time - peak) / 0.15) ** 2)) for peak in (0.3, 0.5, 0.7)]
    return "\n".join(",".join(f"{value:.5f}" for value in beat) for beat in beats).encode()


def volume_nifti(folder: Path) -> bytes:
    """A NIfTI volume of 7 by 8 by 9 voxels of 1, 1.5 and 2 millimetres."""
    i, j, k = np.mgrid[0:7, 0:8, 0:9].astype(np.float32)
    file = folder / "volume.nii.gz"
    nib.save(
        nib.Nifti1Image(100 * np.exp(-((i - 3) ** 2 + (j - 4) ** 2 + (k - 4) ** 2) / 8), np.diag([1.0, 1.5, 2.0, 1.0])), file
    )
    return file.read_bytes()
