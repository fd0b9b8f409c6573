"""`sweep`: the paper's ablations as queued runs, and what they found."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from medfuncta_core.cli.app import DataOption, Device, DeviceOption, JsonOption, OneLineErrors, app, emit, parse_shape
from medfuncta_core.cli.runs import RUNS, RootOption
from medfuncta_core.runs.sweep_kinds import Budget, SweepKind

sweep_app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    help="The paper's ablations as queued runs: gamma (Table 4), omega (Figure 4), schedules (Table 5), order (App. H).",
)
app.add_typer(sweep_app, name="sweep")

SweepArgument = Annotated[str, typer.Argument(help="Name of a sweep.", metavar="SWEEP")]
LOOK_SECONDS = 2.0


def _add_ablation(kind: SweepKind, about: str) -> None:
    """Every ablation is a command of its own, with the same options."""

    @sweep_app.command(kind, help=about)
    def start(
        data: DataOption,
        budget: Annotated[
            str, typer.Option("--budget", help="small (an hour on two CPU cores), medium, paper, or outer steps of every run.")
        ] = "small",
        preset: Annotated[
            str | None, typer.Option("--preset", help="What all runs start from; the budget's if left out.")
        ] = None,
        settings: Annotated[
            list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting in all runs.")
        ] = None,
        axes: Annotated[
            list[str] | None,
            typer.Option(
                "--axis", metavar="NAME=VALUES", help="Other values than the paper's: gamma=0.25,1 omega=10,30 delta=1,5"
            ),
        ] = None,
        shape: Annotated[
            str | None, typer.Option("--shape", help="Points per axis to train on; the preset's if left out.")
        ] = None,
        name: Annotated[str, typer.Option("--name", help="Name of the sweep.")] = "",
        device: DeviceOption = Device.auto,
        wait: Annotated[bool, typer.Option("--wait", help="Wait until all runs ended, then show the result.")] = False,
        root: RootOption = RUNS,
        as_json: JsonOption = False,
    ) -> None:
        """Queue the runs; they go on when this command has ended."""
        from medfuncta_core.runs import sweeps

        chosen, steps = _budget(kind, budget, preset, data)
        started = sweeps.start_sweep(
            root,
            kind,
            preset=chosen,
            data=data,
            steps=steps,
            settings=settings or (),
            shape=None if shape is None else parse_shape(shape),
            device=cast(Literal["auto", "cpu", "cuda"], str(device)),
            axes=_axes(axes or []),
            name=name,
        )
        sweep = sweeps.read_sweep(root, started)
        words = f"sweep {started}: {len(sweep.runs)} runs of {steps:,} steps wait; watch them with sweep show {started}"
        if wait:
            typer.echo(words, err=True)
            wait_for_sweep(root, started)
            show(started, root, as_json)
        else:
            emit({"sweep": started, "runs": [run.id for run in sweep.runs if run], "steps": steps}, as_json, [words])


_add_ablation("gamma", "Selection ratio: quality, memory and time (Table 4).")
_add_ablation("omega", "Frequencies of the first and last layer (Figure 4).")
_add_ablation("schedules", "Learning-rate schedule, omega-schedule, reduced context (Table 5, own rows).")
_add_ablation("order", "First order against the exact meta-gradient (App. H).")


@sweep_app.command("list")
def list_(root: RootOption = RUNS, as_json: JsonOption = False) -> None:
    """All sweeps, the newest first."""
    from medfuncta_core.runs.sweeps import list_sweeps, sweep_title

    found = list_sweeps(root)
    lines = [f"{s.config.name:<32} {s.finished:>3}/{len(s.runs)} runs done  {sweep_title(s.config)}" for s in found]
    rows = [{"sweep": s.config.name, "kind": s.config.kind, "finished": s.finished, "runs": len(s.runs)} for s in found]
    emit({"sweeps": rows}, as_json, lines or ["no sweeps yet; start one with sweep gamma --data DATA"])


@sweep_app.command()
def show(sweep: SweepArgument, root: RootOption = RUNS, as_json: JsonOption = False) -> None:
    """What a sweep found until now."""
    from medfuncta_core.runs import sweep_results, sweeps

    found = sweeps.read_sweep(root, sweep)
    result = sweep_results.collect(found)
    best = sweep_results.best_row(result)
    title = f"{sweeps.sweep_title(found.config)}: {found.finished} of {len(found.runs)} runs done"
    lines = [title, *sweep_results.table_lines(result), *([f"best: {best.words}"] if best else [])]
    emit(result.model_dump(mode="json"), as_json, lines)


@sweep_app.command()
def stop(sweep: SweepArgument, root: RootOption = RUNS, as_json: JsonOption = False) -> None:
    """End its runs after their current steps; `sweep resume` goes on."""
    from medfuncta_core.runs.sweeps import stop_sweep

    stop_sweep(root, sweep)
    emit({"sweep": sweep, "told": "stop"}, as_json, [f"{sweep}: its runs will stop after their current steps"])


@sweep_app.command()
def resume(sweep: SweepArgument, root: RootOption = RUNS, as_json: JsonOption = False) -> None:
    """Launch runs that are missing, resume those that ended early."""
    from medfuncta_core.runs.sweeps import continue_sweep

    queued = continue_sweep(root, sweep)
    emit({"sweep": sweep, "queued": queued}, as_json, [f"{sweep}: {queued} runs wait again"])


@sweep_app.command()
def delete(
    sweep: SweepArgument,
    root: RootOption = RUNS,
    keep_runs: Annotated[bool, typer.Option("--keep-runs", help="Keep its runs as ordinary ones.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a sweep with its runs."""
    from medfuncta_core.runs.sweeps import delete_sweep, read_sweep

    read_sweep(root, sweep)  # says so before anything is asked
    if not yes:
        typer.confirm(f"Delete {sweep}{'' if keep_runs else ' with all its runs'}?", abort=True, err=True)
    delete_sweep(root, sweep, runs=not keep_runs)
    emit({"deleted": sweep}, as_json, [f"deleted {sweep}"])


