"""From a run's best weights to a checkpoint that others use, with what a person has to say about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from medfuncta_core.checkpoint import load_checkpoint, save_checkpoint
from medfuncta_core.config import CheckpointConfig, SignalSpec, StoredDtype
from medfuncta_core.errors import CheckpointError
from medfuncta_core.runs.folder import RunFolder


@dataclass(frozen=True)
class Promotion:
    """What a person says about weights; None keeps what the run knows.

    Args:
        licence: Of the weights.
        data_licence: Of the training data.
        source: Where the training data comes from.
        class_names: Names of the classes by number.
        signal: Changes to how users' files are prepared, where the data set's own file hides it.
        keep_metrics: Keep the numbers of the run's own validation; off, the card waits for `evaluate --update-card`.
        modulation_dtype: How the modulation matrices are stored; float16 halves the file.
    """

    licence: str | None = None
    data_licence: str | None = None
    source: str | None = None
    class_names: tuple[str, ...] | None = None
    signal: Mapping[str, Any] = field(default_factory=dict)
    keep_metrics: bool = False
    modulation_dtype: StoredDtype = "float32"


def promote_run(run: Path, out: Path, words: Promotion, *, replace: bool = True) -> CheckpointConfig:
    """Write a checkpoint of a run's best weights, its card included.

    Args:
        run: Folder of the run.
        out: Checkpoint directory to write; its name becomes the checkpoint's.
        words: What to say about it.
        replace: Off, a checkpoint that is there already is left alone.

    Raises:
        MedFunctaError: when this is no run, it has no best weights yet, `out` is taken or cannot be written, or `signal` is
            wrong.
    """
    folder = RunFolder(run)
    folder.read_config()  # says so when this is not a run
    if not (folder.checkpoint / "best" / "config.json").exists():
        raise CheckpointError(f"{run}: has no validated weights yet; wait for its first validation, then promote it")
    if not replace and (out / "config.json").exists():
        raise CheckpointError(f"{out}: is there already; choose another name")
    best = load_checkpoint(folder.checkpoint / "best")
    assert best.config.data is not None  # a run always has data and a signal
    assert best.config.signal is not None
    file = PurePath(best.config.data.source).name  # a folder or a data set's name stays as it is
    data = {"licence": words.data_licence, "source": words.source, "file": file, "class_names": words.class_names}
    signal = best.config.signal.model_dump() | _given(words.signal)
    values = best.config.model_dump() | {
        "name": out.resolve().name,
        "data": best.config.data.model_dump() | _given(data),
        "signal": SignalSpec.parse(signal, "--normalisation").model_dump(),
        "metrics": best.config.metrics if words.keep_metrics else (),
        "modulation_dtype": words.modulation_dtype,
    }
    config = CheckpointConfig.parse(values | _given({"licence": words.licence}), str(out))
    save_checkpoint(out, best.field, config)
    return config


def checkpoint_place(root: Path, name: str) -> Path:
    """Where a checkpoint of a name that a person wrote goes.

    Raises:
        CheckpointError: when the name cannot be a folder's.
    """
    if not re.fullmatch(r"\w[\w.-]{0,59}", name):
        raise CheckpointError(f"{name!r}: a checkpoint's name has 1 to 60 letters, digits, dots, dashes or underscores")
    return root / name


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
