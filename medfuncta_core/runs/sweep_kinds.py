"""The paper's ablations: which settings each of them varies, and how many steps a budget gives to every run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from medfuncta_core.config import KIND_OF_AXES, PRESETS, Config, Kind, Preset
from medfuncta_core.errors import ConfigError

SweepKind = Literal["gamma", "omega", "schedules", "order"]
Budget = Literal["small", "medium", "paper"]

OMEGA_FIRST, OMEGA_FACTOR, GAMMA = "ω₁", "δ", "γ"
CHOICE = "Configuration"
REDUCED = 0.25  # gamma of Table 5's reduced context


class Cell(Config):
    """One run of a sweep: its place on the axes, and the settings that put it there."""

    name: str = Field(description="Short, unique in the sweep, part of the run's name.")
    place: Mapping[str, float | str] = Field(description="Axis to value.")
    settings: tuple[str, ...] = Field(description="Changes to the preset, key=value.")


@dataclass(frozen=True)
class Ablation:
    """What is varied, and where the paper has it.

    Args:
        title: For people.
        question: What it answers, in a sentence.
        source: Table or figure.
        axes: Name of each axis to its values in the paper; the last one is drawn upwards. One axis of words has no values here.
        cells: From the preset and the axes' values to the runs.
        paper_steps: Outer steps of every run in the paper.
    """

    title: str
    question: str
    source: str
    axes: dict[str, tuple[float, ...]]
    cells: Callable[[Preset, dict[str, tuple[float, ...]]], list[Cell]]
    paper_steps: int


def _gamma(_: Preset, axes: dict[str, tuple[float, ...]]) -> list[Cell]:
    return [
        Cell(name=f"gamma-{gamma:g}", place={GAMMA: gamma}, settings=(f"meta.selection_ratio={gamma:g}",))
        for gamma in axes[GAMMA]
    ]


def _omega(_: Preset, axes: dict[str, tuple[float, ...]]) -> list[Cell]:
    cells = []
    for first, factor in itertools.product(axes[OMEGA_FIRST], axes[OMEGA_FACTOR]):
        name, place = f"omega-{first:g}-delta-{factor:g}", {OMEGA_FIRST: first, OMEGA_FACTOR: factor}
        cells.append(Cell(name=name, place=place, settings=_omegas(first, first * factor)))
    return cells


def _schedules(preset: Preset, _: dict[str, tuple[float, ...]]) -> list[Cell]:
    """Table 5's own rows: each component alone, then all. A full context leaves memory for half the batch only."""
    omegas, meta = preset.field.omegas, preset.meta
    half = max(1, meta.batch_size // 2)
    plain = ("meta.final_lr_ratio=1", *_omegas(omegas[0], omegas[0]), "meta.selection_ratio=1", f"meta.batch_size={half}")
    annealed = (f"meta.final_lr_ratio={min(meta.final_lr_ratio, 0.1):g}",)
    rising = _omegas(omegas[0], omegas[-1])
    reduced = (f"meta.selection_ratio={REDUCED:g}", f"meta.batch_size={meta.batch_size}")
    rows = {
        "Baseline": ("baseline", ()),
        "+ Global lr-schedule": ("lr-schedule", annealed),
        "+ ω-schedule": ("omega-schedule", rising),
        f"+ Reduced context (γ = {REDUCED:g})": ("reduced-context", reduced),
        "+ All": ("all", (*annealed, *rising, *reduced)),
    }
    return [Cell(name=name, place={CHOICE: row}, settings=(*plain, *more)) for row, (name, more) in rows.items()]


def _order(preset: Preset, _: dict[str, tuple[float, ...]]) -> list[Cell]:
    """App. H: first order, with and without the omega-schedule, beside the exact meta-gradient."""
    omegas = preset.field.omegas
    schedules = {
        "ω-schedule": ("schedule", _omegas(omegas[0], omegas[-1])),
        "single ω": ("single", _omegas(omegas[0], omegas[0])),
    }
    cells = []
    for (order, second), (words, (name, settings)) in itertools.product((("First", False), ("Second", True)), schedules.items()):
        place = {CHOICE: f"{order} order, {words}"}
        chosen = (f"meta.second_order={str(second).lower()}", *settings)
        cells.append(Cell(name=f"{order.lower()}-order-{name}", place=place, settings=chosen))
    return cells


def _omegas(first: float, last: float) -> tuple[str, ...]:
    return f"field.omega_first={first:g}", f"field.omega_last={last:g}", "field.omega_increment=none"


ABLATIONS: dict[SweepKind, Ablation] = {
    "gamma": Ablation(
        "Selection ratio γ",
        "How much quality does training on a random share γ of the points cost, and what memory and time does it save?",
        "Table 4",
        {GAMMA: (0.1, 0.25, 0.5, 0.75, 1.0)},
        _gamma,
        100_000,
    ),
    "omega": Ablation(
        "ω grid",
        "Which frequencies suit the data: of the first layer, ω₁, and how many times higher the last layer's, δ?",
        "Figure 4",
        {OMEGA_FIRST: (10, 20, 30, 40, 50), OMEGA_FACTOR: (1, 2, 5, 10, 20)},
        _omega,
        25_000,
    ),
    "schedules": Ablation(
        "Schedules on and off",
        "What do the learning-rate schedule, the ω-schedule and the reduced context each contribute?",
        "Table 5, own rows",
        {},
        _schedules,
        250_000,
    ),
    "order": Ablation(
        "First or second order",
        "What is the exact meta-gradient worth against the first-order approximation?",
        "App. H",
        {},
        _order,
        250_000,
    ),
}

SMALL_PRESETS: dict[Kind, str] = {"ecg": "ecg-187-cpu", "image": "image-64-small", "volume": "volume-32-small"}
PAPER_PRESETS: dict[Kind, str] = {"ecg": "ecg-187", "image": "image-64", "volume": "volume-32"}
# Steps of every run, so that the whole sweep takes an hour at most on two CPU cores with the preset of its kind.
_SMALL_STEPS: dict[Kind, dict[SweepKind, int]] = {
    "ecg": {"gamma": 3000, "omega": 600, "schedules": 2500, "order": 3500},
    "image": {"gamma": 400, "omega": 120, "schedules": 350, "order": 700},
    "volume": {"gamma": 100, "omega": 30, "schedules": 80, "order": 160},
}
MEDIUM_FACTOR = 8  # of the small budget: a night


def suggest_preset(shape: Sequence[int], budget: Budget) -> str:
    """The preset that a budget is meant for, with signals of a shape."""
    if len(shape) not in KIND_OF_AXES:
        raise ConfigError(f"signals of {len(shape)} axes: sweeps take 1 (ECG), 2 (images) or 3 (volumes)")
    return (PAPER_PRESETS if budget == "paper" else SMALL_PRESETS)[KIND_OF_AXES[len(shape)]]


def budget_steps(kind: SweepKind, preset: str, budget: Budget) -> int:
    """Outer steps of every run of a sweep."""
    if budget == "paper":
        return ABLATIONS[kind].paper_steps
    steps = _SMALL_STEPS[KIND_OF_AXES[PRESETS[preset].field.coord_dim]][kind]
    return steps * (MEDIUM_FACTOR if budget == "medium" else 1)


def make_cells(kind: SweepKind, preset: Preset, axes: dict[str, tuple[float, ...]] | None = None) -> tuple[Cell, ...]:
    """The runs of a sweep.

    Args:
        kind: Which ablation.
        preset: What all runs share.
        axes: Other values than the paper's, for some axes or all.

    Raises:
        ConfigError: for an axis that the sweep does not have, or one without values.
    """
    known = ABLATIONS[kind].axes
    wanted: dict[str, Any] = axes or {}
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigError(f"{unknown[0]}: the {kind} sweep has no such axis; its axes are {', '.join(known) or 'fixed'}")
    values = {name: tuple(dict.fromkeys(wanted.get(name, known[name]))) for name in known}
    if empty := [name for name, chosen in values.items() if not chosen]:
        raise ConfigError(f"{empty[0]}: give at least one value")
    return tuple(ABLATIONS[kind].cells(preset, values))
