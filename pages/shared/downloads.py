"""What a visitor takes home from a fit."""

from __future__ import annotations

import json

import streamlit as st

from medfuncta_core.signals import with_values
from pages.shared import views
from pages.shared.fit_run import FitRun


def show_downloads(run: FitRun) -> None:
    """Latent, reconstruction, report and curve; files are made when they are asked for."""
    from medfuncta_core import report

    result, signal = run.result, run.signal
    stem = report.plain_stem(signal.name)
    suffix = report.SUFFIXES[signal.kind]
    with st.container(horizontal=True, gap="small", key="downloads"):
        st.download_button(
            "Latent (.npy)",
            lambda: report.latent_file(result.latent),
            f"{stem}-latent.npy",
            "application/octet-stream",
            key="download_latent",
            on_click="ignore",
            icon=":material/data_array:",
            type="primary",
        )
        st.download_button(
            f"Reconstruction ({suffix})",
            lambda: report.signal_file(with_values(signal, result.reconstruction)),
            f"{stem}-reconstruction{suffix}",
            "application/octet-stream",
            key="download_reconstruction",
            on_click="ignore",
            icon=":material/image:",
        )
        st.download_button(
            "Report (.json)",
            lambda: json.dumps(report.fit_report(result, run.config, run.checkpoint, mask=run.mask), indent=2),
            f"{stem}-report.json",
            "application/json",
            key="download_report",
            on_click="ignore",
            icon=":material/description:",
        )
        st.download_button(
            "Curve (.csv)",
            lambda: report.history_csv(result.history),
            f"{stem}-curve.csv",
            "text/csv",
            key="download_curve",
            on_click="ignore",
            icon=":material/show_chart:",
        )


def show_notes(run: FitRun) -> None:
    """What was done to the file before the fit, in plain sentences."""
    signal = run.signal
    original = views.shape_words(signal.original_shape)
    st.markdown(f"**What was done to the file**  \n`{signal.name}`{f', {original} in the file' if original else ''}")
    for note in signal.notes or ("Nothing: the file already is what the checkpoint expects.",):
        st.text(f"• {note}")
