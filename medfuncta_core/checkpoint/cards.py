"""`CARD.md`: what a person should know before using a checkpoint, written from its configuration alone."""

from __future__ import annotations

import shlex
from pathlib import PurePath

from pydantic import BaseModel

from medfuncta_core.config import PRESETS, CheckpointConfig, FieldConfig, MetaConfig, Metrics, VolumeRecipe

SHIPPED = {
    "ecg": "mitbih_full_187.npz",
    "chest-xray-64": "nihcxr_64.npz",
    "dermatoscope-64": "ham10000_64.npz",
    "hippocampus-32": "hippocampus3d_32.npz",
    "lung-ct-32": "lungct3d_32.npz",
}
"""Names that `checkpoints/retrain.sh` knows, and the data file it looks for."""

PAPER = {1: ("ecg-187",), 2: ("image-64", "image-128", "image-224"), 3: ("volume-32",)}
"""Presets with the numbers of the paper's Tables 2 and 6, by axes."""

_METHODS = {"gradient_descent": "gradient descent", "gauss_newton": "Gauss-Newton"}
_USE = """## Intended use
Research on representations of medical signals: fitting, storing, comparing, interpolating and decoding signals like those it was
trained on. **Not for diagnosis** or any other clinical decision: a reconstruction can smooth away, move or invent what a
clinician looks for, and nothing here was validated for patients. Signals from other devices, populations or modalities fit worse;
look at the PSNR and the error of each fit."""


def make_card(config: CheckpointConfig) -> str:
    """The card of a checkpoint: data, licence, field, recipe, metrics, and the commands that make both again.

    Args:
        config: `config.json` as it is stored.

    Returns:
        Markdown, ending in a newline.
    """
    parts = [
        f"# {config.name}",
        _describe(config),
        _describe_data(config),
        _describe_recipe(config),
        _describe_metrics(config),
        _USE,
    ]
    return "\n\n".join(parts) + "\n"


def retrain_command(config: CheckpointConfig) -> str | None:
    """The one command that trains these weights again; None for imported weights, which have no recipe here.

    The preset that differs least is named, and what differs is set.
    """
    if config.meta is None:
        return None

    def changes(name: str) -> list[str]:
        preset, meta = PRESETS[name], config.meta
        groups = (("field", preset.field, config.field), ("meta", preset.meta, meta), ("fit", preset.fit, config.fit))
        return [change for group, before, after in groups if after is not None for change in _differences(group, before, after)]

    candidates = [name for name, preset in PRESETS.items() if preset.field.coord_dim == config.field.coord_dim]
    name = min(candidates, key=lambda candidate: len(changes(candidate)))
    command = f"python -m medfuncta_core train --preset {name} --data {_data_argument(config)} --out runs/{config.name}"
    if config.signal is not None and config.signal.shape != PRESETS[name].shape:
        command += f" --shape {','.join(map(str, config.signal.shape))}"
    if config.licence:
        command += f" --licence {shlex.quote(config.licence)}"
    return command + "".join(f" --set {change}" for change in changes(name))


def evaluate_command(config: CheckpointConfig, metrics: Metrics) -> str:
    """The command that prints a row of the card's table."""
    return (
        f"python -m medfuncta_core evaluate checkpoints/{config.name} --data {_data_argument(config)} --split {metrics.split} "
        f"--limit {metrics.n} --fit-steps {metrics.fit_steps} --method {metrics.method} --json"
    )


def _describe(config: CheckpointConfig) -> str:
    field, signal = config.field, config.signal
    if signal is None:
        subject = f"signals of {field.coord_dim} {'axis' if field.coord_dim == 1 else 'axes'} and {field.channels} channel(s)"
    else:
        subject = f"{signal.kind} signals of {' x '.join(map(str, signal.shape))} points and {signal.channels} channel(s)"
    prepared = (
        ""
        if signal is None
        else f"\nNormalisation of files to [0, 1]: {signal.normalisation}{_limits(signal.limits)}.{_recipe(signal.recipe)}"
    )
    switches = _switches(field)
    return (
        f"The shared network of a modulated neural field for {subject}; "
        f"one latent of {field.latent_dim} numbers is one signal.{prepared}\n"
        f"Weights: {field.parameter_count:,} parameters, {field.depth} layers of width {field.width}, {_omegas(field)}"
        f"{', with ' + ', '.join(switches) if switches else ''}.{_storage(config)}{_compare_with_paper(field)}\n"
        f"Licence of the weights: {config.licence or 'not stated'}."
    )


