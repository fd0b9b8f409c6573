"""Compare: one signal, several networks and ways of fitting it, on one error scale."""

import streamlit as st

from pages.shared.contest_choice import choose_plan
from pages.shared.contest_run import current_contest
from pages.shared.contest_view import show_contest
from pages.shared.gallery import show_gallery
from pages.shared.handover import show_provenance
from pages.shared.messages import errors_shown, show_footer
from pages.shared.sidebar import show_sidebar
from pages.shared.sources import current_source, read_source, show_drop_zone, show_what_to_do

st.title("Compare", anchor=False)
st.markdown("Fit one signal with several networks and methods, beside what as many numbers do without a network.")

with errors_shown():
    left, right = st.columns([2, 3], gap="large")
    with left:
        show_drop_zone()
    choice = show_sidebar()
    with right:
        show_gallery()
    source = current_source()
    if not (choice and source):
        show_what_to_do(choice)
    else:
        signal, origin = read_source(source, choice)
        plan = choose_plan(choice, signal)
        show_provenance(source, signal)
        contest = current_contest(signal, origin, choice.name)
        contest.follow(plan)
        show_contest(contest)
show_footer()
