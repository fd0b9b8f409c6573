"""What is shipped: every checkpoint loads, states its numbers, keeps its promise, and has a gallery that decodes."""

import re
from pathlib import Path

import numpy as np
import pytest

from medfuncta_core.checkpoint import list_checkpoints, load_checkpoint, load_gallery, make_card
from medfuncta_core.config import CheckpointConfig, Metrics
from medfuncta_core.fitting import Fitter
from medfuncta_core.mednf import list_sets, open_set
from medfuncta_core.mednf.card import make_set_card
from medfuncta_core.mednf.verifying import verify_set
from medfuncta_core.signals import load_data_set

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {  # PSNR by gradient descent and by the checkpoint's own method (dB)
    "ecg": (39.5, 42.5),
    "chest-xray-64": (29.0, 32.5),
    "dermatoscope-64": (31.5, 34.0),
    "hippocampus-32": (21.0, 25.0),
    "lung-ct-32": (20.0, 23.0),
}
NAMES = sorted(FLOORS)
SETS = ("chest-xray-64", "dermatoscope-64", "ecg", "hippocampus-32")
MAX_SET_BYTES = 4 << 20
README = (ROOT / "README.md").read_text(encoding="utf-8")


def measured(config: CheckpointConfig, method: str) -> Metrics:
    """What a checkpoint says of its test split, fitted by a method."""
    (found,) = [metrics for metrics in config.metrics if (metrics.split, metrics.method) == ("test", method)]
    return found


def test_shipped_checkpoints_are_all_there() -> None:
    assert sorted(summary.config.name for summary in list_checkpoints(ROOT / "checkpoints")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_shipped_checkpoint_states_data_licence_and_metrics(name: str) -> None:
    config = load_checkpoint(ROOT / "checkpoints" / name).config
    assert config.licence
    assert config.data is not None
    assert config.data.sha256
    assert config.data.source
    plain, own = (measured(config, method) for method in ("gradient_descent", config.fit.method))
    assert plain.fit_steps == own.fit_steps == 20
    assert own.psnr >= plain.psnr > FLOORS[name][0]
    assert own.psnr > FLOORS[name][1]
    assert (ROOT / "checkpoints" / name / "CARD.md").read_text() == make_card(config)


def test_readme_shows_pictures_that_are_there_and_the_numbers_of_the_cards() -> None:
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / picture).is_file()
    for name in NAMES:
        config = load_checkpoint(ROOT / "checkpoints" / name).config
        plain, own = (measured(config, method) for method in ("gradient_descent", config.fit.method))
        (row,) = [line for line in README.splitlines() if line.startswith(f"| `{name}`")]
        assert f"| {own.n:,} | {plain.psnr:.2f} | {own.psnr:.2f} | {own.ssim:.3f} |" in row


@pytest.mark.parametrize("name", NAMES)
def test_shipped_gallery_decodes_to_fits_that_fit_again(name: str) -> None:
    checkpoint = load_checkpoint(ROOT / "checkpoints" / name)
    gallery = load_gallery(ROOT / "assets" / "gallery" / f"{name}.safetensors")
    assert gallery.checkpoint == name
    assert len(gallery) >= 24
    assert len(set(gallery.labels.tolist())) > 1
    assert all(gallery.class_name(row) for row in range(len(gallery)))
    fitter = Fitter(checkpoint, device="cpu")
    decoded = fitter.decode(gallery.latents[0], gallery.shape)
    again = fitter.fit_batch(decoded[None])
    assert float(again.psnr[0]) > float(gallery.psnr[0])  # a decoded latent lies within the field's reach, its signal did not


@pytest.mark.parametrize("name", NAMES)
def test_shipped_checkpoint_fits_real_signals_as_its_card_says(name: str, shared_data: Path) -> None:
    checkpoint = load_checkpoint(ROOT / "checkpoints" / name)
    assert checkpoint.config.data is not None
    assert checkpoint.config.signal is not None
    file, count = shared_data / checkpoint.config.data.file, 1 if len(checkpoint.config.signal.shape) == 3 else 4
    if file.exists():
        values = load_data_set(file, "test", limit=count).batch(slice(None))
    else:  # the gallery's signals stand in
        gallery = load_gallery(ROOT / "assets" / "gallery" / f"{name}.safetensors")
        values = np.stack([Fitter(checkpoint, device="cpu").decode(latent, gallery.shape) for latent in gallery.latents[:count]])
    test = measured(checkpoint.config, checkpoint.config.fit.method)
    found = float(Fitter(checkpoint, device="cpu").fit_batch(values).psnr.mean())
    assert found > test.psnr - 5


def test_shipped_sets_are_all_there_and_small() -> None:
    assert [found.path.name for found in list_sets(ROOT / "sets")] == list(SETS)
    for name in SETS:
        files = [file for file in (ROOT / "sets" / name).rglob("*") if file.is_file()]
        assert sum(file.stat().st_size for file in files) < MAX_SET_BYTES


@pytest.mark.parametrize("name", SETS)
def test_shipped_set_belongs_to_its_checkpoint_and_states_its_licence(name: str) -> None:
    opened = open_set(ROOT / "sets" / name)
    assert opened.name == opened.info.checkpoint == name
    assert opened.checkpoint_path == ROOT / "checkpoints" / name
    config = load_checkpoint(opened.checkpoint_path).config
    assert config.data is not None
    assert opened.info.licence == config.data.licence
    assert opened.class_names == config.data.class_names
    assert set(opened.labels.tolist()) == set(range(len(opened.class_names)))
    assert {"train", "val", "test"} == set(opened.column("split").tolist())
    columns = {column: opened.column(column) for column in opened.columns}
    assert (opened.path / "README.md").read_text() == make_set_card(opened.info, columns, has_model=False)


@pytest.mark.parametrize("name", SETS)
def test_shipped_set_is_sound_and_its_rows_decode_as_stated(name: str, shared_data: Path) -> None:
    file = shared_data / open_set(ROOT / "sets" / name).info.data.file
    *_, last = verify_set(ROOT / "sets" / name, file if file.exists() else None, sample=4, device="cpu")
    assert last.report.problems == []
    assert last.report.decoded == 4
    assert last.report.compared == (4 if file.exists() else 0)
