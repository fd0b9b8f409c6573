"""Work on all cores, a tile to each: a core keeps its tile in its own cache, and none waits for another within a layer.

Torch shares one operation among its threads, with a barrier behind each, at which they wait actively, for milliseconds, on the
very cores that the next tiles need. So what alternates between tiles and small operations is conducted by a thread of its own,
which torch gives one core.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}  # by number of threads; a process uses one number, as a rule
_idle_conductors: list[ThreadPoolExecutor] = []  # of one thread each
_conducting = threading.local()  # `cores` of the work that this thread conducts


def _forget() -> None:
    _pools.clear()
    _idle_conductors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # threads do not survive a fork


def cores() -> int:
    """Threads that work may be spread over: torch's number where the work was asked for."""
    return getattr(_conducting, "cores", None) or torch.get_num_threads()


def conduct(work: Callable[[], T]) -> T:
    """What `work` returns, called by a thread in which torch uses one core while `spread` uses all of them.

    Args:
        work: Runs without autograd; small operations between calls of `spread`.
    """
    number = cores()

    @torch.no_grad()
    def run() -> T:
        return work()

    def begin() -> T:
        _conducting.cores = number
        return run()

    if number == 1 or hasattr(_conducting, "cores"):
        return run()
    conductor = _conductor()
    try:
        return conductor.submit(begin).result()
    finally:
        _idle_conductors.append(conductor)


def spread(tiles: int, workers: int, work: Callable[[int, int], None]) -> None:
    """Call `work(worker, tile)` for every tile; tile i belongs to worker i % workers, which takes its tiles in order.

    So sums that each worker keeps, added up in the workers' order, repeat bit for bit whatever the machine is busy with.

    Args:
        tiles: How many.
        workers: Threads; 1 works in the caller's own, with as many threads of torch as it has.
        work: Runs with one thread of torch, without autograd.
    """

    def take(worker: int) -> None:
        with torch.no_grad():
            for tile in range(worker, tiles, workers):
                work(worker, tile)

    if workers == 1:
        for tile in range(tiles):
            work(0, tile)
        return
    here = hasattr(_conducting, "cores")  # one thread of torch already: it is the first worker
    waiting = [_pool(workers).submit(take, worker) for worker in range(int(here), workers)]
    try:
        if here:
            take(0)
    finally:
        for done in waiting:
            done.exception()  # waits; nobody else may write once this has returned
    for done in waiting:
        done.result()


def _conductor() -> ThreadPoolExecutor:
    with _lock:
        return _idle_conductors.pop() if _idle_conductors else _started(1)


def _pool(workers: int) -> ThreadPoolExecutor:
    with _lock:
        if workers not in _pools:
            _pools[workers] = _started(workers)
        return _pools[workers]


def _started(workers: int) -> ThreadPoolExecutor:
    """Threads that are there already, each with one thread of torch."""
    threads = torch.get_num_threads()
    started = threading.Barrier(workers)  # every thread waits for the others, so that each task starts one
    pool = ThreadPoolExecutor(workers, "medfuncta-core", _use_one_thread)
    for waiting in [pool.submit(started.wait) for _ in range(workers)]:
        waiting.result()
    torch.set_num_threads(threads)  # threads that others start later take the last number set anywhere
    return pool


def _use_one_thread() -> None:
    torch.get_num_threads()  # a new thread takes the process's number at the first call, and would do so after the next line
    torch.set_num_threads(1)
