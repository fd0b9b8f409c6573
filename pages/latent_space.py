"""Latent space: a whole set of signals as one map; look, select, compare, and place your own file in it."""

import streamlit as st

from pages.shared.map_choice import choose_map, choose_set, show_no_sets
from pages.shared.map_details import show_details
from pages.shared.map_panel import carry_pictures, show_map
from pages.shared.map_view import settle_map
from pages.shared.messages import errors_shown, show_footer
from pages.shared.sidebar import show_sidebar

st.title("Latent space", anchor=False)
st.markdown("Every point is a signal's latent. Hover to see it decoded, click to open it, draw around points to select them.")

with errors_shown():
    choice = show_sidebar()
    controls = st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="map_controls")
    name = choose_set(choice, controls)
    if name is None:
        show_no_sets()
    else:
        view = settle_map(name, choose_map(name, controls))
        left, right = st.columns([9, 5], gap="medium")
        with left:
            show_map(view)
        marks = show_details(view, choice, right)
        carry_pictures(view, marks)
show_footer()
