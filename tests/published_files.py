"""Stand-ins for the published implementation, written anew: its class names, its attributes and its forward pass in a few lines.

Torch pickles a class by its module and name, so the classes pretend to live in `models.inrs` and `models.layers`, and the modules
exist only while a file is written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn


class SineLayer(nn.Module):
    """One modulated layer."""

    def __init__(self, sizes: tuple[int, int], latent_dim: int, w0: float, shift: bool, scale: bool, last: bool) -> None:
        super().__init__()
        self.in_size, self.out_size = sizes
        self.latent_modulation_dim, self.w0, self.is_last = latent_dim, w0, last
        self.modulate_shift, self.modulate_scale = shift, scale
        self.linear = nn.Linear(*sizes)
        for parameter in self.linear.parameters():  # SIREN's spread; torch's own would amplify rounding from layer to layer
            nn.init.uniform_(parameter, -((6 / sizes[0]) ** 0.5) / w0, (6 / sizes[0]) ** 0.5 / w0)
        if shift:
            self.modulate_shift_layer = nn.Linear(latent_dim, sizes[1])
        if scale:
            self.modulate_scale_layer = nn.Linear(latent_dim, sizes[1])

    def forward(self, h: Tensor, latent: Tensor) -> Tensor:
        u = self.linear(h)
        if self.is_last:
            return u
        if self.modulate_scale:
            u = self.modulate_scale_layer(latent)[:, None] * u
        if self.modulate_shift:
            u = u + self.modulate_shift_layer(latent)[:, None]
        return torch.sin(self.w0 * u)


class Network(nn.Module):
    """The whole field."""

    def __init__(self, case: PublishedCase) -> None:
        super().__init__()
        widths = [len(case.shape), *[case.width] * (case.depth - 1), case.channels]
        made = [
            SineLayer(
                (widths[k], widths[k + 1]),
                case.latent_dim,
                case.w0 + k * case.increment,
                case.shift,
                case.scale,
                k == case.depth - 1,
            )
            for k in range(case.depth)
        ]
        self.layers, self.last_layer = nn.ModuleList(made[:-1]), made[-1]
        self.enable_skip_connections = case.skip
        self.modulations = torch.zeros(2, case.latent_dim, requires_grad=True)

    def forward(self, coords: Tensor, latent: Tensor) -> Tensor:
        h = self.layers[0](coords.expand(len(latent), -1, -1), latent)
        for layer in self.layers[1:]:
            h = layer(h, latent) + (h if self.enable_skip_connections else 0)
        return self.last_layer(h, latent) + 0.5


class Wrapper(nn.Module):
    """What its training saves the state of: a grid buffer and the field as `model`."""

    def __init__(self, model: Network, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.model = model
        axes = [torch.linspace(-1, 1, points) for points in shape]
        self.register_buffer("grid", torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(shape)))


SineLayer.__module__, SineLayer.__qualname__, SineLayer.__name__ = "models.layers", *["LatentModulatedSIRENLayer"] * 2
Network.__module__, Network.__qualname__, Network.__name__ = "models.inrs", *["LatentModulatedSIREN"] * 2


@dataclass(frozen=True)
class PublishedCase:
    """A tiny published field: its signals and switches."""

    shape: tuple[int, ...]
    channels: int = 1
    depth: int = 5
    width: int = 9
    latent_dim: int = 6
    w0: float = 7.0
    increment: float = 2.5
    shift: bool = True
    scale: bool = False
    skip: bool = True

    def build(self) -> Wrapper:
        torch.manual_seed(7)
        return Wrapper(Network(self), self.shape)


@contextmanager
def published_modules() -> Iterator[None]:
    """Makes the class names importable, as pickling asks for, and takes them away again."""
    modules = {
        "models": ModuleType("models"),
        "models.inrs": ModuleType("models.inrs"),
        "models.layers": ModuleType("models.layers"),
    }
    modules["models.inrs"].LatentModulatedSIREN = Network  # type: ignore[attr-defined]
    modules["models.layers"].LatentModulatedSIRENLayer = SineLayer  # type: ignore[attr-defined]
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


def save_module(wrapper: Wrapper, path: Path) -> Path:
    """Write `model.pt`: the pickled field."""
    with published_modules():
        torch.save(wrapper.model, path)
    return path


def save_state(wrapper: Wrapper, path: Path) -> Path:
    """Write `best.model`: the wrapper's state dict."""
    torch.save(wrapper.state_dict(), path)
    return path


def save_datapoint(path: Path, latent: Tensor, label: Tensor | None) -> Path:
    """Write one `datapoint_N.pt`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"modulations": latent} | ({} if label is None else {"label": label}), path)
    return path


def expected_values(wrapper: Wrapper, latents: Tensor) -> np.ndarray:
    """The published forward at the grid, `(b, n, c)`."""
    with torch.no_grad():
        return wrapper.model(wrapper.get_buffer("grid"), latents).numpy()


RECIPE = """{{
  # Training configuration
  'dataset': {dataset},
  'img_size': {img_size},
  'data_ratio': 0.25,
  'sample_type': random,
  'w0': {w0},
  'w0_increment': {increment},

  # Test configuration
  'inner_steps_test': 12,

  # Model config
  'hidden_size': {width},
  'num_layers': {depth},
  'latent_modulation_dim': {latent_dim},
  'load_path': /path/to/best.model or /path/to/stepXXXX.model,
}}"""


def recipe_text(case: PublishedCase, dataset: str) -> str:
    """A YAML recipe of a case, in the published style."""
    return RECIPE.format(
        dataset=dataset,
        img_size=case.shape[0],
        w0="7.",
        increment=case.increment,
        width=case.width,
        depth=case.depth,
        latent_dim=case.latent_dim,
    )
