"""Classify: how well the classes of a set can be told apart by its latents."""

import streamlit as st

from pages.shared.classify_choice import choose_plan, choose_set, show_no_sets
from pages.shared.classify_measured import show_measured
from pages.shared.classify_mistakes import show_mistakes
from pages.shared.classify_results import choose_result, show_downloads, show_findings, show_result, show_table
from pages.shared.classify_run import kept_results, show_run
from pages.shared.messages import errors_shown, show_footer
from pages.shared.sidebar import show_sidebar

st.title("Classify", anchor=False)
st.markdown("Tell the classes of a set apart by its latents: learned from its training signals, measured on its test signals.")

with errors_shown():
    choice = show_sidebar()
    name = choose_set()
    if name is None:
        show_no_sets()
    else:
        plan = choose_plan(name, choice.device if choice else "auto")
        show_run(plan)
        results = kept_results(plan)
        if results:
            show_table(results, plan.folder)
            show_findings(results)
            shown = choose_result(results)
            show_result(shown)
            show_downloads(name, results, shown)
            show_mistakes(name, shown)
    show_measured()
show_footer()
