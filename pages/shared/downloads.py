"""What a visitor takes home from a fit."""

from __future__ import annotations

import json
from collections.abc import Callable

import streamlit as st

from medfuncta_core.signals import with_values
from pages.shared import views
from pages.shared.fit_run import FitRun


def show_downloads(run: FitRun) -> None:
    """Latent, reconstruction, report and curve; files are made when they are asked for."""
    from medfuncta_core import report

    result, signal = run.result, run.signal
    suffix = report.SUFFIXES[signal.kind]
    downloads: list[tuple[str, str, str, str, Callable[[], bytes | str]]] = [
        ("latent", ".npy", "application/octet-stream", "data_array", lambda: report.latent_file(result.latent)),
        (
            "reconstruction",
            suffix,
            "application/octet-stream",
            "image",
            lambda: report.signal_file(with_values(signal, result.reconstruction)),
        ),
        (
            "report",
            ".json",
            "application/json",
            "description",
            lambda: json.dumps(report.fit_report(result, run.config, run.checkpoint, mask=run.mask), indent=2),
        ),
        ("curve", ".csv", "text/csv", "show_chart", lambda: report.history_csv(result.history)),
    ]
    with st.container(horizontal=True, gap="small", key="downloads"):
        for what, ending, media_type, icon, make in downloads:
            st.download_button(
                f"{what.capitalize()} ({ending})",
                make,
                f"{report.plain_stem(signal.name)}-{what}{ending}",
                media_type,
                key=f"download_{what}",
                on_click="ignore",
                icon=f":material/{icon}:",
                type="primary" if what == "latent" else "secondary",
            )


def show_notes(run: FitRun) -> None:
    """What was done to the file before the fit, in plain sentences."""
    signal = run.signal
    original = views.shape_words(signal.original_shape)
    st.markdown(f"**What was done to the file**  \n`{signal.name}`{f', {original} in the file' if original else ''}")
    for note in signal.notes or ("Nothing: the file already is what the checkpoint expects.",):
        st.text(f"• {note}")
