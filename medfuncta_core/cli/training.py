"""`presets` and `train`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfuncta_core.cli.app import Device, DeviceOption, JsonOption, app, emit, format_metric, parse_shape
from medfuncta_core.errors import ConfigError

if TYPE_CHECKING:
    from medfuncta_core.config import Preset
    from medfuncta_core.runs import RunConfig
    from medfuncta_core.signals import DataSet


@app.command()
def presets(as_json: JsonOption = False) -> None:
    """List the architectures with the recipes that train them."""
    from medfuncta_core.config import PRESETS

    report = {
        name: preset.model_dump(mode="json") | {"parameters": preset.field.parameter_count} for name, preset in PRESETS.items()
    }
    lines = [f"{'preset':<18} {'shape':<12} {'K':>3} {'L':>4} {'P':>6} {'parameters':>11} {'steps':>8}  what for"]
    for name, preset in PRESETS.items():
        field, shape = preset.field, "x".join(map(str, preset.shape))
        sizes = f"{field.depth:>3} {field.width:>4} {field.latent_dim:>6} {field.parameter_count:>11,} {preset.meta.steps:>8,}"
        lines.append(f"{name:<18} {shape:<12} {sizes}  {preset.summary}")
    emit(report, as_json, lines)


@app.command()
def train(
    out: Annotated[Path, typer.Option("--out", help="Run folder: settings, metrics, log and checkpoints.", metavar="RUN")],
    preset: Annotated[str | None, typer.Option("--preset", help="Architecture and recipe; see presets.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="MedMNIST name, .npz, folder or CSV, with train and val.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Outer steps, in place of the preset's.")] = None,
    device: DeviceOption = Device.auto,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: meta.batch_size=4, omega_last=80, ..."),
    ] = None,
    more_settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="More settings after --set.")
    ] = None,
    shape: Annotated[str | None, typer.Option("--shape", help="Points per axis to train on; the preset's if left out.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the checkpoint; the run folder's if left out.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence of the weights; the data's if left out.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped, exactly where it was.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Meta-learn the shared parameters of a field; stop with Ctrl-C, continue with --resume."""
    changes = [*(settings or []), *(more_settings or [])] + ([] if steps is None else [f"meta.steps={steps}"])
    points = None if shape is None else parse_shape(shape)
    if not resume and (preset is None or data is None):
        raise typer.BadParameter("a new run needs --preset and --data (or --resume to continue an old one)")
    chosen = None if preset is None else _choose(preset, changes)
    if chosen is None and (changes or points):
        raise typer.BadParameter(
            "a run is resumed with its own settings; leave --set, --steps and --shape out, or repeat --preset"
        )
    from medfuncta_core.config import DataSetInfo
    from medfuncta_core.runs import RunConfig, RunFolder

    folder = RunFolder(out)
    kept = folder.read_config() if resume else None
    source = data or (kept.source if kept else "")
    train_set, val_set = _open_splits(source, chosen, points, kept)
    if kept is not None:
        config = kept if chosen is None else _require_same(kept, _adapt(chosen, train_set), out)
    else:
        assert chosen is not None  # a new run without --preset was refused above
        adapted = _adapt(chosen, train_set)
        info = DataSetInfo.parse(train_set.info().model_dump() | {"source": source}, source)
        config = RunConfig(
            name=name or out.resolve().name,
            preset=preset or "",
            source=source,
            field=adapted.field,
            meta=adapted.meta,
            fit=adapted.fit,
            signal=train_set.spec(),
            data=info,
            licence=licence if licence is not None else info.licence,
        )
    try:
        report = _run(folder.path, config, train_set, val_set, resume, str(device))
    except KeyboardInterrupt:
        typer.echo(
            f"stopped; continue from the last validation with: python -m medfuncta_core train --resume --out {out}", err=True
        )
        raise typer.Exit(130) from None
    emit(
        report,
        as_json,
        [f"{out}: step {report['step']}, best validation PSNR {format_metric(report['psnr'], ' dB')}: {report['checkpoint']}"],
    )


def _run(path: Path, config: RunConfig, train_set: DataSet, val_set: DataSet, resume: bool, device: str) -> dict[str, Any]:
    """Train to the end with a progress bar; the report has the best validation of the whole run."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from medfuncta_core.learning import Recovery, TrainStep
    from medfuncta_core.learning.state import STATE_FILE, load_state
    from medfuncta_core.metrics import finite_or_none
    from medfuncta_core.runs import RunFolder, train_run

    logging.getLogger("medfuncta_core").setLevel(logging.INFO)  # validations and recoveries are what a person waits for
    folder = RunFolder(path)
    bar = tqdm(total=config.meta.steps, unit="step", desc=config.name, disable=None)
    with bar, logging_redirect_tqdm():
        for event in train_run(folder, config, train_set, val_set, resume=resume, device=device):
            step = event.restored_step if isinstance(event, Recovery) else event.step
            bar.update(step - bar.n)
            if isinstance(event, TrainStep):
                bar.set_postfix_str(f"PSNR {event.psnr:.2f} dB, gradient norm {event.gradient_norm:.2g}", refresh=False)
    progress = load_state(folder.checkpoint / STATE_FILE).progress
    return {
        "out": str(path),
        "name": config.name,
        "step": progress.step,
        "psnr": finite_or_none(progress.best_psnr),
        "checkpoint": str(folder.checkpoint / "best"),
        "data": config.source,
    }


def _choose(name: str, changes: list[str]) -> Preset:
    from medfuncta_core.cli.settings import apply_settings
    from medfuncta_core.config import PRESETS

    if name not in PRESETS:
        raise typer.BadParameter(f"no preset {name!r}; choose {', '.join(PRESETS)}", param_hint="--preset")
    return apply_settings(PRESETS[name], changes)


def _open_splits(
    source: str, preset: Preset | None, shape: tuple[int, ...] | None, kept: RunConfig | None
) -> tuple[DataSet, DataSet]:
    """Training and validation signals at the shape to train on: asked for, else the preset's; on resume, the run's own."""
    from medfuncta_core.signals import load_data_set

    if kept is not None:
        return load_data_set(source, "train", spec=kept.signal), load_data_set(source, "val", spec=kept.signal)
    assert preset is not None  # a new run has one
    # The files of a folder may differ in shape; one of them tells kind, channels and normalisation.
    opened = load_data_set(source, "train", limit=1 if Path(source).is_dir() else None)
    wanted = shape or preset.shape
    if len(wanted) != len(opened.shape) or len(opened.shape) != preset.field.coord_dim:
        raise ConfigError(
            f"{source}: signals of {len(opened.shape)} axes, the preset has {preset.field.coord_dim}, the shape {len(wanted)}; "
            "choose a preset of their kind"
        )
    spec = opened.spec().model_copy(update={"shape": wanted})
    same = opened.shape == wanted and not Path(source).is_dir()
    return (opened if same else load_data_set(source, "train", spec=spec)), load_data_set(source, "val", spec=spec)


def _adapt(preset: Preset, data: DataSet) -> Preset:
    """Presets are written for one channel; the data decides."""
    return preset.model_copy(update={"field": preset.field.model_copy(update={"channels": data.channels})})


def _require_same(kept: RunConfig, asked: Preset, out: Path) -> RunConfig:
    for group in ("field", "meta", "fit"):
        before, now = getattr(kept, group).model_dump(), getattr(asked, group).model_dump()
        for key, value in before.items():
            if now[key] != value:
                raise ConfigError(
                    f"{out}: was started with {group}.{key} {value}, not {now[key]}; resume it without --preset and --set, "
                    "or start another run"
                )
    return kept
