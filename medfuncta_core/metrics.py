"""How close a reconstruction is to its signal: MSE, PSNR, SSIM and LPIPS, one number per signal.

Everything is measured on values clamped to [0, 1], as the paper reports them (Sec. 3), over all points and channels of a signal.
No metric here is meant to be differentiated: they run without gradients.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from lpips import LPIPS

logger = logging.getLogger(__name__)

SSIM_SIGMA = 1.5  # standard deviation of the window, in points
SSIM_RADIUS = 5  # 11 points: 3.5 standard deviations, rounded, as in Wang et al. and scikit-image
SSIM_K1, SSIM_K2 = 0.01, 0.03
SSIM_CHUNK_POINTS = 1 << 20  # points filtered at a time: about 80 MB of float64 at the peak

ALEXNET_FILE = "alexnet-owt-7be5be79.pth"  # torchvision's name; what follows the last hyphen begins its SHA-256
LPIPS_MIN_SIDE = 31  # below this AlexNet's second pooling has nothing left to pool
_lpips_lock = threading.Lock()


@torch.no_grad()
def mse(
    prediction: Float[Tensor, "b *shape c"], target: Float[Tensor, "b *shape c"], spatial_dims: int | None = None
) -> Float[Tensor, " b"]:
    """Mean squared error of every signal.

    Args:
        prediction: Reconstructions; clamped to [0, 1] here.
        target: Signals in [0, 1], same shape.
        spatial_dims: Axes between batch and channels (1, 2 or 3), to be held to; None takes what the tensors have.

    Returns:
        `(b,)`, 0 for identical signals, NaN where a prediction is NaN.

    Raises:
        ValueError: if the shapes differ, or have another number of axes than `spatial_dims`.
    """
    prediction, target = _clamped(prediction, target, spatial_dims)
    return (prediction - target).square().flatten(1).mean(1)


def psnr(
    prediction: Float[Tensor, "b *shape c"], target: Float[Tensor, "b *shape c"], spatial_dims: int | None = None
) -> Float[Tensor, " b"]:
    """Peak signal-to-noise ratio of every signal, `-10 log10(mse)` decibels: the peak is 1.

    Args, Raises: as `mse`.

    Returns:
        `(b,)` in dB; infinite for identical signals, which JSON cannot hold: `finite_or_none` writes it as null.
    """
    return -10 * torch.log10(mse(prediction, target, spatial_dims))


def finite_or_none(value: float | Tensor | None) -> float | None:
    """A metric as JSON can hold it: None for a metric that is missing, infinite or not a number.

    Args:
        value: A number, a tensor of one element, or None.
    """
    return float(value) if value is not None and math.isfinite(value) else None


@torch.no_grad()
def ssim(
    prediction: Float[Tensor, "b *shape c"], target: Float[Tensor, "b *shape c"], spatial_dims: int | None = None
) -> Float[Tensor, " b"]:
    """Structural similarity of every signal in 1D, 2D or 3D, the mean over points and channels.

    Computes what `skimage.metrics.structural_similarity` does with `data_range=1, gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False`: a Gaussian window of 11 points along every axis, placed only where it lies wholly inside.
    An axis shorter than 11 points gets the largest odd window that fits (scikit-image refuses such signals).
    Points are filtered about a million at a time, so that working memory grows with neither batch nor volume.

    Args, Raises: as `mse`.

    Returns:
        `(b,)`, at most 1, and 1 for identical signals.

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", 2004.
    """
    prediction, target = _clamped(prediction, target, spatial_dims)
    b, *_, c = target.shape
    # Variances are small differences of large squares: float64 keeps them, where the device has it.
    dtype = torch.float32 if target.device.type == "mps" else torch.float64
    x, y = (rearrange(values, "b ... c -> (b c) ...") for values in (prediction, target))
    windows = [_gaussian_window(n, x.device, dtype) for n in x.shape[1:]]
    group = max(1, SSIM_CHUNK_POINTS // x[0].numel())
    sums = [_ssim_sum(xs, ys, windows) for xs, ys in zip(x.split(group), y.split(group), strict=True)]
    placements = math.prod(n - len(window) + 1 for n, window in zip(x.shape[1:], windows, strict=True))
    return rearrange(torch.cat(sums) / placements, "(b c) -> b c", b=b, c=c).mean(1).to(target.dtype)


@torch.no_grad()
def lpips(prediction: Float[Tensor, "b *shape c"], target: Float[Tensor, "b *shape c"]) -> Float[Tensor, " b"] | None:
    """Learned perceptual distance of every image (AlexNet, version 0.1); 0 is identical.

    Grey images are repeated to three channels and values brought to [-1, 1], as the network was calibrated.
    Nothing is ever downloaded here: without torchvision's AlexNet weights in the torch hub cache the answer is None,
    and one line in the log says how to get them.

    Args, Raises: as `mse`.

    Returns:
        `(b,)`, or None where it is not defined: ECGs, volumes, channels other than 1 or 3, a side below 31 points, no weights.

    Source: Zhang, Isola, Efros, Shechtman, Wang, "The unreasonable effectiveness of deep features", 2018.
    """
    prediction, target = _clamped(prediction, target)
    if target.ndim != 4 or target.shape[-1] not in (1, 3) or min(target.shape[1:-1]) < LPIPS_MIN_SIDE:
        return None
    with _lpips_lock:
        network = _perceptual_network(target.device)
    if network is None:
        return None
    images = [rearrange(values.float(), "b h w c -> b c h w").expand(-1, 3, -1, -1) for values in (prediction, target)]
    return network(*images, normalize=True).flatten().to(target.dtype)


def _clamped(prediction: Tensor, target: Tensor, spatial_dims: int | None = None) -> tuple[Tensor, Tensor]:
    """Both in [0, 1] and at least float32, after a check that nothing would broadcast."""
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} must have the same shape")
    axes = target.ndim - 2
    if not 1 <= axes <= 3 or spatial_dims not in (None, axes):
        expected = "1 to 3" if spatial_dims is None else str(spatial_dims)
        raise ValueError(f"expected (b, *shape, c) with {expected} axes in shape, not {tuple(target.shape)}")
    dtype = torch.promote_types(torch.promote_types(prediction.dtype, target.dtype), torch.float32)
    return prediction.to(dtype).clamp(0, 1), target.to(dtype).clamp(0, 1)


def _gaussian_window(points: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, " w"]:
    """Weights of the window along an axis of so many points, summing to 1; always an odd number of them."""
    radius = min(SSIM_RADIUS, (points - 1) // 2)
    offsets = torch.arange(-radius, radius + 1, device=device, dtype=dtype)
    weights = torch.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    return weights / weights.sum()


def _filter(maps: Float[Tensor, " m *shape"], windows: list[Tensor]) -> Float[Tensor, " m *inside"]:
    """Weighted means over every placement of the separable window inside the maps.

    A sum of shifted slices: no padding, no unfolded copies, any number of axes and the device's full precision.
    """
    for axis, window in enumerate(windows, start=1):
        placements = maps.shape[axis] - len(window) + 1
        shifted = [maps.narrow(axis, k, placements) for k in range(len(window))]
        maps = window[0] * shifted[0]
        for weight, part in zip(window[1:], shifted[1:], strict=True):
            maps.addcmul_(weight, part)
    return maps


def _ssim_sum(x: Float[Tensor, " m *shape"], y: Float[Tensor, " m *shape"], windows: list[Tensor]) -> Float[Tensor, " m"]:
    """Sum of the local similarities of single-channel maps, slab by slab along their first axis, in the windows' dtype."""
    halo = len(windows[0]) - 1
    placements = x.shape[1] - halo
    slab = max(1, SSIM_CHUNK_POINTS * x.shape[1] // x.numel() - halo)
    total = windows[0].new_zeros(len(x))
    for start in range(0, placements, slab):
        rows = min(slab, placements - start) + halo
        xs, ys = (maps.narrow(1, start, rows).to(total.dtype) for maps in (x, y))
        total += _local_ssim(xs, ys, windows).flatten(1).sum(1)
    return total


def _local_ssim(
    x: Float[Tensor, " m *shape"], y: Float[Tensor, " m *shape"], windows: list[Tensor]
) -> Float[Tensor, " m *inside"]:
    """Similarity at every placement of the window (Wang et al., Eq. 13) for a data range of 1."""
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    mean_x, mean_y = _filter(x, windows), _filter(y, windows)
    var_x = _filter(x * x, windows) - mean_x * mean_x
    var_y = _filter(y * y, windows) - mean_y * mean_y
    cov = _filter(x * y, windows) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    return luminance * (2 * cov + c2) / (var_x + var_y + c2)


@cache
def _alexnet_weights() -> dict[str, Tensor] | None:
    """AlexNet's convolutions from the torch hub cache, or None and one log line; asked once per process."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET_FILE
    remedy = "python -c \"import torchvision; torchvision.models.alexnet(weights='IMAGENET1K_V1')\" fetches them once"
    if not path.is_file():
        logger.warning("LPIPS stays empty: AlexNet's weights are not at %s; %s", path, remedy)
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(path.stem.rsplit("-", 1)[1]):
        logger.warning("LPIPS stays empty: %s is damaged; delete it, then %s", path, remedy)
        return None
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return {name: value for name, value in weights.items() if name.startswith("features.")}


@cache
def _perceptual_network(device: torch.device) -> LPIPS | None:
    """LPIPS on a device, frozen, or None without its backbone's weights."""
    weights = _alexnet_weights()
    if weights is None:
        return None
    from lpips import LPIPS  # two seconds of imports that most callers never need

    # The package would let torchvision download the backbone, so it is built untrained and filled here; building it draws
    # random numbers, which must not disturb the caller's, and calls torchvision by an argument it has since renamed.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The parameter 'pretrained'|Arguments other than a weight enum", UserWarning)
        network = LPIPS(net="alex", pnet_rand=True, verbose=False)
    for part in network.net.children():  # its slices keep torchvision's layer numbers
        for number, layer in part.named_children():
            layer.load_state_dict({key: weights[f"features.{number}.{key}"] for key in layer.state_dict()})
    return network.eval().requires_grad_(False).to(device)
