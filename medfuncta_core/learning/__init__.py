"""Meta-learning of shared parameters: inner loop, exact meta-gradient, outer step, and the training generator."""

from medfuncta_core.learning.meta_gradient import MetaGradient, inner_loop, meta_gradient
from medfuncta_core.learning.ranks import ALONE, Ranks, join_ranks, leave_ranks
from medfuncta_core.learning.training import (
    Recovery,
    TrainEvent,
    TrainingRun,
    TrainStep,
    Validation,
    initial_field,
    learned_field,
    steps_done,
    train,
)
from medfuncta_core.learning.validating import validate

__all__ = [
    "ALONE",
    "MetaGradient",
    "Ranks",
    "Recovery",
    "TrainEvent",
    "TrainStep",
    "TrainingRun",
    "Validation",
    "initial_field",
    "inner_loop",
    "join_ranks",
    "learned_field",
    "leave_ranks",
    "meta_gradient",
    "steps_done",
    "train",
    "validate",
]
