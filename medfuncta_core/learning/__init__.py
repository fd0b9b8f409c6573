"""Meta-learning of shared parameters: inner loop, exact meta-gradient, outer step, and the training generator."""

from medfuncta_core.learning.meta_gradient import MetaGradient, inner_loop, meta_gradient
from medfuncta_core.learning.training import (
    Recovery,
    TrainEvent,
    TrainingRun,
    TrainStep,
    Validation,
    learned_field,
    train,
    validate,
)

__all__ = [
    "MetaGradient",
    "Recovery",
    "TrainEvent",
    "TrainStep",
    "TrainingRun",
    "Validation",
    "inner_loop",
    "learned_field",
    "meta_gradient",
    "train",
    "validate",
]
