"""How long a network will take, from a few of its own batches on this machine, before anybody waits for it."""

from __future__ import annotations

import math
import time
from pathlib import Path

from medfuncta_core.mednf.classifying import LEARNING_RATE, build_network, read_material
from medfuncta_core.mednf.classifying_networks import Labelled, RandomState, predict, train_network
from medfuncta_core.mednf.classifying_results import ClassifyRequest
from medfuncta_core.mednf.mednf_set import MednfSet

BATCHES = 3  # the first of which is not counted: it is slower than those to come


def estimate_seconds(
    opened: MednfSet,
    request: ClassifyRequest,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    cache_dir: str | Path | None = None,
) -> float:
    """Seconds that a network's training and tests will take, if the machine stays as busy as it is; 0 for k-NN.

    Arguments and errors as for `classify`.
    """
    if request.method in ("knn", "logistic"):
        return 0.0
    material = read_material(opened, request, data=data, device=device, cache_dir=cache_dir)
    random = RandomState(request.seed)
    network = build_network(request, material, random)
    train, val = material.labelled("train"), material.labelled("val")
    few = Labelled(val.batch, val.labels[: request.batch_size])
    some = Labelled(train.batch, train.labels[: BATCHES * request.batch_size])
    steps = train_network(
        network, some, few, random, epochs=1, batch_size=request.batch_size, learning_rate=LEARNING_RATE, seed=request.seed
    )
    took, before = [], time.perf_counter()
    for _ in steps:
        took.append(time.perf_counter() - before)
        before = time.perf_counter()
    predict(network, few, request.batch_size)
    tested = time.perf_counter() - before
    per_batch = max(sum(took[1:]) - tested, 0) / len(took[1:]) if took[1:] else took[0]  # the last one was tested as well
    batches = [math.ceil(len(material.labels[split]) / request.batch_size) for split in ("train", "val", "test")]
    return request.epochs * (batches[0] * per_batch + batches[1] * tested) + batches[2] * tested
