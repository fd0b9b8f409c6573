"""`set`: the paper's data sets by name, checking a set, and writing it in forms that others read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from medfuncta_core.cli.app import Device, DeviceOption, JsonOption, OneLineErrors, app, emit
from medfuncta_core.cli.sets import SetArgument

set_app = typer.Typer(cls=OneLineErrors, help="MedNF sets: the registered ones, checking, exporting.", no_args_is_help=True)
app.add_typer(set_app, name="set")


class Form(StrEnum):
    """What a set is exported to."""

    hf = "hf"
    npz = "npz"
    csv = "csv"


@set_app.command()
def registry(as_json: JsonOption = False) -> None:
    """The seven data sets of MedNF (Table 7): what they are, and the commands that make them."""
    from dataclasses import asdict

    from medfuncta_core.mednf.registry import REGISTRY

    report: dict[str, Any] = {"sets": []}
    lines = [f"{'set':<12} {'data':<18} {'kind':<31} {'task':<49} {'train / val / test':<25} licence"]
    for known in REGISTRY:
        commands = {"data": known.data, "rows": known.rows, "train": known.train_command, "encode": known.encode_command}
        report["sets"].append(asdict(known) | commands)
        splits = " / ".join(f"{count:,}" for count in known.splits)
        kind = f"{known.modality}, {'grey' if known.channels == 1 else 'RGB'}"
        lines.append(f"{known.name:<12} {known.data:<18} {kind:<31} {known.task:<49} {splits:<25} {known.licence}")
    lines += [""] + [f"{known.name}: {', '.join(known.class_names)}" for known in REGISTRY]
    lines += [
        "",
        "Make one (MedMNIST's file is downloaded on first use): encode CHECKPOINT --data NAME --out sets/NAME",
    ]
    emit(report, as_json, lines)


@set_app.command()
def verify(
    latents: SetArgument,
    data: Annotated[
        str | None, typer.Option("--data", help="The data it was encoded from; then stated PSNRs are measured again.")
    ] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Rows to decode, spread over the classes.")] = 64,
    device: DeviceOption = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """Check a set: every number, digest and file, its network, and what a sample decodes to; exit 1 when anything is wrong."""
    from tqdm import tqdm

    from medfuncta_core.mednf.verifying import verify_set

    report = None
    with tqdm(unit="row", desc=latents.resolve().name, disable=None) as bar:
        for step in verify_set(latents, data, sample=sample, device=str(device)):
            bar.total, report = step.total, step.report
            bar.update(step.done - bar.n)
    assert report is not None
    lines = [
        f"{latents}: {report.rows_finite:,} of {report.rows:,} latents finite, {report.shards_checked} of {report.shards} shards "
        f"read, {report.decoded} decoded with {report.network or 'no network'}"
    ]
    if report.largest_difference_db is not None:
        lines.append(f"PSNR of {report.compared} rows as stated, to {report.largest_difference_db:.4f} dB")
    lines += [f"wrong: {problem}" for problem in report.problems] or ["all is well"]
    emit(report.as_json(), as_json, lines)
    if not report.ok:
        raise typer.Exit(1)


@set_app.command()
def export(
    latents: SetArgument,
    out: Annotated[Path, typer.Option("--out", help="File (npz, csv) or new folder (hf) to write.")],
    form: Annotated[
        Form, typer.Option("--format", help="hf: a folder for the Hugging Face hub; npz: latents and table; csv: the table.")
    ] = Form.hf,
    as_json: JsonOption = False,
) -> None:
    """Write a set for others, whole or not at all."""
    from tqdm import tqdm

    from medfuncta_core.mednf.exporting import export_set

    rows = 0
    with tqdm(unit="row", desc=str(out), disable=None) as bar:
        for step in export_set(latents, form.value, out):
            bar.total, rows = step.total, step.total
            bar.update(step.done - bar.n)
    files = [out] if out.is_file() else sorted(file for file in out.rglob("*") if file.is_file())
    byte_count = sum(file.stat().st_size for file in files)
    report = {"set": str(latents), "format": str(form), "out": str(out), "n": rows, "bytes": byte_count}
    report |= {"files": [str(file) for file in files]}
    emit(report, as_json, [f"{out}: {rows:,} rows, {byte_count / 2**20:,.1f} MiB in {len(files)} file{'s' * (len(files) > 1)}"])
