"""`runs launch` and `runs estimate`: put a training into the queue, and what it would take before that."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from medfuncta_core.cli.app import Device, DeviceOption, JsonOption, emit, parse_shape
from medfuncta_core.cli.runs import RUNS, RootOption, runs_app
from medfuncta_core.cli.training import make_request

if TYPE_CHECKING:
    from medfuncta_core.runs import RunRequest
    from medfuncta_core.runs.probing import Estimate

PresetOption = Annotated[str, typer.Option("--preset", help="Architecture and recipe; see presets.")]
TrainDataOption = Annotated[str, typer.Option("--data", help="MedMNIST name, .npz, folder or CSV, with train and val.")]
StepsOption = Annotated[int | None, typer.Option("--steps", min=1, help="Outer steps, in place of the preset's.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: batch_size=4, ...")]
MoreArgument = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="More settings after --set.")]
ShapeOption = Annotated[str | None, typer.Option("--shape", help="Points per axis to train on; the preset's if left out.")]


@runs_app.command()
def launch(
    preset: PresetOption,
    data: TrainDataOption,
    root: RootOption = RUNS,
    steps: StepsOption = None,
    device: DeviceOption = Device.auto,
    settings: SetOption = None,
    more_settings: MoreArgument = None,
    shape: ShapeOption = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run and its checkpoint.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence of the weights; the data's if left out.")] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Processes that share each batch (torchrun).")] = 1,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard event files as well.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Put a training into the queue; it starts at once where there is room, in a process that outlives this terminal."""
    from medfuncta_core.runs import store

    request = _request(preset, data, settings, more_settings, steps, shape)
    more = {"name": name or "", "licence": licence, "device": str(device), "processes": processes, "tensorboard": tensorboard}
    run = store.launch(root, request.model_copy(update=more))
    emit({"run": run, "path": str(root / run)}, as_json, [f"{run} is in the queue; follow it with: runs show {run}"])


@runs_app.command()
def estimate(
    preset: Annotated[str | None, typer.Option("--preset", help="Architecture and recipe; see presets.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="MedMNIST name, .npz, folder or CSV.")] = None,
    steps: StepsOption = None,
    device: DeviceOption = Device.auto,
    settings: SetOption = None,
    more_settings: MoreArgument = None,
    shape: ShapeOption = None,
    request: Annotated[str | None, typer.Option("--request", hidden=True)] = None,
    as_json: JsonOption = False,
) -> None:
    """Memory, time a step and time in all that a training would take here, from a few real steps that are thrown away."""
    from medfuncta_core.runs.probing import Estimate, tell
    from medfuncta_core.runs.request import RunRequest

    if request is None and (preset is None or data is None):
        raise typer.BadParameter("an estimate needs --preset and --data")
    if request is not None:  # the app watches
        asked = RunRequest.parse(json.loads(request), "--request")
    else:
        asked = _request(preset or "", data or "", settings, more_settings, steps, shape)
        asked = asked.model_copy(update={"device": str(device)})
    from medfuncta_core.runs.measuring import measure

    if request is not None:
        tell(measure(asked))
        return
    for event in measure(asked):
        if isinstance(event, Estimate):
            emit(asdict(event), as_json, _lines(event))
        else:
            typer.echo(f"{event.done} of {event.of} steps measured, now {event.at}", err=True)


def _request(
    preset: str, data: str, settings: list[str] | None, more: list[str] | None, steps: int | None, shape: str | None
) -> RunRequest:
    changes = [*(settings or []), *(more or [])] + ([] if steps is None else [f"meta.steps={steps}"])
    return make_request(preset, data, changes, None if shape is None else parse_shape(shape))


def _lines(found: Estimate) -> list[str]:
    room = f" of {found.available_bytes / 2**30:.1f}" if found.available_bytes else ""
    hours = found.total_seconds / 3600
    return [
        f"{found.step_seconds:.3g} s a step, {found.validation_seconds:.3g} s a validation, {hours:.2f} h in all",
        f"{found.memory_bytes / 2**30:.2f}{room} GiB on {found.device}; {found.parameters:,} parameters",
    ]
