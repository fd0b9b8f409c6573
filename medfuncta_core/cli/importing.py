"""`import-official`: the published implementation's files become a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medfuncta_core.cli.app import JsonOption, app, emit, parse_shape


@app.command("import-official")
def import_official_command(
    file: Annotated[Path, typer.Argument(help="model.pt or best.model of the published implementation.", metavar="FILE")],
    out: Annotated[Path, typer.Option("--out", help="Directory of the checkpoint to write.")],
    latents: Annotated[Path | None, typer.Option("--latents", help="Its folder with train, val, test, or one of these.")] = None,
    omega_first: Annotated[
        float | None, typer.Option("--omega-first", help="w0 of its training; a state dict does not say it.")
    ] = None,
    omega_increment: Annotated[float | None, typer.Option("--omega-increment", help="w0_increment of its training.")] = None,
    yaml: Annotated[Path | None, typer.Option("--yaml", help="The YAML file of its training, which says both.")] = None,
    residual: Annotated[
        bool | None,
        typer.Option("--residual/--no-residual", help="Skip connections, where the file does not say; on by default."),
    ] = None,
    shape: Annotated[str | None, typer.Option("--shape", help="Points per axis of its signals, such as 64,64.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the checkpoint; the directory's if left out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Read a field, and optionally its latents, without running anything from the files."""
    points = None if shape is None else parse_shape(shape)
    from tqdm import tqdm

    from medfuncta_core.checkpoint import import_official

    result = import_official(
        file,
        out=out,
        latents=latents,
        omega_first=omega_first,
        omega_increment=omega_increment,
        yaml=yaml,
        residual=residual,
        shape=points,
        name=name,
        watch=lambda files: tqdm(files, unit="latent", desc=str(latents), disable=None),
    )
    for problem in result.problems:
        typer.echo(f"left out: {problem}", err=True)
    field, signal = result.config.field, result.config.signal
    report: dict[str, Any] = {
        "checkpoint": str(result.path),
        "field": field.model_dump(),
        "signal": None if signal is None else signal.model_dump(),
        "latents": None if result.latents is None else str(result.latents),
        "n": result.latent_count,
        "left_out": list(result.problems),
    }
    lines = [
        f"{result.path}: {field.depth} layers of width {field.width}, latents of {field.latent_dim}, "
        f"omega {field.omegas[0]:g} to {field.omegas[-1]:g}, signals "
        + ("of unknown shape (say it with --shape)" if signal is None else f"of shape {signal.shape}")
    ]
    lines += (
        [] if result.latents is None else [f"{result.latents}: {result.latent_count} latents, {len(result.problems)} left out"]
    )
    emit(report, as_json, lines)
