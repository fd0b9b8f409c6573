"""How to train: a preset that suits the data, every setting of the paper's Table 6, and the rare ones folded away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import streamlit as st

from medfuncta_core.config import PRESETS, Preset
from medfuncta_core.runs import RunRequest
from medfuncta_core.runs.knobs import KNOBS, OPTIONAL, Knob, changes, step_of
from medfuncta_core.runs.suggesting import compression, suggest_presets, suggest_shapes, validation_percent, validation_signals
from pages.shared import widgets
from pages.shared.sidebar import Choice, accelerated
from pages.shared.train_data import TrainData

WIDTH = 148
"""Of a number, in pixels: two stand beside each other on a phone."""
HEADINGS = {"Network, rarely": "Network", "Optimiser, rarely": "Optimiser and validation"}

Values = dict[str, float | bool | None]


def choose_training(data: TrainData, choice: Choice | None) -> RunRequest:
    """Draw preset and settings; what they ask for, not checked yet."""
    left, right = st.columns([3, 2], gap="large", vertical_alignment="bottom")
    with left:
        name = _choose_preset(data)
    preset, key = PRESETS[name], f"{name}-{data.data}"
    with right:
        shape = _choose_shape(preset, data, key)
    values = dict(_show_knobs([knob for knob in KNOBS if not knob.rare], preset, name))
    share, signals = _choose_validation(data, preset, name)
    with st.expander("Rare settings", icon=":material/tune:", key="rare_settings"):
        values |= dict(_show_knobs([knob for knob in KNOBS if knob.rare], preset, name))
        run_name, licence, processes, tensorboard = _choose_extras(data, name)
    told = changes(preset, values)
    if share is not None:
        told = (*told, f"meta.validate_signals={signals}")
    request = RunRequest(
        preset=name,
        data=data.data,
        settings=told,
        shape=None if shape == preset.shape else shape,
        name=run_name,
        licence=licence or None,
        device=choice.device if choice else "auto",  # type: ignore[arg-type]
        processes=processes,
        tensorboard=tensorboard,
    )
    _describe(request, shape, data.survey.channels)
    return request


def _choose_preset(data: TrainData) -> str:
    names = suggest_presets(data.survey.shape, accelerated=accelerated())
    key = f"preset-{data.survey.kind}"
    if widgets.widget(key) is None and st.query_params.get("preset") in names:
        widgets.set_widget(key, st.query_params["preset"])
    name = st.selectbox(
        "Preset",
        names,
        key=key,
        format_func=lambda name: f"{name}: {PRESETS[name].summary}",
        help="An architecture with the recipe that trains it; the first suits data and machine. Every number can be changed.",
    )
    st.query_params["preset"] = name
    return name


def _choose_shape(preset: Preset, data: TrainData, key: str) -> tuple[int, ...]:
    shapes = suggest_shapes(preset, data.survey.shape)
    if len(shapes) == 1:
        st.caption(f"Trained at {' × '.join(map(str, shapes[0]))}, as data and preset are.")
        return shapes[0]
    owners = {preset.shape: "the preset's", data.survey.shape: "the data's"}
    words = {f"{' × '.join(map(str, shape))}, {owners[shape]}": shape for shape in shapes}
    help_text = "Points per axis; signals of another shape are resized. A field is decoded at any resolution afterwards."
    word = st.segmented_control(
        "Train at", list(words), default=next(iter(words)), required=True, key=f"shape-{key}", help=help_text
    )
    return words.get(word, shapes[0])


def _show_knobs(knobs: Iterable[Knob], preset: Preset, name: str) -> Iterator[tuple[str, float | bool | None]]:
    """Numbers in a row a group; a new preset brings its own values."""
    for group, members in groupby(knobs, key=lambda knob: knob.group):
        st.markdown(f"**{HEADINGS.get(group, group)}**")
        with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key=f"knobs-{group}"):
            for knob in members:
                yield knob.key, _show_knob(knob, knob.value(preset), f"knob-{name}-{knob.key}")


def _show_knob(knob: Knob, value: float | bool | None, key: str) -> float | bool | None:
    if knob.low is None or knob.high is None:
        return st.toggle(knob.label, bool(value), key=key, help=knob.help)
    optional = knob.key in OPTIONAL
    low, high = (bound if value is None else choose(bound, value) for bound, choose in ((knob.low, min), (knob.high, max)))
    help_text = f"{knob.help} Empty is off." if optional else knob.help
    if knob.whole:
        whole = None if value is None else int(value)
        return st.number_input(knob.label, int(low), int(high), whole, key=key, width=WIDTH, help=help_text, placeholder="off")
    return st.number_input(
        knob.label,
        float(low),
        float(high),
        None if value is None else float(value),
        step=step_of(value),
        format="%.6g",
        key=key,
        width=WIDTH,
        help=help_text,
        placeholder="off",
    )


def _choose_validation(data: TrainData, preset: Preset, name: str) -> tuple[int | None, int]:
    """Share of the validation split, and signals it is; None while it is as the preset has it."""
    there = data.survey.counts.get("val", 0)
    usual = min(preset.meta.validate_signals, there)
    default = validation_percent(usual, there)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom", key="knobs-validation"):
        percent = st.slider(
            "Validation share",
            1,
            100,
            default,
            format="%d %%",
            key=f"validation-{name}-{data.data}",
            width=2 * WIDTH + 16,
            help="How much of the validation split is fitted at each validation, always the same signals.",
        )
        signals = usual if percent == default else validation_signals(percent, there)
        st.caption(f"{signals:,} of {there:,} signals, always the same ones; more are steadier and slower.", width="content")
    return (None if percent == default else percent), signals


def _choose_extras(data: TrainData, preset: str) -> tuple[str, str, int, bool]:
    st.markdown("**This run**")
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="knobs-run"):
        usual = f"{data.survey.name}-{preset}"
        run_name = st.text_input(
            "Name", usual, key=f"run_name-{usual}", width=2 * WIDTH, help="Of the run, and of the checkpoint."
        )
        licence = st.text_input(
            "Licence of the weights",
            data.licence,
            key=f"licence-{data.data}",
            width=2 * WIDTH,
            placeholder="as the data states it",
            help="Weights carry the licence of the data that trained them.",
        )
        processes = st.number_input(
            "Processes", 1, 64, 1, key="processes", width=WIDTH, help="They share each batch (torchrun); one for each GPU."
        )
    tensorboard = st.toggle("TensorBoard event files", key="tensorboard", help="Curves and pictures in the run's folder as well.")
    return run_name.strip(), licence.strip(), int(processes), tensorboard


def _describe(request: RunRequest, shape: tuple[int, ...], channels: int) -> None:
    """What the settings amount to."""
    with st.container(key="training_summary"):
        preset = request.resolve()
        field = preset.field.model_copy(update={"channels": channels})
        ratio = compression(field, shape)
        st.markdown(
            f"**{field.parameter_count:,}** shared parameters · each signal becomes **{field.latent_dim:,}** numbers, "
            + (f"**{ratio:.1f}** times fewer than its values" if ratio >= 1 else "more than it has values: lower the latent size")
        )
