"""The page that `measure.py` opens: the same map, drawn by one of five components. `?component=regl&points=5000`"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydeck
import streamlit as st
from streamlit.components.v2 import component

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#999999")


def make_map(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Eight Gaussian clouds: positions `(n, 2)` in [-1, 1] and classes `(n,)`."""
    rng = np.random.default_rng(0)
    centres, classes = rng.uniform(-0.7, 0.7, (8, 2)), rng.integers(0, 8, points)
    return np.clip(centres[classes] + rng.normal(0, 0.09, (points, 2)), -1, 1).astype(np.float32), classes.astype(np.uint8)


def show_plotly(xy: np.ndarray, classes: np.ndarray) -> None:
    """One WebGL trace a class, with selection, as a Streamlit chart."""
    size = 4 if len(xy) <= 50_000 else 2
    traces = [
        {
            "type": "scattergl",
            "mode": "markers",
            "name": str(number),
            "x": xy[classes == number, 0],
            "y": xy[classes == number, 1],
            "marker": {"size": size, "color": colour},
        }
        for number, colour in enumerate(COLOURS)
    ]
    layout = {"dragmode": "pan", "hovermode": "closest", "xaxis": {"range": [-1.1, 1.1]}, "yaxis": {"range": [-1.1, 1.1]}}
    figure = {"data": traces, "layout": layout}
    st.plotly_chart(figure, height=600, key="map", on_select="rerun", config={"scrollZoom": True})


def show_pydeck(xy: np.ndarray, classes: np.ndarray) -> None:
    """deck.gl as Streamlit ships it: rows of JSON, tooltip of HTML."""
    rgb = [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in COLOURS]
    rows = [{"p": [float(x), float(y)], "c": rgb[c], "i": i} for i, ((x, y), c) in enumerate(zip(xy, classes, strict=True))]
    layer = pydeck.Layer(
        "ScatterplotLayer", rows, get_position="p", get_fill_color="c", radius_units="pixels",
        get_radius=2.5 if len(xy) <= 50_000 else 1, pickable=True,
    )  # fmt: skip
    view = pydeck.View("OrthographicView", controller=True)
    state = pydeck.ViewState(target=[0, 0, 0], zoom=8.1)
    # pydeck's annotations are narrower than its documentation: a map without a provider, a tooltip of HTML.
    options: dict[str, Any] = {"map_provider": None, "tooltip": {"html": "{i}"}}
    deck = pydeck.Deck([layer], views=[view], initial_view_state=state, **options)
    st.pydeck_chart(deck, height=600, key="map")


def show_bundle(name: str, xy: np.ndarray, classes: np.ndarray) -> None:
    """A bundle of ours, given the numbers as bytes."""
    script = (Path(os.environ["MAP_BUNDLES"]) / f"{name}.bundle.js").read_text(encoding="utf-8")
    mount = component(f"map_{name}", html="<div class='root'></div>", js=script, isolate_styles=False)
    mount(data=xy[:, 0].tobytes() + xy[:, 1].tobytes() + classes.tobytes(), key="map", height=600)


def show_ours(xy: np.ndarray, classes: np.ndarray) -> None:
    """What the Latent space page has: the same bytes, straight into buffers of the graphics card."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from medfuncta_core import figures
    from pages.shared.components.moving import latent_map

    colouring = figures.colour_classes(classes.astype(np.int64), tuple(str(number) for number in range(len(COLOURS))))
    latent_map(figures.pack_map(xy, colouring, name="map", label="Map"), key="map")


st.set_page_config(layout="wide")
xy, classes = make_map(int(st.query_params["points"]))
with st.container(key="place"):
    if st.query_params["component"] == "plotly":
        show_plotly(xy, classes)
    elif st.query_params["component"] == "pydeck":
        show_pydeck(xy, classes)
    elif st.query_params["component"] == "ours":
        show_ours(xy, classes)
    else:
        show_bundle(st.query_params["component"], xy, classes)
