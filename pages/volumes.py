"""Volumes: a scan becomes a field that is sliced at any angle and resolution, and written over its file."""

import streamlit as st

from pages.shared.downloads import show_downloads, show_notes
from pages.shared.gallery import show_gallery
from pages.shared.handover import FIT, INTERPOLATE, LATENT_SPACE, show_open_in, show_provenance
from pages.shared.messages import errors_shown, show_error, show_footer
from pages.shared.settings import choose_settings
from pages.shared.sidebar import show_sidebar
from pages.shared.sources import current_source, show_drop_zone, show_what_to_do
from pages.shared.state import Stored
from pages.shared.volume_panel import show_volume
from pages.shared.volume_resolution import show_resolution
from pages.shared.volume_run import current_volume_run
from pages.shared.volume_source import choose_voxels, enter_volumes, read_volume, show_set_picker

st.title("Volumes", anchor=False)
st.markdown("Drop a scan and watch it become one continuous field: slice it at any angle, between its voxels, at any resolution.")

with errors_shown():
    enter_volumes()
    left, right = st.columns([2, 3], gap="large")
    with left:
        show_drop_zone("volume")
    choice = show_sidebar("volume")
    with right:
        show_gallery("volume")
        show_set_picker()
    source = current_source()
    if not (choice and source):
        show_what_to_do(choice)
    else:
        voxels: list[int | None] = []
        config, hiding = choose_settings(choice, lambda: voxels.append(choose_voxels()))
        volume = read_volume(source, choice, voxels[0])
        run = current_volume_run(choice, volume, config, hiding)
        show_provenance(source, run.signal)
        show_volume(run)
        if run.error:
            show_error(run.error)
        if run.result:
            show_downloads(run)
            show_notes(run)
        if isinstance(source, Stored):
            show_open_in(source, FIT, LATENT_SPACE, INTERPOLATE)
    if choice:
        show_resolution(choice.name)
show_footer()
