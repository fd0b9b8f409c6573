"""Metrics against numbers by hand, scikit-image, and their own invariances."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from medfuncta_core import metrics
from medfuncta_core.metrics import finite_or_none, lpips, mse, psnr, ssim

SHAPES = [(1, (37,)), (1, (41, 23)), (3, (23, 41)), (1, (13, 14, 17)), (2, (12, 11, 19))]


def noisy_pair(shape: tuple[int, ...], channels: int, signals: int = 2) -> tuple[Tensor, Tensor]:
    """Smooth signals in [0, 1] and noisy copies that leave it, each `(b, *shape, c)` float32."""
    generator = np.random.default_rng(7)
    axes = np.meshgrid(*(np.linspace(0, 3, n) for n in shape), indexing="ij")
    smooth = 0.5 + 0.5 * np.sin(sum((k + 1.3) * axis for k, axis in enumerate(axes)))
    target = np.stack([smooth, smooth**2])[:signals, ..., None] * np.linspace(1, 0.6, channels)
    prediction = target + 0.1 * generator.standard_normal(target.shape)
    return torch.from_numpy(prediction.astype(np.float32)), torch.from_numpy(target.astype(np.float32))


def reference_ssim(prediction: Tensor, target: Tensor) -> list[float]:
    """What scikit-image says in float64, signal by signal."""
    pairs = zip(prediction.clamp(0, 1).double().numpy(), target.double().numpy(), strict=True)
    settings: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return [cast(float, structural_similarity(x, y, data_range=1, channel_axis=-1, **settings)) for x, y in pairs]


def test_mse_matches_numbers_by_hand() -> None:
    target = torch.tensor([[[0.0], [0.5]], [[1.0], [1.0]]])  # two signals of two samples
    prediction = torch.tensor([[[0.2], [0.5]], [[0.0], [0.5]]])
    assert mse(prediction, target).tolist() == pytest.approx([0.04 / 2, 1.25 / 2])


def test_mse_clamps_predictions_to_the_unit_interval() -> None:
    target = torch.tensor([[[0.0], [1.0]]])
    assert mse(torch.tensor([[[-3.0], [7.0]]]), target).tolist() == [0]
    assert mse(torch.tensor([[[7.0], [-3.0]]]), target).tolist() == [1]


def test_psnr_matches_numbers_by_hand() -> None:
    target = torch.full((2, 8, 6, 1), 0.5)
    prediction = target + torch.tensor([0.1, 0.01]).reshape(2, 1, 1, 1)
    assert psnr(prediction, target).tolist() == pytest.approx([20, 40], abs=1e-4)


def test_psnr_of_identical_signals_is_infinite_and_json_null(image_values: np.ndarray) -> None:
    values = torch.from_numpy(image_values)[None]
    assert psnr(values, values).tolist() == [math.inf]
    assert json.dumps(finite_or_none(psnr(values, values)[0]), allow_nan=False) == "null"


def test_finite_or_none_keeps_numbers_and_drops_the_rest() -> None:
    assert finite_or_none(torch.tensor([2.5])) == 2.5
    assert [finite_or_none(value) for value in (3, 0.0, None, math.nan, -math.inf)] == [3, 0, None, None, None]


@pytest.mark.parametrize(("channels", "shape"), SHAPES)
def test_ssim_equals_scikit_image(channels: int, shape: tuple[int, ...]) -> None:
    prediction, target = noisy_pair(shape, channels)
    assert ssim(prediction, target).tolist() == pytest.approx(reference_ssim(prediction, target), abs=1e-6)


def test_ssim_equals_scikit_image_on_nearly_constant_signals() -> None:
    """Flat bright regions, as in X-rays, where variances in float32 are rounding errors."""
    target = 0.93 + 1e-3 * noisy_pair((41, 23), 1)[1]
    prediction = target + 1e-3 * torch.linspace(0, 1, 23)[None, None, :, None]
    assert ssim(prediction, target).tolist() == pytest.approx(reference_ssim(prediction, target), abs=1e-6)


def test_ssim_equals_scikit_image_on_real_signals(shared_data: Path) -> None:
    file = shared_data / "nihcxr_64.npz"
    if file.is_file():
        with np.load(file, allow_pickle=False) as arrays:
            target = torch.from_numpy(arrays["test_images"][:3].reshape(3, 64, 64, 1).astype(np.float32) / 255)
    else:
        target = noisy_pair((64, 64), 1)[1]
    prediction = (target + target.roll(1, 1)) / 2
    assert ssim(prediction, target).tolist() == pytest.approx(reference_ssim(prediction, target), abs=1e-6)


@pytest.mark.parametrize("fixture", ["ecg_values", "image_values", "volume_values"])
def test_metrics_of_identical_signals_are_perfect(fixture: str, request: pytest.FixtureRequest) -> None:
    values = torch.from_numpy(request.getfixturevalue(fixture))[None]
    assert mse(values, values).tolist() == [0]
    assert ssim(values, values).tolist() == pytest.approx([1], abs=1e-7)


def test_ssim_window_shrinks_to_a_short_axis() -> None:
    """Three samples leave one placement of a window of three, worked out by hand."""
    x, y = np.array([0.1, 0.6, 0.4]), np.array([0.2, 0.5, 0.9])
    w = np.exp(-0.5 * (np.array([-1, 0, 1]) / 1.5) ** 2)
    w /= w.sum()
    mx, my = (w * x).sum(), (w * y).sum()
    vx, vy, cov = (w * x * x).sum() - mx**2, (w * y * y).sum() - my**2, (w * x * y).sum() - mx * my
    expected = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    found = ssim(torch.from_numpy(x).reshape(1, 3, 1), torch.from_numpy(y).reshape(1, 3, 1))
    assert found.tolist() == pytest.approx([expected], abs=1e-12)


@pytest.mark.parametrize("budget", [1, 500, 5000])
def test_ssim_does_not_depend_on_how_it_is_chunked(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, target = noisy_pair((13, 14, 17), 2)
    whole = ssim(prediction, target)
    monkeypatch.setattr(metrics, "SSIM_CHUNK_POINTS", budget)
    torch.testing.assert_close(ssim(prediction, target), whole, rtol=0, atol=1e-7)


@pytest.mark.parametrize("metric", [mse, psnr, ssim])
def test_metric_of_a_signal_does_not_depend_on_its_batch(metric) -> None:
    prediction, target = noisy_pair((12, 15), 3)
    alone = torch.cat([metric(prediction[k : k + 1], target[k : k + 1]) for k in range(2)])
    torch.testing.assert_close(metric(prediction, target), alone, rtol=1e-6, atol=0)
    torch.testing.assert_close(metric(prediction.flip(0), target.flip(0)), alone.flip(0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("metric", [mse, psnr, ssim])
def test_metric_does_not_depend_on_axis_order(metric) -> None:
    prediction, target = noisy_pair((12, 15), 1)
    swapped = metric(prediction.transpose(1, 2), target.transpose(1, 2))
    torch.testing.assert_close(swapped, metric(prediction, target), rtol=1e-6, atol=0)


@pytest.mark.parametrize("metric", [mse, psnr, ssim])
def test_metric_keeps_dtype_device_and_graph_out(metric) -> None:
    prediction, target = noisy_pair((16,), 1)
    found = metric(prediction.double().requires_grad_(), target.double())
    assert (found.dtype, found.requires_grad, found.shape) == (torch.float64, False, (2,))
    assert metric(prediction.half(), target.half()).dtype == torch.float32


@pytest.mark.parametrize("metric", [mse, psnr, ssim])
def test_metric_refuses_what_would_broadcast_or_lacks_an_axis(metric) -> None:
    values = torch.zeros(2, 8, 6, 1)
    with pytest.raises(ValueError, match=r"expected .* 3 axes .*\(2, 8, 6, 1\)"):
        metric(values, values, spatial_dims=3)
    with pytest.raises(ValueError, match="1 to 3 axes"):
        metric(torch.zeros(2, 8), torch.zeros(2, 8))


def test_metric_shape_check_does_not_lean_on_annotations() -> None:
    with pytest.raises(ValueError, match="must have the same shape"):
        metrics._clamped(torch.zeros(2, 8, 6, 1), torch.zeros(1, 8, 6, 1))


def test_metrics_pass_nan_on() -> None:
    target = torch.zeros(2, 16, 1)
    prediction = target.clone()
    prediction[0, 3] = math.nan
    for metric in (mse, psnr, ssim):
        assert metric(prediction, target).isnan().tolist() == [True, False]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty torch hub cache, with nothing remembered from other tests; yields its checkpoint folder."""
    caches = (metrics._alexnet_weights, metrics._perceptual_network)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for cache in caches:
        cache.cache_clear()
    (tmp_path / "checkpoints").mkdir()
    yield tmp_path / "checkpoints"
    for cache in caches:
        cache.cache_clear()


