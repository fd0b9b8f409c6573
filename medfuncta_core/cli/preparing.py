"""`prepare`: a folder of NIfTI files or DICOM series becomes a data set to train on."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfuncta_core.cli.app import JsonOption, app, emit
from medfuncta_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medfuncta_core.config import SignalSpec
    from medfuncta_core.signals.volume_sets import PreparedVolume


class Depth(StrEnum):
    """How values in [0, 1] are stored."""

    uint8 = "uint8"
    uint16 = "uint16"
    float32 = "float32"


@app.command()
def prepare(
    folder: Annotated[Path, typer.Argument(help="NIfTI files, DICOM series or .zip of them, at any depth.", metavar="FOLDER")],
    out: Annotated[Path, typer.Option("--out", help="Data set to write.", metavar="DATA.npz")],
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="brats, lidc-idri, hippocampus or lung-ct; range to 32^3 if left out.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a step: shape=64,64,64, limits=-1000,400, spacing_mm=1,1,1, ..."),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Shares of patients in train, val and test.")] = "0.8,0.1,0.1",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of that division.")] = 0,
    include: Annotated[str, typer.Option("--include", help="Only paths that match, such as '*t1n.nii.gz'.")] = "*",
    patient: Annotated[
        str | None, typer.Option("--patient", help="Regular expression for the part of a path that names the patient.")
    ] = None,
    classes: Annotated[bool, typer.Option("--classes", help="The first sub-folder names the class.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Leave out volumes with a warning, too.")] = False,
    depth: Annotated[Depth, typer.Option("--dtype", help="How values are stored.")] = Depth.uint8,
    as_json: JsonOption = False,
) -> None:
    """Bring volumes to one shape, as a recipe says, and keep the recipe with them; interrupted, the same command continues."""
    spec, shares = _choose(recipe, settings or []), _shares(split)
    if out.suffix != ".npz" or not out.resolve().parent.is_dir():
        raise typer.BadParameter(f"{out}: give a file that ends in .npz, in a folder that exists", param_hint="--out")
    from tqdm import tqdm

    from medfuncta_core.signals.volume_listing import assign_splits, list_volumes
    from medfuncta_core.signals.volume_sets import prepare_volumes, write_volume_set

    start = time.perf_counter()
    volumes = assign_splits(list_volumes(folder, include=include, patient=patient, classes=classes), shares, seed)
    prepared = []
    for volume in tqdm(prepare_volumes(volumes, spec, out, depth.value), total=len(volumes), unit="volume", disable=None):
        left_out = strict and volume.warnings
        prepared.append(_leave_out(volume) if left_out else volume)
    write_volume_set(prepared, spec, out)
    report = _report(prepared, spec, out) | {"seconds": time.perf_counter() - start}
    emit(report, as_json, _lines(report))


def _choose(recipe: str | None, settings: list[str]) -> SignalSpec:
    """The recipe with some of its steps changed."""
    from medfuncta_core.config import SignalSpec, VolumeRecipe
    from medfuncta_core.signals.recipes import RECIPES

    if recipe is not None and recipe not in RECIPES:
        raise typer.BadParameter(f"no recipe {recipe!r}; choose {', '.join(RECIPES)}", param_hint="--recipe")
    base = RECIPES[recipe] if recipe else SignalSpec(kind="volume", shape=(32, 32, 32), normalisation="range")
    values, steps = base.model_dump(), (base.recipe or VolumeRecipe()).model_dump()
    for setting in settings:
        key, separator, text = (part.strip() for part in setting.partition("="))
        known = {name: values for name in ("shape", "normalisation", "limits", "channels")} | dict.fromkeys(steps, steps)
        if not separator or key not in known:
            raise ConfigError(f"--set {setting}: write key=value with one of {', '.join(known)}")
        parts: Any = text.split(",") if "," in text else text
        known[key][key] = None if text.lower() == "none" else parts
        if key == "normalisation" and text in ("range", "dtype"):
            values["limits"] = None
    changed = VolumeRecipe.parse(steps, "--set")
    return SignalSpec.parse(values | {"recipe": None if changed == VolumeRecipe() else changed.model_dump()}, "--set")


def _shares(text: str) -> tuple[float, float, float]:
    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r}: write three shares, such as 0.8,0.1,0.1", param_hint="--split") from None
    if min(train, val, test) < 0 or train <= 0:
        raise typer.BadParameter(f"{text!r}: shares are not negative, and training needs one", param_hint="--split")
    return train, val, test


def _leave_out(volume: PreparedVolume) -> PreparedVolume:
    from dataclasses import replace

    return replace(volume, part=None, reason=" ".join(volume.warnings))


def _report(prepared: Sequence[PreparedVolume], spec: SignalSpec, out: Path) -> dict[str, Any]:
    kept = [volume for volume in prepared if volume.part is not None]
    patients = {split: {v.listed.patient for v in kept if v.listed.split == split} for split in ("train", "val", "test")}
    return {
        "out": str(out),
        **{split: sum(volume.listed.split == split for volume in kept) for split in patients},
        "patients": {split: len(names) for split, names in patients.items()},
        "recipe": spec.model_dump(mode="json"),
        "left_out": [{"volume": volume.listed.key, "reason": volume.reason} for volume in prepared if volume.part is None],
        "warnings": [{"volume": volume.listed.key, "warnings": list(volume.warnings)} for volume in kept if volume.warnings],
    }


def _lines(report: dict[str, Any]) -> list[str]:
    shape = " x ".join(str(points) for points in report["recipe"]["shape"])
    counts = ", ".join(f"{report[split]} {split} ({report['patients'][split]} patients)" for split in ("train", "val", "test"))
    lines = [f"left out: {entry['volume']}: {entry['reason']}" for entry in report["left_out"]]
    lines += [f"warning: {entry['volume']}: {text}" for entry in report["warnings"] for text in entry["warnings"]]
    empty = [split for split in ("train", "val", "test") if not report[split]]
    if empty:
        lines.append(f"note: no volume in {' and '.join(empty)}; training needs train and val (see --split and --patient)")
    return [*lines, f"wrote {report['out']}: volumes of {shape}: {counts}, in {report['seconds']:.1f} s"]
