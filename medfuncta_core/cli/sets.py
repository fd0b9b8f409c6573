"""`encode` and `neighbors`: making a MedNF set and searching it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfuncta_core.cli.app import (
    CheckpointArgument,
    DataOption,
    Device,
    DeviceOption,
    FitStepsOption,
    JsonOption,
    MethodChoice,
    Split,
    app,
    emit,
    format_metric,
)

if TYPE_CHECKING:
    import numpy as np

    from medfuncta_core.mednf import MednfSet, Neighbors

SetArgument = Annotated[Path, typer.Argument(help="Folder of a MedNF set.", metavar="SET")]


class Dtype(StrEnum):
    """How latents are stored."""

    float16 = "float16"
    float32 = "float32"


class ModelChoice(StrEnum):
    """Where a set has its network."""

    copy = "copy"
    refer = "refer"


class MetricChoice(StrEnum):
    """A distance between latents."""

    cosine = "cosine"
    euclidean = "euclidean"


class Engine(StrEnum):
    """How neighbours are searched."""

    exact = "exact"
    faiss = "faiss"


@app.command()
def encode(
    checkpoint: CheckpointArgument,
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="Folder of the set to write.", metavar="SET")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a set that was begun.")] = False,
    splits: Annotated[
        list[Split] | None, typer.Option("--split", help="Part of the data, repeatable; all it has if left out.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most N signals of each split, evenly spread.")] = None,
    per_class: Annotated[
        int | None, typer.Option("--per-class", min=1, help="At most N signals of each class and split: a balanced sample.")
    ] = None,
    dtype: Annotated[Dtype, typer.Option("--dtype", help="How latents are stored.")] = Dtype.float16,
    rows_per_shard: Annotated[int, typer.Option("--rows-per-shard", min=1, help="Signals of a shard file.")] = 4096,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Signals fitted together; by memory if left out.")
    ] = None,
    fit_steps: FitStepsOption = None,
    method: Annotated[MethodChoice, typer.Option("--method", help="How latents are fitted.")] = MethodChoice.gradient_descent,
    name: Annotated[str | None, typer.Option("--name", help="Name of the set; the folder's if left out.")] = None,
    licence: Annotated[str, typer.Option("--licence", help="Licence of the latents; the data's if left out.")] = "",
    task: Annotated[str, typer.Option("--task", help="What the labels are for.")] = "",
    model: Annotated[
        ModelChoice, typer.Option("--model", help="copy: the set has its network; refer: it names one of checkpoints/.")
    ] = ModelChoice.copy,
    device: DeviceOption = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """Fit a whole data set and store it as a MedNF set; under torchrun, on several devices."""
    given: dict[str, Any] = {"limit": limit, "per_class": per_class, "batch_size": batch_size, "fit_steps": fit_steps}
    given |= {"model": str(model), "method": str(method), "name": name, "licence": licence or None, "task": task or None}
    given |= {"splits": tuple(str(split) for split in splits) if splits else None}
    from tqdm import tqdm

    from medfuncta_core.mednf import EncodeRequest, open_set
    from medfuncta_core.mednf import encode as encode_set
    from medfuncta_core.mednf.ranks import current_rank

    chosen = {key: value for key, value in given.items() if value is not None}
    request = EncodeRequest.parse(chosen | {"dtype": str(dtype), "rows_per_shard": rows_per_shard}, "encode")
    rank, last = current_rank().rank, None
    with tqdm(unit="signal", desc=out.resolve().name, disable=None if rank == 0 else True) as bar:
        for step in encode_set(checkpoint, data, out, request, resume=resume, device=str(device)):
            bar.total, last = step.total, step
            bar.update(step.done - bar.n)
            bar.set_postfix_str(f"shard {step.shard} of {step.shards}, PSNR {format_metric(step.psnr, ' dB')}", refresh=False)
    if rank > 0:
        return
    made = open_set(out)
    quality = {metric: _mean(made.column(metric)) for metric in ("psnr", "ssim")}
    report = {"set": str(out), "n": len(made), "shards": made.info.shards, "dtype": made.info.dtype, **quality}
    report |= {
        "fit_steps": made.info.fit_steps,
        "method": made.info.fit_method,
        "seconds": last.seconds if last else 0.0,
        "device": str(device),
    }
    report |= {"checkpoint": str(checkpoint), "data": data, "per_second": last.per_second if last else 0.0}
    line = f"{out}: {len(made):,} latents, PSNR {format_metric(report['psnr'], ' dB')}, SSIM {format_metric(report['ssim'])}"
    emit(report, as_json, [line])


@app.command()
def neighbors(
    latents: SetArgument,
    query: Annotated[
        str, typer.Option("--query", help="Row of the set, latent.npy, or a signal's file, which is fitted.", metavar="FILE|ROW")
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="How many, overall and of each class.")] = 10,
    metric: Annotated[MetricChoice, typer.Option("--metric", help="Distance between latents.")] = MetricChoice.cosine,
    split: Annotated[Split | None, typer.Option("--split", help="Search this part only.")] = None,
    engine: Annotated[Engine, typer.Option("--engine", help="exact, or the optional faiss.")] = Engine.exact,
    index: Annotated[int, typer.Option("--index", min=0, help="Which signal, where the file holds several.")] = 0,
    device: DeviceOption = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """The rows of a set nearest to a signal, overall and within every class, and the class they vote for."""
    from medfuncta_core.mednf import find_neighbors, open_set

    opened = open_set(latents)
    found = find_neighbors(
        opened,
        _query(opened, query, index, str(device)),
        k=k,
        metric=metric.value,
        engine=engine.value,
        rows=None if split is None else opened.rows_of(str(split)),
    )
    vote = found.vote
    report: dict[str, Any] = {"set": str(latents), "query": query, "metric": str(metric), "seconds": found.seconds}
    report |= {"neighbors": _rows(opened, found.rows, found.distances)}
    report |= {"vote": None if vote is None else {"label": vote.label, "class_name": vote.class_name, "share": vote.share}}
    report |= {
        "by_class": [
            {"label": of.label, "class_name": of.class_name, "neighbors": _rows(opened, of.rows, of.distances)}
            for of in found.by_class
        ]
    }
    emit(report, as_json, _lines(opened, found))


def _query(opened: MednfSet, query: str, index: int, device: str) -> np.ndarray | int:
    """A row's number, a latent, or the latent of a signal fitted by the set's own network."""
    if query.isdecimal() and not Path(query).exists():
        return int(query)
    from medfuncta_core.checkpoint import is_latent_file
    from medfuncta_core.mednf.mednf_set import find_latent

    if Path(query).suffix == ".npy" and is_latent_file(Path(query), opened.latent_dim):
        return find_latent(query, opened.latent_dim)
    from medfuncta_core.fitting import Fitter
    from medfuncta_core.mednf.network import load_network
    from medfuncta_core.signals import read_signal

    fitter = Fitter(load_network(opened), device=device)
    spec = fitter.checkpoint.config.signal if fitter.checkpoint else None
    return fitter.fit(read_signal(query, spec=spec, index=index)).latent


def _rows(opened: MednfSet, rows: Any, distances: Any) -> list[dict[str, Any]]:
    return [
        {"row": int(row), "distance": float(distance), "id": described["id"], "class_name": described["class_name"]}
        for row, distance in zip(rows, distances, strict=True)
        for described in [opened.describe(int(row))]
    ]


def _lines(opened: MednfSet, found: Neighbors) -> list[str]:
    lines = [f"{'row':>8} {'distance':>9}  {'id':<14} class"]
    for near in _rows(opened, found.rows, found.distances):
        lines.append(f"{near['row']:>8} {near['distance']:>9.4f}  {near['id']:<14} {near['class_name'] or '-'}")
    if found.vote is not None:
        lines.append(f"vote: {found.vote.class_name} ({found.vote.share:.0%} of {len(found.rows)})")
    for of in found.by_class:
        near = ", ".join(f"{row} ({d:.4f})" for row, d in zip(of.rows[:3], of.distances[:3], strict=True))
        lines.append(f"nearest of {of.class_name}: {near}")
    return lines


def _mean(column: np.ndarray) -> float | None:
    """Of the known values; None without any."""
    known = column[column == column]
    return float(known.mean(dtype="float64")) if len(known) else None
