"""What is in the data, shown before anything is trained on it: a grid of samples, counts per split and class, the value range."""

from __future__ import annotations

import streamlit as st

from medfuncta_core import figures
from medfuncta_core.signals import DataSurvey
from pages.shared.components import sheet
from pages.shared.sidebar import KIND_WORDS

SPLITS = {"train": "Training", "val": "Validation", "test": "Test"}
ROWS_SHOWN = 8
"""Classes that the table shows without scrolling."""


def show_survey(survey: DataSurvey) -> None:
    """Draw it."""
    shape = " × ".join(f"{points:,}" for points in survey.shape)
    colour = " RGB" if survey.channels == 3 else f", {survey.channels} channels" if survey.channels > 1 else ""
    with st.container(horizontal=True, gap="medium", key="survey_numbers"):
        for split, word in SPLITS.items():
            if split in survey.counts:
                st.metric(word, f"{survey.counts[split]:,}", width="content")
    low, high = survey.value_range
    st.markdown(
        f"{shape}{colour} {KIND_WORDS[survey.kind]} · values **{low:g} to {high:g}**",
        help=f"As the file stores them, from {survey.looked_at:,} training signals. Training brings them to 0 to 1.",
    )
    items = [
        {"src": figures.thumbnail(values, survey.kind), "caption": caption, "alt": f"Training signal, {caption}"}
        for values, caption in zip(survey.samples, survey.captions, strict=True)
    ]
    sheet([{"heading": "", "items": items}], wrap=True, key="survey_samples")
    for note in survey.notes:
        st.caption(f":material/info: {note}")


def show_classes(survey: DataSurvey) -> None:
    """Signals per split of every class, where the data has classes."""
    if not survey.classes:
        return
    columns = {"Class": list(survey.classes)}
    counts = {
        word: [found[split] for found in survey.classes.values()] for split, word in SPLITS.items() if split in survey.counts
    }
    st.dataframe(columns | counts, hide_index=True, height=38 + 35 * min(len(survey.classes), ROWS_SHOWN), key="survey_classes")
