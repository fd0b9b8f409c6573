"""Interpolate: from one signal to another through the latent space."""

import streamlit as st

from pages.shared.messages import errors_shown, show_footer
from pages.shared.morph_between import show_classes, show_corners
from pages.shared.morph_decoding import choose_display
from pages.shared.morph_ends import choose_network
from pages.shared.morph_pick import choose_view, show_ends
from pages.shared.morph_statistics import show_statistics
from pages.shared.morph_view import show_morph
from pages.shared.sidebar import show_sidebar
from pages.shared.sources import show_what_to_do

st.title("Interpolate", anchor=False)
st.markdown("Walk from one signal to another: their latents are mixed and decoded, and every place on the way is a signal too.")

with errors_shown():
    choice = show_sidebar()
    if choice is None:
        show_what_to_do(choice)
    else:
        network = choose_network(choice)
        view = choose_view()
        if view.labels:
            ends = show_ends(network, choice, view.labels)
            if len(ends) == len(view.labels):
                display = choose_display(network, path=view.name == "morph")
                {"morph": show_morph, "corners": show_corners, "classes": show_classes}[view.name](network, ends, display)
        else:
            show_statistics(network)
show_footer()
