"""Import of the published implementation's files: a field becomes a checkpoint, its folder of latents one table beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medfuncta_core.checkpoint.datapoints import Datapoint, find_datapoints, read_datapoints
from medfuncta_core.checkpoint.files import save_checkpoint
from medfuncta_core.checkpoint.latents import LatentTable, save_latents
from medfuncta_core.checkpoint.published import PublishedField, Scalar, convert_weights, grid_shape, read_field, read_recipe
from medfuncta_core.config import KIND_OF_AXES, CheckpointConfig, DataSetInfo, FieldConfig, FitConfig, SignalSpec
from medfuncta_core.errors import CheckpointError, ConfigError
from medfuncta_core.fields import ModulatedSIREN

LATENTS_FILE = "latents.safetensors"
Watch = Callable[[list[Datapoint]], Iterable[Datapoint]]


@dataclass(frozen=True)
class ImportResult:
    """What an import made.

    Args:
        path: The checkpoint's directory.
        config: Its configuration.
        latents: The table of latents beside it, or None.
        latent_count: Its rows.
        problems: One line for each latent that could not be read.
    """

    path: Path
    config: CheckpointConfig
    latents: Path | None = None
    latent_count: int = 0
    problems: tuple[str, ...] = ()


def import_official(
    file: str | Path,
    *,
    out: str | Path,
    latents: str | Path | None = None,
    omega_first: float | None = None,
    omega_increment: float | None = None,
    yaml: str | Path | None = None,
    residual: bool | None = None,
    shape: tuple[int, ...] | None = None,
    name: str | None = None,
    signal: SignalSpec | None = None,
    watch: Watch = iter,
) -> ImportResult:
    """Turn the published implementation's files into a checkpoint, without running anything from them.

    Args:
        file: `model.pt` (a pickled module) or `best.model` and its siblings (a state dict).
        out: Directory of the checkpoint.
        latents: A folder with `train`, `val`, `test`, or one of these: `datapoint_N.pt` files.
        omega_first: w0 of the first layer; a state dict does not say it.
        omega_increment: w0_increment; 0 for the same w0 everywhere.
        yaml: The recipe the field was trained with, which says both, and more.
        residual: Whether skip connections were on; None takes what the file or the recipe says, else the published default, on.
        shape: Points per axis of its signals, where neither file nor recipe says them.
        name: Of the checkpoint; the directory's when None.
        signal: What it expects of a signal; worked out from the above when None, and unknown where they do not say.
        watch: Passes the files of the latents on one by one, to show progress over many: tqdm, for instance.

    Raises:
        CheckpointError: when a file is damaged, wants to run code, contradicts the settings, or the settings are missing.
    """
    out = Path(out)
    published = read_field(file)
    recipe = read_recipe(yaml) if yaml is not None else {}
    given = {"omega_first": omega_first, "omega_increment": omega_increment, "residual": residual}
    try:
        config, weights = convert_weights(published, **_settle(published, recipe, given))
        _check_recipe(recipe, config, published.source)
        expected = signal or _expected_signal(published, recipe, config, shape)
        fit = FitConfig.parse(_named(recipe, steps="inner_steps_test", inner_lr="inner_lr"), str(yaml))
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    if expected and (len(expected.shape), expected.channels) != (config.coord_dim, config.channels):
        raise CheckpointError(
            f"{file}: a field of {config.coord_dim} axes and {config.channels} channels cannot hold signals of shape "
            f"{expected.shape} and {expected.channels} channels; give the shape it was trained on"
        )
    table, problems = _read_latents(Path(latents), config.latent_dim, watch) if latents is not None else (None, ())
    checkpoint = CheckpointConfig(
        name=name or out.resolve().name,
        origin="imported",
        field=config,
        signal=expected,
        fit=fit,
        data=DataSetInfo(name=str(recipe["dataset"])) if "dataset" in recipe else None,
    )
    field = ModulatedSIREN(config)
    field.load_state_dict(weights)
    save_checkpoint(out, field, checkpoint)
    if table is None:
        return ImportResult(out, checkpoint)
    return ImportResult(out, checkpoint, save_latents(out / LATENTS_FILE, table), len(table), problems)


def _settle(published: PublishedField, recipe: dict[str, Scalar], given: dict[str, Any]) -> dict[str, Any]:
    """Omegas and residual from the file itself, the caller and the recipe; they must not contradict each other."""
    recipe_values = _named(recipe, omega_first="w0", omega_increment="w0_increment", residual="enable_skip_connections")
    settled: dict[str, Any] = {}
    for key, value in given.items():
        known = [("the file", getattr(published, key)), ("the command", value), ("the recipe", recipe_values.get(key))]
        said = [(who, claim) for who, claim in known if claim is not None]
        for who, claim in said:
            if isinstance(claim, str):
                raise CheckpointError(f"{published.source}: {who} says {key} {claim!r}, which is no number; mend it")
            if abs(float(claim) - float(said[0][1])) > 1e-6:
                raise CheckpointError(
                    f"{published.source}: {said[0][0]} says {key} {said[0][1]}, {who} says {claim}; drop the wrong one"
                )
        if said:
            settled[key] = said[0][1]
    settled.setdefault("residual", True)
    missing = [option for key, option in _OPTIONS.items() if key not in settled]
    if missing:
        raise CheckpointError(
            f"{published.source}: a state dict does not say its omegas; give {' and '.join(missing)} "
            "(w0 and w0_increment of its training), or its YAML file with --yaml"
        )
    return settled


_OPTIONS = {"omega_first": "--omega-first", "omega_increment": "--omega-increment"}


def _named(recipe: dict[str, Scalar], **names: str) -> dict[str, Scalar]:
    return {ours: recipe[theirs] for ours, theirs in names.items() if theirs in recipe}


def _check_recipe(recipe: dict[str, Scalar], config: FieldConfig, source: Path) -> None:
    """A recipe of another model would bring the wrong omegas; its sizes give it away."""
    sizes = {"hidden_size": config.width, "num_layers": config.depth, "latent_modulation_dim": config.latent_dim}
    for key, actual in sizes.items():
        if key in recipe and recipe[key] != actual:
            raise CheckpointError(
                f"{source}: its {key} is {actual}, the recipe says {recipe[key]}; give the recipe of this very field"
            )


def _expected_signal(
    published: PublishedField, recipe: dict[str, Scalar], config: FieldConfig, shape: tuple[int, ...] | None
) -> SignalSpec | None:
    """Shape from the caller, the grid or the recipe; normalisation as the published data sets do it."""
    if shape is None and published.grid is not None:
        shape = grid_shape(published.grid)
    if shape is None and isinstance(recipe.get("img_size"), int):
        shape = (int(recipe["img_size"]),) * config.coord_dim
    if shape is None or config.coord_dim not in (1, 2, 3):
        return None
    data = str(recipe.get("dataset", ""))
    kind = KIND_OF_AXES[config.coord_dim]
    settings: dict[str, Any] = {"kind": kind, "shape": shape, "channels": config.channels, "normalisation": "dtype"}
    if data == "brats":
        settings |= {"normalisation": "quantile", "limits": (0.001, 0.999)}
    elif kind == "ecg" or (kind == "volume" and "mnist" not in data):
        settings |= {"normalisation": "range"}
    if data == "ecg":
        settings |= {"sampling_rate": 125.0}
    return SignalSpec.parse(settings, str(published.source))


def _read_latents(folder: Path, latent_dim: int, watch: Watch) -> tuple[LatentTable, tuple[str, ...]]:
    """All `datapoint_N.pt` below a folder, by split and number; unreadable ones become a line each."""
    files = find_datapoints(folder)
    rows: list[tuple[np.ndarray, np.ndarray, str, int]] = []
    problems: list[str] = []
    for (split, number, _), reading in zip(watch(files), read_datapoints(files, latent_dim), strict=True):
        if reading.latent is None:
            problems.append(reading.problem)
        else:
            rows.append((reading.latent, reading.label, split, number))
    if not rows:
        raise CheckpointError(problems[0])
    latents, labels, splits, numbers = zip(*rows, strict=True)
    return LatentTable(np.stack(latents), np.stack(labels), splits, np.array(numbers, dtype=np.int64)), tuple(problems)
