"""Import of the published implementation's files: parity with its outputs, every switch, and files that are not what they say."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_files import PublishedCase, expected_values, recipe_text, save_datapoint, save_module, save_state

from medfuncta_core.checkpoint import import_official, load_checkpoint, load_latents
from medfuncta_core.config import SignalSpec
from medfuncta_core.errors import CheckpointError, MedFunctaError
from medfuncta_core.fitting import Fitter

OFFICIAL = Path(__file__).resolve().parents[1].parent / "shared" / "official" / "image"

CASES = {
    "ecg": PublishedCase(shape=(16,)),
    "image": PublishedCase(shape=(8, 6), channels=3),
    "volume": PublishedCase(shape=(4, 5, 6)),
    "shift and scale": PublishedCase(shape=(8, 6), scale=True),
    "scale only": PublishedCase(shape=(16,), scale=True, shift=False),
    "no skip connections": PublishedCase(shape=(4, 5, 6), skip=False),
    "constant omega": PublishedCase(shape=(8, 6), increment=0.0),
    "three layers": PublishedCase(shape=(8, 6), depth=3),
}


def _settings(case: PublishedCase) -> dict[str, Any]:
    return {"omega_first": case.w0, "omega_increment": case.increment, "residual": case.skip}


def _decode(checkpoint: Path, latents: torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
    fitter = Fitter(load_checkpoint(checkpoint), device="cpu")
    return np.stack([fitter.decode(latent, shape, clamp=False).reshape(-1, fitter.field.config.channels) for latent in latents])


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("as_module", [True, False], ids=["model.pt", "best.model"])
def test_import_official_computes_what_the_published_forward_does(kind: str, as_module: bool, tmp_path: Path) -> None:
    case = CASES[kind]
    wrapper = case.build()
    latents = 0.3 * torch.randn(3, case.latent_dim)
    if as_module:
        result = import_official(save_module(wrapper, tmp_path / "model.pt"), out=tmp_path / "out")
    else:
        result = import_official(save_state(wrapper, tmp_path / "best.model"), out=tmp_path / "out", **_settings(case))
    field = result.config.field
    assert (field.modulate_shift, field.modulate_scale, field.residual, field.modulate_first) == (
        case.shift,
        case.scale,
        case.skip,
        True,
    )
    assert field.omegas == pytest.approx([case.w0 + k * case.increment for k in range(case.depth)])
    assert np.abs(_decode(result.path, latents, case.shape) - expected_values(wrapper, latents)).max() < 1e-5


def test_import_official_matches_the_published_implementations_own_output(tmp_path: Path) -> None:
    files = [OFFICIAL / "set" / "model.pt", OFFICIAL / "best.model"]
    if OFFICIAL.is_dir():
        expected = np.load(OFFICIAL / "expected.npz")
        settings: dict[str, Any] = {"omega_first": float(expected["w0"]), "omega_increment": float(expected["w0_increment"])}
        reconstructions = np.moveaxis(expected["reconstructions"], 1, -1).reshape(4, 144, 3)
        latents, signals, shape, folder = expected["latents"], np.moveaxis(expected["signals"], 1, -1), (12, 12), OFFICIAL / "set"
    else:  # elsewhere, files of the same format with the test's own forward
        case = PublishedCase(shape=(8, 6), channels=3)
        wrapper, shape, folder = case.build(), case.shape, tmp_path / "set"
        settings = {"omega_first": case.w0, "omega_increment": case.increment}
        signals, latents = None, (0.1 * torch.randn(4, case.latent_dim)).numpy()
        files = [save_module(wrapper, tmp_path / "model.pt"), save_state(wrapper, tmp_path / "best.model")]
        for number, latent in enumerate(torch.from_numpy(latents)):
            save_datapoint(folder / "train" / f"datapoint_{number}.pt", latent, torch.tensor([number % 2]))
        reconstructions = expected_values(wrapper, torch.from_numpy(latents))
    for file in files:
        result = import_official(file, out=tmp_path / "imported" / file.stem, latents=folder, **settings)
        assert result.latents is not None
        assert result.problems == ()
        table = load_latents(result.latents)
        assert np.array_equal(table.latents, latents)
        assert table.labels.tolist() == [0, 1, 0, 1]
        assert table.splits == ("train",) * 4
        assert np.abs(_decode(result.path, torch.from_numpy(table.latents), shape) - reconstructions).max() < 1e-5
        if signals is not None:  # its 20 fit steps from zero end at the stored latents
            fits = Fitter(load_checkpoint(result.path), device="cpu").fit_batch(signals)
            assert np.abs(fits.latents.numpy() - latents).max() < 1e-7


def test_import_official_state_dict_asks_for_the_omegas_it_does_not_hold(tmp_path: Path) -> None:
    file = save_state(CASES["image"].build(), tmp_path / "best.model")
    with pytest.raises(CheckpointError, match=r"best\.model.*--omega-first and --omega-increment.*--yaml"):
        import_official(file, out=tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"give --omega-increment "):
        import_official(file, out=tmp_path / "out", omega_first=7.0)
    assert not (tmp_path / "out").exists()


def test_import_official_state_dict_finds_the_shape_in_the_grid(tmp_path: Path) -> None:
    case = CASES["volume"]
    result = import_official(save_state(case.build(), tmp_path / "best.model"), out=tmp_path / "out", **_settings(case))
    assert result.config.signal == SignalSpec(kind="volume", shape=(4, 5, 6), channels=1, normalisation="range")


def test_import_official_without_a_regular_grid_knows_no_shape(tmp_path: Path) -> None:
    case, file = CASES["image"], tmp_path / "best.model"
    wrapper = case.build()
    wrapper.get_buffer("grid")[3, 1] = 0.123
    result = import_official(save_state(wrapper, file), out=tmp_path / "out", **_settings(case))
    assert result.config.signal is None
    said = import_official(file, out=tmp_path / "out", shape=(8, 6), **_settings(case))
    assert said.config.signal is not None
    assert said.config.signal.shape == (8, 6)


def test_import_official_refuses_a_shape_of_other_axes(tmp_path: Path) -> None:
    file = save_module(CASES["volume"].build(), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="shape"):
        import_official(file, out=tmp_path / "out", shape=(8, 6))
    with pytest.raises(CheckpointError, match="3 axes and 1 channels"):
        import_official(file, out=tmp_path / "out", signal=SignalSpec(kind="ecg", shape=(16,)))


@pytest.mark.parametrize(
    ("kind", "dataset", "normalisation"),
    [
        ("ecg", "ecg", "range"),
        ("image", "dermamnist", "dtype"),
        ("volume", "brats", "quantile"),
        ("volume", "nodulemnist", "dtype"),
    ],
)
def test_import_official_takes_omegas_and_signal_from_the_published_recipe(
    kind: str, dataset: str, normalisation: str, tmp_path: Path
) -> None:
    case = PublishedCase(shape=(5,) * len(CASES[kind].shape), channels=CASES[kind].channels)
    recipe = tmp_path / "default.yaml"
    recipe.write_text(recipe_text(case, dataset))
    wrapper = case.build()
    latents = torch.randn(2, case.latent_dim)
    for file in (save_state(wrapper, tmp_path / "best.model"), save_module(wrapper, tmp_path / "model.pt")):
        result = import_official(file, out=tmp_path / "out", yaml=recipe)
        assert (result.config.field.omega_first, result.config.field.omega_increment) == (7.0, 2.5)
        assert result.config.signal is not None
        assert (result.config.signal.shape, result.config.signal.normalisation) == (case.shape, normalisation)
        assert result.config.signal.sampling_rate == (125.0 if dataset == "ecg" else None)
        assert result.config.fit.steps == 12
        assert np.abs(_decode(result.path, latents, case.shape) - expected_values(wrapper, latents)).max() < 1e-5


@pytest.mark.parametrize(
    "text",
    [
        "{'w0': 7., 'w0_increment': 2.5}",
        '{"w0": 7.0, "w0_increment": 2.5, "enable_skip_connections": true}',
        "# comment: with a colon\nw0: 7\nw0_increment: 2.5  # per layer\nenable_skip_connections: True\n",
    ],
    ids=["one line", "json", "block"],
)
def test_import_official_reads_a_recipe_in_any_of_its_spellings(text: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    file = save_state(CASES["ecg"].build(), tmp_path / "best.model")
    field = import_official(file, out=tmp_path / "out", yaml=tmp_path / "recipe.yaml").config.field
    assert (field.omega_first, field.omega_increment, field.residual) == (7.0, 2.5, True)


def test_import_official_refuses_contradictions(tmp_path: Path) -> None:
    case = CASES["image"]
    module, recipe = save_module(case.build(), tmp_path / "model.pt"), tmp_path / "r.yaml"
    with pytest.raises(CheckpointError, match=r"the file says omega_first 7\.0, the command says 30"):
        import_official(module, out=tmp_path / "out", omega_first=30.0)
    with pytest.raises(CheckpointError, match="residual"):
        import_official(module, out=tmp_path / "out", residual=False)
    recipe.write_text(recipe_text(CASES["three layers"], "chestmnist"))
    with pytest.raises(CheckpointError, match="num_layers is 5, the recipe says 3"):
        import_official(module, out=tmp_path / "out", yaml=recipe)
    recipe.write_text("w0: many\n")
    with pytest.raises(CheckpointError, match="'many', which is no number"):
        import_official(module, out=tmp_path / "out", yaml=recipe)


class _Touch:
    """Pickles as a call that would leave a file behind."""

    def __init__(self, call: object, *arguments: object) -> None:
        self.call = (call, arguments)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("nested", [False, True], ids=["whole file", "inside a state dict"])
@pytest.mark.parametrize(
    "through", ["os.system", "builtins.eval", "builtins.exec", "pathlib.Path.touch", "importlib.import_module"]
)
def test_import_official_refuses_a_pickle_that_runs_code(through: str, nested: bool, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    hostile = {
        "os.system": _Touch(os.system, f"touch {witness}"),
        "builtins.eval": _Touch(eval, f"open({str(witness)!r}, 'w').close()"),
        "builtins.exec": _Touch(exec, f"open({str(witness)!r}, 'w').close()"),
        "pathlib.Path.touch": _Touch(Path.touch, witness),
        "importlib.import_module": _Touch(__import__, "antigravity"),
    }[through]
    content = CASES["image"].build().state_dict() | {"model.extra": hostile} if nested else hostile
    file, plain = tmp_path / "best.model", tmp_path / "plain.model"
    torch.save(content, file)
    plain.write_bytes(pickle.dumps(content, protocol=2))
    for path in (file, plain):
        with pytest.raises(CheckpointError, match=rf"{path.name}: (refused|truncated)"):
            import_official(path, out=tmp_path / "out", omega_first=7.0, omega_increment=2.5)
    assert not witness.exists()
    torch.load(file, weights_only=False)  # the test's own check: unguarded, this file does run its code
    assert witness.exists() or through == "importlib.import_module"


def test_import_official_builds_nothing_but_inert_holders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pickled module's classes are importable here, and still none of their methods runs."""
    import published_files

    file = save_module(CASES["image"].build(), tmp_path / "model.pt")
    for method in ("__init__", "__setstate__", "forward"):
        monkeypatch.setattr(published_files.Network, method, lambda *_: pytest.fail("foreign code ran"))
        monkeypatch.setattr(torch.nn.Linear, method, lambda *_: pytest.fail("torch.nn code ran"))
    with published_files.published_modules():
        assert import_official(file, out=tmp_path / "out").config.field.depth == 5


