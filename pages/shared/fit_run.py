"""One visitor's fit while it runs and after: the steps so far, and what was decoded from them.

A fit is pulled a little at every turn of a fragment, so the page answers at once, can stop it, and draws every step.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Any

from medfuncta_core.config import FitConfig
from medfuncta_core.errors import MedFunctaError
from medfuncta_core.signals import Signal
from pages.shared import state
from pages.shared.settings import Hiding
from pages.shared.sidebar import Choice

if TYPE_CHECKING:
    from medfuncta_core.checkpoint import Checkpoint
    from medfuncta_core.fields import ModulatedSIREN

TURN_SECONDS = 0.125
"""Between two updates of the page: 8 a second."""
WATCHABLE_SECONDS = 6.0
"""A fit of many quick steps is shown several steps at a time, so that watching does not take longer than this."""
KEPT_BYTES = 64 * 2**20
"""Decoded values kept for replay; the newest always, however large."""


class FitRun:
    """A fit of one signal.

    Args:
        choice: Checkpoint and device.
        signal: As prepared for the checkpoint.
        config: Fit settings.
        hiding: What the fit does not see.
        field: The network; the chosen checkpoint's when None. A bare one takes the signal as it is.

    Raises:
        MedFunctaError: when the signal, mask, device or checkpoint do not go together.
    """

    identity_name = "run_identity"
    """Where this visitor's state says which fit is under way; forgotten, the fit begins anew."""

    def __init__(
        self,
        choice: Choice,
        signal: Signal,
        config: FitConfig,
        hiding: Hiding,
        field: Checkpoint | ModulatedSIREN | None = None,
    ) -> None:
        from medfuncta_core.fitting import Fitter, choose_device

        device = choose_device(choice.device).type
        self.checkpoint, self.config, self.signal = choice.config, config, signal
        self.mask = hiding.make_mask(signal.shape)
        self.fitter = Fitter(field or state.load_field(choice.name, device), config, device)
        self.device = device
        self.history: list[Any] = []
        self.result: Any = None
        self.error: MedFunctaError | None = None
        self._steps: Iterator[Any] = self.fitter.steps(signal, mask=self.mask)
        self._began = time.monotonic()
        self._frames: OrderedDict[tuple[int, tuple[int, ...]], Any] = OrderedDict()
        # A click starts a new script run before the old one has left its step or its decoding.
        self._lock = threading.RLock()

    @property
    def active(self) -> bool:
        """Whether steps are still to come."""
        return self.result is None and self.error is None

    @property
    def last(self) -> int:
        """Index of the newest step."""
        return len(self.history) - 1

    def advance(self) -> None:
        """Take the steps that are due: one a turn, or several within a turn's time where a fit has very many."""
        with self._lock:
            if not self.active:
                return
            pace, due = WATCHABLE_SECONDS / self.config.steps, len(self.history) + 1
            if pace < TURN_SECONDS:
                due = max(due, int((time.monotonic() - self._began) / pace))
            end = time.monotonic() + TURN_SECONDS
            try:
                while len(self.history) < due and self._take() and time.monotonic() < end:
                    pass
            except MedFunctaError as error:
                self._close(error)

    def stop(self) -> None:
        """End the fit with the steps it has."""
        with self._lock:
            if self.active and self.history:
                self._close()

    def _take(self) -> bool:
        step = next(self._steps, None)
        if step is None:
            self._close()
            return False
        self.history.append(step)
        if step.index == self.config.steps:
            self._close()
            return False
        return True

    def _close(self, error: MedFunctaError | None = None) -> None:
        if self.history:
            self.result = self.fitter.finish(self.signal, self.history)
        self.error = error

    def decode(self, index: int, shape: tuple[int, ...] | None = None) -> Any:
        """Values `(*shape, c)` of a step's latent; the signal's shape when None. The last few are kept."""
        shape = shape or self.signal.shape
        with self._lock:
            if self.result is not None and index == self.last and shape == self.signal.shape:
                return self.result.reconstruction
            key = (index, shape)
            if key not in self._frames:
                self._keep(key, self.fitter.decode(self.history[index].latent, shape))
            self._frames.move_to_end(key)
            return self._frames[key]

    def _keep(self, key: tuple[int, tuple[int, ...]], values: Any) -> None:
        self._frames[key] = values
        held = sum(frame.nbytes for frame in self._frames.values())
        while held > KEPT_BYTES and len(self._frames) > 1:
            held -= self._frames.popitem(last=False)[1].nbytes


def current_run(choice: Choice, signal: Signal, origin: Hashable, config: FitConfig, hiding: Hiding) -> FitRun:
    """This visitor's fit of a signal with these settings: the one under way, or a new one after any of them changed.

    Args:
        choice: Checkpoint and device.
        signal: As prepared for the checkpoint.
        origin: What the signal was made from; equal for equal signals, so that values need not be compared at every rerun.
        config: Fit settings.
        hiding: What the fit does not see.
    """
    identity = (choice.name, choice.device, origin, config, hiding)
    if state.recall("run_identity") != identity:
        state.remember("run_identity", None)
        state.remember("run", FitRun(choice, signal, config, hiding))
        state.remember("run_identity", identity)
    return state.recall("run")
