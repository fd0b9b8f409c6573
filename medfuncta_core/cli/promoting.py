"""`promote`: from a run's best weights to a checkpoint that others use, with what a person has to say about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medfuncta_core.cli.app import JsonOption, app, emit


@app.command()
def promote(
    run: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")],
    out: Annotated[Path, typer.Option("--out", help="Checkpoint directory to write, such as checkpoints/NAME.")],
    licence: Annotated[str | None, typer.Option("--licence", help="Licence of the weights.")] = None,
    data_licence: Annotated[str | None, typer.Option("--data-licence", help="Licence of the training data.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Where the training data comes from, for the card.")] = None,
    classes: Annotated[str | None, typer.Option("--classes", help="Names of the classes by number, comma-separated.")] = None,
    normalisation: Annotated[
        str | None,
        typer.Option("--normalisation", help="How users' files become [0, 1], where the data set's own file hides it."),
    ] = None,
    limits: Annotated[str | None, typer.Option("--limits", help="Quantiles or window of that normalisation: LOW,HIGH.")] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store the modulation matrices as float16, which halves the file; measure it then.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a checkpoint of a run's best weights; `evaluate --update-card` then measures it."""
    from medfuncta_core.runs.promoting import Promotion, promote_run

    signal = {"normalisation": normalisation, "limits": _bounds(limits)}
    dtype = "float16" if half else "float32"
    words = Promotion(licence, data_licence, source, _names(classes), signal, modulation_dtype=dtype)
    config = promote_run(run, out, words)
    emit({"checkpoint": str(out), "run": str(run), "step": config.step}, as_json, [f"wrote {out} (step {config.step})"])


def _names(classes: str | None) -> tuple[str, ...] | None:
    return None if classes is None else tuple(name.strip() for name in classes.split(","))


def _bounds(limits: str | None) -> tuple[float, ...] | None:
    if limits is None:
        return None
    try:
        low, high = (float(part) for part in limits.split(","))
    except ValueError:
        raise typer.BadParameter(f"{limits!r}: write two numbers, such as 0.005,0.995", param_hint="--limits") from None
    return low, high
