"""What is drawn and how fast is learned at a step, as functions of the step alone: nothing to save, nothing to lose on resume."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Int

from medfuncta_core.config import MetaConfig
from medfuncta_core.grids import draw_indices
from medfuncta_core.learning.meta_gradient import StepIndices

STAGES = 4  # in which what grows or fades does so: few, for every shape of a step is captured once on a GPU

_BATCHES, _CONTEXTS = 1, 2  # streams of one seed


def learning_rate(meta: MetaConfig, step: int) -> float:
    """Outer learning rate of step 1 ... steps: linear warm-up, then cosine annealing (Sec. 2; Loshchilov and Hutter 2016)."""
    warmup = min(1.0, step / meta.warmup_steps) if meta.warmup_steps else 1.0
    progress = min(1.0, (step - 1) / max(1, meta.steps - 1))
    cosine = meta.final_lr_ratio + (1 - meta.final_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress))
    return meta.outer_lr * warmup * cosine


def stage(step: int, steps: int, share: float) -> float:
    """How far something has come that goes from 0 to 1 in `STAGES` equal stages over a share of the training, then stays."""
    if share <= 0:
        return 1.0
    return min(STAGES, int(STAGES * (step - 1) / (share * steps))) / STAGES


def loss_weights(meta: MetaConfig, step: int, inner_steps: int) -> tuple[float, ...] | None:
    """Weights of the outer losses after inner steps 1 ... G; None when only the last one counts.

    With `multi_step_share` all count alike at first, and the earlier ones fade (MAML++, Antoniou et al. 2019, Sec. 4). Their
    sum is 1.
    """
    faded = stage(step, meta.steps, meta.multi_step_share)
    if faded == 1 or inner_steps == 1:
        return None
    early = (1 - faded) / inner_steps
    return (*[early] * (inner_steps - 1), 1 - early * (inner_steps - 1))


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
        meta: Seed, inner steps G and selection ratio gamma, and how they grow.
        step: Outer step, 1 ... steps.
        signals: b.
        points: n.
    """
    done = stage(step, meta.steps, meta.grow_share)
    ratio, start = meta.selection_ratio, meta.selection_ratio_start
    ratio = ratio if start is None else start + done * (ratio - start)
    count, first = meta.inner_steps, meta.inner_steps_start
    count = count if first is None else round(first + done * (count - first))
    seed = np.random.SeedSequence((meta.seed, _CONTEXTS, step)).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(seed >> 1))
    return [draw_indices(signals, points, ratio, generator) for _ in range(count)]
