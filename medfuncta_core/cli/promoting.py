"""`promote`: from a run's best weights to a checkpoint that others use, with what a person has to say about it."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Annotated, Any

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
    as_json: JsonOption = False,
) -> None:
    """Make a checkpoint of a run's best weights; `evaluate --update-card` then measures it."""
    from medfuncta_core.checkpoint import load_checkpoint, save_checkpoint
    from medfuncta_core.config import CheckpointConfig, SignalSpec
    from medfuncta_core.runs import RunFolder

    folder = RunFolder(run)
    folder.read_config()  # says so when this is not a run
    best = load_checkpoint(folder.checkpoint / "best")
    assert best.config.data is not None  # a run always has data and a signal
    assert best.config.signal is not None
    file = PurePath(best.config.data.source).name  # a folder or a data set's name stays as it is
    data: dict[str, Any] = {"licence": data_licence, "source": source, "file": file, "class_names": _names(classes)}
    signal = best.config.signal.model_dump() | _given({"normalisation": normalisation, "limits": _bounds(limits)})
    values = best.config.model_dump() | {
        "name": out.resolve().name,
        "data": best.config.data.model_dump() | _given(data),
        "signal": SignalSpec.parse(signal, "--normalisation").model_dump(),
        "metrics": (),
    }
    config = CheckpointConfig.parse(values | _given({"licence": licence}), str(out))
    save_checkpoint(out, best.field, config)
    emit({"checkpoint": str(out), "run": str(run), "step": config.step}, as_json, [f"wrote {out} (step {config.step})"])


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


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
