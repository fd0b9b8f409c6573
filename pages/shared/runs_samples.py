"""The fixed validation signals as the run saw them: any step of them, and one signal over all of training."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from medfuncta_core import figures
from medfuncta_core.runs import RunView, Samples, list_sample_steps, read_samples
from pages.shared import state, widgets
from pages.shared.components import sheet
from pages.shared.views import CHART

PICTURE_HEIGHT, FILM_HEIGHT, FILM_FRAMES, TRACE_HEIGHT = 112, 64, 12, 250


def choose_sample_step(run: RunView) -> int | None:
    """The step whose pictures are shown: the newest, until a visitor moves the slider back."""
    steps = list_sample_steps(run.path)
    if len(steps) < 2:
        return steps[-1] if steps else None
    key, kept = f"sample_step-{run.id}", state.recall(f"sample_step-{run.id}")
    widgets.set_widget(key, kept if kept in steps else steps[-1])
    return st.select_slider(
        "Pictures after step",
        steps,
        format_func=lambda step: f"{step:,}",
        key=key,
        on_change=lambda: state.remember(key, None if widgets.widget(key) == steps[-1] else widgets.widget(key)),
        help="Every validation adds one. At the right end it follows the newest; the dotted line in the curves marks it.",
    )


def show_samples(run: RunView, step: int | None) -> None:
    """Input, learned initialisation and reconstruction of the fixed signals, and a strip that grows with training."""
    samples = None if step is None else read_samples(run.path, step)
    if step is None or samples is None:
        st.caption("Pictures of fixed validation signals appear here at the start and after every validation.")
        return
    if samples.kind == "ecg":
        _show_traces(samples)
        _show_film(run, samples)
        return
    now, over_training = st.columns(2, gap="large")
    with now:
        _show_pictures(run.path, samples)
    with over_training:
        _show_film(run, samples)


def _show_pictures(path: Path, samples: Samples) -> None:
    pictures = state.sample_pictures(str(path), samples.step, PICTURE_HEIGHT)
    height, width = samples.inputs.shape[1:3]
    signals = range(len(samples.rows))
    truth = [_item(pictures["input"][k], f"signal {samples.rows[k]}", "Input", width / height) for k in signals]
    initial = _item(pictures["initial"][0], "the same for all", "Learned initialisation", width / height)
    made = [_item(pictures["reconstruction"][k], f"{samples.psnr[k]:.1f} dB", "Reconstruction", width / height) for k in signals]
    after = "before training" if samples.step == 0 else f"step {samples.step:,}"
    rows = (
        {"heading": "Input" + (" (middle slices)" if samples.kind == "volume" else ""), "items": truth},
        {"heading": f"Learned initialisation, {after}", "items": [initial], "columns": len(truth)},
        {"heading": f"Reconstruction after G = {samples.fit_steps} steps, {after}", "items": made},
    )
    sheet(rows, wrap=False, key="samples")


def _show_traces(samples: Samples) -> None:
    after = "before training" if samples.step == 0 else f"after step {samples.step:,}"
    st.markdown(f"**Input, learned initialisation and reconstruction after G = {samples.fit_steps} steps**, {after}")
    titles = [f"Signal {row}: {psnr:.1f} dB" for row, psnr in zip(samples.rows, samples.psnr, strict=True)]
    figure = figures.beat_strip(samples.inputs, samples.initial, samples.reconstructions, titles)
    st.plotly_chart(figure, key="traces", height=TRACE_HEIGHT, config=CHART, alt=f"ECGs {after}. {'; '.join(titles)}")


def _show_film(run: RunView, samples: Samples) -> None:
    """One signal's reconstruction at every validation, at most a dozen of them: the strip grows with the run."""
    bar = st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="film_bar")
    chosen = bar.segmented_control(
        "Over training",
        range(len(samples.rows)),
        default=0,
        required=True,
        format_func=lambda k: f"Signal {samples.rows[k]}",
        key=f"film-{run.id}",
        help="The reconstruction of one signal after each validation, from before training to now.",
    )
    index = chosen or 0
    steps = _spread(list_sample_steps(run.path), FILM_FRAMES)
    items = []
    for step in steps:
        pictures = state.sample_pictures(str(run.path), step, FILM_HEIGHT)
        if len(pictures.get("reconstruction", ())) > index:
            source = pictures["reconstruction"][index]
            items.append(_item(source, f"{step:,}", "Reconstruction", _aspect(samples)))
    sheet([{"heading": "", "items": items}], wrap=True, key="film")
    bar.download_button(
        "Strip (.png)",
        lambda: _film_file(run, index, steps),
        f"{run.id}-signal-{samples.rows[index]}.png",
        "image/png",
        key="film_png",
        on_click="ignore",
        icon=":material/image:",
    )


def _film_file(run: RunView, index: int, steps: tuple[int, ...]) -> bytes:
    """The strip as a picture file."""
    found = [samples for step in steps if (samples := read_samples(run.path, step)) is not None]
    kind = "ecg" if found[0].kind == "ecg" else "image"
    frames = [figures.render_frame(samples.reconstructions[index], kind, PICTURE_HEIGHT) for samples in found]
    return figures.contact_sheet(frames, columns=len(frames))


def _aspect(samples: Samples) -> float:
    return 1.6 if samples.kind == "ecg" else samples.inputs.shape[2] / samples.inputs.shape[1]


def _item(source: str, caption: str, what: str, aspect: float) -> dict[str, str]:
    return {"src": source, "caption": caption, "alt": f"{what}, {caption}", "aspect": f"{aspect:.4f}"}


def _spread(steps: tuple[int, ...], most: int) -> tuple[int, ...]:
    """At most so many of them, evenly over all, first and last included."""
    if len(steps) <= most:
        return steps
    return tuple(steps[round(k * (len(steps) - 1) / (most - 1))] for k in range(most))