def test_lpips_without_weights_is_none_and_says_so_once(hub: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = torch.rand(2, 40, 36, 1)
    with caplog.at_level(logging.WARNING):
        assert [lpips(images, images) for _ in range(3)] == [None, None, None]
    (record,) = caplog.records
    assert str(hub) in record.getMessage()
    assert "fetches them once" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert list(hub.iterdir()) == []


def test_lpips_with_damaged_weights_is_none_and_says_so(hub: Path, caplog: pytest.LogCaptureFixture) -> None:
    (hub / metrics.ALEXNET_FILE).write_bytes(b"half a download")
    with caplog.at_level(logging.WARNING):
        assert lpips(torch.rand(1, 40, 36, 3), torch.rand(1, 40, 36, 3)) is None
    assert "damaged" in caplog.text


@pytest.mark.parametrize("shape", [(2, 64, 1), (2, 12, 13, 14, 1), (2, 40, 36, 2), (2, 40, 30, 1)])
def test_lpips_is_none_where_it_is_not_defined(shape: tuple[int, ...], hub: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert lpips(torch.rand(shape), torch.rand(shape)) is None
    assert caplog.records == []


@pytest.fixture
def backbone(hub: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """A made-up AlexNet where torchvision would have put the real one; returns its weights under torchvision's names."""
    generator = torch.Generator().manual_seed(0)
    sizes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    weights = {f"features.{n}.weight": 0.05 * torch.randn(size, generator=generator) for n, size in sizes.items()}
    weights |= {f"features.{n}.bias": 0.05 * torch.randn(size[0], generator=generator) for n, size in sizes.items()}
    torch.save({**weights, "classifier.1.bias": torch.zeros(3)}, hub / "weights.pth")
    digest = hashlib.sha256((hub / "weights.pth").read_bytes()).hexdigest()
    monkeypatch.setattr(metrics, "ALEXNET_FILE", f"alexnet-owt-{digest[:8]}.pth")
    (hub / "weights.pth").rename(hub / metrics.ALEXNET_FILE)
    return weights


# Building the package's network calls torchvision by an argument that it has since renamed.
@pytest.mark.filterwarnings("ignore:The parameter 'pretrained'", "ignore:Arguments other than a weight enum")
def test_lpips_equals_the_package_with_the_same_backbone(backbone: dict[str, Tensor]) -> None:
    from lpips import LPIPS

    expected = LPIPS(net="alex", pnet_rand=True, verbose=False)
    for part in expected.net.children():
        for number, layer in part.named_children():
            layer.load_state_dict({key: backbone[f"features.{number}.{key}"] for key in layer.state_dict()})
    for target in (torch.rand(2, 40, 36, 1), torch.rand(2, 31, 47, 3)):
        prediction = (target + 0.3 * torch.rand_like(target)).clamp(0, 1)
        x, y = (values.permute(0, 3, 1, 2).expand(-1, 3, -1, -1) * 2 - 1 for values in (prediction, target))
        with torch.no_grad():
            wanted = expected(x, y).flatten()
        found = lpips(prediction, target)
        assert found is not None
        assert (found > 0).all()
        torch.testing.assert_close(found, wanted)


def test_lpips_of_identical_images_is_zero(backbone: dict[str, Tensor]) -> None:
    images = torch.rand(3, 40, 36, 1)
    found = lpips(images, images)
    assert found is not None
    assert found.tolist() == [0, 0, 0]


def test_lpips_leaves_the_callers_random_numbers_alone(backbone: dict[str, Tensor]) -> None:
    images = torch.rand(1, 40, 36, 1)
    state = torch.random.get_rng_state()
    assert lpips(images, images) is not None
    assert torch.equal(torch.random.get_rng_state(), state)
