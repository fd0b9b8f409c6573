"""`presets` and `train`."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfuncta_core.cli.app import Device, DeviceOption, JsonOption, app, emit, format_metric, parse_shape
from medfuncta_core.runs import RunFolder

if TYPE_CHECKING:
    from medfuncta_core.learning import TrainEvent
    from medfuncta_core.runs import RunRequest


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
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard event files into the run folder as well.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Meta-learn the shared parameters of a field; stop with Ctrl-C, continue with --resume.

    Started by torchrun, its processes share each batch.
    """
    changes = [*(settings or []), *(more_settings or [])] + ([] if steps is None else [f"meta.steps={steps}"])
    points = None if shape is None else parse_shape(shape)
    if not resume and (preset is None or data is None):
        raise typer.BadParameter("a new run needs --preset and --data (or --resume to continue an old one)")
    if preset is None and (changes or points):
        raise typer.BadParameter(
            "a run is resumed with its own settings; leave --set, --steps and --shape out, or repeat --preset"
        )
    request = None if preset is None else make_request(preset, data or "", changes, points)
    if request is not None:
        more = {"name": name or "", "licence": licence, "device": str(device), "tensorboard": tensorboard}
        request = request.model_copy(update=more)
    emit(*_train(RunFolder(out), request, data, str(device), resume, as_json, tensorboard=tensorboard))


def make_request(preset: str, data: str, changes: list[str], shape: tuple[int, ...] | None) -> RunRequest:
    """What to train, from options of the command line; a preset that there is not is the user's mistake (exit code 2)."""
    from medfuncta_core.config import PRESETS
    from medfuncta_core.runs import RunRequest

    if preset not in PRESETS:
        raise typer.BadParameter(f"no preset {preset!r}; choose {', '.join(PRESETS)}", param_hint="--preset")
    request = RunRequest(preset=preset, data=data, settings=tuple(changes), shape=shape)
    request.resolve()  # says what is wrong with the settings before torch is imported
    return request


def _train(
    folder: RunFolder,
    request: RunRequest | None,
    data: str | None,
    device: str,
    resume: bool,
    as_json: bool,
    *,
    tensorboard: bool = False,
) -> tuple[dict[str, Any], bool, list[str]]:
    """Train to the end, or until a signal or `runs stop` ends it; the report has the best validation of the whole run."""
    from medfuncta_core.runs.request import ask_for_events, take_run

    resume = resume or _is_restart(folder)
    if resume and os.environ.get("RANK", "0") == "0":
        take_run(folder, request)
        if tensorboard:
            ask_for_events(folder)

    from medfuncta_core.learning import join_ranks, leave_ranks
    from medfuncta_core.runs.starting import continue_run, start_run

    stop, ranks = _StopSignals(), join_ranks(device)
    if resume:
        events = continue_run(folder, data=data, device=device, stop=stop, ranks=ranks)
    else:
        assert request is not None  # a new run without --preset was refused before
        events = start_run(folder, request, stop=stop, ranks=ranks)
    with stop:
        _show(folder, events, quiet=not ranks.leads)
    leave_ranks()
    if not ranks.leads:
        raise typer.Exit
    report = _report(folder)
    if report["state"] == "stopped":
        again = f"continue with: python -m medfuncta_core train --resume --out {folder.path}"
        typer.echo(f"stopped at step {report['step']}; {again}", err=True)
    best = f"best validation PSNR {format_metric(report['psnr'], ' dB')}"
    line = f"{folder.path}: step {report['step']}, {best}: {report['checkpoint']}"
    if stop.number is not None and ranks.world == 1:
        emit(report, as_json, [line])
        raise typer.Exit(128 + stop.number)
    return report, as_json, [line]


class _StopSignals:
    """SIGTERM and the first Ctrl-C let the current step end and the state be saved; a second Ctrl-C does not wait."""

    number: int | None = None

    def __call__(self) -> bool:
        return self.number is not None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}

    def __exit__(self, *_: object) -> None:
        for number, handler in getattr(self, "_before", {}).items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        if number == signal.SIGINT:
            if self.number is not None:
                raise KeyboardInterrupt
            typer.echo("stopping after this step; press Ctrl-C again to stop at once", err=True)
        self.number = number


def _is_restart(folder: RunFolder) -> bool:
    """Whether torchrun starts its processes anew after one was lost: then the same command continues the run."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 and folder.opened


def _show(folder: RunFolder, events: Iterable[TrainEvent], *, quiet: bool) -> None:
    """A progress bar, and the lines of the log."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from medfuncta_core.learning import Recovery, TrainStep

    if quiet:
        for _ in events:
            pass
        return
    logging.getLogger("medfuncta_core").setLevel(logging.INFO)  # validations and recoveries are what a person waits for
    with tqdm(unit="step", desc=folder.path.name, disable=None) as bar, logging_redirect_tqdm():
        for event in events:
            bar.total = bar.total or folder.read_config().meta.steps
            bar.update((event.restored_step if isinstance(event, Recovery) else event.step) - bar.n)
            if isinstance(event, TrainStep):
                bar.set_postfix_str(f"PSNR {event.psnr:.2f} dB, gradient norm {event.gradient_norm:.2g}", refresh=False)


def _report(folder: RunFolder) -> dict[str, Any]:
    from medfuncta_core.runs import read_status

    config, status = folder.read_config(), read_status(folder)
    return {
        "out": str(folder.path),
        "name": config.name,
        "state": status.state,
        "step": status.step,
        "psnr": status.best_psnr,
        "checkpoint": str(folder.checkpoint / "best"),
        "data": config.source,
    }
