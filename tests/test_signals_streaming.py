"""A volume prepared while it is read is the volume prepared in memory, lies where the file says, and needs little memory."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from test_signals_reading import nifti_bytes

from medfuncta_core.config import SignalSpec, VolumeRecipe
from medfuncta_core.errors import ConfigError, SignalError
from medfuncta_core.signals import prepare_signal, read_signal
from medfuncta_core.signals import reading as reading_module
from medfuncta_core.signals.nifti import open_nifti_volume
from medfuncta_core.signals.sampling import sample_voxels
from medfuncta_core.signals.sources import Source
from medfuncta_core.signals.streaming import overview, prepare_volume
from medfuncta_core.signals.volume_file import VolumeFile, volume_of_signal

QUANTILE = SignalSpec(kind="volume", shape=(4, 5, 6), normalisation="quantile", limits=(0.05, 0.9))
OBLIQUE = np.array([[0, -1.9, 0.3, 7], [3, 0, 0.2, 8], [0.1, 0.4, -4, 9], [0, 0, 0, 1]])


def as_file(values: np.ndarray, affine: np.ndarray | None = None) -> VolumeFile:
    return open_nifti_volume(Source("v.nii", content=nifti_bytes(values, affine)))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 100, shape).astype(np.float32)


def axes_and_signs() -> st.SearchStrategy[np.ndarray]:
    """Affines of any axis order, handedness, voxel size and small rotation."""
    small = st.floats(-0.2, 0.2)
    return st.builds(
        lambda order, signs, steps, skew, shift: np.block(
            [
                [(np.eye(3)[list(order)] * signs + np.reshape(skew, (3, 3))) * steps, np.reshape(shift, (3, 1))],
                [np.zeros(3), np.ones(1)],
            ]
        ),
        st.permutations(range(3)),
        st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
        st.tuples(*[st.floats(0.5, 4)] * 3),
        st.lists(small, min_size=9, max_size=9),
        st.tuples(*[st.floats(-50, 50)] * 3),
    )


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    affine=axes_and_signs(),
    normalisation=st.sampled_from([("range", None), ("quantile", (0.1, 0.95)), ("window", (-50.0, 120.0)), ("dtype", None)]),
)
def test_prepare_volume_equals_preparing_in_memory(shape, affine, normalisation) -> None:
    volume = as_file(noise(*shape), affine)
    spec = SignalSpec(kind="volume", shape=(4, 5, 3), normalisation=normalisation[0], limits=normalisation[1])
    streamed, whole = prepare_volume(volume, spec), prepare_signal(volume.read(), spec)
    np.testing.assert_allclose(streamed.values, whole.values, atol=2e-6)
    assert streamed.affine is not None
    assert whole.affine is not None
    np.testing.assert_allclose(streamed.affine, whole.affine, atol=1e-4)
    np.testing.assert_allclose(streamed.spacing, whole.spacing, rtol=1e-5)  # type: ignore[arg-type]
    np.testing.assert_allclose(streamed.value_range, whole.value_range, rtol=1e-3)
    assert [note for note in streamed.notes if "Resized" in note] == [note for note in whole.notes if "Resized" in note]
    assert streamed.prepared_for == spec


def test_read_signal_prepares_large_files_while_it_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gzip.compress(nifti_bytes(noise(9, 8, 7), OBLIQUE)))
    small = read_signal(path, spec=QUANTILE)
    monkeypatch.setattr(reading_module, "LARGE_VOXELS", 100)
    monkeypatch.setattr(VolumeFile, "read", lambda self: pytest.fail("the whole volume was read"))
    large = read_signal(path, spec=QUANTILE)
    np.testing.assert_allclose(large.values, small.values, atol=2e-6)
    np.testing.assert_allclose(large.affine, small.affine, atol=1e-6)  # type: ignore[arg-type]


def test_volume_of_signal_gives_the_files_numbers_back() -> None:
    values = noise(5, 6, 7)
    volume = volume_of_signal(as_file(values).read())
    np.testing.assert_allclose(np.concatenate([slab.values for slab in volume.slabs()], 2)[..., 0], values, atol=1e-3)


def test_recipe_is_the_published_preparation_of_brats() -> None:
    # Clip to quantiles, minimum to maximum, zeros around to a canvas, means of blocks; no turning of LPS files.
    values = np.abs(noise(10, 9, 7))
    recipe = VolumeRecipe(orientation="LPS", canvas=(16, 16, 16), reduction="average")
    spec = SignalSpec(kind="volume", shape=(4, 4, 4), normalisation="quantile", limits=(0.001, 0.999), recipe=recipe)
    clipped = np.clip(values, np.quantile(values, 0.001), np.quantile(values, 0.999))
    padded = np.zeros((16, 16, 16))
    padded[3:13, 3:12, 4:11] = (clipped - clipped.min()) / (clipped.max() - clipped.min())
    made = prepare_volume(as_file(values, np.diag([-1.0, -1, 1, 1])), spec)
    np.testing.assert_allclose(made.values[..., 0], padded.reshape(4, 4, 4, 4, 4, 4).mean((1, 3, 5)), atol=1e-6)
    # The first block's centre lies 1.5 voxels into the canvas, whose first voxel lies 3, 3 and 4 voxels before the file's.
    assert made.affine is not None
    np.testing.assert_allclose(made.affine @ [0, 0, 0, 1], [1.5, 1.5, -2.5, 1])
    assert made.spacing == (4, 4, 4)


def test_recipe_is_the_published_preparation_of_lidc() -> None:
    # Cubic to 1 mm, centre crop, floor at -1000, upper quantile of the crop, means of blocks.
    values = np.asarray(ndimage.gaussian_filter(noise(13, 14, 11) * 40, 1)) * 3 - 900
    recipe = VolumeRecipe(
        orientation="RAS", spacing_mm=(1, 1, 1), interpolation="cubic", canvas=(16, 16, 16), floor=-1000, reduction="average"
    )
    spec = SignalSpec(kind="volume", shape=(4, 4, 4), normalisation="quantile", limits=(0, 0.999), recipe=recipe)
    zoomed = np.asarray(ndimage.zoom(values, (1.5, 1.25, 2), order=3, mode="nearest"))
    starts = [(length - 16) // 2 for length in zoomed.shape]
    cropped = zoomed[tuple(slice(start, start + 16) for start in starts)]
    cropped = np.clip(np.maximum(cropped, -1000), None, np.quantile(np.maximum(cropped, -1000), 0.999))
    expected = (cropped - cropped.min()) / (cropped.max() - cropped.min())
    made = prepare_volume(as_file(values, np.diag([1.5, 1.25, 2, 1])), spec)
    np.testing.assert_allclose(made.values[..., 0], expected.reshape(4, 4, 4, 4, 4, 4).mean((1, 3, 5)), atol=1e-4)
    assert made.value_range[0] == -1000


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*[st.integers(3, 12)] * 3),
    affine=axes_and_signs(),
    canvas=st.none() | st.tuples(*[st.sampled_from([4, 8, 12])] * 3),
    spacing=st.none() | st.tuples(*[st.floats(0.7, 3)] * 3),
    orientation=st.sampled_from(["RAS", "LPS", "SAR", "PIR"]),
    average=st.booleans(),
)
def test_recipe_keeps_every_voxel_where_it_lies(shape, affine, canvas, spacing, orientation, average) -> None:
    # A volume that holds its own height in mm: whatever is done, a voxel's value is the height of its place.
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    places = np.stack([x, y, z, np.ones_like(x)], -1) @ affine.T
    volume = as_file(places[..., 2].astype(np.float32), affine)
    recipe = VolumeRecipe(
        orientation=orientation, canvas=canvas, spacing_mm=spacing, reduction="average" if average and canvas else "linear"
    )
    spec = SignalSpec(kind="volume", shape=(4, 4, 4), normalisation="window", limits=(-1000, 1000), recipe=recipe)
    made = prepare_volume(volume, spec)
    assert made.affine is not None
    assert "".join(nibabel.orientations.aff2axcodes(made.affine)) == orientation or np.abs(affine[:3, :3]).min() > 0.1
    corners = np.stack([*np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), np.ones((4, 4, 4))], -1)
    heights = (corners @ made.affine.T)[..., 2]
    index = corners @ (np.linalg.inv(affine) @ made.affine).T
    margin = 1.0 + 0.5 * np.array(made.spacing) / np.linalg.norm(affine[:3, :3], axis=0).min()
    inside = ((index[..., :3] >= margin.max()) & (index[..., :3] <= np.array(shape) - 1 - margin.max())).all(-1)
    if not any(np.array(shape) > 2 * 4):  # antialiasing smooths, and bends a slope near the edges
        np.testing.assert_allclose(made.values[inside, 0] * 2000 - 1000, heights[inside], atol=0.2)


def test_recipe_is_done_to_a_signal_as_to_a_file() -> None:
    volume = as_file(noise(9, 8, 7), OBLIQUE)
    recipe = VolumeRecipe(spacing_mm=(2, 2, 2), canvas=(8, 8, 8))
    spec = SignalSpec(kind="volume", shape=(4, 4, 4), normalisation="quantile", limits=(0.01, 0.99), recipe=recipe)
    np.testing.assert_allclose(prepare_signal(volume.read(), spec).values, prepare_volume(volume, spec).values, atol=1e-4)
    prepared = prepare_signal(volume.read(), spec)
    assert prepare_signal(prepared, spec) is prepared
    assert any("Resampled" in note for note in prepared.notes)
    assert any("Cropped" in note or "Padded" in note for note in prepared.notes)


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ({"orientation": "RAR"}, "orientation"),
        ({"reduction": "average"}, "canvas"),
        ({"reduction": "average", "canvas": (10, 8, 8)}, "whole multiples"),
        ({"spacing_mm": (0, 1, 1)}, "greater than 0"),
    ],
)
def test_recipe_refuses_what_cannot_be_done(recipe: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        SignalSpec.parse({"kind": "volume", "shape": (4, 4, 4), "recipe": recipe}, "recipe")


def test_recipe_needs_the_spacing_that_it_resamples() -> None:
    content = bytearray(nifti_bytes(noise(4, 5, 6)))
    content[252:256] = bytes(4)  # qform and sform codes
    content[76:108] = bytes(32)  # pixdim
    spec = SignalSpec(kind="volume", shape=(4, 4, 4), normalisation="range", recipe=VolumeRecipe(spacing_mm=(1, 1, 1)))
    with pytest.raises(SignalError, match="voxel spacing"):
        read_signal(bytes(content), "v.nii", spec=spec)


@settings(max_examples=30, deadline=None)
@given(affine=axes_and_signs(), canvas=st.none() | st.tuples(*[st.sampled_from([4, 8])] * 3))
def test_sampled_voxels_lie_where_the_prepared_grid_has_them(affine, canvas) -> None:
    # Coordinates at which the prepared, linear volume of heights is known: -1 and 1 are its corner voxels.
    shape = (6, 5, 7)
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    heights = (np.stack([x, y, z, np.ones_like(x)], -1) @ affine.T)[..., 2].astype(np.float32)
    spec = SignalSpec(
        kind="volume", shape=(4, 4, 4), normalisation="window", limits=(-1000, 1000), recipe=VolumeRecipe(canvas=canvas)
    )
    sample = sample_voxels(as_file(heights, affine), spec, 100)
    assert sample.signal.affine is not None
    index = (sample.coords.astype(float) + 1) / 2 * 3
    placed = (np.concatenate([index, np.ones((len(index), 1))], 1) @ sample.signal.affine.T)[:, 2]
    np.testing.assert_allclose(sample.values[:, 0] * 2000 - 1000, placed, atol=2e-2)


def test_sample_voxels_draws_each_voxel_once_and_the_same_again() -> None:
    volume = as_file(noise(6, 5, 7))
    spec = SignalSpec(kind="volume", shape=(4, 4, 4), normalisation="range")
    every = sample_voxels(volume, spec, 10_000)
    assert len(every.coords) == 210
    assert len(np.unique(every.coords, axis=0)) == 210
    some, again, other = (sample_voxels(volume, spec, 50, seed=seed) for seed in (0, 0, 1))
    assert len(some.values) == 50
    np.testing.assert_array_equal(some.coords, again.coords)
    assert not np.array_equal(some.coords, other.coords)
    with pytest.raises(SignalError, match="at least 1"):
        sample_voxels(volume, spec, 0)


def test_overview_shows_the_whole_file_in_its_own_axes_and_units() -> None:
    ramp = np.broadcast_to(np.linspace(-500, 500, 20, dtype=np.float32)[:, None, None], (20, 6, 5)).copy()
    shown = overview(as_file(ramp, OBLIQUE), edge=10)
    assert shown.shape == (10, 6, 5)
    assert shown.value_range == pytest.approx((-500, 500), abs=0.1)
    np.testing.assert_allclose(shown.values[:, 0, 0, 0], np.linspace(0, 1, 10), atol=1e-5)
    assert shown.affine is not None
    np.testing.assert_allclose(shown.affine @ [9, 5, 4, 1], OBLIQUE @ [19, 5, 4, 1], atol=1e-4)
    assert overview(as_file(ramp), edge=64).shape == (20, 6, 5)


_MEASURE = """
import sys
from medfuncta_core.config import SignalSpec
from medfuncta_core.signals import read_signal
import scipy.ndimage, nibabel
peak = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
spec = SignalSpec(kind="volume", shape=(32, 32, 32), normalisation="quantile", limits=(0.005, 0.995))
assert read_signal(sys.argv[1], spec=spec).shape == (32, 32, 32)
print((peak() - before) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak memory")
def test_prepare_volume_takes_little_memory_beyond_the_library(tmp_path: Path) -> None:
    # 18 million voxels: 36 MB stored, 72 MB as float32, several times that when prepared in memory.
    plane = np.random.default_rng(0).integers(-1000, 2000, (256, 256, 1), dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(np.repeat(plane, 280, axis=2), np.eye(4)), tmp_path / "v.nii")
    done = subprocess.run([sys.executable, "-c", _MEASURE, str(tmp_path / "v.nii")], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 90  # MiB; prepared in memory it takes 380
