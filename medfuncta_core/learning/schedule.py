"""What is drawn and how fast is learned at a step, as functions of the step alone: nothing to save, nothing to lose on resume."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Int

from medfuncta_core.config import MetaConfig
from medfuncta_core.grids import draw_indices
from medfuncta_core.learning.meta_gradient import StepIndices

_BATCHES, _CONTEXTS = 1, 2  # streams of one seed


def learning_rate(meta: MetaConfig, step: int) -> float:
    """Outer learning rate of step 1 ... steps: linear warm-up, then cosine annealing (Sec. 2; Loshchilov and Hutter 2016)."""
    warmup = min(1.0, step / meta.warmup_steps) if meta.warmup_steps else 1.0
    progress = min(1.0, (step - 1) / max(1, meta.steps - 1))
    cosine = meta.final_lr_ratio + (1 - meta.final_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress))
    return meta.outer_lr * warmup * cosine


def batch_rows(meta: MetaConfig, step: int, signals: int) -> Int[np.ndarray, " b"]:
    """Rows of the training set for a step: every epoch is a new shuffle, and batches run on across epochs, so no signal is lost.

    Args:
        meta: Seed and batch size.
        step: 1 ... steps.
        signals: N, in the training set.
    """
    positions = np.arange((step - 1) * meta.batch_size, step * meta.batch_size)
    rows = np.empty(len(positions), dtype=np.int64)
    for epoch in np.unique(positions // signals):
        order = np.random.default_rng((meta.seed, _BATCHES, int(epoch))).permutation(signals)
        here = positions // signals == epoch
        rows[here] = order[positions[here] % signals]
    return rows


def context_indices(meta: MetaConfig, step: int, signals: int, points: int) -> StepIndices:
    """Points of every inner step's reduced context, drawn anew each time (Algorithm 1).

    Args:
        meta: Seed, inner steps G and selection ratio gamma.
        step: Outer step.
        signals: b.
        points: n.
    """
    seed = np.random.SeedSequence((meta.seed, _CONTEXTS, step)).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(seed >> 1))
    return [draw_indices(signals, points, meta.selection_ratio, generator) for _ in range(meta.inner_steps)]