def test_import_official_reads_the_legacy_file_format(tmp_path: Path) -> None:
    wrapper, file = CASES["ecg"].build(), tmp_path / "best.model"
    torch.save(wrapper.state_dict(), file, _use_new_zipfile_serialization=False)
    result = import_official(file, out=tmp_path / "out", omega_first=7.0, omega_increment=2.5)
    latents = torch.randn(1, 6)
    assert np.abs(_decode(result.path, latents, (16,)) - expected_values(wrapper, latents)).max() < 1e-5


def test_import_official_names_broken_files(tmp_path: Path) -> None:
    whole = save_state(CASES["image"].build(), tmp_path / "whole.model").read_bytes()
    contents = {
        "empty": b"",
        "text": b"not a model",
        "half": whole[: len(whole) // 2],
        "flipped": whole[:200] + b"\xff" * 40 + whole[240:],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{name}: truncated, or not a file of PyTorch weights"):
            import_official(tmp_path / name, out=tmp_path / "out", omega_first=7.0, omega_increment=2.5)
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("hello.txt", "hello")
    for name in ("zip", "missing", "."):
        with pytest.raises(CheckpointError, match=r"truncated|no such file"):
            import_official(tmp_path / name, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.layers.1.linear.weight": torch.ones(9, 8)}, r"layers\.1\.linear\.weight has shape \(9, 8\)"),
        ({"model.layers.1.linear.weight": torch.full((9, 9), float("nan"))}, "contains NaN"),
        ({"model.layers.1.linear.weight": torch.ones(1).expand(9, 9)}, "claims more numbers"),
        ({"model.layers.1.linear.weight": torch.ones(9, 9, dtype=torch.int64)}, "not a tensor of real numbers"),
        ({"model.layers.1.linear.weight": "text"}, "not a tensor of real numbers"),
        ({"model.last_layer.linear.bias": None}, r"last_layer\.linear\.bias: not a tensor"),
        ({"model.layers.2.modulate_shift_layer.weight": torch.ones(9, 7)}, "modulate_shift_layer"),
    ],
)
def test_import_official_names_the_weight_that_is_wrong(change: dict, message: str, tmp_path: Path) -> None:
    torch.save(CASES["image"].build().state_dict() | change, tmp_path / "best.model")
    with pytest.raises(CheckpointError, match=message):
        import_official(tmp_path / "best.model", out=tmp_path / "out", omega_first=7.0, omega_increment=2.5)


@pytest.mark.parametrize("content", [{}, [1, 2], {"a": torch.ones(3)}, torch.ones(3), None, {1: 2}, "text"])
def test_import_official_refuses_other_peoples_files(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt.*not one of the published implementation's fields"):
        import_official(tmp_path / "other.pt", out=tmp_path / "out", omega_first=7.0, omega_increment=2.5)


def test_import_official_refuses_a_field_without_modulation(tmp_path: Path) -> None:
    file = save_module(PublishedCase(shape=(8, 6), shift=False).build(), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="no modulation"):
        import_official(file, out=tmp_path / "out")


def test_import_official_keeps_good_latents_and_names_bad_ones(tmp_path: Path) -> None:
    case, folder = CASES["image"], tmp_path / "set"
    latents = torch.randn(12, case.latent_dim)
    for number in range(11):  # 10 sorts after 9, not after 1
        save_datapoint(folder / "val" / f"datapoint_{number}.pt", latents[number], torch.tensor([number]))
    save_datapoint(folder / "test" / "datapoint_0.pt", latents[11], None)
    (folder / "val" / "datapoint_3.pt").write_bytes(b"broken")
    torch.save({"modulations": _Touch(os.system, f"touch {tmp_path / 'witness'}")}, folder / "val" / "datapoint_4.pt")
    save_datapoint(folder / "val" / "datapoint_5.pt", torch.randn(3), torch.tensor([0]))
    save_datapoint(folder / "val" / "datapoint_6.pt", torch.full((6,), torch.inf), torch.tensor([0]))
    torch.save([1], folder / "val" / "datapoint_7.pt")
    save_datapoint(folder / "val" / "datapoint_8.pt", latents[8], torch.tensor([1, 0, 1]))
    file = save_module(case.build(), tmp_path / "model.pt")
    result = import_official(file, out=tmp_path / "out", latents=folder)
    assert [problem.split(":")[0].rpartition("_")[2] for problem in result.problems] == [f"{n}.pt" for n in range(3, 9)]
    assert "refused" in result.problems[1]
    assert not (tmp_path / "witness").exists()
    assert result.latents is not None
    table = load_latents(result.latents)
    assert (table.indices.tolist(), table.splits) == ([0, 1, 2, 9, 10, 0], ("val",) * 5 + ("test",))
    assert table.labels.tolist() == [0, 1, 2, 9, 10, -1]
    assert np.array_equal(table.latents[3], latents[9].numpy())


def test_import_official_reads_several_labels_a_signal(tmp_path: Path) -> None:
    case, folder = CASES["ecg"], tmp_path / "train"
    for number in range(3):
        save_datapoint(folder / f"datapoint_{number}.pt", torch.randn(6), torch.tensor([1, 0, number]))
    result = import_official(save_module(case.build(), tmp_path / "model.pt"), out=tmp_path / "out", latents=folder)
    assert result.latents is not None
    table = load_latents(result.latents)
    assert table.labels.tolist() == [[1, 0, 0], [1, 0, 1], [1, 0, 2]]
    assert table.splits == ("train",) * 3


def test_import_official_without_any_latent_writes_nothing(tmp_path: Path) -> None:
    file = save_module(CASES["ecg"].build(), tmp_path / "model.pt")
    (tmp_path / "set").mkdir()
    for folder, message in ((tmp_path / "set", "no datapoint_N.pt"), (tmp_path / "nowhere", "no such folder")):
        with pytest.raises(MedFunctaError, match=message):
            import_official(file, out=tmp_path / "out", latents=folder)
    assert not (tmp_path / "out").exists()
