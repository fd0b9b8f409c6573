"""The settings of a training that people turn: symbol, sensible limits, what each one means; those of Table 6 come first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from medfuncta_core.config import Preset
from medfuncta_core.runs.settings import GROUPS

Group = Literal["Network", "Inner loop", "Outer loop", "Network, rarely", "Optimiser, rarely"]


@dataclass(frozen=True)
class Knob:
    """One setting.

    Args:
        key: As `--set` takes it, such as `meta.batch_size`.
        label: For people, with the paper's symbol.
        group: With which others it stands.
        low: Least sensible value; None for a switch.
        high: Greatest sensible value; more is possible on the command line.
        also: Further keys that follow it.
    """

    key: str
    label: str
    group: Group
    low: float | None = None
    high: float | None = None
    also: tuple[str, ...] = ()

    @property
    def help(self) -> str:
        """The sentence that its configuration model says about it."""
        group, _, name = self.key.partition(".")
        return GROUPS[group].model_fields[name].description or ""

    @property
    def whole(self) -> bool:
        """Whether it counts something."""
        return isinstance(self.low, int) and not isinstance(self.low, bool)

    @property
    def rare(self) -> bool:
        """Whether it is none of Table 6."""
        return self.group.endswith("rarely")

    def value(self, preset: Preset) -> float | bool | None:
        """What a preset has."""
        group, _, name = self.key.partition(".")
        return getattr(getattr(preset, group), name)


KNOBS = (
    Knob("field.depth", "Layers K", "Network", 3, 64),
    Knob("field.width", "Width L", "Network", 4, 2048),
    Knob("field.latent_dim", "Latent size P", "Network", 1, 65_536),
    Knob("field.omega_first", "First frequency ω₁", "Network", 0.1, 1000.0),
    Knob("field.omega_last", "Last frequency ωₖ", "Network", 0.1, 2000.0),
    Knob("meta.inner_steps", "Inner steps G", "Inner loop", 1, 100),
    Knob("meta.inner_lr", "Inner rate α", "Inner loop", 1e-5, 10.0, also=("fit.inner_lr",)),
    Knob("meta.selection_ratio", "Share of points γ", "Inner loop", 0.001, 1.0),
    Knob("fit.steps", "Fit steps H", "Inner loop", 1, 1000),
    Knob("meta.steps", "Outer steps", "Outer loop", 1, 10_000_000),
    Knob("meta.batch_size", "Batch size B", "Outer loop", 1, 1024),
    Knob("meta.outer_lr", "Outer rate β", "Outer loop", 1e-8, 0.1),
    Knob("meta.seed", "Seed", "Outer loop", 0, 2**31 - 1),
    Knob("field.residual", "Residual connections", "Network, rarely"),
    Knob("field.modulate_first", "Modulate the first layer", "Network, rarely"),
    Knob("field.modulate_scale", "Modulate the scale", "Network, rarely"),
    Knob("field.output_offset", "Output offset", "Network, rarely", -1.0, 1.0),
    Knob("meta.second_order", "Exact meta-gradient", "Optimiser, rarely"),
    Knob("meta.scale_lr_by_omega", "Rates by frequency", "Optimiser, rarely"),
    Knob("meta.scale_modulation_lr_by_omega", "Modulations' too", "Optimiser, rarely"),
    Knob("meta.warmup_steps", "Warm-up steps", "Optimiser, rarely", 0, 1_000_000),
    Knob("meta.final_lr_ratio", "Final share of β", "Optimiser, rarely", 0.0, 1.0),
    Knob("meta.weight_decay", "Weight decay", "Optimiser, rarely", 0.0, 1.0),
    Knob("meta.adam_beta2", "AdamW β₂", "Optimiser, rarely", 0.5, 0.99999),
    Knob("meta.clip_norm", "Clip the gradient at", "Optimiser, rarely", 1e-3, 1000.0),
    Knob("meta.skip_ratio", "Skip steps above", "Optimiser, rarely", 1.01, 1000.0),
    Knob("meta.clip_ratio", "Clip above the median ×", "Optimiser, rarely", 0.01, 1000.0),
    Knob("meta.muon_lr", "Muon's rate", "Optimiser, rarely", 1e-8, 1.0),
    Knob("meta.meta_sgd_lr", "Rate of inner rates", "Optimiser, rarely", 1e-6, 1.0),
    Knob("meta.inner_steps_start", "G at first", "Optimiser, rarely", 1, 100),
    Knob("meta.selection_ratio_start", "γ at first", "Optimiser, rarely", 0.001, 1.0),
    Knob("meta.grow_share", "Growth ends at", "Optimiser, rarely", 0.01, 1.0),
    Knob("meta.multi_step_share", "Early losses until", "Optimiser, rarely", 0.0, 1.0),
    Knob("meta.average_decay", "Average of weights", "Optimiser, rarely", 0.5, 0.99999),
    Knob("meta.validate_every", "Validate every", "Optimiser, rarely", 1, 1_000_000),
    Knob("meta.collapse_drop_db", "Collapse at (dB)", "Optimiser, rarely", 0.1, 100.0),
)
OPTIONAL = (
    *("meta.clip_norm", "meta.skip_ratio", "meta.clip_ratio", "meta.average_decay"),
    *("meta.muon_lr", "meta.meta_sgd_lr", "meta.inner_steps_start", "meta.selection_ratio_start"),
)
"""Settings that may also be off."""


def step_of(value: float | None) -> float:
    """A sensible step for a number: a unit of its second digit."""
    return 10.0 ** (math.floor(math.log10(abs(value))) - 1) if value else 0.01


def changes(preset: Preset, values: dict[str, float | bool | None]) -> tuple[str, ...]:
    """What differs from the preset, as `--set` takes it.

    Args:
        preset: What the values were before.
        values: By key.
    """
    told = []
    for knob in KNOBS:
        if knob.key in values and values[knob.key] != knob.value(preset):
            value = values[knob.key]
            text = "none" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
            told += [f"{key}={text}" for key in (knob.key, *knob.also)]
    return tuple(told)
