"""The meta-gradient as one CUDA graph: its hundreds of launches are recorded once for each shape of the batch, then replayed."""

from __future__ import annotations

from torch import Tensor

from medfuncta_core.fields import FieldPasses
from medfuncta_core.fields.cores import conduct
from medfuncta_core.fields.cuda_passes import CudaPasses
from medfuncta_core.grids import ContextSet
from medfuncta_core.kernels.graphs import Graphs
from medfuncta_core.learning.meta_gradient import MetaGradient, StepIndices, meta_gradient


class MetaGradients:
    """Meta-gradients of one field, step after step: recorded where its passes are `CudaPasses` on a GPU, else computed each time.

    Args:
        passes: Of the field.
    """

    def __init__(self, passes: FieldPasses) -> None:
        self._passes = passes
        self._graphs: Graphs[MetaGradient] = Graphs()

    def __call__(
        self,
        context: ContextSet,
        indices: StepIndices,
        *,
        inner_lr: float,
        second_order: bool = True,
        loss_weights: tuple[float, ...] | None = None,
    ) -> MetaGradient:
        """As `meta_gradient`, at the field's current parameters; a recorded result is valid until the next call."""
        reduced = tuple(step is not None for step in indices)

        def compute(coords: Tensor, values: Tensor, *drawn: Tensor) -> MetaGradient:
            self._passes.refresh()
            rest = iter(drawn)
            steps: StepIndices = [next(rest) if some else None for some in reduced]
            whole = ContextSet(coords, values)
            return meta_gradient(
                self._passes, whole, steps, inner_lr=inner_lr, second_order=second_order, loss_weights=loss_weights
            )

        tensors = (context.coords, context.values, *(step for step in indices if step is not None))
        if not isinstance(self._passes, CudaPasses) or context.values.device.type != "cuda":
            return conduct(lambda: compute(*tensors)) if context.values.device.type == "cpu" else compute(*tensors)
        key = (reduced, inner_lr, second_order, loss_weights)
        return self._graphs.run(compute, *tensors, device=context.values.device, key=key)
