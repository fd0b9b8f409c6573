"""The Typer application, its shared options, and how results and errors leave it."""

from __future__ import annotations

import json
import logging
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from medfuncta_core.errors import MedFunctaError


class OneLineErrors(TyperGroup):
    """Turns the library's own errors into one line on stderr and exit code 1, for the module and the console script alike."""

    def invoke(self, ctx: Any) -> Any:  # Any: some versions of Typer bring their own click
        try:
            return super().invoke(ctx)
        except MedFunctaError as error:
            typer.echo("error: " + " ".join(str(error).split()), err=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=OneLineErrors,
    help="Medical images, ECGs and volumes as latents of a shared neural field.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Device(StrEnum):
    """Where to compute; auto takes a GPU where there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Split(StrEnum):
    """A part of a data set."""

    train = "train"
    val = "val"
    test = "test"


class MethodChoice(StrEnum):
    """How latents are fitted."""

    gradient_descent = "gradient_descent"
    gauss_newton = "gauss_newton"


CheckpointArgument = Annotated[
    Path, typer.Argument(help="Checkpoint directory (config.json, model.safetensors).", metavar="CHECKPOINT")
]
DataOption = Annotated[str, typer.Option("--data", help="MedMNIST name, .npz, folder or CSV.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where to compute.")]
FitStepsOption = Annotated[
    int | None, typer.Option("--fit-steps", min=1, help="Fit steps H; the checkpoint's own number if left out.")
]
MethodOption = Annotated[
    MethodChoice | None,
    typer.Option("--method", help="gradient_descent as in the paper, or gauss_newton; the checkpoint's own if left out."),
]
TargetOption = Annotated[float | None, typer.Option("--target-psnr", min=0, help="Stop a fit that has reached this PSNR, in dB.")]
PlateauOption = Annotated[
    float | None, typer.Option("--plateau-db", min=0, help="Stop a fit that gained less than this in 5 steps, in dB.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.callback()
def _prepare(verbose: Annotated[bool, typer.Option("--verbose", help="More messages on stderr.")] = False) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")  # stderr: stdout is for results


def emit(report: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    """Print a result: strict JSON (no NaN, no Infinity) or lines for people."""
    typer.echo(json.dumps(report, allow_nan=False) if as_json else "\n".join(lines))


def parse_shape(text: str) -> tuple[int, ...]:
    """`128,128` or `128x128` as numbers of points per axis; anything else is the user's mistake (exit code 2)."""
    if not re.fullmatch(r"\s*\d{1,9}(\s*[,x]\s*\d{1,9}){0,2}\s*", text):
        raise typer.BadParameter(f"{text!r} is no shape; write one to three numbers of points, such as 128,128")
    shape = tuple(int(points) for points in re.split(r"[,x]", text))
    if min(shape) < 1:
        raise typer.BadParameter(f"{text!r}: every axis needs at least one point")
    return shape


def format_metric(value: float | None, unit: str = "") -> str:
    """A metric for people: four significant digits, or a dash where it is not defined."""
    return "-" if value is None else f"{value:.4g}{unit}"
