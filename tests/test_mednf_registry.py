"""The registered sets are those of Table 7, and their names open and describe data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mednf_material import make_checkpoint
from typer.testing import CliRunner

from medfuncta_core.cli import app
from medfuncta_core.errors import DataSetError
from medfuncta_core.mednf import encode, open_set
from medfuncta_core.mednf.registry import REGISTRY, data_of, find_registered
from medfuncta_core.signals.medmnist_files import find_medmnist


def test_registry_agrees_with_the_medmnist_package() -> None:
    assert len(REGISTRY) == 7
    assert sum(known.rows for known in REGISTRY) == 582_466  # "more than 500 k"
    for known in REGISTRY:
        flag = find_medmnist(known.data)
        assert flag is not None
        assert (flag.edge, flag.licence) == (64, known.licence)
        if known.name != "RetinaNF":  # whose classes MedMNIST only numbers
            assert [name.lower() for name in flag.class_names] == list(known.class_names)


@pytest.mark.parametrize("text", ["OctNF", "octnf", "octmnist", "octmnist:64", "octmnist_28", "/data/octmnist_64.npz"])
def test_registered_sets_are_found_by_any_of_their_names(text: str) -> None:
    found = find_registered(text)
    assert found is not None
    assert found.name == "OctNF"


def test_other_names_are_not_registered() -> None:
    for text in ("chestmnist_mine", "octnf_64", "ham10000_64.npz", "", "sets"):
        assert find_registered(text) is None
    assert data_of("PathNF") == "pathmnist:64"
    assert data_of("/data/pathmnist_64.npz") == "/data/pathmnist_64.npz"


def test_encoding_a_registered_set_describes_it(tmp_path: Path) -> None:
    """ChestMNIST has several labels a signal; a file of its name stands for the download."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (6, 14), dtype=np.uint8)
    images = rng.integers(0, 256, (6, 8, 6), dtype=np.uint8)
    np.savez(tmp_path / "chestmnist_64.npz", train_images=images, train_labels=labels)
    for _ in encode(make_checkpoint(tmp_path / "tiny"), tmp_path / "chestmnist_64.npz", tmp_path / "s", device="cpu"):
        pass
    opened = open_set(tmp_path / "s")
    assert opened.info.task == "multi-label (14) binary-class (2) classification"
    assert opened.info.licence == "CC BY 4.0"
    assert opened.class_names[13] == "hernia"
    np.testing.assert_array_equal(np.stack(list(opened.column("labels"))), labels)
    assert opened.labels.tolist() == [-1] * 6
    card = (opened.path / "README.md").read_text()
    assert f"hernia {labels[:, 13].sum()}" in card


def test_encoding_without_a_network_connection_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    checkpoint = make_checkpoint(tmp_path / "tiny")
    with pytest.raises(DataSetError, match=r"pneumoniamnist_64.npz: download failed .* by hand and give the path"):
        next(encode(checkpoint, "PneumoniaNF", tmp_path / "s", device="cpu", cache_dir=tmp_path / "cache"))
    assert not (tmp_path / "s").exists()


def test_registry_command_lists_all_with_their_commands() -> None:
    done = CliRunner().invoke(app, ["set", "registry", "--json"])
    listed = json.loads(done.stdout)["sets"]
    assert [known["name"] for known in listed] == [known.name for known in REGISTRY]
    assert listed[0]["encode"] == "encode CHECKPOINT --data ChestNF --out sets/chestnf"
    people = CliRunner().invoke(app, ["set", "registry"]).stdout
    assert "CC BY-NC 4.0" in people
    assert "165,466 / 23,640 / 47,280" in people