def wait_for_sweep(root: Path, name: str) -> None:
    """Until none of its runs waits or trains; a line on stderr whenever one ends. Ctrl-C leaves the runs alone."""
    from medfuncta_core.runs.sweeps import read_sweep

    told = -1
    while True:
        sweep = read_sweep(root, name)
        ended = sum(run is not None and not run.status.live and run.status.state != "queued" for run in sweep.runs)
        if ended != told:
            typer.echo(f"{ended} of {len(sweep.runs)} runs ended", err=True)
            told = ended
        if not sweep.active:
            return
        time.sleep(LOOK_SECONDS)


def _budget(kind: SweepKind, budget: str, preset: str | None, data: str) -> tuple[str, int]:
    """The preset and the steps of every run."""
    from medfuncta_core.config import PRESETS
    from medfuncta_core.runs.sweeps import plan_sweep

    named = budget in ("small", "medium", "paper")
    if not named and not (budget.isdecimal() and int(budget) > 0):
        raise typer.BadParameter(f"{budget!r}: write small, medium, paper, or a number of outer steps", param_hint="--budget")
    if preset is not None and preset not in PRESETS:
        raise typer.BadParameter(f"no preset {preset!r}; choose {', '.join(PRESETS)}", param_hint="--preset")
    preset, steps = plan_sweep(kind, data, cast(Budget, budget if named else "small"), preset)
    return preset, steps if named else int(budget)


def _axes(texts: list[str]) -> dict[str, tuple[float, ...]]:
    from medfuncta_core.runs.sweep_kinds import GAMMA, OMEGA_FACTOR, OMEGA_FIRST

    plain = {"gamma": GAMMA, "omega": OMEGA_FIRST, "delta": OMEGA_FACTOR}
    axes = {}
    for text in texts:
        name, _, values = text.partition("=")
        try:
            axes[plain.get(name.strip(), name.strip())] = tuple(float(value) for value in values.split(","))
        except ValueError:
            hint = "write a name and numbers, such as gamma=0.25,0.5,1"
            raise typer.BadParameter(f"{text!r}: {hint}", param_hint="--axis") from None
    return axes
