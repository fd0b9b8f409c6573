"""How a comparison is shown: one row of pictures for each representation, their curves over each other, and a table."""

from __future__ import annotations

from typing import Any

import streamlit as st

from medfuncta_core import figures
from medfuncta_core.comparison import Outcome, comparison_csv, comparison_sentence
from medfuncta_core.figures import Axis, Line
from pages.shared import state, views
from pages.shared.components import live_curves, panes
from pages.shared.contest_run import Contest
from pages.shared.fit_panel import BAR, BAR_HEIGHT, Display, choose_display
from pages.shared.fit_run import TURN_SECONDS
from pages.shared.messages import errors_shown_here, escape, show_error
from pages.shared.parts import redrawn

CURVE_HEIGHT = 280
AXES: dict[str, Axis] = {"Steps": "step", "Computing time": "seconds"}


def show_contest(contest: Contest) -> None:
    """Draw the comparison; while fits are to be made, again and again in a fragment of its own."""
    watched = bool(contest.waiting)
    state.remember("busy", watched)
    redrawn(_panel, run_every=TURN_SECONDS if watched else None)(contest, watched)


def _panel(contest: Contest, watched: bool) -> None:
    live = bool(contest.waiting)
    contest.advance()
    with st.container(key="contest_panel"), errors_shown_here():
        shown, display = _show_progress(contest) if live else _choose_step(contest)
        for error in contest.errors.values():
            show_error(error)
        baselines = contest.baseline_outcomes()
        finished = [*contest.fit_outcomes().values(), *baselines]
        if finished or contest.begun:
            sentence = comparison_sentence(finished)
            st.markdown(f"**{escape(sentence)}**" if sentence and not live else "&nbsp;")
            left, right = st.columns([5, 4], gap="medium")
            with left:
                _show_values(contest, baselines, shown, display)
            with right:
                _show_curves(contest, baselines, None if live else shown)
                _show_table(contest, baselines, finished)
    if watched and not contest.waiting:
        st.rerun()


def _show_progress(contest: Contest) -> tuple[int | None, Display]:
    bar, buttons = st.columns(BAR, vertical_alignment="bottom")
    row = buttons.container(horizontal=True, gap="small", key="contest_actions")
    total, left = len(contest.plan.contestants), len(contest.waiting)
    entry = contest.waiting[0] if left else contest.plan.contestants[-1]
    step = next((run.last for other, run in contest.begun if other == entry), 0)
    done = (total - left + step / entry.config.steps) / total
    words = (
        f"Fit {min(total, total - left + 1)} of {total}: {escape(contest.plan.words(entry))}, step {step} of {entry.config.steps}"
    )
    with bar.container(height=BAR_HEIGHT, border=False, vertical_alignment="bottom", key="contest_bar"):
        st.progress(min(1.0, done), text=words)
    row.button("Stop", key="stop_contest", on_click=contest.stop, width="stretch", icon=":material/stop_circle:")
    return None, choose_display(row, contest.signal.kind)


def _choose_step(contest: Contest) -> tuple[int | None, Display]:
    bar, buttons = st.columns(BAR, vertical_alignment="bottom")
    row = buttons.container(horizontal=True, gap="small", key="contest_actions")
    last = max((run.last for _, run in contest.begun), default=0)
    index = None
    with bar.container(height=BAR_HEIGHT, border=False, vertical_alignment="bottom", key="contest_bar"):
        if last > 0:
            help_text = "Replays all fits together; 0 is the learned start of each."
            index = st.slider("Step shown", 0, last, last, key=f"contest_step-{id(contest)}-{last}", help=help_text)
    if row.button("Fit again", key="contest_again", width="stretch", icon=":material/replay:"):
        contest.again()
        st.rerun(scope="app")
    return index, choose_display(row, contest.signal.kind)


def _show_values(contest: Contest, baselines: list[Outcome], shown: int | None, display: Display) -> None:
    """Input, reconstruction and error of everything compared, in one window and on one error scale."""
    decoded: list[tuple[str, str, Any]] = []
    for entry, run in contest.begun:
        index = run.last if shown is None else min(shown, run.last)
        decoded.append((contest.plan.words(entry), f"step {index}: {run.history[index].psnr:.1f} dB", run.decode(index)))
    decoded += [(made.name, f"{made.numbers:,} numbers: {made.psnr:.1f} dB", made.reconstruction) for made in baselines]
    if contest.signal.kind == "ecg":
        _show_beats(contest, decoded, display.error_limit)
        return
    rows = views.representation_panes(contest.signal, decoded, display.error_limit, _choose_plane(contest))
    panes(rows, scale=views.error_scale(display.error_limit), smooth=display.smooth, key=f"contest_panes-{contest.signal.kind}")


