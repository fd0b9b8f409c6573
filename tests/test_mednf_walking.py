"""Walking between latents: paths, grids, means and directions by hand; morphs, films and statistics; their commands."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from mednf_material import make_checkpoint, make_data, write_set
from PIL import Image
from typer.testing import CliRunner

from medfuncta_core.checkpoint import load_checkpoint
from medfuncta_core.cli import app
from medfuncta_core.errors import SetError
from medfuncta_core.figures import difference_url, film, part_aspect, part_url
from medfuncta_core.fitting import Fitter
from medfuncta_core.mednf import EncodeRequest, encode, open_set
from medfuncta_core.mednf.morphs import (
    Frames,
    compare_with_fade,
    decode_frames,
    join_frames,
    measure_detail,
    middle_grids,
    pack_morph,
)
from medfuncta_core.mednf.paths import add_direction, angle_between, blend_corners, class_means, even_shares, walk
from medfuncta_core.mednf.statistics import (
    choose_sample,
    components_needed,
    participation_ratio,
    principal_components,
    try_components,
)


def vector(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)


def test_linear_path_is_a_straight_line() -> None:
    found = walk(vector(1, 0), vector(0, 3), even_shares(4))
    np.testing.assert_allclose(found, [[1, 0], [2 / 3, 1], [1 / 3, 2], [0, 3]], rtol=1e-6)


def test_spherical_path_turns_evenly_and_lengthens_evenly() -> None:
    found = walk(vector(1, 0), vector(0, 3), even_shares(4), "spherical")
    by_hand = [(1, 0), (5 / 3, 30), (7 / 3, 60), (3, 90)]
    expected = [(length * math.cos(math.radians(turn)), length * math.sin(math.radians(turn))) for length, turn in by_hand]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_paths_begin_and_end_at_the_very_ends(path: Any) -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 33)).astype(np.float32)
    found = walk(a, b, even_shares(5), path)
    np.testing.assert_array_equal(found[0], a)
    np.testing.assert_array_equal(found[-1], b)


@pytest.mark.parametrize("other", [vector(2, 0), vector(0, 0), vector(1, 1e-7)])
def test_spherical_path_without_a_turn_is_linear(other: np.ndarray) -> None:
    shares = even_shares(3)
    np.testing.assert_allclose(walk(vector(1, 0), other, shares, "spherical"), walk(vector(1, 0), other, shares), atol=1e-6)


def test_paths_refuse_what_no_path_joins() -> None:
    with pytest.raises(SetError, match="opposite directions"):
        walk(vector(1, 0), vector(-2, 0), even_shares(3), "spherical")
    with pytest.raises(SetError, match="two latents of one network"):
        walk(vector(1, 0), vector(1, 0, 0), even_shares(3))
    with pytest.raises(SetError, match="at least 2 frames"):
        even_shares(1)


def test_angle_matches_numbers_by_hand() -> None:
    assert angle_between(vector(1, 0), vector(5, 5)) == pytest.approx(45)
    assert angle_between(vector(1, 0), vector(-2, 0)) == pytest.approx(180)
    assert math.isnan(angle_between(vector(1, 0), vector(0, 0)))


def test_corners_are_blended_bilinearly() -> None:
    grid = blend_corners([vector(0), vector(8), vector(16), vector(40)], 3, 5)
    assert grid[..., 0].tolist() == [[0, 2, 4, 6, 8], [8, 12, 16, 20, 24], [16, 22, 28, 34, 40]]


def test_class_means_are_the_same_in_any_blocks() -> None:
    latents = np.arange(12, dtype=np.float16).reshape(6, 2)
    labels = np.array([2, 0, 2, -1, 0, 2])
    for size in (1, 4, 6):
        found = class_means(((first, latents[first : first + size]) for first in range(0, 6, size)), labels)
        assert (found.labels, found.counts) == ((0, 2), (2, 3))
        np.testing.assert_allclose(found.means, [[5, 6], [14 / 3, 17 / 3]], rtol=1e-6)
    np.testing.assert_allclose(found.direction(0, 2), [-1 / 3, -1 / 3], rtol=1e-5)
    np.testing.assert_allclose(add_direction(vector(1, 2), vector(10, 20), [-1, 0, 0.5]), [[-9, -18], [1, 2], [6, 12]])
    with pytest.raises(SetError, match="no signal has label 1; there are 0, 2"):
        found.of(1)
    with pytest.raises(SetError, match="none of these signals has a class"):
        class_means([(0, latents)], np.full(6, -1))


def make_frames(*values: list[float]) -> Frames:
    return Frames((np.array(values, np.float32)[..., None],))


def test_morph_beside_the_fade_of_its_ends() -> None:
    frames = make_frames([0, 0, 1, 1], [0, 0, 0.5, 1], [0, 0, 0, 1])  # the edge moves
    morph = compare_with_fade(np.zeros((3, 2), np.float32), even_shares(3), frames)
    np.testing.assert_allclose(morph.fade.parts[0][1, :, 0], [0, 0, 0.5, 1])
    middle = -10 * math.log10(0.25 / 4)
    apart = -10 * math.log10(1 / 4)
    np.testing.assert_allclose(morph.psnr, [[np.inf, middle, apart], [apart, middle, np.inf]], rtol=1e-5)
    np.testing.assert_allclose(morph.fade_psnr, morph.psnr, rtol=1e-5)
    with pytest.raises(SetError, match="from share 0 to share 1"):
        compare_with_fade(np.zeros((3, 2), np.float32), np.array([0, 0.5, 0.9]), frames)


def test_detail_falls_where_two_edges_are_mixed() -> None:
    np.testing.assert_allclose(measure_detail(make_frames([0, 1, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 1, 0])), [2 / 3, 1 / 3, 2 / 3])
    checks = Frames((np.array([[[0, 1], [1, 0]], [[0, 0], [1, 1]]], np.float32)[..., None],))
    np.testing.assert_allclose(measure_detail(checks), [1, 0.5])


@pytest.fixture(scope="module")
def picture_fitter(tmp_path_factory: pytest.TempPathFactory) -> Fitter:
    return Fitter(load_checkpoint(make_checkpoint(tmp_path_factory.mktemp("c"))), device="cpu")


def test_frames_decode_as_one_by_one_in_batches(picture_fitter: Fitter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medfuncta_core.mednf.morphs.BATCH_POINTS", 2 * 48)
    latents = np.random.default_rng(1).normal(size=(5, 5)).astype(np.float32)
    batches = list(decode_frames(picture_fitter, latents, middle_grids("image", (8, 6))))
    assert [(batch.rows, batch.total) for batch in batches] == [(range(0, 2), 5), (range(2, 4), 5), (range(4, 5), 5)]
    frames = join_frames(batches)
    assert frames.parts[0].shape == (5, 8, 6, 1)
    for row, latent in enumerate(latents):
        np.testing.assert_allclose(frames.frame(row)[0], picture_fitter.decode(latent, (8, 6)), atol=1e-6)
    with pytest.raises(SetError, match="nothing to decode"):
        join_frames([])


def test_volume_frames_are_its_middle_planes(tmp_path: Path) -> None:
    fitter = Fitter(load_checkpoint(make_checkpoint(tmp_path / "c", (5, 3, 7))), device="cpu")
    latents = np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32)
    frames = join_frames(decode_frames(fitter, latents, middle_grids("volume", (5, 3, 7))))
    whole = fitter.decode(latents[1], (5, 3, 7))
    for plane, expected in zip(frames.frame(1), (whole[2], whole[:, 1], whole[:, :, 3]), strict=True):
        np.testing.assert_allclose(plane, expected, atol=1e-6)
    assert frames.flat.shape == (2, 3 * 7 + 5 * 7 + 5 * 3, 1)
    assert part_aspect(frames.frame(0), "volume") == pytest.approx((3 + 5 + 5 + 2 * 1) / 7)
    pictures = film([frames, frames], "volume", 14)
    assert pictures[0].shape == (14 + 4 + 14, 2 * 13 + 2 * 4, 3)


def test_film_goes_there_and_back_and_urls_show_the_values() -> None:
    ramp = np.linspace(0, 1, 4, dtype=np.float32)[:, None, None, None]
    frames = Frames((np.broadcast_to(ramp, (4, 2, 3, 1)),))
    pictures = film([frames, frames], "image", 4, back=True)
    assert [int(picture[0, 0, 0]) for picture in pictures] == [0, 85, 170, 255, 170, 85]
    assert pictures[0].shape == (4, 6 + 4 + 6, 3)
    assert len(film([frames], "image", 4, only=[0, 3])) == 2
    _, content = part_url(frames.frame(1), "image").split("base64,")
    assert np.unique(np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))).tolist() == [85]
    assert part_url(frames.frame(1), "image") != difference_url(frames.frame(0), frames.frame(1), "image", 0.5)
    beat = Frames((np.linspace(0, 1, 16, dtype=np.float32)[None, :, None],))
    svg = base64.b64decode(part_url(beat.frame(0), "ecg", [beat.frame(0)] * 2).split("base64,")[1]).decode()
    assert svg.count("<polyline") == 3
    assert svg.count("stroke-dasharray") == 2


def test_morph_file_holds_everything_without_pickle() -> None:
    morph = compare_with_fade(np.ones((2, 3), np.float32), even_shares(2), make_frames([0, 1], [1, 1]))
    with np.load(io.BytesIO(pack_morph(morph, {"a": "set#0", "path": "linear"})), allow_pickle=False) as opened:
        assert opened["frames"].shape == (2, 2, 1)
        assert opened["latents"].tolist() == [[1, 1, 1], [1, 1, 1]]
        assert opened["shares"].tolist() == [0, 1]
        assert str(opened["a"]) == "set#0"
        assert opened["psnr_to_ends"].shape == opened["fade_psnr_to_ends"].shape == (2, 2)


def test_participation_ratio_matches_numbers_by_hand() -> None:
    assert participation_ratio(np.array([2.0, 2.0, 2.0])) == pytest.approx(3)
    assert participation_ratio(np.array([5.0, 0.0])) == pytest.approx(1)
    assert participation_ratio(np.array([3.0, 1.0])) == pytest.approx(1.6)
    assert participation_ratio(np.zeros(2)) == 0


@pytest.mark.parametrize("wide", [False, True])
def test_components_match_numbers_by_hand(wide: bool) -> None:
    """Four latents on two axes, in two or in six dimensions: fewer or more latents than numbers."""
    latents = np.zeros((4, 6 if wide else 2), np.float32)
    latents[:, :2] = [[5, 1], [-3, 1], [1, 3], [1, -1]]
    found = principal_components(latents)
    np.testing.assert_allclose(found.mean[:2], [1, 1])
    np.testing.assert_allclose(found.variances[:2], [32 / 3, 8 / 3], rtol=1e-6)
    assert len(found.variances) == (3 if wide else 2)
    np.testing.assert_allclose(np.abs(found.directions[:2, :2]), np.eye(2), atol=1e-6)
    assert found.effective_dimension == pytest.approx(40**2 / (32**2 + 8**2))
    assert [found.holding(share) for share in (0.5, 0.8, 0.81, 1)] == [1, 1, 2, 2]
    np.testing.assert_allclose(found.keep(latents, 1)[2, :2], [1, 1], atol=1e-6)
    np.testing.assert_allclose(found.keep(latents, 2), latents, atol=1e-6)
    np.testing.assert_allclose(found.keep(latents, 0)[:, :2], 1, atol=1e-6)


def test_sample_leaves_the_tested_rows_out() -> None:
    found, tested = choose_sample(100, 4)
    assert tested.tolist() == [20, 40, 59, 79]
    assert sorted([*found, *tested]) == list(range(100))
    assert len(choose_sample(500_000)[0]) == 10_000
    with pytest.raises(SetError, match="too few"):
        choose_sample(3)


def test_components_needed_are_found_by_halving(picture_fitter: Fitter) -> None:
    """Latents that differ along two directions only: two components keep all there is, one does not."""
    rng = np.random.default_rng(2)
    latents = (rng.normal(size=(30, 2)) @ np.linalg.qr(rng.normal(size=(5, 2)))[0].T * 3).astype(np.float32)
    found, tested = choose_sample(30, 4)
    main = principal_components(latents[found])
    psnr = np.full(len(tested), 40.0)
    steps = list(try_components(picture_fitter, main, latents[tested], psnr, (8, 6)))
    assert [step.count for step in steps] == [1, 2, 4, 5]
    assert components_needed(steps) == 2
    by_count = {step.count: step.psnr for step in steps}
    assert by_count[1] < 39
    assert by_count[2] == pytest.approx(40, abs=0.01)
    original = picture_fitter.decode_batch(latents[tested], (8, 6))
    kept = picture_fitter.decode_batch(main.keep(latents[tested], 1), (8, 6))
    error = np.square(original - kept).reshape(len(tested), -1).mean(1)
    assert by_count[1] == pytest.approx((-10 * np.log10(error + 1e-4)).mean(), abs=1e-3)
    assert components_needed([step for step in steps if step.count == 1]) is None
    with pytest.raises(SetError, match="do not state the PSNR"):
        next(try_components(picture_fitter, main, latents[tested], np.full(len(tested), np.nan), (8, 6)))


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 21 signals, with its network in it, and a picture beside it."""
    folder = tmp_path_factory.mktemp("walking")
    checkpoint, data = make_checkpoint(folder / "tiny"), make_data(folder / "data.npz")
    for _ in encode(checkpoint, data, folder / "set", EncodeRequest(), device="cpu"):
        pass
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(8, 6) * 5).save(folder / "own.png")
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("ending", ["gif", "mp4", "npz", "png"])
def test_interpolate_writes_what_the_ending_says(encoded: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"morph.{ending}"
    arguments = (
        encoded / "tiny",
        f"{encoded / 'set'}#2",
        encoded / "own.png",
        "--out",
        out,
        "--frames",
        5,
        "--path",
        "spherical",
    )
    report = json.loads(run("interpolate", *arguments, "--shape", "16,12", "--fade", "--json"))
    assert (report["frames"], report["shape"], report["psnr_to_a"][0], report["psnr_to_b"][-1]) == (5, [16, 12], None, None)
    assert report["psnr_of_ends"] == report["psnr_to_a"][-1]
    if ending == "npz":
        with np.load(out, allow_pickle=False) as opened:
            stored = open_set(encoded / "set").latent(2)
            np.testing.assert_array_equal(opened["latents"][0], stored)
            expected = Fitter(load_checkpoint(encoded / "tiny"), device="cpu").decode(stored, (16, 12))
            np.testing.assert_allclose(opened["frames"][0], expected, atol=1e-6)
    elif ending == "mp4":
        assert imageio_ffmpeg.count_frames_and_secs(str(out))[0] == 8
    else:
        with Image.open(out) as picture:
            assert getattr(picture, "n_frames", 1) == (8 if ending == "gif" else 1)


def test_interpolate_says_what_is_wrong(encoded: Path, tmp_path: Path) -> None:
    def refused(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["interpolate", *map(str, arguments)])
        return result.exit_code, result.stderr

    row = f"{encoded / 'set'}#2"
    assert refused(encoded / "tiny", row, row, "--out", tmp_path / "m.jpg")[0] == 2
    for arguments, words in (
        ((row, "nowhere.npy", "--out", tmp_path / "m.gif"), "nowhere.npy: no such file"),
        ((row, f"{encoded / 'set'}#99", "--out", tmp_path / "m.gif"), "no row 99"),
        ((row, row, "--out", tmp_path / "m.gif", "--shape", "8"), "have 2 axes"),
    ):
        code, error = refused(encoded / "tiny", *arguments)
        assert code == 1
        assert words in error
    assert not list(tmp_path.iterdir())


def test_statistics_describe_a_set(encoded: Path) -> None:
    report = json.loads(run("statistics", encoded / "set", "--json"))
    opened = open_set(encoded / "set")
    found, _ = choose_sample(21)
    expected = principal_components(opened.latents(found))
    assert (report["n"], report["latent_dim"], report["rows_used"]) == (21, 5, len(found))
    assert report["effective_dimension"] == pytest.approx(expected.effective_dimension)
    assert len(report["variances"]) == 5
    assert report["curve"][-1]["components"] == 5
    assert report["curve"][-1]["psnr"] == pytest.approx(report["psnr"], abs=0.01)
    assert report["components_needed"] in [trial["components"] for trial in report["curve"]]
    assert "effective dimension" in run("statistics", encoded / "set", "--no-components")


def test_statistics_of_an_unfit_set_say_so(tmp_path: Path) -> None:
    write_set(tmp_path / "s", np.eye(3, dtype=np.float32), [0, 1, 0])
    result = CliRunner().invoke(app, ["statistics", str(tmp_path / "s")])
    assert result.exit_code == 1
    assert "too few" in result.stderr
