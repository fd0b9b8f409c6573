"""Several fits of one visitor's signal, one after the other, and what as many numbers do without a network."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medfuncta_core.config import FitConfig
from medfuncta_core.errors import MedFunctaError
from medfuncta_core.signals import Signal
from pages.shared import state
from pages.shared.fit_run import FitRun
from pages.shared.settings import METHODS, Hiding
from pages.shared.sidebar import Choice

if TYPE_CHECKING:
    from medfuncta_core.comparison import Outcome


@dataclass(frozen=True)
class Contestant:
    """A network and a way of fitting it."""

    choice: Choice
    config: FitConfig


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Args:
        contestants: Fits, in the order they are made.
        baselines: Keys of `comparison.BASELINES`.
        numbers: That the baselines keep.
    """

    contestants: tuple[Contestant, ...]
    baselines: tuple[str, ...]
    numbers: int

    def words(self, contestant: Contestant) -> str:
        """What to call a fit: what all have in common is left out."""
        networks = {entry.choice.name for entry in self.contestants}
        methods = {entry.config.method for entry in self.contestants}
        network, method = contestant.choice.name, METHODS[contestant.config.method]
        if len(networks) > 1:
            return f"{network}, {method}" if len(methods) > 1 else network
        return method


class Contest:
    """The fits of one signal; those made already stay when the plan changes.

    Args:
        signal: As it was prepared for one of the networks; all fit these values.
    """

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.errors: dict[Contestant, MedFunctaError] = {}
        self.stopped = False
        self.plan = Plan((), (), 0)
        self._runs: dict[Contestant, FitRun] = {}
        self._baselines: dict[tuple[str, int], Outcome] = {}
        self._lock = threading.RLock()  # a click starts a new script run before the old one has left its step

    def follow(self, plan: Plan) -> None:
        """Compare this from now on; a new plan goes on after Stop."""
        with self._lock:
            self.stopped = self.stopped and plan == self.plan
            self.plan = plan

    @property
    def waiting(self) -> tuple[Contestant, ...]:
        """Fits that are not over, the one under way first."""
        if self.stopped:
            return ()
        over = lambda entry: entry in self.errors or (entry in self._runs and not self._runs[entry].active)  # noqa: E731
        return tuple(entry for entry in self.plan.contestants if not over(entry))

    @property
    def begun(self) -> tuple[tuple[Contestant, FitRun], ...]:
        """Fits of the plan that have at least their first state."""
        runs = ((entry, self._runs.get(entry)) for entry in self.plan.contestants)
        return tuple((entry, run) for entry, run in runs if run is not None and run.history)

    def advance(self) -> None:
        """Take the due steps of the fit whose turn it is."""
        with self._lock:
            if not self.waiting:
                return
            entry = self.waiting[0]
            try:
                if entry not in self._runs:
                    field = state.load_field(entry.choice.name, _device(entry.choice.device)).field
                    self._runs[entry] = FitRun(entry.choice, self.signal, entry.config, Hiding(), field)
                self._runs[entry].advance()
                if (error := self._runs[entry].error) is not None:
                    self.errors[entry] = error
            except MedFunctaError as error:
                self.errors[entry] = error

    def stop(self) -> None:
        """End with the steps there are; fits that did not begin stay out."""
        with self._lock:
            self.stopped = True
            for _, run in self.begun:
                run.stop()

    def again(self) -> None:
        """Forget all fits."""
        with self._lock:
            self.errors.clear()
            self._runs.clear()
            self.stopped = False

    def fit_outcomes(self) -> dict[Contestant, Outcome]:
        """Fits of the plan that are over."""
        from medfuncta_core.comparison import fit_outcome

        return {entry: fit_outcome(self.plan.words(entry), self.signal, run.result) for entry, run in self.begun if run.result}

    def baseline_outcomes(self) -> list[Outcome]:
        """What the plan's baselines give.

        Raises:
            SignalError: when the networks' latents are shorter than the signal has channels.
        """
        from medfuncta_core.comparison import baseline_outcome

        for name in self.plan.baselines:
            if (name, self.plan.numbers) not in self._baselines:
                self._baselines[name, self.plan.numbers] = baseline_outcome(name, self.signal, self.plan.numbers)
        return [self._baselines[name, self.plan.numbers] for name in self.plan.baselines]


def current_contest(signal: Signal, origin: Hashable, prepared_for: str) -> Contest:
    """This visitor's comparison on a signal: the one under way, or a new one on another signal.

    Args:
        signal: As prepared.
        origin: What the signal was made from; equal for equal signals.
        prepared_for: The checkpoint that said how.
    """
    if state.recall("contest_identity") != (origin, prepared_for):
        state.remember("contest", Contest(signal))
        state.remember("contest_identity", (origin, prepared_for))
    return state.recall("contest")


def _device(wanted: str) -> str:
    from medfuncta_core.fitting import choose_device

    return choose_device(wanted).type
