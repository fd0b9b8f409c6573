"""Long work for one visitor: done by a thread, watched by a fragment, given up when asked to or when nobody looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import streamlit as st

from medfuncta_core.errors import MedFunctaError, SignalError
from pages.shared import state
from pages.shared.messages import show_error
from pages.shared.parts import redrawn

TURN_SECONDS = 0.5
UNWATCHED_SECONDS = 60.0


class _GivenUp(Exception):
    """Raised inside the work when nobody wants its result any more."""


class Job:
    """One piece of work.

    Args:
        work: Called with a function that takes the share done, 0 to 1, and a few words; returns the result.
        key: What the result is of; another key is another job.
    """

    def __init__(self, work: Callable[[Callable[[float, str], None]], Any], key: Any) -> None:
        self.key = key
        self.share, self.words = 0.0, "Starting"
        self.result: Any = None
        self.error: MedFunctaError | None = None
        self._cancelled = threading.Event()
        self._seen = time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(work,), name="job", daemon=True)
        self._thread.start()

    @property
    def active(self) -> bool:
        """Whether it still runs."""
        return self._thread.is_alive() and not self._cancelled.is_set()

    @property
    def cancelled(self) -> bool:
        """Whether it was given up."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Give it up at its next report of progress."""
        self._cancelled.set()

    def look(self) -> None:
        """Somebody still watches."""
        self._seen = time.monotonic()

    def _run(self, work: Callable[[Callable[[float, str], None]], Any]) -> None:
        try:
            self.result = work(self._report)
        except _GivenUp:
            pass
        except MedFunctaError as error:
            self.error = error
        except Exception as error:
            self.error = SignalError(f"this could not be done ({type(error).__name__}: {error}); try again")
            self.error.__cause__ = error

    def _report(self, share: float, words: str) -> None:
        if self._cancelled.is_set() or time.monotonic() - self._seen > UNWATCHED_SECONDS:
            self._cancelled.set()
            raise _GivenUp
        self.share, self.words = min(max(share, 0.0), 1.0), words


def start_job(name: str, key: Any, work: Callable[[Callable[[float, str], None]], Any]) -> None:
    """Begin a visitor's job of this name; an older one of the same name is given up, its result forgotten."""
    old = state.recall(f"job_{name}")
    if old is not None:
        old.cancel()
    state.remember(f"job_{name}", Job(work, key))


def job_of(name: str, key: Any) -> Job | None:
    """The visitor's job of this name, if it is for this key and was not given up."""
    job = state.recall(f"job_{name}")
    return job if job is not None and job.key == key and not job.cancelled else None


def show_job(name: str, key: Any, show: Callable[[Any], None]) -> None:
    """Progress of a job with a way to give it up, then its result; nothing where there is no such job.

    Args:
        name: As started.
        key: As started.
        show: Draws the result.
    """
    job = job_of(name, key)
    if job is not None:
        watched = job.active
        redrawn(_turn, run_every=TURN_SECONDS if watched else None)(job, name, show, watched)


def _turn(job: Job, name: str, show: Callable[[Any], None], watched: bool) -> None:
    job.look()
    if job.active:
        bar, button = st.columns([7, 3], vertical_alignment="bottom")
        bar.progress(job.share, f"{job.words}: {job.share:.0%}")
        button.button("Cancel", key=f"cancel_{name}", on_click=job.cancel, width="stretch", icon=":material/close:")
    elif job.error is not None:
        show_error(job.error)
    elif job.result is not None:
        show(job.result)
    if watched and not job.active:
        st.rerun()
