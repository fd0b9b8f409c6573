"""What describes a checkpoint without its weights: `config.json` and `CARD.md`. Nothing here needs torch, so lists are quick."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from medfuncta_core.atomic import write_atomically
from medfuncta_core.checkpoint.cards import make_card
from medfuncta_core.config import CheckpointConfig, Metrics
from medfuncta_core.errors import CheckpointError, ConfigError

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "model.safetensors", "CARD.md"


@dataclass(frozen=True)
class CheckpointSummary:
    """What `list_checkpoints` finds: a directory and its configuration, without the weights."""

    path: Path
    config: CheckpointConfig


def update_metrics(directory: str | Path, metrics: Metrics) -> CheckpointConfig:
    """Put measured metrics into `config.json`, in place of older ones of the same split and method, and write `CARD.md` anew.

    Raises:
        CheckpointError: when the directory is no checkpoint or cannot be written.
    """
    config = read_config(directory)
    measured = (metrics.split, metrics.fit_steps, metrics.method)
    kept = tuple(known for known in config.metrics if (known.split, known.fit_steps, known.method) != measured)
    config = config.model_copy(update={"metrics": (*kept, metrics)})
    write_description(Path(directory), config, None)
    return config


def read_config(path: str | Path) -> CheckpointConfig:
    """`config.json` of a checkpoint directory, checked.

    Raises:
        CheckpointError: when it is missing, not JSON, of another format version, or holds impossible values.
    """
    directory = Path(path)
    file = directory / CONFIG_FILE
    if not file.is_file():
        raise CheckpointError(_explain_missing(directory))
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: not readable as JSON; restore it from where the checkpoint came from") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file}: not a checkpoint's configuration; restore it from where the checkpoint came from")
    if values.get("format_version", 1) != 1:
        raise CheckpointError(
            f"{file}: format version {values['format_version']!r}, this library reads version 1; update the library"
        )
    try:
        return CheckpointConfig.parse(values, str(file))
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def list_checkpoints(root: str | Path) -> list[CheckpointSummary]:
    """The checkpoints in the directories of `root`, by name; only their configurations are read.

    Directories without both files, or with a broken configuration, are left out: `load_checkpoint` says what is wrong with one.
    """
    found: list[CheckpointSummary] = []
    for directory in sorted(Path(root).glob("*/")):
        if (directory / CONFIG_FILE).is_file() and (directory / WEIGHTS_FILE).is_file():
            try:
                found.append(CheckpointSummary(directory, read_config(directory)))
            except CheckpointError:
                continue
    return found


def write_description(directory: Path, config: CheckpointConfig, card: str | None) -> None:
    """Write `CARD.md` (generated when None), then `config.json`: with it the checkpoint is complete."""
    write_atomically(directory / CARD_FILE, (card if card is not None else make_card(config)).encode())
    write_atomically(directory / CONFIG_FILE, (config.model_dump_json(indent=2) + "\n").encode())


def _explain_missing(directory: Path) -> str:
    """One line for a path that is no checkpoint: what it is instead, and what would do."""
    if directory.is_file():
        if directory.suffix in (".pt", ".model", ".pth"):
            return f"{directory}: a PyTorch file; bring it into a checkpoint with the import-official command first"
        return f"{directory}: a file; give the checkpoint's directory, which holds {CONFIG_FILE} and {WEIGHTS_FILE}"
    if directory.is_dir():
        return f"{directory}: no {CONFIG_FILE} in it; a checkpoint is a directory with {CONFIG_FILE} and {WEIGHTS_FILE}"
    neighbours = [summary.path.name for summary in list_checkpoints(directory.parent)]
    hint = f"{directory.parent} has {', '.join(neighbours)}" if neighbours else "check the path"
    return f"{directory}: no such checkpoint; {hint}"
