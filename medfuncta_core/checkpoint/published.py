"""What the published implementation leaves behind: pickled modules, state dicts, and its YAML recipes.

Names on the left are that implementation's, e.g. `layers.3.modulate_shift_layer.weight`; `convert_weights` turns them into
this library's stacked parameters. Its fields differ from the paper: residual connections, a modulated first layer, and 0.5 added
to the output; the last layer has modulations that nothing uses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from medfuncta_core.checkpoint.pickles import Inert, as_tensor, read_pickle
from medfuncta_core.config import FieldConfig
from medfuncta_core.errors import CheckpointError

Scalar = str | int | float | bool


@dataclass(frozen=True, eq=False)
class PublishedField:
    """One of its networks, before conversion.

    Args:
        source: The file, for messages.
        weights: Its names to whatever the file has there.
        omega_first: None where the file does not say (a state dict never does), as for the next two.
        omega_increment: Added per layer.
        residual: Whether skip connections are on.
        grid: `(n, d)` coordinates it was trained on, which only state dicts have.
    """

    source: Path
    weights: dict[str, Any]
    omega_first: float | None = None
    omega_increment: float | None = None
    residual: bool | None = None
    grid: torch.Tensor | None = None


def read_field(path: str | Path) -> PublishedField:
    """Read `model.pt` (a pickled module) or `best.model`, `last.model`, `stepN.model` (a state dict).

    Raises:
        CheckpointError: when the file is damaged, wants to run code, or is something else.
    """
    path = Path(path)
    content = read_pickle(path, modules=True)
    try:
        if isinstance(content, Inert):
            return _from_module(path, content)
        return _from_state_dict(path, content)
    except (LookupError, AttributeError, TypeError, ValueError, StopIteration) as error:
        raise CheckpointError(
            f"{path}: a PyTorch file, but not one of the published implementation's fields; give model.pt or best.model"
        ) from error


def _from_module(path: Path, module: Inert) -> PublishedField:
    children = vars(module)["_modules"]
    layers = {f"layers.{k}": layer for k, layer in enumerate(vars(children["layers"])["_modules"].values())}
    layers["last_layer"] = children["last_layer"]
    weights = {
        f"{place}.{part}.{name}": value
        for place, layer in layers.items()
        for part, linear in vars(layer)["_modules"].items()
        for name, value in vars(linear)["_parameters"].items()
    }
    omegas = [float(vars(layer)["w0"]) for layer in layers.values()]
    increment = round(omegas[1] - omegas[0], 9)  # its code adds up step by step, which leaves rounding behind
    even = [omegas[0] + k * increment for k in range(len(omegas))]
    if any(abs(a - b) > 1e-6 * abs(b) for a, b in zip(omegas, even, strict=True)):
        raise CheckpointError(
            f"{path}: its layers' w0 {omegas} do not rise evenly, which no recipe of the published code gives; not imported"
        )
    return PublishedField(path, weights, omegas[0], increment, bool(vars(module)["enable_skip_connections"]))


def _from_state_dict(path: Path, content: Any) -> PublishedField:
    marker = "layers.0.linear.weight"
    prefix = next(key for key in content if key.endswith(marker)).removesuffix(marker)  # "model." of the wrapper, or none
    weights = {key.removeprefix(prefix): value for key, value in content.items() if key.startswith(prefix)}
    grid = content.get(prefix.removesuffix("model.") + "grid")
    return PublishedField(path, weights, grid=None if grid is None else as_tensor(grid, f"{path}: grid"))


def convert_weights(
    published: PublishedField, omega_first: float, omega_increment: float, residual: bool
) -> tuple[FieldConfig, dict[str, torch.Tensor]]:
    """This library's configuration and parameters of a published field.

    Args:
        published: As read.
        omega_first: w0 of the first layer.
        omega_increment: Added per layer.
        residual: Whether skip connections were on.

    Returns:
        The configuration and a state dict for `ModulatedSIREN`.

    Raises:
        CheckpointError: when weights are missing, of impossible shapes or not finite.
    """
    stacked = _stack_weights(published)
    width, coord_dim = stacked["first_weight"].shape
    modulations = [kind for kind in _MODULATIONS if f"{kind}_weight" in stacked]
    settings = {
        "coord_dim": coord_dim,
        "channels": len(stacked["last_weight"]),
        "depth": len(stacked["hidden_weight"]) + 2,
        "width": width,
        "latent_dim": stacked[f"{modulations[0]}_weight"].shape[-1],
        "omega_first": omega_first,
        "omega_increment": omega_increment,
        "residual": residual,
        "modulate_first": True,
        "modulate_shift": "shift" in modulations,
        "modulate_scale": "scale" in modulations,
        "output_offset": 0.5,
    }
    return FieldConfig.parse(settings, str(published.source)), stacked


_MODULATIONS = ("shift", "scale")


def _stack_weights(published: PublishedField) -> dict[str, torch.Tensor]:
    """Its parameters under this library's names, the layers' own stacked; the first one found of a size decides for all."""
    hidden = len({key.split(".")[1] for key in published.weights if re.fullmatch(r"layers\.\d+\.linear\.weight", key)})
    modulations = [kind for kind in _MODULATIONS if f"layers.0.modulate_{kind}_layer.weight" in published.weights]
    if hidden < 2 or not modulations:
        raise CheckpointError(
            f"{published.source}: {hidden} sine layers and {modulations or 'no'} modulation; "
            "a field needs two layers and one modulation"
        )
    take = partial(_take, published)
    width, coord_dim = take("layers.0.linear.weight").shape
    channels = take("last_layer.linear.weight").shape[0]
    latent_dim = take(f"layers.0.modulate_{modulations[0]}_layer.weight").shape[1]
    stacked = {
        "first_weight": take("layers.0.linear.weight", width, coord_dim),
        "first_bias": take("layers.0.linear.bias", width),
        "hidden_weight": torch.stack([take(f"layers.{k}.linear.weight", width, width) for k in range(1, hidden)]),
        "hidden_bias": torch.stack([take(f"layers.{k}.linear.bias", width) for k in range(1, hidden)]),
        "last_weight": take("last_layer.linear.weight", channels, width),
        "last_bias": take("last_layer.linear.bias", channels),
    }
    for kind in modulations:
        place = f"layers.{{}}.modulate_{kind}_layer"
        stacked[f"{kind}_weight"] = torch.stack([take(place.format(k) + ".weight", width, latent_dim) for k in range(hidden)])
        stacked[f"{kind}_bias"] = torch.stack([take(place.format(k) + ".bias", width) for k in range(hidden)])
    return stacked


def _take(published: PublishedField, name: str, *shape: int) -> torch.Tensor:
    """One of its weights, of this shape; of any shape with two axes when none is given."""
    if name not in published.weights:
        raise CheckpointError(f"{published.source}: {name} is missing; the file is incomplete, save it again")
    value = as_tensor(published.weights[name], f"{published.source}: {name}")
    if value.ndim != (len(shape) or 2) or (shape and tuple(value.shape) != shape):
        raise CheckpointError(
            f"{published.source}: {name} has shape {tuple(value.shape)}, not {shape or 'two axes'}; not a published field"
        )
    return value


def grid_shape(grid: torch.Tensor) -> tuple[int, ...] | None:
    """Points per axis of a regular grid from -1 to 1, from its coordinates alone; None when it is not such a grid.

    Args:
        grid: `(n, d)`, row-major, as the published wrapper keeps it.
    """
    if grid.ndim != 2:
        return None
    shape = tuple(len(torch.unique(axis)) for axis in grid.T)
    if min(shape, default=0) < 2 or torch.Size(shape).numel() != len(grid):
        return None
    axes = [torch.linspace(-1, 1, points) for points in shape]
    regular = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(shape))
    return shape if torch.allclose(grid, regular, atol=1e-5) else None


def read_recipe(path: str | Path) -> dict[str, Scalar]:
    """The scalar settings of one of its YAML files, e.g. `{'w0': 10., 'num_layers': 15, 'dataset': chestmnist}`.

    Only flat mappings of scalars are understood, in braces or one `key: value` a line, with comments: all these files are.

    Raises:
        CheckpointError: when the file cannot be read or has no such settings.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read as text; give the YAML file that the field was trained with") from error
    text = re.sub(r"(?m)(^|\s)#.*$", "", text).strip().removeprefix("{").removesuffix("}")
    entries = re.findall(r"""(?m)(?:^|,)[ \t]*['"]?(\w+)['"]?[ \t]*:[ \t]+([^,\n]*)""", text)
    if not entries:
        raise CheckpointError(f"{path}: no settings found; give the YAML file that the field was trained with")
    return {key: _scalar(value.strip()) for key, value in entries}


def _scalar(text: str) -> Scalar:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text.strip("'\"")
