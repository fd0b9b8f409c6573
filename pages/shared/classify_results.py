"""What came of it: a table like the paper's Table 3, one result closer up, what the numbers say, and what to take home."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from medfuncta_core import figures
from medfuncta_core.mednf.classifying_results import ClassifyResult
from pages.shared import state, widgets
from pages.shared.views import CHART
from pages.shared.words import seconds_words

CONFUSION_HEIGHT = 380


def show_table(results: Sequence[ClassifyResult], folder: Path) -> None:
    """All results of a set, the best of every column in bold; kept until they are cleared."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.subheader("Results", anchor=False, help="On the test split, which nothing was learned from or chosen by.")
        if st.button("Clear", key="clear_results", icon=":material/delete:", help="Forget the kept results of this set."):
            for result in results:
                (folder / f"{result.request.key}.json").unlink(missing_ok=True)
            st.rerun()
    best = {name: max(_or_zero(getattr(result, name)) for result in results) for name in ("accuracy", "macro_f1", "auc")}
    with st.container(key="classify_table"):
        st.table([_row(result, best) for result in results])


def _row(result: ClassifyResult, best: dict[str, float]) -> dict[str, str]:
    request = result.request
    numbers = {"accuracy": f"{100 * result.accuracy:.2f}", "macro_f1": f"{result.macro_f1:.3f}"}
    numbers["auc"] = "–" if result.auc is None else f"{result.auc:.3f}"
    marked = {
        name: f"**{words}**" if _or_zero(getattr(result, name)) == best[name] and words != "–" else words
        for name, words in numbers.items()
    }
    settings = f"{request.epochs} epochs, seed {request.seed}" if "epochs" in request.settings else ""
    return {
        "Classifier": request.title,
        "Param.": _count_words(result.parameters),
        "Training": "0" if not result.train_seconds else seconds_words(result.train_seconds),
        "Acc. (%)": marked["accuracy"],
        "F1": marked["macro_f1"],
        "AUC": marked["auc"],
        "On": request.features + (f" · {settings}" if settings else ""),
    }


def _or_zero(value: float | None) -> float:
    return value or 0.0


def _count_words(count: int) -> str:
    """A number of parameters with its SI prefix."""
    for limit, factor, prefix in ((1_000, 1, ""), (1_000_000, 1e3, " k"), (10**12, 1e6, " M")):
        if count < limit:
            return f"{count / factor:.3g}{prefix}"
    return f"{count:.3g}"


def choose_result(results: Sequence[ClassifyResult]) -> ClassifyResult:
    """The one to look at closer: the best, until another is chosen."""
    by_key = {result.request.key: result for result in results}
    if widgets.widget("classify_shown") not in by_key:
        widgets.set_widget("classify_shown", max(results, key=lambda result: (result.accuracy, result.macro_f1)).request.key)
    key = st.selectbox(
        "Closer up",
        list(by_key),
        key="classify_shown",
        format_func=lambda key: f"{by_key[key].request.title} on {by_key[key].request.features}",
    )
    return by_key[key]


def show_result(result: ClassifyResult) -> None:
    """The numbers that matter, the confusion matrix, and every class's F1."""
    with st.container(horizontal=True, gap="small", key="classify_numbers"):
        st.metric("Accuracy", f"{100 * result.accuracy:.1f} %", help="Share of the test signals that are recognised.")
        st.metric(
            "Macro F1", f"{result.macro_f1:.3f}", help="Mean of the classes' F1; a rare class counts as much as a common one."
        )
        auc = "–" if result.auc is None else f"{result.auc:.3f}"
        st.metric("AUC", auc, help="Area under the ROC curve, every class against the rest, then their mean; 0.5 is guessing.")
        st.metric("Parameters", _count_words(result.parameters), help="Numbers that were learned.")
        took = seconds_words(result.train_seconds) if result.train_seconds else "0 s"
        st.metric("Training", took, help=f"On {result.device}, without reading the set.")
    left, right = st.columns([5, 3], gap="large")
    with left:
        st.markdown("**Confusion matrix**", help="Numbers are test signals; colour is their share of the true class.")
        right_words = f"{sum(result.confusion[i][i] for i in range(len(result.confusion)))} of {result.n_test} right"
        st.plotly_chart(
            figures.confusion_figure(result.counts, result.class_names),
            key="confusion",
            height=CONFUSION_HEIGHT,
            config=CHART,
            alt=f"Confusion matrix, {right_words}",
        )
    with right:
        st.markdown("**Class by class**")
        st.table([_class_row(result, label) for label in range(len(result.class_names))])
        if result.val_accuracy is not None:
            epoch = f", best of {result.request.epochs} epochs: {result.best_epoch}" if result.best_epoch else ""
            st.caption(f"Chosen by {100 * result.val_accuracy:.1f} % on {result.n_val:,} validation signals{epoch}.")


def _class_row(result: ClassifyResult, label: int) -> dict[str, str]:
    f1 = result.f1[label]
    return {
        "Class": result.class_names[label],
        "Test signals": f"{sum(result.confusion[label]):,}",
        "Right": f"{result.confusion[label][label]:,}",
        "F1": "–" if f1 is None else f"{f1:.2f}",
    }


def show_findings(results: Sequence[ClassifyResult]) -> None:
    """What the numbers say, laid side by side."""
    from medfuncta_core.mednf.classifying_findings import find_findings

    st.markdown("**What the numbers say**")
    for sentence in find_findings(results):
        st.markdown(f"- {sentence}".replace("$", "\\$"))


def show_downloads(name: str, results: Sequence[ClassifyResult], shown: ClassifyResult) -> None:
    """Tables as CSV, everything as JSON; made when they are asked for."""
    from medfuncta_core.mednf import classifying_results as tables

    latents, rows = state.load_set(name), list(shown.rows)
    files: list[tuple[str, str, Any]] = [
        ("Table (.csv)", f"{name}-classification.csv", lambda: tables.results_csv(results)),
        ("Confusion (.csv)", f"{name}-{shown.request.method}-confusion.csv", lambda: tables.confusion_csv(shown)),
        (
            "Predictions (.csv)",
            f"{name}-{shown.request.method}-predictions.csv",
            lambda: tables.predictions_csv(shown, latents.column("id")[rows], latents.labels[rows]),
        ),
        (
            "Everything (.json)",
            f"{name}-classification.json",
            lambda: json.dumps([result.summary() for result in results], indent=2),
        ),
    ]
    with st.container(horizontal=True, gap="small", key="classify_downloads"):
        for label, file, make in files:
            kind = "application/json" if file.endswith("json") else "text/csv"
            st.download_button(label, make, file, kind, key=f"download-{label}", on_click="ignore", icon=":material/download:")
