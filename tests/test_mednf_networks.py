"""A set without its own network finds it among the checkpoints, and never takes another one for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from mednf_material import make_checkpoint, make_data, write_set

from medfuncta_core.checkpoint import load_checkpoint
from medfuncta_core.errors import SetError
from medfuncta_core.fitting import Fitter
from medfuncta_core.mednf import EncodeRequest, encode, open_set
from medfuncta_core.mednf.networks import CHECKPOINTS_VARIABLE


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`checkpoints/tiny` and `sets/noise`, which refers to it."""
    monkeypatch.chdir(tmp_path)
    make_checkpoint(tmp_path / "checkpoints" / "tiny")
    refer(tmp_path)
    return tmp_path


def refer(place: Path) -> None:
    request = EncodeRequest(limit=2, model="refer")
    data = make_data(place / "noise.npz")
    for _ in encode(place / "checkpoints" / "tiny", data, place / "sets" / "noise", request, device="cpu"):
        pass


def test_network_is_found_beside_the_sets_and_decodes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.parent)
    opened = open_set(place / "sets" / "noise")
    assert not (opened.path / "model").exists()
    assert opened.checkpoint_path == place / "checkpoints" / "tiny"
    card = (opened.path / "README.md").read_text()
    assert "neural field of the checkpoint `tiny`" in card
    assert "model/" not in card
    decoded = Fitter(load_checkpoint(opened.checkpoint_path), device="cpu").decode(opened.latent(0), opened.shape)
    assert np.isfinite(decoded).all()


def test_network_of_another_name_or_place_is_found_by_its_weights(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_set(place / "sets" / "noise")
    (place / "checkpoints" / "tiny").rename(place / "checkpoints" / "renamed")
    assert opened.checkpoint_path == place / "checkpoints" / "renamed"
    (place / "checkpoints").rename(place / "elsewhere")
    with pytest.raises(SetError, match=f"its network tiny is neither in model/ nor in .*{CHECKPOINTS_VARIABLE}"):
        _ = opened.checkpoint_path
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(place / "elsewhere"))
    assert opened.checkpoint_path == place / "elsewhere" / "renamed"


def test_network_with_other_weights_is_refused(place: Path) -> None:
    weights = place / "checkpoints" / "tiny" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(SetError, match=r"was encoded with other weights of tiny .* encode the set again"):
        _ = open_set(place / "sets" / "noise").checkpoint_path


def test_own_network_is_checked_too(place: Path) -> None:
    folder = place / "sets" / "noise"
    shutil.copytree(place / "checkpoints" / "tiny", folder / "model")
    assert open_set(folder).checkpoint_path == folder / "model"
    with (folder / "model" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(SetError, match="not the weights that noise was encoded with"):
        _ = open_set(folder).checkpoint_path


def test_set_that_states_no_weights_needs_its_own_network(place: Path) -> None:
    opened = write_set(place / "sets" / "made", np.eye(3), [0, 1, 2])
    with pytest.raises(SetError, match="its network tiny is neither"):
        _ = opened.checkpoint_path
    shutil.copytree(place / "checkpoints" / "tiny", opened.path / "model")
    assert opened.checkpoint_path == opened.path / "model"


def test_encode_refuses_to_refer_to_a_network_that_nobody_would_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = make_checkpoint(tmp_path / "hidden" / "tiny")
    request = EncodeRequest(model="refer")
    with pytest.raises(SetError, match="its network tiny is neither"):
        next(encode(checkpoint, make_data(tmp_path / "noise.npz"), tmp_path / "sets" / "noise", request, device="cpu"))
    assert not (tmp_path / "sets").exists()
