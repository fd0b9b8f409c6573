"""Downloading a MedMNIST file while the page stays usable: in a thread that all visitors share, watched from the page."""

from __future__ import annotations

import threading
from contextlib import closing

import streamlit as st

from medfuncta_core.errors import MedFunctaError
from medfuncta_core.signals.medmnist_files import Download, MedMNISTFlag, download_medmnist
from pages.shared.messages import show_error
from pages.shared.parts import redrawn

TURN_SECONDS = 0.25


class DownloadRun:
    """One file on its way into the cache.

    Args:
        flag: Which file.
    """

    def __init__(self, flag: MedMNISTFlag) -> None:
        self.flag = flag
        self.progress: Download | None = None
        self.error: MedFunctaError | None = None
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._pull, name=f"download {flag.file_name}", daemon=True)
        self._thread.start()

    @property
    def active(self) -> bool:
        """Whether more is to come."""
        return self._thread.is_alive() and not self._given_up.is_set()

    def cancel(self) -> None:
        """Give up; what came is thrown away."""
        self._given_up.set()

    def _pull(self) -> None:
        try:
            with closing(download_medmnist(self.flag)) as pieces:
                for piece in pieces:
                    self.progress = piece
                    if self._given_up.is_set():
                        return
        except MedFunctaError as error:
            self.error = error


@st.cache_resource(show_spinner=False)
def _downloads() -> dict[str, DownloadRun]:
    """Downloads by file name, the latest of each: a page that is opened again finds the one under way."""
    return {}


def show_download(flag: MedMNISTFlag) -> None:
    """Offer a file that is not there yet, or show how far it is; the page runs again when it has come."""
    run = _downloads().get(flag.file_name)
    if run is not None and run.active:
        redrawn(_watch, run_every=TURN_SECONDS)(run)
        return
    st.caption(f"{flag.file_name} is not on this machine yet. It comes from Zenodo once and is checked against its MD5.")
    if st.button("Download", key="start_download", icon=":material/download:", type="primary"):
        _downloads()[flag.file_name] = DownloadRun(flag)
        st.rerun()
    if run is not None and run.error is not None:
        show_error(run.error)


def _watch(run: DownloadRun) -> None:
    if not run.active:
        st.rerun()
    done, total = (run.progress.done, run.progress.total) if run.progress else (0, None)
    so_far = f"{done / 1e6:.1f} MB" + (f" of {total / 1e6:.1f} MB" if total else "")
    st.progress(min(1.0, done / total) if total else 0.0, text=f"Downloading {run.flag.file_name}: {so_far}")
    if st.button("Cancel", key="cancel_download", icon=":material/close:"):
        run.cancel()
        st.rerun()
