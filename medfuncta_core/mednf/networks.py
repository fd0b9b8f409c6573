"""The network that a set's latents belong to: in its `model/`, or, so that weights are not stored twice, among the checkpoints.

A set states its network's name and the SHA-256 of its weights; another network under the same name is refused, because its
latents would decode to nothing.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from medfuncta_core.atomic import write_atomically
from medfuncta_core.checkpoint.descriptions import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from medfuncta_core.errors import SetError
from medfuncta_core.mednf.metadata import MODEL_FOLDER
from medfuncta_core.signals.sources import hash_file

CHECKPOINTS_VARIABLE = "MEDFUNCTA_CHECKPOINTS"
CHECKPOINTS_FOLDER = "checkpoints"


def checkpoint_folders(directory: Path) -> list[Path]:
    """Where a set without a `model/` looks for its network, in this order.

    `MEDFUNCTA_CHECKPOINTS`, then `checkpoints/` beside the set, beside the folder of sets, and where the program was started.
    """
    stated = os.environ.get(CHECKPOINTS_VARIABLE)
    place = directory.resolve()
    beside = [folder / CHECKPOINTS_FOLDER for folder in (place.parent, place.parent.parent, Path.cwd())]
    return list(dict.fromkeys(([Path(stated).resolve()] if stated else []) + beside))


def find_network(directory: Path, name: str, sha256: str) -> Path:
    """The checkpoint directory of a set's network, its weights checked.

    Args:
        directory: Of the set.
        name: Of the network's checkpoint.
        sha256: Of its weights; "" where the set does not say, then only its own `model/` counts.

    Raises:
        SetError: when the network is not there, or has other weights than the set was encoded with.
    """
    inside = directory / MODEL_FOLDER
    if (inside / CONFIG_FILE).is_file():
        if sha256 and _digest(inside) != sha256:
            raise SetError(f"{inside}: not the weights that {directory.name} was encoded with; copy the set again")
        return inside
    folders = checkpoint_folders(directory)
    named = [folder / name for folder in folders]
    others = [other for folder in folders if folder.is_dir() for other in sorted(folder.iterdir()) if other not in named]
    for candidate in (*named, *others):
        if sha256 and (candidate / CONFIG_FILE).is_file() and _digest(candidate) == sha256:
            return candidate
    different = next((candidate for candidate in named if _digest(candidate)), None)
    if sha256 and different is not None:
        raise SetError(
            f"{directory}: was encoded with other weights of {name} ({sha256[:12]}…) than {different} has "
            f"({_digest(different)[:12]}…); encode the set again, or bring the checkpoint it was encoded with"
        )
    raise SetError(
        f"{directory}: its network {name} is neither in {MODEL_FOLDER}/ nor in {folders[0]}; copy the checkpoint there, "
        f"or name its folder in {CHECKPOINTS_VARIABLE}"
    )


def copy_model(source: Path, target: Path) -> None:
    """The checkpoint's files, byte for byte; its configuration last, as it makes a checkpoint of the folder."""
    for name in (WEIGHTS_FILE, CARD_FILE, CONFIG_FILE):
        if (source / name).is_file() and not (target / name).is_file():
            write_atomically(target / name, (source / name).read_bytes(), SetError)


def _digest(checkpoint: Path) -> str:
    """SHA-256 of a checkpoint's weights; "" where there are none."""
    file = checkpoint / WEIGHTS_FILE
    try:
        state = file.stat()
        return _hash(file, state.st_mtime_ns, state.st_size)
    except OSError:
        return ""


@lru_cache(maxsize=64)
def _hash(file: Path, modified: int, byte_count: int) -> str:
    """Of a file as it is; time and size only tell whether it changed."""
    return hash_file(file)
