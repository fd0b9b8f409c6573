"""What was measured on real sets: the repository's own run of the paper's Table 3, with its machine and date."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from pages.shared import state
from pages.shared.words import seconds_words


def show_measured() -> None:
    """The kept run, folded away; nothing where this copy of the app has none."""
    report = _read()
    if report is None:
        return
    with st.expander("Measured on real sets: Table 3 of the paper with our checkpoints", icon=":material/table_chart:"):
        machine = report["machine"]
        st.caption(f"{machine['date'][:10]}, {machine['gpu'] or machine['cpu']}. Again: `{report['command']}`")
        for measured in report["sets"]:
            st.markdown(f"**{measured['title']}** · {measured['about']}")
            st.table([_row(result) for result in measured["results"]])
            for sentence in measured["findings"]:
                st.markdown(f"- {sentence}".replace("$", "\\$"))


def _row(result: dict[str, Any]) -> dict[str, str]:
    return {
        "Classifier": result["classifier"],
        "Param.": f"{result['parameters']:,}",
        "Training": seconds_words(result["train_seconds"]) if result["train_seconds"] else "0",
        "Acc. (%)": f"{100 * result['accuracy']:.2f}",
        "F1": f"{result['macro_f1']:.3f}",
        "AUC": "–" if result["auc"] is None else f"{result['auc']:.3f}",
        "On": result["features"],
    }


def _read() -> dict[str, Any] | None:
    file = state.ROOT / "benchmarks" / "results" / "classification.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
