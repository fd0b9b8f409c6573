"""Which preset goes with some data on some machine."""

from __future__ import annotations

import math

from medfuncta_core.config import PRESETS, Preset


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
