"""The command line: what it prints, what it writes, and how it fails."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, tiny_field_config
from PIL import Image
from published_files import PublishedCase, expected_values, save_datapoint, save_module, save_state
from typer.testing import CliRunner, Result

from medfuncta_core import metrics
from medfuncta_core.checkpoint import load_checkpoint, load_gallery, make_card, save_checkpoint
from medfuncta_core.checkpoint.cards import SHIPPED
from medfuncta_core.cli import app
from medfuncta_core.config import PRESETS, CheckpointConfig, DataSetInfo, FieldConfig, MetaConfig, SignalSpec
from medfuncta_core.errors import ConfigError
from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.fitting import Fitter
from medfuncta_core.mednf.choosing import choose_batch_size, choose_rows
from medfuncta_core.runs.settings import apply_settings

KEYS = {"mse", "psnr", "ssim", "lpips", "n", "fit_steps", "seconds", "device", "checkpoint", "data", "split"}


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _json(*arguments: object) -> dict[str, Any]:
    """Stdout of a command that succeeds, as strict JSON."""
    result = _run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def _error(*arguments: object) -> str:
    """The one line a MedFunctaError leaves on stderr."""
    result = _run(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    return result.stderr


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An untrained tiny field of 8x6 grey images."""
    field = ModulatedSIREN(tiny_field_config(2), generator=torch.Generator().manual_seed(0))
    config = CheckpointConfig(name="tiny", field=field.config, signal=SignalSpec(kind="image", shape=(8, 6)))
    return save_checkpoint(tmp_path / "tiny", field, config)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Eleven, four and seven 8x6 images of three classes, as bytes, in MedMNIST's layout."""
    rows = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for split, count in (("train", 11), ("val", 4), ("test", 7)):
        arrays[f"{split}_images"] = rows.integers(0, 256, (count, 8, 6), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count)[:, None] % 3
    np.savez(tmp_path / "mini.npz", **arrays)  # type: ignore[arg-type]
    return tmp_path / "mini.npz"


def test_presets_lists_every_preset_with_its_size() -> None:
    report = _json("presets")
    assert set(report) == set(PRESETS)
    assert report["image-64"]["parameters"] == 7_675_393
    assert report["image-64"]["field"]["depth"] == 15
    lines = _run("presets").stdout.splitlines()
    assert len(lines) == len(PRESETS) + 1
    assert any(line.startswith("image-64 ") and "7,675,393" in line for line in lines)


@pytest.mark.parametrize("arguments", [["--help"], ["presets"]], ids=" ".join)
def test_command_line_leaves_torch_alone_where_it_needs_none(arguments: list[str]) -> None:
    program = (
        "import sys; from medfuncta_core.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_command_line_runs_as_a_module(checkpoint: Path, archive: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "medfuncta_core",
        "evaluate",
        str(checkpoint),
        "--data",
        str(archive),
        "--limit",
        "2",
        "--json",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == KEYS
    assert done.stdout.count("\n") == 1
    failed = subprocess.run(
        [*command[:4], "nowhere", *command[5:]], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: nowhere: no such checkpoint")
    assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["unknown"],
        ["evaluate"],
        ["evaluate", "checkpoint", "--data", "x", "--split", "all"],
        ["evaluate", "checkpoint", "--data", "x", "--limit", "0"],
        ["evaluate", "checkpoint", "--data", "x", "--fit-steps", "many"],
        ["decode", "checkpoint", "latent.npy", "--shape", "8,six", "--out", "x.png"],
        ["decode", "checkpoint", "latent.npy", "--shape", "8,0", "--out", "x.png"],
        ["fit", "checkpoint", "file", "--device", "abacus"],
        ["train", "--out", "run"],
        ["train", "--out", "run", "--preset", "none", "--data", "x"],
        ["train", "--out", "run", "--resume", "--set", "batch_size=2"],
        ["import-official", "model.pt"],
    ],
    ids=" ".join,
)
def test_command_line_users_mistake_exits_2(arguments: list[str]) -> None:
    result = _run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_evaluate_averages_over_the_first_signals_of_the_split(checkpoint: Path, archive: Path) -> None:
    report = _json(
        "evaluate", checkpoint, "--data", archive, "--limit", 5, "--fit-steps", 3, "--batch-size", 2, "--device", "cpu"
    )
    assert set(report) == KEYS
    values = np.load(archive)["test_images"][:5, ..., None].astype(np.float32) / 255
    loaded = load_checkpoint(checkpoint)
    fitter = Fitter(loaded, loaded.config.fit.model_copy(update={"steps": 3}), device="cpu")
    fits = [fitter.fit_batch(value[None]) for value in values]
    for name in ("mse", "psnr", "ssim"):
        assert report[name] == pytest.approx(np.mean([float(getattr(fit, name)) for fit in fits]), rel=1e-5)
    assert (report["n"], report["fit_steps"], report["split"], report["device"]) == (5, 3, "test", "cpu")
    assert report["lpips"] is None  # 8x6 is too small for it


