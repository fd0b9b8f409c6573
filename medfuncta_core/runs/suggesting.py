"""Which preset goes with some data on some machine."""

from __future__ import annotations

import math

from medfuncta_core.config import PRESETS, FieldConfig, Preset


def suggest_presets(shape: tuple[int, ...], *, accelerated: bool) -> tuple[str, ...]:
    """Presets for signals of a shape, the best suggestion first.

    Without a GPU the cheapest comes first: the paper's recipes take days there. With one, the one whose signals are nearest in
    their number of points does, and of those the largest.

    Args:
        shape: Points per axis.
        accelerated: Whether a GPU will train.
    """
    fitting = {name: preset for name, preset in PRESETS.items() if preset.field.coord_dim == len(shape)}
    points = math.prod(shape)

    def rank(name: str) -> tuple[float, ...]:
        preset = fitting[name]
        distance = abs(math.log(math.prod(preset.shape) / points))
        return (distance, -_cost(preset)) if accelerated else (_cost(preset), distance)

    return tuple(sorted(fitting, key=rank))


def _cost(preset: Preset) -> float:
    """Work of a whole training, up to a factor: parameters times points times signals times steps."""
    meta = preset.meta
    return float(preset.field.parameter_count) * math.prod(preset.shape) * meta.batch_size * meta.inner_steps * meta.steps


def suggest_shapes(preset: Preset, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Shapes to train on, the one with fewer points first: the preset's own and the data's; one where they are equal."""
    if shape == preset.shape:
        return (shape,)
    return tuple(sorted((preset.shape, shape), key=math.prod))


def compression(field: FieldConfig, shape: tuple[int, ...]) -> float:
    """How many values of a signal stand behind each number of its latent."""
    return math.prod(shape) * field.channels / field.latent_dim


def validation_percent(signals: int, count: int) -> int:
    """Share of a validation split of `count` signals, in whole per cent from 1 to 100."""
    return min(100, max(1, round(100 * signals / max(count, 1))))


def validation_signals(percent: int, count: int) -> int:
    """The other way round: signals of a validation split, at least one."""
    return max(1, round(count * percent / 100))
