"""MedFuncta in the browser: which pages there are, and what every one of them has around it."""

from pathlib import Path

import streamlit as st

from pages.shared import widgets

ROOT = Path(__file__).parent
ASSETS = ROOT / "assets"

st.set_page_config(
    page_title="MedFuncta",
    page_icon=str(ASSETS / "logo-icon.svg"),
    layout="wide",
    initial_sidebar_state=264,
    menu_items={"About": "MedFuncta: medical signals as neural fields. A research tool, not for diagnosis."},
)
st.logo(str(ASSETS / "logo.svg"), size="large", icon_image=str(ASSETS / "logo-icon.svg"))
st.html(ASSETS / "app.css")

pages = {
    "Explore": [
        st.Page("pages/fit.py", title="Fit", icon=":material/ssid_chart:", default=True),
        st.Page("pages/latent_space.py", title="Latent space", icon=":material/scatter_plot:"),
        st.Page("pages/interpolate.py", title="Interpolate", icon=":material/animation:"),
        st.Page("pages/volumes.py", title="Volumes", icon=":material/view_in_ar:"),
    ],
    "Learn": [
        st.Page("pages/train.py", title="Train", icon=":material/model_training:"),
        st.Page("pages/runs.py", title="Runs and sweeps", icon=":material/monitoring:"),
    ],
    "Measure": [
        st.Page("pages/classify.py", title="Classify", icon=":material/category:"),
        st.Page("pages/compare.py", title="Compare", icon=":material/compare:"),
    ],
}
page = st.navigation({group: entries for group, entries in pages.items() if entries})
widgets.begin_run(page.url_path)
page.run()
widgets.end_run()