def _choose_plane(contest: Contest) -> int:
    if contest.signal.kind != "volume":
        return 0
    names = views.plane_names(contest.signal)
    name = st.segmented_control("Middle plane", names, default=names[0], required=True, key="contest_plane")
    return names.index(name or names[0])


def _show_beats(contest: Contest, decoded: list[tuple[str, str, Any]], limit: float) -> None:
    signal = contest.signal
    rate = 1 / signal.spacing[0] if signal.spacing and signal.spacing_unit == "s" else None
    traces = figures.representation_traces(signal.values, {name: values for name, _, values in decoded}, rate)
    errors = {name: figures.error_values(signal.values, values) for name, _, values in decoded}
    words = ", ".join(f"{name} {caption}" for name, caption, _ in decoded)
    st.plotly_chart(traces, key="contest_beats", height=380, config=views.CHART, alt=f"Input and reconstructions: {words}")
    chart = figures.error_traces(errors, limit, rate)
    st.plotly_chart(chart, key="contest_errors", height=240, config=views.CHART, alt=f"Absolute errors up to {limit:g}")


def _show_curves(contest: Contest, baselines: list[Outcome], marked: int | None) -> None:
    word = st.segmented_control("Over", list(AXES), default="Steps", required=True, key="contest_axis")
    over = AXES[word or "Steps"]
    begun = dict(contest.begun)
    histories = [(entry, begun[entry].history if entry in begun else []) for entry in contest.plan.contestants]
    fits = [
        Line(
            contest.plan.words(entry),
            [step.index if over == "step" else step.seconds for step in history],
            [step.psnr for step in history],
        )
        for entry, history in histories
    ]
    reached = max((line.x[-1] for line in fits if line.x), default=1.0)
    end = max((entry.config.steps for entry in contest.plan.contestants), default=1) if over == "step" else max(reached, 1e-3)
    levels = {outcome.name: outcome.psnr for outcome in baselines}
    figure = figures.fits_curve(fits, levels, over=over, end=end, marked=marked if over == "step" else None)
    now = [(line.name, line.y[-1]) for line in fits if line.y] + list(levels.items())
    alt = f"PSNR over {over}: " + "; ".join(f"{name} {psnr:.1f} dB" for name, psnr in now)
    live_curves(figures.curve_data(figure), alt=alt, key="contest_curves", height=CURVE_HEIGHT)


def _show_table(contest: Contest, baselines: list[Outcome], finished: list[Outcome]) -> None:
    """One line for each representation, in the order and with the keys of the curves."""
    outcomes = contest.fit_outcomes()
    rows: list[dict[str, Any]] = []
    for place, entry in enumerate(contest.plan.contestants):
        outcome = outcomes.get(entry)
        waiting = {"": figures.line_key(place), "Representation": contest.plan.words(entry)}
        rows.append(_row(place, outcome) if outcome else waiting)
    rows += [_row(len(contest.plan.contestants) + place, outcome) for place, outcome in enumerate(baselines)]
    columns = {
        "": st.column_config.ImageColumn("", width=40, help="Its line in the curves."),
        "Representation": st.column_config.TextColumn(width=130),
        "PSNR (dB)": st.column_config.NumberColumn(format="%.2f"),
        "SSIM": st.column_config.NumberColumn(format="%.4f"),
        "Largest error": st.column_config.NumberColumn(format="%.3f", help="Of any value, as a share of the value range."),
        "Numbers": st.column_config.NumberColumn(format="localized", help="That stand for the signal."),
        "Seconds": st.column_config.NumberColumn(format="%.2f", help="Computing time of the fit."),
    }
    st.dataframe(rows, hide_index=True, column_config=columns, key="contest_table", row_height=32)
    st.download_button(
        "Table (.csv)",
        lambda: comparison_csv(contest.signal, finished),
        "comparison.csv",
        "text/csv",
        key="contest_csv",
        on_click="ignore",
        disabled=not finished,
        icon=":material/table:",
    )


def _row(place: int, outcome: Outcome) -> dict[str, Any]:
    return {
        "": figures.line_key(place),
        "Representation": outcome.name,
        "PSNR (dB)": outcome.psnr,
        "SSIM": outcome.ssim,
        "Largest error": outcome.largest_error,
        "Numbers": outcome.numbers,
        "Seconds": outcome.seconds,
    }
