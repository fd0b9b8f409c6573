"""When a fit has had enough: a target reached, or a plateau."""

from __future__ import annotations

from collections import deque

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from medfuncta_core.config import FitConfig

PLATEAU_STEPS = 5  # a plateau is seen over this many steps: Gauss-Newton may refuse one and gain at the next


class Stopping:
    """Looks at the PSNR of b signals step by step; once a signal is done it stays so.

    Args:
        config: `target_psnr` and `plateau_db`.
    """

    def __init__(self, config: FitConfig) -> None:
        self._target, self._plateau = config.target_psnr, config.plateau_db
        self._seen: deque[Tensor] = deque(maxlen=PLATEAU_STEPS + 1)
        self._done: Tensor | None = None

    def __call__(self, psnr: Float[Tensor, " b"]) -> Bool[Tensor, " b"]:
        """Which signals are done after this step.

        Args:
            psnr: Of this step, in dB.
        """
        done = torch.zeros_like(psnr, dtype=torch.bool) if self._done is None else self._done
        if self._target is not None:
            done = done | (psnr >= self._target)
        self._seen.append(psnr)
        if self._plateau is not None and len(self._seen) == PLATEAU_STEPS + 1:
            done = done | (psnr - self._seen[0] < self._plateau)
        self._done = done
        return done