def test_evaluate_counts_a_perfect_reconstruction_as_100_db(tmp_path: Path) -> None:
    field = ModulatedSIREN(tiny_field_config(2))
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.zero_()
    config = CheckpointConfig(name="zero", field=field.config, signal=SignalSpec(kind="image", shape=(8, 6)))
    directory = save_checkpoint(tmp_path / "zero", field, config)
    np.savez(tmp_path / "black.npz", test_images=np.zeros((2, 8, 6), np.uint8))
    report = _json("evaluate", directory, "--data", tmp_path / "black.npz")
    assert (report["mse"], report["psnr"]) == (0.0, 100.0)
    Image.fromarray(np.zeros((8, 6), np.uint8)).save(tmp_path / "black.png")
    assert _json("fit", directory, tmp_path / "black.png")["psnr"] is None  # of one signal, infinite is the truth
    grey = np.full((2, 8, 6), 51, np.uint8)
    grey[1] = 0
    np.savez(tmp_path / "half.npz", test_images=grey)
    expected = (100 - 20 * np.log10(0.2)) / 2
    assert _json("evaluate", directory, "--data", tmp_path / "half.npz", "--update-card")["psnr"] == pytest.approx(expected)
    out = tmp_path / "g.safetensors"
    assert _json("gallery", directory, "--data", tmp_path / "half.npz", "--out", out)["psnr"] == pytest.approx(expected)


def test_evaluate_update_card_keeps_a_row_for_every_method(checkpoint: Path, archive: Path) -> None:
    for method in ("gradient_descent", "gauss_newton", "gradient_descent"):
        _json("evaluate", checkpoint, "--data", archive, "--limit", 4, "--fit-steps", 6, "--method", method, "--update-card")
    first, second = load_checkpoint(checkpoint).config.metrics
    assert (first.method, second.method) == ("gauss_newton", "gradient_descent")
    assert first.psnr > second.psnr
    assert "--fit-steps 6 --method gauss_newton --json" in (checkpoint / "CARD.md").read_text()


def test_evaluate_update_card_has_a_row_and_a_command_for_every_split(checkpoint: Path, archive: Path) -> None:
    for split in ("train", "val", "test"):
        printed = _json("evaluate", checkpoint, "--data", archive, "--split", split, "--fit-steps", 2, "--update-card")
        stored = load_checkpoint(checkpoint).config.metrics[-1]
        assert (stored.split, stored.psnr, stored.n, stored.spread) == (split, printed["psnr"], printed["n"], False)
    card = (checkpoint / "CARD.md").read_text()
    rows = [line.split("|")[1].strip() for line in card.splitlines() if line.startswith("| t") or line.startswith("| v")]
    assert rows == ["test", "val", "train"]
    assert [f"--split {split} " in card for split in rows] == [True] * 3