def _storage(config: CheckpointConfig) -> str:
    return " The modulation matrices are stored as float16." if config.modulation_dtype == "float16" else ""


def _recipe(recipe: VolumeRecipe | None) -> str:
    """The steps of a volume's preparation around its normalisation, those that are taken."""
    if recipe is None:
        return ""
    steps = [f"{recipe.orientation} axes"]
    if recipe.spacing_mm is not None:
        steps.append(f"{recipe.interpolation} to {' x '.join(f'{step:g}' for step in recipe.spacing_mm)} mm")
    if recipe.canvas is not None:
        steps.append(f"cropped or padded to {' x '.join(map(str, recipe.canvas))}")
    if recipe.floor is not None:
        steps.append(f"values raised to {recipe.floor:g} at least")
    steps.append("means of blocks" if recipe.reduction == "average" else "linear to the shape")
    return f" Grid: {', '.join(steps)}."


def _limits(limits: tuple[float, float] | None) -> str:
    return "" if limits is None else f" (limits {limits[0]:g} and {limits[1]:g})"


def _omegas(field: FieldConfig) -> str:
    omegas = field.omegas
    return f"omega {omegas[0]:g} to {omegas[-1]:g}"


def _switches(field: FieldConfig) -> list[str]:
    named = [name for name in ("residual", "modulate_first", "modulate_scale") if getattr(field, name)]
    return named + ([f"output_offset {field.output_offset:g}"] if field.output_offset else [])


def _compare_with_paper(field: FieldConfig) -> str:
    """How a field of the sizes K, L and P of one of the paper's differs from it; nothing where the sizes are others."""

    def sizes(of: FieldConfig) -> tuple[int, int, int]:
        return of.depth, of.width, of.latent_dim

    for paper in (PRESETS[name].field for name in PAPER[field.coord_dim]):
        differs = paper.omegas != field.omegas or bool(_switches(field))
        if sizes(paper) == sizes(field) and differs:
            switches = " and none of these switches" if _switches(field) else ""
            return f"\nThe paper's {field.coord_dim}D configuration of this size has {_omegas(paper)}{switches}."
    return ""


def _describe_data(config: CheckpointConfig) -> str:
    data = config.data
    if data is None:
        return "## Data\nNot stated by the files it was imported from." if config.origin == "imported" else "## Data\nNot stated."
    rows = [f"- data set: {data.name}"]
    rows += [f"- training signals: {data.train_signals:,}"] if data.train_signals else []
    rows += [f"- classes: {', '.join(data.class_names)}"] if data.class_names else []
    rows += [f"- source: {data.source}"] if _is_prose(data.source) else []
    rows += [f"- licence: {data.licence}"] if data.licence else []
    rows += [f"- SHA-256: `{data.sha256}`"] if data.sha256 else []
    return "## Data\n" + "\n".join(rows)


def _describe_recipe(config: CheckpointConfig) -> str:
    meta = config.meta
    if meta is None:
        return "## Recipe\nImported from files of the published implementation; how they were trained is not recorded in them."
    batch = "1 signal" if meta.batch_size == 1 else f"{meta.batch_size} signals"
    averaged = f", weights averaged ({meta.average_decay:g})" if meta.average_decay else ""
    return (
        f"## Recipe\n{config.step:,} meta steps of {batch}, {_describe_inner_steps(meta)}; "
        f"{_describe_optimiser(meta)} with cosine decay{averaged}; seed {meta.seed}.\n"
        f"{_describe_retraining(config)}"
    )


