"""`runs`: watch, stop, resume, compare and queue training runs, from wherever they were started."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from medfuncta_core.cli.app import JsonOption, OneLineErrors, app, emit, format_metric
from medfuncta_core.runs.status import RunStatus
from medfuncta_core.runs.store import RunView

runs_app = typer.Typer(cls=OneLineErrors, no_args_is_help=True, help="Training runs: list, launch, stop, resume, compare.")
app.add_typer(runs_app, name="runs")

RootOption = Annotated[
    Path, typer.Option("--root", envvar="MEDFUNCTA_RUNS", help="Folder of all runs; or the variable MEDFUNCTA_RUNS.")
]
RunArgument = Annotated[str, typer.Argument(help="Name of a run.", metavar="RUN")]
RUNS = Path("runs")


@runs_app.command("list")
def list_(root: RootOption = RUNS, as_json: JsonOption = False) -> None:
    """All runs, the newest first."""
    from medfuncta_core.runs.store import list_runs

    found = list_runs(root)
    lines = [f"{'run':<28} {'state':<12} {'step':>15} {'best PSNR':>10} {'steps/s':>8} {'left':>8}"]
    lines += [_row(run) for run in found] or ["no runs yet; start one with runs launch, or with train"]
    emit({"runs": [describe_run(run) for run in found]}, as_json, lines)


@runs_app.command()
def show(run: RunArgument, root: RootOption = RUNS, as_json: JsonOption = False) -> None:
    """One run: how it is, its settings, the end of its log."""
    from medfuncta_core.runs.store import read_log, read_run

    found = read_run(root, run)
    log = read_log(found.path, 20)
    report = describe_run(found) | {"settings": found.settings, "log": log.splitlines()}
    settings = [f"  {key} = {value}" for key, value in found.settings.items()]
    reason = [found.status.reason] if found.status.reason else []
    emit(report, as_json, [_row(found), *reason, *settings, "", log])


@runs_app.command()
def stop(
    run: RunArgument,
    root: RootOption = RUNS,
    kill: Annotated[bool, typer.Option("--kill", help="Kill it at once; the steps since its last checkpoint are lost.")] = False,
    as_json: JsonOption = False,
) -> None:
    """End a run after its current step; `resume` continues it. A waiting run leaves the queue."""
    from medfuncta_core.runs import store

    (store.force_stop if kill else store.stop)(root, run)
    _told(run, "killed" if kill else "will stop after its current step", as_json)


@runs_app.command()
def pause(run: RunArgument, root: RootOption = RUNS, as_json: JsonOption = False) -> None:
    """Let a run hold on after its current step; it keeps its place."""
    from medfuncta_core.runs import store

    store.pause(root, run)
    _told(run, "will pause after its current step", as_json)


@runs_app.command()
def resume(run: RunArgument, root: RootOption = RUNS, as_json: JsonOption = False) -> None:
    """Let a paused run go on, or queue one that ended early; it continues exactly where it was."""
    from medfuncta_core.runs import store

    store.resume(root, run)
    _told(run, "goes on", as_json)


@runs_app.command()
def delete(
    runs: Annotated[list[str], typer.Argument(help="Names of runs.", metavar="RUN...")],
    root: RootOption = RUNS,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete runs with their checkpoints; a run that is training is refused."""
    from medfuncta_core.runs.store import delete_run, read_run

    for run in runs:
        read_run(root, run)  # says so before anything is asked
    if not yes:
        typer.confirm(f"Delete {', '.join(runs)} with all checkpoints?", abort=True, err=True)
    for run in runs:
        delete_run(root, run)
    emit({"deleted": runs}, as_json, [f"deleted {', '.join(runs)}"])


@runs_app.command()
def queue(
    root: RootOption = RUNS,
    move: Annotated[tuple[str, int] | None, typer.Option("--move", metavar="RUN POSITION", help="1 starts next.")] = None,
    slots: Annotated[int | None, typer.Option("--slots", min=1, max=64, help="Runs that may train at the same time.")] = None,
    start: Annotated[bool, typer.Option("--start", help="Start a worker where none is, after a reboot for instance.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Runs that wait for their turn, the next one first."""
    from medfuncta_core.runs import queueing

    if move is not None:
        queueing.move_in_queue(root, *move)
    if slots is not None:
        queueing.set_slots(root, slots)
    if start:
        queueing.wake_queue(root)
    found = queueing.read_queue(root)
    lines = [f"{place:>3}  {name}" for place, name in enumerate(found.order, 1)] or ["no run waits"]
    if found.order and not found.working:
        lines.append("no worker is there to start them; runs queue --start starts one")
    emit({"order": list(found.order), "slots": found.slots, "working": found.working}, as_json, lines)


@runs_app.command()
def work(root: RootOption = RUNS, as_json: JsonOption = False) -> None:
    """Start waiting runs as there is room, until none waits; a launch starts this by itself."""
    from medfuncta_core.runs.queueing import work as work_queue

    started = work_queue(root)
    emit({"started": started}, as_json, [f"started {started} runs"])


def describe_run(run: RunView) -> dict[str, Any]:
    """A run for JSON."""
    status = run.status
    keys = ("state", "reason", "step", "steps", "psnr", "ssim", "lpips", "best_psnr", "best_step", "steps_per_second")
    keys = (*keys, "eta_seconds", "memory_bytes", "device", "created", "updated", "pid")
    request = run.request
    asked = {} if request is None else {"preset": request.preset, "data": request.data, "parent": request.parent or None}
    return (
        {"run": run.id, "path": str(run.path), **{key: getattr(status, key) for key in keys}}
        | asked
        | {"queue_position": run.queue_position}
    )


def _row(run: RunView) -> str:
    status: RunStatus = run.status
    steps = f"{status.step:,}/{status.steps:,}" if status.steps else "-"
    pace = format_metric(status.steps_per_second) if status.live else "-"
    left = time.strftime("%H:%M:%S", time.gmtime(status.eta_seconds)) if status.live and status.eta_seconds else "-"
    state = f"{status.state} {run.queue_position}" if run.queue_position else status.state
    return f"{run.id:<28} {state:<12} {steps:>15} {format_metric(status.best_psnr):>10} {pace:>8} {left:>8}"


def _told(run: str, what: str, as_json: bool) -> None:
    emit({"run": run, "told": what}, as_json, [f"{run} {what}"])