def test_evaluate_update_card_states_what_it_prints(checkpoint: Path, archive: Path) -> None:
    report = _json("evaluate", checkpoint, "--data", archive, "--limit", 4, "--fit-steps", 2, "--update-card")
    (stored,) = load_checkpoint(checkpoint).config.metrics
    assert (stored.split, stored.n, stored.fit_steps) == ("test", 4, 2)
    assert (stored.psnr, stored.mse, stored.ssim) == (report["psnr"], report["mse"], report["ssim"])
    assert f"| test | 4 | 2 | gradient descent | {report['psnr']:.2f} |" in (checkpoint / "CARD.md").read_text()
    assert "--split test --limit 4 --fit-steps 2 --method gradient_descent --json" in (checkpoint / "CARD.md").read_text()


def test_evaluate_prints_lines_without_json(checkpoint: Path, archive: Path) -> None:
    result = _run("evaluate", checkpoint, "--data", archive, "--limit", 1)
    assert result.exit_code == 0
    assert "PSNR" in result.stdout
    assert "1 signal(s), 20 fit steps" in result.stdout


def test_evaluate_refuses_what_cannot_be_evaluated(checkpoint: Path, archive: Path, tmp_path: Path) -> None:
    assert "neither a path nor a MedMNIST name" in _error("evaluate", checkpoint, "--data", tmp_path / "nothing")
    field = ModulatedSIREN(tiny_field_config(1))
    other = save_checkpoint(tmp_path / "any", field, CheckpointConfig(name="any", field=field.config))
    assert "choose a checkpoint of its kind" in _error("evaluate", other, "--data", archive)
    (checkpoint / "model.safetensors").write_bytes(b"cut")
    assert "truncated" in _error("evaluate", checkpoint, "--data", archive)


def test_choose_batch_size_bounds_memory() -> None:
    ecg, image, volume = (PRESETS[name] for name in ("ecg-187", "image-224", "volume-32"))
    assert choose_batch_size(ecg.field, ecg.shape) > 64
    assert choose_batch_size(image.field, image.shape) == 1
    assert choose_batch_size(volume.field, volume.shape) == 1


def test_choose_rows_takes_every_class_evenly() -> None:
    labels = np.array([0] * 10 + [2] * 2 + [1] * 5)
    assert choose_rows(labels, 17, 3).tolist() == [0, 12, 10, 4, 14, 11, 9, 16]
    assert choose_rows(None, 5, 3).tolist() == [0, 2, 4]


def test_gallery_holds_fits_of_every_class(checkpoint: Path, archive: Path, tmp_path: Path) -> None:
    file = tmp_path / "gallery" / "tiny.safetensors"
    report = _json("gallery", checkpoint, "--data", archive, "--out", file, "--per-class", 2, "--fit-steps", 4)
    gallery = load_gallery(file)
    assert (report["n"], len(gallery)) == (6, 6)
    assert gallery.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert gallery.ids == ("test/0", "test/1", "test/2", "test/6", "test/4", "test/5")
    assert (gallery.checkpoint, gallery.data, gallery.shape, gallery.fit_steps) == ("tiny", "mini", (8, 6), 4)
    decoded = torch.from_numpy(Fitter(load_checkpoint(checkpoint), device="cpu").decode(gallery.latents[4], (8, 6)))
    target = torch.from_numpy(np.load(archive)["test_images"][4, ..., None] / np.float32(255))
    assert float(metrics.psnr(decoded[None], target[None])) == pytest.approx(float(gallery.psnr[4]), abs=1e-3)
    assert report["psnr"] == pytest.approx(float(gallery.psnr.mean()))


