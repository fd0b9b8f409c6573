"""CUDA graphs: a function of tensors recorded once and replayed, so that hundreds of small kernels cost no time to start."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
MAX_GRAPHS = 4  # that are remembered by one `Graphs`; each keeps the memory that its function works in
_WARM_UP_CALLS = 2  # compile kernels and create library handles, neither of which may happen while recording


class Captured(Generic[Result]):
    """A function recorded on a GPU for one set of shapes.

    It may only start work on the device: it reads no value, and no shape depends on one. What it returns is overwritten by the
    next call.

    Args:
        function: Takes tensors, returns anything made of tensors; called a few times before it is recorded, so a call must not
            leave a trace that a later one sees.
        examples: Tensors of the shapes and dtypes to record for; copied, so that replays read from memory that stays.
        device: A GPU.
    """

    def __init__(self, function: Callable[..., Result], *examples: Tensor, device: torch.device) -> None:
        self._inputs = [torch.empty_like(example, device=device).copy_(example) for example in examples]
        with torch.cuda.device(device), torch.no_grad():
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP_CALLS):
                    function(*self._inputs)
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):  # other threads may go on working
                self._result = function(*self._inputs)

    def __call__(self, *tensors: Tensor) -> Result:
        """The function's result for `tensors`, from the device or from the host; valid until the next call."""
        for static, tensor in zip(self._inputs, tensors, strict=True):
            static.copy_(tensor, non_blocking=True)
        self._graph.replay()
        return self._result


class Graphs(Generic[Result]):
    """Recordings by the shapes they hold for; the oldest one goes when there are too many."""

    def __init__(self) -> None:
        self._recorded: dict[Hashable, Captured[Result]] = {}

    def run(self, function: Callable[..., Result], *tensors: Tensor, device: torch.device, key: Hashable = None) -> Result:
        """The function's result for `tensors`, valid until the next call: recorded if need be, then replayed.

        Args:
            function: As `Captured` takes it.
            tensors: Its arguments.
            device: A GPU.
            key: What else the function depends on besides these tensors.
        """
        shapes = (key, *(tuple(tensor.shape) for tensor in tensors))
        if shapes not in self._recorded:
            if len(self._recorded) == MAX_GRAPHS:
                del self._recorded[next(iter(self._recorded))]
            self._recorded[shapes] = Captured(function, *tensors, device=device)
        return self._recorded[shapes](*tensors)
