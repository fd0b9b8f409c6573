"""What as many numbers as a latent do without a network, and how representations are told apart."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from app_material import make_app_material
from PIL import Image
from typer.testing import CliRunner

from medfuncta_core.checkpoint import load_checkpoint
from medfuncta_core.cli import app
from medfuncta_core.comparison import (
    BASELINES,
    DCT,
    GRID,
    Outcome,
    baseline_outcome,
    can_fit,
    coarser_shape,
    comparison_csv,
    comparison_rows,
    comparison_sentence,
    fit_outcome,
    keep_coarser_grid,
    keep_lowest_frequencies,
    require_fitting,
)
from medfuncta_core.errors import CheckpointError, SignalError
from medfuncta_core.fitting import Fitter
from medfuncta_core.signals import Signal


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(size=shape).astype(np.float32)


def outcome(name: str, psnr: float, seconds: float | None = None, ssim: float | None = None) -> Outcome:
    return Outcome(name, 4, noise(8, 6, 1), 10 ** (-psnr / 10), psnr, ssim, 0.5, None, seconds)


@pytest.mark.parametrize("shape", [(16, 1), (8, 6, 1), (8, 6, 3), (4, 5, 6, 1)])
@pytest.mark.parametrize("name", list(BASELINES))
def test_all_numbers_give_the_signal_back(name: str, shape: tuple[int, ...]) -> None:
    values = noise(*shape)
    kept, rebuilt = BASELINES[name](values, 10 * values.size)
    assert kept == values.size
    np.testing.assert_allclose(rebuilt, values, atol=1e-5)


@pytest.mark.parametrize("name", list(BASELINES))
@pytest.mark.parametrize("numbers", [3, 7, 20, 60])
def test_no_more_numbers_are_used_than_given_and_more_never_do_worse(name: str, numbers: int) -> None:
    values = noise(8, 6, 3)
    kept, rebuilt = BASELINES[name](values, numbers)
    assert kept <= numbers
    _, better = BASELINES[name](values, 2 * numbers)
    assert np.square(better - values).sum() <= np.square(rebuilt - values).sum() + 1e-9


def test_lowest_frequencies_of_one_number_are_the_mean_of_each_channel() -> None:
    values = noise(8, 6, 2)
    kept, rebuilt = keep_lowest_frequencies(values, 2)
    assert kept == 2
    np.testing.assert_allclose(rebuilt, np.broadcast_to(values.mean((0, 1)), values.shape), rtol=1e-6)


def test_lowest_frequencies_are_counted_against_the_axis_length() -> None:
    """On a grid of 8 x 4, half a wave fewer along the short axis is as high a frequency as two along the long one."""
    row, column = np.mgrid[0:8, 0:4]
    along = np.cos(np.pi * (row + 0.5) * 2 / 8)[..., None]  # second frequency of 8
    across = np.cos(np.pi * (column + 0.5) * 2 / 4)[..., None]  # second of 4
    _, kept_along = keep_lowest_frequencies(along, 5)  # (0,0), (1,0), (0,1) and (2,0), (1,1) in some order
    _, kept_across = keep_lowest_frequencies(across, 5)
    np.testing.assert_allclose(kept_along, along, atol=1e-9)
    np.testing.assert_allclose(kept_across, 0, atol=1e-9)


def test_coarser_grid_is_the_best_spline_in_the_mean_square() -> None:
    values = noise(16, 1)
    kept, rebuilt = keep_coarser_grid(values, 5)
    assert kept == 5
    _, again = keep_coarser_grid(rebuilt, 5)
    np.testing.assert_allclose(again, rebuilt, atol=1e-6)  # a projection
    assert abs(((values - rebuilt) * rebuilt).sum()) < 1e-4  # and an orthogonal one


@pytest.mark.parametrize(
    ("shape", "numbers", "expected"), [((64, 64), 512, (22, 22)), ((8, 6), 12, (4, 3)), ((8, 2), 3, (3, 1)), ((187,), 64, (64,))]
)
def test_coarser_shape_keeps_proportions(shape: tuple[int, ...], numbers: int, expected: tuple[int, ...]) -> None:
    assert coarser_shape(shape, numbers) == expected


def test_baseline_needs_a_number_a_channel() -> None:
    signal = Signal(noise(8, 6, 3), "image", "x")
    with pytest.raises(SignalError, match="3 channels"):
        baseline_outcome(DCT, signal, 2)
    with pytest.raises(SignalError, match="at least one"):
        coarser_shape((4, 4), 0)
    assert baseline_outcome(GRID, signal, 3).numbers == 3


def test_sentence_names_the_best_by_both_measures() -> None:
    assert comparison_sentence([outcome("A", 20)]) == ""
    assert comparison_sentence([outcome("A", 20), outcome("B", 23)]) == "B is 3.0 dB ahead of A."
    assert comparison_sentence([outcome("A", 20, 1.0), outcome("B", 23, 2.0)]).endswith(", at 2.0 times its computing time.")
    assert "equally close" in comparison_sentence([outcome("A", 20.01), outcome("B", 20)])
    assert comparison_sentence([outcome("A", math.inf), outcome("B", 20)]) == "A gives the signal back as it is."
    words = comparison_sentence([outcome("A", 20, ssim=0.9), outcome("B", 23, ssim=0.8)])
    assert words == "B is 3.0 dB ahead of A; by SSIM A leads, 0.900 to 0.800."


def test_rows_are_strict_json_and_csv() -> None:
    signal, outcomes = Signal(noise(8, 6, 1), "image", "x"), [outcome("A", math.inf), outcome("B", 20, 1.0, 0.5)]
    rows = json.loads(json.dumps(comparison_rows(signal, outcomes), allow_nan=False))
    assert [row["psnr"] for row in rows] == [None, 20]
    assert rows[0]["compression_ratio"] == 12
    read = list(csv.DictReader(io.StringIO(comparison_csv(signal, outcomes))))
    assert [row["name"] for row in read] == ["A", "B"]
    assert comparison_csv(signal, []).strip() == ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    make_app_material(folder, ("tiny-picture", "tiny-ecg"))
    Image.fromarray((255 * noise(18, 14, 1)[..., 0]).astype(np.uint8)).save(folder / "noise.png")
    return folder


def test_fit_outcome_says_what_the_fit_says(folder: Path) -> None:
    checkpoint = load_checkpoint(folder / "checkpoints" / "tiny-picture")
    signal = Signal(noise(18, 14, 1), "image", "x")
    result = Fitter(checkpoint.field, checkpoint.config.fit, "cpu").fit(signal)
    found = fit_outcome("it", signal, result)
    assert (found.psnr, found.ssim, found.steps, found.numbers) == (result.psnr, result.ssim, 20, 16)
    assert found.largest_error == pytest.approx(np.abs(result.reconstruction - signal.values).max())


def test_only_fields_of_the_same_axes_and_channels_are_compared(folder: Path) -> None:
    picture, beat = (load_checkpoint(folder / "checkpoints" / name).config for name in ("tiny-picture", "tiny-ecg"))
    signal = Signal(noise(8, 6, 1), "image", "x")
    assert can_fit(picture, signal)
    assert not can_fit(beat, signal)
    assert not can_fit(picture, Signal(noise(8, 6, 3), "image", "x"))
    require_fitting([picture], signal)
    with pytest.raises(CheckpointError, match="tiny-ecg is for 1 axes"):
        require_fitting([picture, beat], signal)


def test_command_compares_methods_and_baselines(folder: Path) -> None:
    where = [str(folder / "noise.png"), str(folder / "checkpoints" / "tiny-picture"), "--device", "cpu"]
    done = CliRunner().invoke(app, ["compare", *where, "--json"])
    assert done.exit_code == 0, done.output
    outcomes = json.loads(done.stdout)["outcomes"]
    names = ["tiny-picture, gradient descent", "tiny-picture, gauss newton", *BASELINES]
    assert [row["name"] for row in outcomes] == names
    assert [row["steps"] for row in outcomes] == [20, 20, None, None]
    assert outcomes[1]["psnr"] > outcomes[0]["psnr"]
    fitted = CliRunner().invoke(app, ["fit", str(folder / "checkpoints" / "tiny-picture"), where[0], "--device", "cpu", "--json"])
    assert json.loads(fitted.stdout)["psnr"] == pytest.approx(outcomes[0]["psnr"], abs=1e-4)
    lines = CliRunner().invoke(app, ["compare", *where, "--method", "gradient_descent", "--fit-steps", "3"]).stdout
    assert "3 steps" in lines
    assert "gauss newton" not in lines
    assert " ahead of " in lines


def test_command_refuses_a_checkpoint_of_another_kind(folder: Path) -> None:
    paths = [str(folder / "checkpoints" / name) for name in ("tiny-picture", "tiny-ecg")]
    done = CliRunner().invoke(app, ["compare", str(folder / "noise.png"), *paths, "--device", "cpu"])
    assert done.exit_code == 1
    assert "compare checkpoints of one kind" in done.stderr