def test_fit_writes_latent_reconstruction_and_report(checkpoint: Path, tmp_path: Path, image_values: np.ndarray) -> None:
    Image.fromarray((image_values[..., 0] * 255).round().astype(np.uint8)).save(tmp_path / "in.png")
    report = _json("fit", checkpoint, tmp_path / "in.png", "--out", tmp_path / "out", "--fit-steps", 5)
    assert set(report) == KEYS | {"shape", "latent_dim", "notes", "warnings", "files"}
    assert (report["n"], report["split"], report["fit_steps"], report["shape"]) == (1, None, 5, [8, 6])
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["summary"] == report
    assert [step["step"] for step in written["history"]] == list(range(6))
    assert np.load(tmp_path / "out" / "latent.npy").shape == (5,)
    with Image.open(tmp_path / "out" / "reconstruction.png") as picture:
        assert picture.size == (6, 8)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["history.csv", "latent.npy", "reconstruction.png", "report.json"]


def test_fit_names_a_broken_file(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert "in.png" in _error("fit", checkpoint, tmp_path / "in.png")
    assert "nowhere.png" in _error("fit", checkpoint, tmp_path / "nowhere.png")


def test_decode_takes_a_latent_at_any_shape(checkpoint: Path, archive: Path, tmp_path: Path) -> None:
    _json("gallery", checkpoint, "--data", archive, "--out", tmp_path / "g.safetensors", "--per-class", 1)
    latents = load_gallery(tmp_path / "g.safetensors").latents
    np.save(tmp_path / "latent.npy", latents[1])
    expected = Fitter(load_checkpoint(checkpoint), device="cpu").decode(latents[1], (13, 7))
    for number, source in enumerate((tmp_path / "latent.npy", f"{tmp_path / 'g.safetensors'}#1")):
        out = tmp_path / f"{number}.npy"
        report = _json("decode", checkpoint, source, "--shape", "13,7", "--out", out, "--device", "cpu")
        assert report["shape"] == [13, 7]
        assert np.load(out).reshape(13, 7, 1) == pytest.approx(expected, abs=1e-6)
    assert "no row 9" in _error(
        "decode", checkpoint, f"{tmp_path / 'g.safetensors'}#9", "--shape", "8,6", "--out", tmp_path / "x.npy"
    )
    assert "2 axes" in _error("decode", checkpoint, tmp_path / "latent.npy", "--shape", "8", "--out", tmp_path / "x.npy")
    assert "smaller shape" in _error(
        "decode", checkpoint, tmp_path / "latent.npy", "--shape", "99999,99999", "--out", tmp_path / "x.npy"
    )


def test_import_official_command_makes_a_checkpoint_that_decodes_alike(tmp_path: Path) -> None:
    case = PublishedCase(shape=(8, 6), channels=3)
    wrapper = case.build()
    latents = 0.1 * torch.randn(2, case.latent_dim)
    for number, latent in enumerate(latents):
        save_datapoint(tmp_path / "set" / "test" / f"datapoint_{number}.pt", latent, torch.tensor([number]))
    (tmp_path / "set" / "test" / "datapoint_2.pt").write_bytes(b"broken")
    file = save_state(wrapper, tmp_path / "best.model")
    command = ["import-official", file, "--latents", tmp_path / "set", "--out", tmp_path / "imported"]
    assert "--omega-first and --omega-increment" in _error(*command)
    result = _run(*command, "--omega-first", case.w0, "--omega-increment", case.increment, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith("left out: ")
    assert "datapoint_2.pt" in result.stderr
    report = json.loads(result.stdout)
    assert (report["n"], len(report["left_out"]), report["signal"]["shape"]) == (2, 1, [8, 6])
    _json("decode", report["checkpoint"], f"{report['latents']}#1", "--shape", "8x6", "--out", tmp_path / "x.npy")
    expected = expected_values(wrapper, latents)[1].reshape(8, 6, 3).clip(0, 1)
    assert np.abs(np.load(tmp_path / "x.npy") - expected).max() < 1e-5


def test_import_official_command_takes_the_switches(tmp_path: Path) -> None:
    case = PublishedCase(shape=(4, 5, 6), skip=False, scale=True)
    module = save_module(case.build(), tmp_path / "model.pt")
    assert _json("import-official", module, "--out", tmp_path / "a", "--shape", "4,5,6")["signal"]["kind"] == "volume"
    state = save_state(case.build(), tmp_path / "best.model")
    settings = ["--omega-first", 7, "--omega-increment", 2.5, "--no-residual", "--name", "mine"]
    assert _json("import-official", state, "--out", tmp_path / "b", *settings)["field"]["residual"] is False
    assert load_checkpoint(tmp_path / "b").config.name == "mine"
    assert "residual" in _error("import-official", module, "--out", tmp_path / "c", "--residual")


def test_apply_settings_converts_and_checks_values() -> None:
    preset = PRESETS["image-64"]
    settings = ["meta.batch_size=4", "depth = 6", "meta.inner_lr=2e-2", "second_order=false", "clip_norm=none", "omega_last=none"]
    changed = apply_settings(preset, [*settings, "omega_increment=2.5", "fit.steps=7"])
    assert (changed.meta.batch_size, changed.field.depth, changed.meta.inner_lr) == (4, 6, 0.02)
    assert (changed.meta.second_order, changed.meta.clip_norm, changed.fit.steps) == (False, None, 7)
    assert changed.field.omegas[:2] == (20.0, 22.5)
    assert apply_settings(preset, []) == preset
    for setting, message in (
        ("batchsize=4", r"no such setting; did you mean meta\.batch_size"),
        ("meta.omega_last=4", r"did you mean field\.omega_last"),
        ("xyzzy=4", "its groups are field, meta, fit"),
        ("steps=4", r"there are meta\.steps and fit\.steps; write which"),
        ("batch_size", "write key=value"),
        ("batch_size=four", "batch_size"),
        ("batch_size=0", "greater than or equal to 1"),
        ("omega_increment=3", "exactly one of omega_last and omega_increment"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            apply_settings(preset, [setting])
        assert "\n" not in str(caught.value)


TINY = ["depth=3", "width=4", "latent_dim=3", "omega_first=2", "omega_last=4", "batch_size=2", "inner_steps=2", "outer_lr=1e-4"]


def _train(run: Path, archive: Path, *more: object) -> list[object]:
    settings = [*TINY, "validate_every=2", "validate_signals=3"]
    base: list[object] = ["train", "--preset", "image-64", "--data", archive, "--out", run, "--shape", "8,6", "--device", "cpu"]
    return [*base, *more, "--set", *settings]


def test_train_makes_a_checkpoint_whose_card_trains_it_again(archive: Path, tmp_path: Path) -> None:
    report = _json(*_train(tmp_path / "run", archive, "--steps", 4, "--licence", "CC BY-NC 4.0"))
    assert (report["step"], report["name"]) == (4, "run")
    assert isinstance(report["psnr"], float)
    best = load_checkpoint(report["checkpoint"])
    assert (best.config.field.latent_dim, best.config.field.channels, best.config.signal) == (
        3,
        1,
        SignalSpec(kind="image", shape=(8, 6)),
    )
    assert best.config.licence == "CC BY-NC 4.0"
    card = (Path(report["checkpoint"]) / "CARD.md").read_text()
    (command,) = [line.strip() for line in card.splitlines() if line.startswith("    python -m medfuncta_core train")]
    assert "--preset image-64" in command
    assert "--shape 8,6" in command
    assert "--licence 'CC BY-NC 4.0'" in command
    arguments = shlex.split(command)[3:]
    arguments[arguments.index("--data") + 1] = str(archive)  # the card names the file, not where it lay
    arguments[arguments.index("--out") + 1] = str(tmp_path / "again")
    again = load_checkpoint(_json(*arguments, "--device", "cpu")["checkpoint"])
    assert again.config.model_copy(update={"name": "run"}) == best.config
    for name, value in best.field.state_dict().items():
        assert torch.equal(again.field.state_dict()[name], value)


def test_train_resumes_where_it_stopped_and_refuses_other_settings(archive: Path, tmp_path: Path) -> None:
    _json(*_train(tmp_path / "run", archive, "--steps", 2))
    assert "already holds a run" in _error(*_train(tmp_path / "run", archive, "--steps", 2))
    assert "meta.steps 2, not 4" in _error(*_train(tmp_path / "run", archive, "--steps", 4, "--resume"))
    assert _json("train", "--out", tmp_path / "run", "--resume", "--device", "cpu")["step"] == 2
    assert "is not a run" in _error("train", "--out", tmp_path / "other", "--resume")


def test_train_resume_reports_the_whole_run_and_starts_one_that_never_began(archive: Path, tmp_path: Path) -> None:
    report = _json(*_train(tmp_path / "run", archive, "--steps", 4))
    resume = ["train", "--out", tmp_path / "run", "--resume", "--device", "cpu"]
    assert _json(*resume) == report
    shutil.rmtree(tmp_path / "run" / "checkpoint")  # as if it had been stopped right after config.json was written
    assert _json(*resume) == report


def test_train_refuses_absurd_sizes_and_makes_no_folder(archive: Path, tmp_path: Path) -> None:
    command = _train(tmp_path / "run", archive)
    assert "lower width" in _error(*command, "field.width=20000000")
    assert not (tmp_path / "run").exists()


def test_train_refuses_data_of_another_kind(archive: Path, tmp_path: Path) -> None:
    command = ["train", "--preset", "volume-32", "--data", archive, "--out", tmp_path / "run"]
    assert "choose a preset of their kind" in _error(*command)
    assert not (tmp_path / "run").exists()


def test_card_of_an_unknown_place_keeps_it_to_itself(tmp_path: Path) -> None:
    """Cards are shared: a path of the machine that trained a checkpoint has no place there."""
    field = FieldConfig(coord_dim=1, depth=8, width=64, latent_dim=64, omega_first=10, omega_last=80)
    data = DataSetInfo(name="beats", source=str(tmp_path / "beats.npz"), train_signals=78801, class_names=("N", "S"))
    config = CheckpointConfig(name="ecg", field=field, meta=MetaConfig(batch_size=32, outer_lr=1e-4), data=data, step=9)
    card = make_card(config)
    assert str(tmp_path) not in card
    assert "train --preset ecg-187 --data beats.npz --out runs/ecg" in card
    assert "--set field.omega_last=80.0" in card
    assert "--set meta.batch_size=32" in card
    assert "Not for diagnosis" in card
    told = config.model_copy(update={"data": data.model_copy(update={"source": "MIT-BIH, https://physionet.org"})})
    assert "- source: MIT-BIH, https://physionet.org" in make_card(told)
    assert "--data beats --out" in make_card(told)


def test_card_of_a_shipped_checkpoint_names_the_one_command_and_how_it_differs_from_the_paper() -> None:
    preset = PRESETS["ecg-187-cpu"]
    data = DataSetInfo(name="mitbih_full_187", source="PhysioNet", file="mitbih_full_187.npz")
    config = CheckpointConfig(name="ecg", field=preset.field, meta=preset.meta, fit=preset.fit, data=data, step=9)
    card = make_card(config)
    assert "    checkpoints/retrain.sh ecg DATA_FOLDER" in card
    assert "DATA_FOLDER holds mitbih_full_187.npz" in card
    assert "medfuncta_core train" not in card
    assert "The paper's 1D configuration of this size has omega 20 to 200 and none of these switches." in card
    mine = config.model_copy(update={"data": data.model_copy(update={"file": "mine.npz"})})  # the same name is not enough
    assert "train --preset ecg-187-cpu --data mine.npz" in make_card(mine)
    for name in ("ecg-187", "image-64-small"):  # the paper's own numbers; sizes that are none of the paper's
        assert "The paper's" not in make_card(config.model_copy(update={"field": PRESETS[name].field}))


def test_cards_know_what_the_retraining_script_knows() -> None:
    script = (ROOT / "checkpoints" / "retrain.sh").read_text()
    assert dict(re.findall(r"(?m)^  ([\w-]+)\)\n.*? file=(\S+)", script)) == SHIPPED
