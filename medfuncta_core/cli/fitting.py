"""`evaluate`, `fit`, `decode` and `gallery`: what needs a trained field and a signal."""

from __future__ import annotations

import json
import math
import time
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
    MethodOption,
    PlateauOption,
    Split,
    TargetOption,
    app,
    emit,
    format_metric,
    parse_shape,
)
from medfuncta_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medfuncta_core.cli.evaluating import FittedRows
    from medfuncta_core.config import SignalSpec
    from medfuncta_core.decoding import DecodedChunk
    from medfuncta_core.fitting import FitResult, Fitter
    from medfuncta_core.grids import ContextSet
    from medfuncta_core.signals import DataSet, Signal

MAX_DECODED_NUMBERS = 2**28  # 1 GiB of float32


@app.command()
def evaluate(
    checkpoint: CheckpointArgument,
    data: DataOption,
    split: Annotated[Split, typer.Option("--split", help="Part of the data set.")] = Split.test,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first N signals of the split.")] = None,
    fit_steps: FitStepsOption = None,
    method: MethodOption = None,
    target_psnr: TargetOption = None,
    plateau_db: PlateauOption = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Signals fitted at a time.")] = None,
    device: DeviceOption = Device.auto,
    update_card: Annotated[bool, typer.Option("--update-card", help="Write the metrics into config.json and CARD.md.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the signals of a split and print their mean quality."""
    import numpy as np
    from tqdm import tqdm

    from medfuncta_core.checkpoint import update_metrics
    from medfuncta_core.cli.evaluating import average, fit_rows
    from medfuncta_core.mednf.choosing import choose_batch_size

    fitter, opened = _open(checkpoint, data, split, _changes(fit_steps, method, target_psnr, plateau_db), device)
    rows = np.arange(len(opened))[:limit]
    size = batch_size or choose_batch_size(fitter.field.config, opened.shape)
    start = time.perf_counter()
    with tqdm(total=len(rows), unit="signal", desc=f"{opened.name} {split}", disable=None) as bar:

        def counted() -> Iterator[FittedRows]:
            for batch in fit_rows(fitter, opened, rows, size):
                bar.update(len(batch.rows))
                yield batch

        metrics = average(counted(), str(split), fitter.config)
    seconds = time.perf_counter() - start
    if update_card:
        update_metrics(checkpoint, metrics)
    report = _report(metrics, checkpoint, data, fitter, seconds) | {"split": str(split), "n": metrics.n}
    emit(report, as_json, _lines(report, fitter))


@app.command()
def fit(
    checkpoint: CheckpointArgument,
    file: Annotated[Path, typer.Argument(help="Image, ECG or volume in any format the library reads.", metavar="FILE")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for latent.npy, the reconstruction and report.json.")] = None,
    index: Annotated[int, typer.Option("--index", min=0, help="Which beat, row or signal, where the file holds several.")] = 0,
    voxels: Annotated[
        int | None, typer.Option("--voxels", min=1, help="Fit so many random voxels of a volume at its full resolution.")
    ] = None,
    fit_steps: FitStepsOption = None,
    method: MethodOption = None,
    target_psnr: TargetOption = None,
    plateau_db: PlateauOption = None,
    device: DeviceOption = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """Fit one file and report how well it is represented."""
    from tqdm import tqdm

    from medfuncta_core.signals import read_signal

    fitter = _load_fitter(checkpoint, _changes(fit_steps, method, target_psnr, plateau_db), device)
    spec = fitter.checkpoint.config.signal if fitter.checkpoint else None
    if voxels is None:
        given = signal = read_signal(file, spec=spec, index=index)
    else:
        signal, given = _draw_voxels(file, spec, voxels, index)
    steps = tqdm(fitter.steps(given), total=fitter.config.steps + 1, unit="step", desc=signal.name, disable=None)
    result = fitter.finish(signal, tuple(steps))
    report = _report(result, checkpoint, file, fitter, result.seconds) | {"split": None, "n": 1}
    report |= {"shape": list(signal.shape), "latent_dim": len(result.latent), "notes": list(signal.notes)}
    report |= {"warnings": list(signal.warnings)}
    written = [] if out is None else _write_fit(out, fitter, result, report)
    notes = [f"{'warning' if note in signal.warnings else 'note'}: {note}" for note in signal.notes]
    emit(report, as_json, _lines(report, fitter) + notes + [f"wrote {path}" for path in written])


def _draw_voxels(file: Path, spec: SignalSpec | None, count: int, index: int) -> tuple[Signal, ContextSet]:
    """A volume prepared for the checkpoint, which the fit is judged by, and the voxels that it is fitted to."""
    from medfuncta_core.grids import sampled_context
    from medfuncta_core.signals.opening import open_volume
    from medfuncta_core.signals.sampling import sample_voxels

    if spec is None or spec.kind != "volume":
        raise ConfigError("--voxels: this checkpoint is not for volumes; leave it out, or choose a checkpoint of volumes")
    sample = sample_voxels(open_volume(file, index=index), spec, count)
    return sample.signal, sampled_context(sample.coords, sample.values)


@app.command()
def decode(
    checkpoint: CheckpointArgument,
    latent: Annotated[
        str, typer.Argument(help="latent.npy, a set's row SET#ROW, or FILE.safetensors#ROW.", metavar="LATENT.npy|SET#ROW")
    ],
    shape: Annotated[str, typer.Option("--shape", help="Points per axis, such as 128,128.")],
    out: Annotated[Path, typer.Option("--out", help="File to write: .png, .tiff, .csv, .nii.gz or .npy.")],
    device: DeviceOption = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """Decode a latent at any resolution into a file."""
    points = parse_shape(shape)
    from tqdm import tqdm

    from medfuncta_core.config import KIND_OF_AXES
    from medfuncta_core.decoding import assemble, decode_chunks
    from medfuncta_core.mednf.mednf_set import find_latent
    from medfuncta_core.signals import Signal, write_signal

    fitter = _load_fitter(checkpoint, {}, device)
    config = fitter.field.config
    if len(points) != config.coord_dim:
        raise ConfigError(
            f"--shape {shape}: this checkpoint's signals have {config.coord_dim} axes; give as many numbers of points"
        )
    if math.prod(points) * config.channels > MAX_DECODED_NUMBERS:
        raise ConfigError(f"--shape {shape}: more than {MAX_DECODED_NUMBERS:,} numbers; decode at a smaller shape")
    total = math.prod(points)
    with tqdm(total=total, unit="point", unit_scale=True, desc="decoding", disable=None if total > 2**18 else True) as bar:

        def counted() -> Iterator[DecodedChunk]:
            for chunk in decode_chunks(fitter, find_latent(latent, config.latent_dim), points):
                bar.update(len(chunk.points))
                yield chunk

        values = assemble(counted(), points)
    path = write_signal(Signal(values, KIND_OF_AXES[config.coord_dim], latent), out)
    report = {"checkpoint": str(checkpoint), "latent": latent, "shape": list(points), "out": str(path)}
    emit(report, as_json, [f"wrote {path}"])


@app.command()
def gallery(
    checkpoint: CheckpointArgument,
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="File to write, such as assets/gallery/NAME.safetensors.")],
    per_class: Annotated[int, typer.Option("--per-class", min=1, help="Signals of each class.")] = 5,
    split: Annotated[Split, typer.Option("--split", help="Part of the data set.")] = Split.test,
    fit_steps: FitStepsOption = None,
    method: MethodOption = None,
    target_psnr: TargetOption = None,
    plateau_db: PlateauOption = None,
    device: DeviceOption = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """Fit a few signals of every class and keep their latents, to be shown without the data set."""
    import numpy as np
    from tqdm import tqdm

    from medfuncta_core.checkpoint import Gallery, save_gallery
    from medfuncta_core.cli.evaluating import MAX_PSNR, fit_rows
    from medfuncta_core.mednf.choosing import choose_rows
    from medfuncta_core.mednf.describing import name_classes

    fitter, opened = _open(checkpoint, data, split, _changes(fit_steps, method, target_psnr, plateau_db), device)
    rows = choose_rows(opened.labels, len(opened), per_class)
    batches = list(tqdm(fit_rows(fitter, opened, rows, None), desc=f"{opened.name} {split}", unit="batch", disable=None))
    kept = Gallery(
        checkpoint=fitter.checkpoint.config.name if fitter.checkpoint else checkpoint.name,
        latents=np.concatenate([batch.latents for batch in batches]),
        labels=np.full(len(rows), -1) if opened.labels is None else opened.labels[rows],
        psnr=np.concatenate([batch.psnr for batch in batches]),
        ids=tuple(f"{split}/{row}" for row in rows),
        class_names=name_classes(fitter.checkpoint, opened),
        shape=opened.shape,
        data=opened.name,
        fit_steps=fitter.config.steps,
    )
    path = save_gallery(out, kept)
    psnr = float(np.minimum(kept.psnr, MAX_PSNR).mean())
    report = {"out": str(path), "n": len(kept), "psnr": psnr, "checkpoint": str(checkpoint)}
    report |= {"data": data, "split": str(split), "fit_steps": kept.fit_steps, "classes": list(kept.class_names)}
    emit(report, as_json, [f"wrote {path}: {len(kept)} latents, mean PSNR {format_metric(report['psnr'], ' dB')}"])


def _changes(
    fit_steps: int | None, method: MethodChoice | None, target_psnr: float | None, plateau_db: float | None
) -> dict[str, Any]:
    """What the options change in a checkpoint's fit settings."""
    given = {"steps": fit_steps, "method": method and str(method), "target_psnr": target_psnr, "plateau_db": plateau_db}
    return {name: value for name, value in given.items() if value is not None}


def _load_fitter(checkpoint: Path, changes: dict[str, Any], device: Device) -> Fitter:
    from medfuncta_core.checkpoint import load_checkpoint
    from medfuncta_core.config import FitConfig
    from medfuncta_core.fitting import Fitter

    loaded = load_checkpoint(checkpoint)
    return Fitter(loaded, FitConfig.parse(loaded.config.fit.model_dump() | changes, "fit settings"), device=str(device))


def _open(checkpoint: Path, data: str, split: Split, changes: dict[str, Any], device: Device) -> tuple[Fitter, DataSet]:
    from medfuncta_core.signals import load_data_set

    fitter = _load_fitter(checkpoint, changes, device)
    spec = fitter.checkpoint.config.signal if fitter.checkpoint else None
    return fitter, load_data_set(data, str(split), spec=spec)


def _report(quality: Any, checkpoint: Path, data: str | Path, fitter: Fitter, seconds: float) -> dict[str, Any]:
    """The keys every measuring command shares; a metric that is not defined, or infinite, is null."""
    from medfuncta_core.metrics import finite_or_none

    measured = {name: finite_or_none(getattr(quality, name)) for name in ("mse", "psnr", "ssim", "lpips")}
    about = {"fit_steps": quality.fit_steps, "seconds": seconds, "device": str(fitter.device)}
    return measured | about | {"checkpoint": str(checkpoint), "data": str(data)}


def _lines(report: dict[str, Any], fitter: Fitter) -> list[str]:
    quality = [f"PSNR {format_metric(report['psnr'], ' dB')}", f"SSIM {format_metric(report['ssim'])}"]
    quality += [f"LPIPS {format_metric(report['lpips'])}", f"MSE {format_metric(report['mse'])}"]
    method = fitter.config.method.replace("_", " ")
    effort = (
        f"{report['n']} signal(s), {report['fit_steps']} fit steps ({method}), {report['seconds']:.2f} s on {report['device']}"
    )
    return [f"{report['data']}: {', '.join(quality)}", effort]


def _write_fit(out: Path, fitter: Fitter, result: FitResult, summary: dict[str, Any]) -> list[Path]:
    """latent.npy, the reconstruction in its kind's format, history.csv; report.json last, so that it names what is there."""
    from medfuncta_core.atomic import write_atomically
    from medfuncta_core.report import SUFFIXES, fit_report, history_csv, latent_file
    from medfuncta_core.signals import Signal, with_values, write_signal

    assert isinstance(result.signal, Signal)
    files = [
        write_atomically(out / "latent.npy", latent_file(result.latent)),
        write_signal(with_values(result.signal, result.reconstruction), out / f"reconstruction{SUFFIXES[result.signal.kind]}"),
        write_atomically(out / "history.csv", history_csv(result.history).encode()),
    ]
    summary["files"] = {path.name.partition(".")[0]: str(path) for path in files}
    report = fit_report(result, fitter.config, fitter.checkpoint.config if fitter.checkpoint else None) | {"summary": summary}
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    return [*files, write_atomically(out / "report.json", text.encode())]
