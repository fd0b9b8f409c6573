"""What a run is told while it trains, by `control.json` or a signal; all of its ranks obey at the same step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

from medfuncta_core.learning.ranks import ALONE, Ranks
from medfuncta_core.runs.folder import RunFolder
from medfuncta_core.runs.status import Want, read_want

LOOK_SECONDS = 0.1  # between two looks at control.json
_WANTS: tuple[Want, ...] = get_args(Want)  # the later, the stronger


@dataclass
class Commands:
    """What is wanted of this run, agreed upon by all ranks.

    Args:
        folder: Whose `control.json` the leading rank reads.
        stop: Whether this process was asked to end, by a signal for instance.
        ranks: All of them must ask equally often.
    """

    folder: RunFolder
    stop: Callable[[], bool] = lambda: False
    ranks: Ranks = ALONE
    want: Want = "run"
    _looked: float = field(default=float("-inf"), init=False)
    _read: Want = field(default="run", init=False)

    def interrupt(self) -> bool:
        """Look, and say whether training is to be left for now; `want` says why."""
        if self.ranks.leads and time.monotonic() - self._looked > LOOK_SECONDS:
            self._read, self._looked = read_want(self.folder), time.monotonic()
        number = self.ranks.highest(_WANTS.index("stop" if self.stop() else self._read))
        self.want = _WANTS[number]
        return self.want != "run"

    def wait(self, until: Callable[[], bool]) -> None:
        """Look now and then, until there is no more reason to wait."""
        while True:
            self.interrupt()
            if until():
                return
            time.sleep(2 * LOOK_SECONDS)
