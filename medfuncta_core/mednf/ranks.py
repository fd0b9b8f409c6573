"""Several processes on one set, started by torchrun: who one is, and waiting for the others. Nothing else passes between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

LONGEST_WAIT = timedelta(days=7)  # the fastest process waits for the slowest


@dataclass(frozen=True)
class Rank:
    """This process among `world`: its number, and its number on this machine."""

    rank: int = 0
    world: int = 1
    local: int = 0


def current_rank() -> Rank:
    """What torchrun says in the environment; alone without it."""
    rank, world, local = (int(os.environ.get(name, default)) for name, default in _VARIABLES)
    return Rank(rank, world, local)


_VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))


@contextmanager
def joined(rank: Rank) -> Iterator[Callable[[], None]]:
    """A function that returns once every process has called it; with one process, at once."""
    if rank.world == 1:
        yield lambda: None
        return
    import torch
    from torch import distributed

    from medfuncta_core.learning.ranks import meet_processes

    if torch.cuda.is_available():
        torch.cuda.set_device(rank.local % torch.cuda.device_count())
    meet_processes("gloo", timeout=LONGEST_WAIT)
    try:

        def meet() -> None:
            distributed.barrier()

        yield meet
    finally:
        distributed.destroy_process_group()
