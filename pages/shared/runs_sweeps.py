"""Sweeps: which one is looked at, its progress and result picture; kept measurements stand in until a visitor has their own."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from medfuncta_core.runs.sweep_kinds import ABLATIONS
from medfuncta_core.runs.sweep_results import SweepResult, collect, read_result
from medfuncta_core.runs.sweeps import SweepView, continue_sweep, delete_sweep, list_sweeps, read_sweep, stop_sweep
from pages.shared import state, widgets
from pages.shared.messages import errors_shown_here
from pages.shared.parts import redrawn
from pages.shared.runs_sweep_form import show_form
from pages.shared.runs_sweep_result import show_result

TURN_SECONDS = 2.0
EXAMPLES = "benchmarks/results"


@dataclass(frozen=True)
class Shown:
    """A sweep to look at: this machine's, or a kept measurement."""

    name: str
    words: str
    example: bool


def show_sweeps() -> None:
    """Start sweeps and see what they found."""
    sweeps = list_sweeps(state.run_root())
    examples = _examples()
    with st.expander("Start a sweep", expanded=not sweeps, icon=":material/rocket_launch:", key="sweep_form"):
        show_form()
    shown = _choose(sweeps, examples)
    if shown is None:
        st.info("No sweeps yet. Start one above: its result picture grows here while its runs end.", icon=":material/grid_on:")
    elif shown.example:
        _show_example(examples[shown.name], mine=bool(sweeps))
    else:
        sweep = read_sweep(state.run_root(), shown.name)
        _show_head(sweep)
        redrawn(_panel, run_every=TURN_SECONDS if sweep.active else None)(shown.name, sweep.active)


def _examples() -> dict[str, SweepResult]:
    """Measurements that came with the app, by name."""
    found = {}
    for file in sorted((state.ROOT / EXAMPLES).glob("sweep-*.json")):
        with errors_shown_here():
            result = read_result(file)
            found[result.name] = result
    return found


def _choose(sweeps: list[SweepView], examples: dict[str, SweepResult]) -> Shown | None:
    """The newest sweep of one's own, else the first example; the address keeps the choice as `sweep`."""
    own = [
        Shown(s.config.name, f"{s.config.name} · {ABLATIONS[s.config.kind].title}, {s.finished} of {len(s.runs)} done", False)
        for s in sweeps
    ]
    kept = [Shown(name, f"Example · {ABLATIONS[result.kind].title}, {result.data}", True) for name, result in examples.items()]
    by_name = {shown.name: shown for shown in (*own, *kept)}
    if not by_name:
        return None
    if widgets.widget("sweep_shown") not in by_name:
        wanted = st.query_params.get("sweep", "")
        widgets.set_widget("sweep_shown", wanted if wanted in by_name else next(iter(by_name)))
    name = st.selectbox("Sweep", list(by_name), format_func=lambda name: by_name[name].words, key="sweep_shown")
    st.query_params["sweep"] = name
    return by_name[name]


def _show_example(result: SweepResult, *, mine: bool) -> None:
    machine = result.machine or {}
    where = f"{machine.get('cpu', 'a CPU')}, {machine.get('cores', '?')} cores, {machine.get('threads', '?')} thread used"
    words = "A real measurement that came with the app" + ("" if mine else ", shown until you have a sweep of your own")
    st.caption(f"{words}: {where}, {str(machine.get('date', ''))[:10]}.")
    st.code(result.command, language="shell", wrap_lines=True)
    show_result(result)


def _show_head(sweep: SweepView) -> None:
    root, name = state.run_root(), sweep.config.name
    with st.container(horizontal=True, gap="small", key="sweep_actions"), errors_shown_here():
        if sweep.active and st.button("Stop sweep", key="stop_sweep", icon=":material/stop:"):
            stop_sweep(root, name)
            st.rerun()
        if sweep.resumable and st.button("Resume sweep", key="resume_sweep", icon=":material/play_arrow:"):
            continue_sweep(root, name)
            st.rerun()
        st.button(
            "Lay its runs over each other",
            key="compare_sweep",
            icon=":material/compare:",
            on_click=_compare,
            args=([run.id for run in sweep.runs if run is not None][:10],),
            help="The first ten.",
        )
        if not sweep.active:
            st.button("Delete…", key="delete_sweep", icon=":material/delete:", on_click=state.remember, args=("asked", name))
            if state.recall("asked") == name:
                _ask_delete(name, len([run for run in sweep.runs if run]))


def _compare(runs: list[str]) -> None:
    widgets.set_widget("runs_view", "Compare")
    widgets.set_widget("compare_runs", runs)


@st.dialog("Delete this sweep?", on_dismiss=lambda: state.remember("asked", None))
def _ask_delete(name: str, runs: int) -> None:
    st.markdown(f"**{name}**. This cannot be undone.")
    both = st.toggle(f"Delete its {runs} runs with all their checkpoints as well", value=True, key="delete_sweep_runs")
    if st.button("Delete", key="delete_sweep_go", type="primary", icon=":material/delete:"):
        with errors_shown_here():
            delete_sweep(state.run_root(), name, runs=both)
            st.query_params.pop("sweep", None)
            state.remember("asked", None)
            st.rerun()


def _panel(name: str, was_active: bool) -> None:
    with errors_shown_here():
        sweep = read_sweep(state.run_root(), name)
        if sweep.active != was_active:
            st.rerun(scope="app")
        total = len(sweep.runs) * sweep.config.steps
        running = [run.id for run in sweep.runs if run is not None and run.status.live]
        now = f" · now {running[0]}" if running else ""
        st.progress(
            min(1.0, sweep.steps_done / total),
            text=f"{sweep.finished} of {len(sweep.runs)} runs of {sweep.config.steps:,} steps done{now}",
        )
        show_result(collect(sweep, lambda path: state.curve_reader(str(path)).read()))