def _describe_inner_steps(meta: MetaConfig) -> str:
    steps = f"{meta.inner_steps_start} to {meta.inner_steps}" if meta.inner_steps_start else f"{meta.inner_steps}"
    points = f"{meta.selection_ratio_start:.0%} to " if meta.selection_ratio_start else ""
    learned = ", learned for each coordinate (Meta-SGD) and part of the modulation" if meta.meta_sgd_lr else ""
    losses = f", the losses after all of them counting at first ({meta.multi_step_share:.0%})" if meta.multi_step_share else ""
    return f"{steps} inner steps at rate {meta.inner_lr:g}{learned} on {points}{meta.selection_ratio:.0%} of the points{losses}"


def _describe_optimiser(meta: MetaConfig) -> str:
    muon = f"Muon at {meta.muon_lr:g} for the hidden matrices, " if meta.muon_lr else ""
    return f"{muon}AdamW at {meta.outer_lr:g}"


def _describe_retraining(config: CheckpointConfig) -> str:
    if config.data is not None and SHIPPED.get(config.name, "") == _data_argument(config):
        return (
            "One command trains, promotes and measures it again and fits its gallery anew; "
            f"DATA_FOLDER holds {_data_argument(config)}:\n\n    checkpoints/retrain.sh {config.name} DATA_FOLDER"
        )
    return f"Train it again; the best weights are then in `runs/{config.name}/checkpoint/best`:\n\n    {retrain_command(config)}"


def _describe_metrics(config: CheckpointConfig) -> str:
    if not config.metrics:
        return "## Metrics\nNot measured yet: `evaluate` with `--update-card` writes them here."
    rows = ["| split | signals | fit steps | method | PSNR (dB) | SSIM | LPIPS | MSE |", "|---|---|---|---|---|---|---|---|"]
    ordered = sorted(config.metrics, key=_place)
    for m in ordered:
        measured = f"{m.psnr:.2f} | {_number(m.ssim, '.4f')} | {_number(m.lpips, '.4f')} | {m.mse:.3e}"
        rows.append(f"| {m.split} | {m.n:,} | {m.fit_steps} | {_METHODS[m.method]} | {measured} |")
    text = "## Metrics\nMeans over signals, on reconstructions clamped to [0, 1].\n\n" + "\n".join(rows)
    measured = [metrics for metrics in ordered if not metrics.spread]
    if len(measured) < len(ordered):
        text += "\n\nThe row of the training's own validation has signals evenly spread over the split, without a command."
    if measured:
        commands = "\n".join(f"    {evaluate_command(config, metrics)}" for metrics in measured)
        text += f"\n\nMeasure again (the first N signals of a split, in the file's order):\n\n{commands}"
    return text


def _place(metrics: Metrics) -> tuple[int, int, int]:
    """Order of the table: what was not learned from comes first."""
    splits = ("test", "val", "train")
    place = splits.index(metrics.split) if metrics.split in splits else len(splits)
    return place, metrics.fit_steps, list(_METHODS).index(metrics.method)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _data_argument(config: CheckpointConfig) -> str:
    """What `--data` was; an absolute path means nothing on another machine, so only its name is kept."""
    if config.data is None:
        return "DATA"
    source = config.data.file or config.data.source
    if not source or _is_prose(source):
        return shlex.quote(config.data.name)
    return shlex.quote(PurePath(source).name if PurePath(source).is_absolute() else source)


def _is_prose(source: str) -> bool:
    """Whether a source is an address or a reference for people, not something to give to `--data`."""
    return "://" in source or len(source.split()) > 1


def _differences(group: str, preset: BaseModel, actual: BaseModel) -> list[str]:
    """`group.key=value` for every setting that differs; `none` unsets an optional one."""
    before, after = preset.model_dump(), actual.model_dump(exclude={"channels"})  # channels come from the data
    return [f"{group}.{key}={_literal(value)}" for key, value in after.items() if before[key] != value]


def _literal(value: object) -> str:
    return {None: "none", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
