"""What was asked for when a run was launched: the arguments of `train`, kept so that another process can act on them later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from medfuncta_core.atomic import write_atomically
from medfuncta_core.config import PRESETS, Config, DataSetInfo, Preset
from medfuncta_core.errors import ConfigError, TrainingError
from medfuncta_core.runs.folder import RunConfig, RunFolder
from medfuncta_core.runs.settings import GROUPS, apply_settings
from medfuncta_core.runs.status import kept_values, read_status, write_status, write_want
from medfuncta_core.signals import DataSet, load_data_set


class RunRequest(Config):
    """`request.json` of a run."""

    format_version: Literal[1] = 1
    preset: str = Field(description="Architecture and recipe, a key of PRESETS.")
    data: str = Field(description="MedMNIST name, .npz, folder or CSV, with train and val.")
    settings: tuple[str, ...] = Field(default=(), description="Changes to the preset, key=value; later ones win.")
    shape: tuple[int, ...] | None = Field(default=None, description="Points per axis to train on; None takes the preset's.")
    name: str = Field(default="", description="Name of the run and its checkpoint.")
    licence: str | None = Field(default=None, description="Licence of the weights; None takes the data's.")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: int = Field(default=1, ge=1, le=1024, description="Processes on this machine that share each batch (torchrun).")
    tensorboard: bool = Field(default=False, description="Write TensorBoard event files as well.")
    parent: str = Field(default="", description="Run it was forked from.")
    sweep: str = Field(default="", description="Sweep it belongs to.")

    def resolve(self) -> Preset:
        """The preset with the settings applied, for one channel.

        Raises:
            ConfigError: for an unknown preset, an unknown key, or a value that its key does not allow.
        """
        if self.preset not in PRESETS:
            raise ConfigError(f"no preset {self.preset!r}; choose {', '.join(PRESETS)}")
        preset = apply_settings(PRESETS[self.preset], list(self.settings))
        axes = preset.field.coord_dim
        if self.shape is not None and (len(self.shape) != axes or min(self.shape) < 2):
            raise ConfigError(f"shape {self.shape}: {self.preset} takes {axes} axes of at least 2 points each")
        if preset.meta.batch_size < self.processes:
            raise ConfigError(
                f"a batch of {preset.meta.batch_size} cannot be shared by {self.processes} processes; "
                "raise meta.batch_size or take fewer"
            )
        return preset

    def open(self) -> tuple[Preset, DataSet, DataSet]:
        """The preset for the data's channels, with training and validation signals at the shape to train on.

        Raises:
            MedFunctaError: when the settings are wrong, or the data cannot be found, read, or is of another kind.
        """
        preset = self.resolve()
        # The files of a folder may differ in shape; one of them tells kind, channels and normalisation.
        folder = Path(self.data).is_dir()
        opened = load_data_set(self.data, "train", limit=1 if folder else None)
        wanted = self.shape or preset.shape
        if len(wanted) != len(opened.shape) or len(opened.shape) != preset.field.coord_dim:
            raise ConfigError(
                f"{self.data}: signals of {len(opened.shape)} axes, the preset has {preset.field.coord_dim}, "
                f"the shape {len(wanted)}; choose a preset of their kind"
            )
        spec = opened.spec().model_copy(update={"shape": wanted})
        same = opened.shape == wanted and not folder
        train_set = opened if same else load_data_set(self.data, "train", spec=spec)
        return adapt(preset, train_set.channels), train_set, load_data_set(self.data, "val", spec=spec)

    def describe(self, preset: Preset, train_set: DataSet, name: str) -> RunConfig:
        """`config.json` of the run that this request became.

        Args:
            preset: From `open`.
            train_set: From `open`.
            name: Of the run, where the request has none.
        """
        info = DataSetInfo.parse(train_set.info().model_dump() | {"source": self.data}, self.data)
        return RunConfig(
            name=self.name or name,
            preset=self.preset,
            source=self.data,
            field=preset.field,
            meta=preset.meta,
            fit=preset.fit,
            signal=train_set.spec(),
            data=info,
            licence=self.licence if self.licence is not None else info.licence,
        )


def read_request(folder: RunFolder) -> RunRequest | None:
    """How a run was asked for; None for one of an older version, and for one whose request cannot be read."""
    file = folder.path / "request.json"
    try:
        return RunRequest.parse(json.loads(file.read_text()), str(file))
    except (OSError, ValueError, ConfigError):
        return None


def write_request(folder: RunFolder, request: RunRequest) -> None:
    """Keep how a run was asked for."""
    write_atomically(folder.path / "request.json", request.model_dump_json(indent=2).encode(), TrainingError)


def ask_for_events(folder: RunFolder) -> None:
    """Have a run that is about to be resumed write TensorBoard's event files from now on."""
    request = read_request(folder)
    if request is not None and not request.tensorboard:
        write_request(folder, request.model_copy(update={"tensorboard": True}))


def take_run(folder: RunFolder, asked: RunRequest | None = None) -> None:
    """Say that this process is about to train a run that waits or ended early; quick, since it is said before torch is imported.

    Who resumes a run by hand wants it to run, whatever was wanted of it before.

    Args:
        folder: Of the run.
        asked: Settings that it must have been started with, when they are given once more.

    Raises:
        MedFunctaError: when there is no run, its settings differ, or another process has it; then nothing was changed.
    """
    if asked is not None or not (folder.opened or read_request(folder)):
        _require_same(folder, folder.read_config(), asked)
    with folder.claim():
        before = read_status(folder)
        if before.state in ("stopped", "paused", "failed", "finished"):
            write_want(folder, "run")
        write_status(folder, "starting", **kept_values(before))


def _require_same(folder: RunFolder, kept: RunConfig, asked: RunRequest | None) -> None:
    wanted = kept if asked is None else adapt(asked.resolve(), kept.field.channels)
    for group in GROUPS:
        before, now = getattr(kept, group).model_dump(), getattr(wanted, group).model_dump()
        for key, value in before.items():
            if now[key] != value:
                raise ConfigError(
                    f"{folder.path}: was started with {group}.{key} {value}, not {now[key]}; resume it without --preset and "
                    "--set, or start another run"
                )


def adapt(preset: Preset, channels: int) -> Preset:
    """Presets are written for one channel; the data decides."""
    return preset.model_copy(update={"field": preset.field.model_copy(update={"channels": channels})})
