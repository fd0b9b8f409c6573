"""Several processes that train one field: torchrun starts them, torch.distributed carries what they add up.

Every rank draws the whole batch and takes its share of it, so that a step depends on neither their number nor their order but by
rounding. Alone, nothing here communicates.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from medfuncta_core.errors import TrainingError


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Args:
        rank: 0 leads: it alone writes files.
        world: How many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of `count` signals are this rank's: contiguous, and as many as any other's, give or take one."""
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def total(self, tensors: list[Tensor]) -> list[Tensor]:
        """Sums over all ranks, in one message; the same numbers everywhere."""
        if self.world == 1:
            return tensors
        message = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(message)
        parts = message.split([tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def highest(self, number: int) -> int:
        """The largest of all ranks' numbers; also lets no rank pass before all are here."""
        if self.world == 1:
            return number
        message = torch.tensor(number)  # on the CPU, where gloo carries it
        dist.all_reduce(message, dist.ReduceOp.MAX)
        return int(message)

    def gather(self, column: Tensor, count: int) -> Tensor:
        """A column of `count` numbers of which every rank has its `share`, whole on all of them."""
        if self.world == 1:
            return column
        whole = torch.zeros(count, dtype=torch.float64)
        whole[self.share(count)] = column.to(whole)
        dist.all_reduce(whole)
        return whole.to(column)


ALONE = Ranks()


def join_ranks(device: str = "auto") -> Ranks:
    """Meet the other processes that torchrun started; alone where it did not.

    Args:
        device: auto, cpu or cuda; every process takes a GPU of its own.

    Raises:
        TrainingError: when this machine has fewer GPUs than processes.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return ALONE
    local = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        if local >= torch.cuda.device_count():
            raise TrainingError(
                f"process {local + 1} of this machine has no GPU of its own, there are {torch.cuda.device_count()}; "
                "give torchrun a smaller --nproc-per-node"
            )
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        meet_processes("cpu:gloo,cuda:nccl" if cuda else "gloo")
    return Ranks(dist.get_rank(), world)


def meet_processes(backend: str, timeout: timedelta | None = None) -> None:
    """Join the process group of torchrun's environment, each of its restarts in a namespace of its own.

    torchrun keeps one store for all restarts: a process that came first would otherwise read where its peers listened before
    they were killed, and be refused.

    Args:
        backend: As `torch.distributed.init_process_group` takes it.
        timeout: Of waiting for each other; torch's default when None.
    """
    store, rank, world = next(iter(rendezvous("env://")))
    if timeout is not None:
        store.set_timeout(timeout)
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    own = PrefixStore(f"restart-{restart}", store)
    dist.init_process_group(backend, store=own, rank=rank, world_size=world, timeout=timeout)


def leave_ranks() -> None:
    """Part from the other processes at the end, when all of them are there: one that hears of another's end too early aborts."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
