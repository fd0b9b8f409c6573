"""Fit: from a file to its neural field, live."""

import streamlit as st

from pages.shared.downloads import show_downloads, show_notes
from pages.shared.fit_panel import show_fit
from pages.shared.fit_run import current_run
from pages.shared.gallery import show_gallery
from pages.shared.handover import show_provenance
from pages.shared.messages import errors_shown, show_error, show_footer
from pages.shared.settings import choose_settings
from pages.shared.sidebar import show_sidebar
from pages.shared.sources import current_source, read_source, show_drop_zone, show_what_to_do

st.title("Fit a signal", anchor=False)
st.markdown("Drop a medical image, ECG or volume and watch it become one latent vector of a shared neural field.")

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
        config, hiding = choose_settings(choice)
        signal, origin = read_source(source, choice)
        run = current_run(choice, signal, origin, config, hiding)
        show_provenance(source, signal)
        show_fit(run)
        if run.error:
            show_error(run.error)
        if run.result:
            show_downloads(run)
            show_notes(run)
show_footer()
