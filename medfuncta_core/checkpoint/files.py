"""A checkpoint is a directory: `config.json` (everything but the weights), `model.safetensors`, `CARD.md` for people.

The weights' header repeats the architecture and the step, so that files of two different checkpoints are never mistaken for one.
Modulation matrices, nearly all of a field with long latents, may be stored as float16; in memory every weight is float32.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from medfuncta_core.atomic import write_atomically
from medfuncta_core.checkpoint.descriptions import CONFIG_FILE, WEIGHTS_FILE, read_config, write_description
from medfuncta_core.config import CheckpointConfig, FieldConfig
from medfuncta_core.errors import CheckpointError, ConfigError
from medfuncta_core.fields import MODULATION_MATRICES, ModulatedSIREN


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A field ready to be fitted and decoded, and what is known about it.

    Args:
        field: In evaluation mode, on its device, without gradients for its parameters.
        config: Architecture, expected signal, recipe, data, metrics.
        path: Its directory; None when it never was on a disk.
    """

    field: ModulatedSIREN
    config: CheckpointConfig
    path: Path | None = None


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint directory; nothing in it can run code.

    Args:
        path: The directory with `config.json` and `model.safetensors`.
        device: Where the weights go.

    Raises:
        CheckpointError: when files are missing, truncated, corrupt, of another format or of another field than
            `config.json` says, or when weights are not finite or of a type that is not stored here.
    """
    directory = Path(path)
    config = read_config(directory)
    file = directory / WEIGHTS_FILE
    weights = _read_weights(file, config.field)
    with torch.device("meta"):  # no memory and no random draws for initial weights that are replaced at once
        field = ModulatedSIREN(config.field)
    _check_weights(file, weights, {name: tuple(value.shape) for name, value in field.state_dict().items()})
    field.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
    return Checkpoint(freeze(field, device), config, directory)


def save_checkpoint(directory: str | Path, field: ModulatedSIREN, config: CheckpointConfig, card: str | None = None) -> Path:
    """Write a checkpoint; other files of the directory stay.

    Each file is replaced whole, the weights first and `config.json` last, so an interrupted first save is no checkpoint yet.

    Args:
        directory: Made when missing.
        field: Its weights are stored as float32, modulation matrices as `config.modulation_dtype` says.
        config: Its `field` must be the field's own.
        card: Text of `CARD.md`; generated from `config` when None.

    Returns:
        The directory.

    Raises:
        CheckpointError: when stored weights would not be finite, `config` describes another field, or the place cannot be
            written.
    """
    directory = Path(directory)
    if field.config != config.field:
        raise CheckpointError(
            f"{directory}: the configuration describes another field than the one to be saved; pass the field's own"
        )
    matrices = getattr(torch, config.modulation_dtype)
    weights = {
        name: value.detach().to("cpu", matrices if name in MODULATION_MATRICES else torch.float32).contiguous()
        for name, value in field.state_dict().items()
    }
    broken = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if broken:
        finite = bool(torch.isfinite(field.get_parameter(broken[0])).all())
        problem = "is too large for float16; store it as float32"
        if not finite:
            problem = "contains NaN or infinite values; save an earlier state"
        raise CheckpointError(f"{directory}: {broken[0]} {problem}")
    header = {"format": "medfuncta", "field": config.field.model_dump_json(), "step": str(config.step)}
    write_atomically(directory / WEIGHTS_FILE, save(weights, metadata=header))
    write_description(directory, config, card)
    return directory


def freeze(field: ModulatedSIREN, device: str | torch.device = "cpu") -> ModulatedSIREN:
    """The field in evaluation mode on `device`, its parameters without gradients: safe to share between users."""
    return field.to(device).eval().requires_grad_(False)


def _read_weights(file: Path, config: FieldConfig) -> dict[str, torch.Tensor]:
    """Tensors of the file; at least as many numbers as the field has, so that building it cannot outgrow the file."""
    if not file.is_file():
        raise CheckpointError(f"{file}: missing; a checkpoint is a directory with {CONFIG_FILE} and {WEIGHTS_FILE}")
    try:
        with safe_open(file, framework="pt") as opened:
            header: dict[str, str] = opened.metadata() or {}
            weights = {name: opened.get_tensor(name) for name in opened.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file}: truncated or not a safetensors file; copy it again from where it came from") from error
    _check_header(file, header, config)
    count = sum(value.numel() for value in weights.values())
    if count < config.parameter_count:
        raise CheckpointError(
            f"{file}: holds {count:,} numbers, the field of {CONFIG_FILE} has {config.parameter_count:,}; "
            "use files of one checkpoint"
        )
    return weights


def _check_weights(file: Path, weights: dict[str, torch.Tensor], expected: dict[str, tuple[int, ...]]) -> None:
    wrong = [name for name in sorted(expected.keys() | weights.keys()) if name not in expected or name not in weights]
    if wrong:
        state = "is missing" if wrong[0] in expected else "does not belong there"
        raise CheckpointError(f"{file}: weight {wrong[0]} {state}; the file and {CONFIG_FILE} are of different fields")
    for name, value in weights.items():
        if tuple(value.shape) != expected[name]:
            raise CheckpointError(
                f"{file}: {name} has shape {tuple(value.shape)}, {CONFIG_FILE} asks for {expected[name]}; "
                "use files of one checkpoint"
            )
        allowed = (torch.float32, torch.float16) if name in MODULATION_MATRICES else (torch.float32,)
        if value.dtype not in allowed:
            names = " or ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
            raise CheckpointError(f"{file}: {name} is {str(value.dtype).removeprefix('torch.')}; it is stored as {names}")
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{file}: {name} contains NaN or infinite values; use an earlier checkpoint")


def _check_header(file: Path, header: dict[str, str], config: FieldConfig) -> None:
    if "field" not in header:  # written by other hands; shapes are checked all the same
        return
    try:
        stored: dict[str, Any] = json.loads(header["field"])
        same = FieldConfig.parse(stored, str(file)) == config
    except (ValueError, ConfigError):
        same = False
    if not same:
        raise CheckpointError(f"{file}: its header describes another field than {CONFIG_FILE}; use files of one checkpoint")
