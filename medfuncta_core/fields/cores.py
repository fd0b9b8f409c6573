"""Work on all cores, a tile to each: a core keeps its tile in its own cache, and none waits for another within a layer.

Torch shares one operation among its threads, with a barrier behind each; tiles need one barrier a pass, which matters where other
programs keep a core busy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}  # by number of threads; a process uses one number, as a rule
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # threads do not survive a fork


def spread(tiles: int, workers: int, work: Callable[[int, int], None]) -> None:
    """Call `work(worker, tile)` for every tile; tile i belongs to worker i % workers, which takes its tiles in order.

    So sums that each worker keeps, added up in the workers' order, repeat bit for bit whatever the machine is busy with.

    Args:
        tiles: How many.
        workers: Threads; 1 works in the caller's own, with as many threads of torch as it has.
        work: Runs with one thread of torch, without autograd.
    """
    if workers == 1:
        for tile in range(tiles):
            work(0, tile)
        return

    def take(worker: int) -> None:
        with torch.no_grad():
            for tile in range(worker, tiles, workers):
                work(worker, tile)

    for done in [_pool(workers).submit(take, worker) for worker in range(workers)]:
        done.result()


def _pool(workers: int) -> ThreadPoolExecutor:
    with _lock:
        if workers not in _pools:
            threads = torch.get_num_threads()
            started = threading.Barrier(workers)  # every thread waits for the others, so that each task starts one
            pool = ThreadPoolExecutor(workers, "medfuncta-core", _use_one_thread)
            for waiting in [pool.submit(started.wait) for _ in range(workers)]:
                waiting.result()
            torch.set_num_threads(threads)  # threads that others start later take the last number set anywhere
            _pools[workers] = pool
        return _pools[workers]


def _use_one_thread() -> None:
    torch.get_num_threads()  # a new thread takes the process's number at the first call, and would do so after the next line
    torch.set_num_threads(1)
