"""Train: from data to a run that goes on without the page."""

import streamlit as st

from pages.shared.messages import errors_shown, show_footer
from pages.shared.run_queue import show_queue
from pages.shared.sidebar import show_sidebar
from pages.shared.train_data import choose_data
from pages.shared.train_estimate import show_estimate
from pages.shared.train_launch import launched, show_launch
from pages.shared.train_settings import choose_training
from pages.shared.train_survey import show_classes, show_survey

st.title("Train a shared network", anchor=False)
st.markdown("Choose data and a recipe; the run is a process of its own that outlives this page.")

choice = show_sidebar()
with errors_shown():
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.subheader("1. Data", anchor=False)
        data = choose_data()
        if data is not None:
            show_classes(data.survey)
    with right:
        if data is None:
            st.info("Choose data on the left: its pictures and counts appear here.", icon=":material/arrow_back:")
        else:
            show_survey(data.survey)
    if data is not None:
        st.subheader("2. Recipe", anchor=False)
        request = choose_training(data, choice)
        st.subheader("3. Start", anchor=False)
        measured, start = st.columns([3, 2], gap="large", vertical_alignment="top")
        with measured:
            show_estimate(request)
        with start:
            show_launch(request)
    show_queue(launched())
show_footer()
