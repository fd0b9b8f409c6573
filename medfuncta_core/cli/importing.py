"""`import-official`: the published implementation's files become a checkpoint, its folders sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medfuncta_core.cli.app import JsonOption, app, emit, parse_shape
from medfuncta_core.cli.sets import Dtype


@app.command("import-official")
def import_official_command(
    file: Annotated[
        Path,
        typer.Argument(
            help="model.pt or best.model of the published implementation, or a published MedNF folder.", metavar="FILE"
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory of the checkpoint to write; of the set for a folder.")],
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
    registered: Annotated[
        str | None, typer.Option("--registered", help="Folder: which of `set registry` it is; else by its folder's name.")
    ] = None,
    classes: Annotated[str | None, typer.Option("--classes", help="Folder: names of the classes, comma-separated.")] = None,
    licence: Annotated[str, typer.Option("--licence", help="Folder: licence of the latents.")] = "",
    task: Annotated[str, typer.Option("--task", help="Folder: what the labels are for.")] = "",
    dtype: Annotated[Dtype, typer.Option("--dtype", help="Folder: how latents are stored.")] = Dtype.float32,
    rows_per_shard: Annotated[int, typer.Option("--rows-per-shard", min=1, help="Folder: signals of a shard file.")] = 4096,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Folder: processes that read; one a core for many files.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read a field, and optionally its latents, or a whole set, without running anything from the files."""
    points = None if shape is None else parse_shape(shape)
    if file.is_dir():
        if latents is not None:
            raise typer.BadParameter("goes with a network's file; a folder brings its own latents", param_hint="--latents")
        names = tuple(part.strip() for part in classes.split(",")) if classes else ()
        request = {"registered": registered, "class_names": names, "name": name, "licence": licence, "task": task}
        request |= {"dtype": str(dtype), "rows_per_shard": rows_per_shard}
        field = {"omega_first": omega_first, "omega_increment": omega_increment, "yaml": yaml, "residual": residual}
        _import_set(file, out, request, field | {"shape": points, "workers": workers}, as_json)
        return
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


def _import_set(folder: Path, out: Path, request: dict[str, Any], how: dict[str, Any], as_json: bool) -> None:
    """A published folder as a set; files that are left out are named, and do not stop it."""
    from tqdm import tqdm

    from medfuncta_core.mednf import open_set
    from medfuncta_core.mednf.importing import ImportRequest, import_set

    problems: tuple[str, ...] = ()
    with tqdm(unit="latent", desc=out.resolve().name, disable=None) as bar:
        for step in import_set(folder, out, ImportRequest.parse(request, "import-official"), **how):
            bar.total, problems = step.total, step.problems
            bar.update(step.done - bar.n)
    for problem in problems:
        typer.echo(f"left out: {problem}", err=True)
    made = open_set(out)
    report: dict[str, Any] = {"set": str(out), "n": len(made), "latent_dim": made.latent_dim, "dtype": made.info.dtype}
    report |= {"shards": made.info.shards, "classes": list(made.class_names), "licence": made.info.licence}
    report |= {"checkpoint": str(made.checkpoint_path), "left_out": list(problems)}
    emit(report, as_json, [f"{out}: {len(made):,} latents of {made.latent_dim} numbers, {len(problems)} left out"])
