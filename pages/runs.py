"""Runs and sweeps: what trains, what trained, side by side, and the paper's ablations."""

import streamlit as st

from pages.shared.messages import errors_shown, show_footer
from pages.shared.runs_compare import show_comparison
from pages.shared.runs_list import choose_run, choose_view, show_runs
from pages.shared.runs_panel import show_run
from pages.shared.runs_sweeps import show_sweeps
from pages.shared.sidebar import show_sidebar

st.title("Runs and sweeps", anchor=False)
st.markdown("Watch networks being learned, stop and resume them, compare them, and repeat the paper's ablations.")

show_sidebar()
with errors_shown():
    view = choose_view()
    if view == "Runs":
        run = choose_run()
        show_runs(run)
        if run is not None:
            show_run(run)
    elif view == "Compare":
        show_comparison()
    else:
        show_sweeps()
show_footer()
