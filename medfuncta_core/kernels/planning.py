"""How many points a GPU works on at once, and how much memory a meta-step then takes: arithmetic, the same on any machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from medfuncta_core.config import FieldConfig
from medfuncta_core.kernels.blocks import ROWS, SPLITS
from medfuncta_core.kernels.precision import Precision, storage_dtype

CHUNK_BYTES = 3 * 2**29  # activations that live at once; 24 images of 1,024 points at the paper's K and L fit
PARAMETER_COPIES = 6  # weights, gradients, AdamW's two moments, their running average, and one for what an update makes
_FLOAT32 = 4


@dataclass(frozen=True)
class Plan:
    """Chunks of a pass over b signals of n points.

    Args:
        signals: Whole signals taken together, 1 where a signal is cut.
        points: Of each of these signals in a chunk.
    """

    signals: int
    points: int

    def chunks(self, signals: int, points: int) -> Iterator[tuple[slice, slice]]:
        """Signals and points of every chunk; the last ones may be shorter."""
        for start in range(0, signals, self.signals):
            for first in range(0, points, self.points):
                yield slice(start, min(start + self.signals, signals)), slice(first, min(first + self.points, points))


def row_bytes(config: FieldConfig, precision: Precision, *, dual: bool) -> int:
    """Bytes that one point of one signal holds through all layers: what `layers.Kept` keeps, and two layers' gradients.

    Args:
        config: Of the field.
        precision: Of the storage.
        dual: With tangents.
    """
    arrays = (3 if config.modulate_scale else 2) * (2 if dual else 1) * (config.depth - 1) + 2 * (2 if dual else 1)
    return arrays * config.width * storage_dtype(precision).itemsize + _FLOAT32 * (config.coord_dim + config.channels)


def plan(
    config: FieldConfig, precision: Precision, signals: int, points: int, *, dual: bool, chunk_bytes: int = CHUNK_BYTES
) -> Plan:
    """As few chunks as the bytes allow, all of about one size: whole signals while they fit, else parts of one.

    Args:
        config: Of the field.
        precision: Of the storage.
        signals: b.
        points: n.
        dual: With tangents.
        chunk_bytes: What a chunk may hold; at least one program's rows are taken.
    """
    # an int32 numbers a chunk's elements on the device
    rows = max(ROWS, min(chunk_bytes // row_bytes(config, precision, dual=dual), (2**31 - 1) // config.width))
    if points > rows:
        return Plan(1, -(-points // -(-points // rows)))
    together = min(signals, rows // points)
    return Plan(-(-signals // -(-signals // together)), points)


def meta_step_bytes(
    config: FieldConfig,
    precision: Precision,
    *,
    signals: int,
    points: int,
    inner_points: int,
    inner_steps: int,
    chunk_bytes: int = CHUNK_BYTES,
) -> int:
    """Device memory of a whole meta-step at its peak, from above: activations, parameters with all their copies, partial sums.

    Args:
        config: Of the field.
        precision: Of the storage.
        signals: b.
        points: n, of the outer loss.
        inner_points: m, of each inner step.
        inner_steps: G.
        chunk_bytes: As `plan` takes it.
    """
    activations = 0
    for count, dual in ((points, False), (inner_points, False), (inner_points, True)):
        chunk = plan(config, precision, signals, count, dual=dual, chunk_bytes=chunk_bytes)
        activations = max(activations, chunk.signals * chunk.points * row_bytes(config, precision, dual=dual))
    hidden = (config.depth - 2) * config.width**2 * _FLOAT32
    modulations = 2 * signals * config.modulated_layers * config.width * _FLOAT32
    kinds = 2 * (1 + int(config.modulate_scale) + config.coord_dim)
    tiles = max(1, max(points, inner_points) // ROWS + 1)
    moments = (config.depth - 1) * kinds * signals * tiles * config.width * _FLOAT32
    contexts = signals * (points + inner_steps * inner_points) * (config.coord_dim + config.channels + 2) * _FLOAT32
    weights = PARAMETER_COPIES * config.parameter_count * _FLOAT32 + 2 * hidden  # folded, both ways round
    pairs = (2 * inner_steps + 1) * (2 * modulations + signals * config.latent_dim * _FLOAT32)  # factors of the last product
    return activations + weights + SPLITS * hidden + moments + contexts + 2 * pairs + 8 * modulations
