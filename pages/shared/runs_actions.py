"""What can be done with a run: pause, resume, stop, fork, promote, delete; those that need words ask in a dialog."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from medfuncta_core.errors import MedFunctaError
from medfuncta_core.runs import RunFolder, RunView, delete_run, force_stop, fork, pause, resume, stop
from medfuncta_core.runs.status import read_want
from pages.shared import state
from pages.shared.handover import FIT
from pages.shared.messages import errors_shown_here, show_error

STARTS = {"best": "best weights", "last": "last weights", None: "from scratch"}


def _close() -> None:
    """A question stays open while the page is drawn anew, until it is answered or dismissed."""
    state.remember("asked", None)


def show_actions(run: RunView) -> None:
    """Buttons for what its state allows."""
    root, possible = state.run_root(), run.status.actions
    told: MedFunctaError | None = None
    with st.container(horizontal=True, gap="small", key="run_actions"):
        at_once: dict[str, tuple[Callable[[], None], str]] = {
            "pause": (lambda: pause(root, run.id), ":material/pause:"),
            "resume": (lambda: resume(root, run.id), ":material/play_arrow:"),
            "stop": (lambda: stop(root, run.id), ":material/stop:"),
        }
        for word, (do, icon) in at_once.items():
            if word in possible and st.button(word.capitalize(), key=f"{word}_run", icon=icon):
                told = _try(do) or told
        if run.status.live and read_want(RunFolder(run.path)) == "stop":
            help_text = "It was told to stop. Killing it at once loses the steps since its last checkpoint."
            if st.button("Kill", key="kill_run", icon=":material/dangerous:", help=help_text):
                told = _try(lambda: force_stop(root, run.id)) or told
        for word, ask, icon in (
            ("fork", _ask_fork, ":material/fork_right:"),
            ("promote", _ask_promote, ":material/new_releases:"),
            ("delete", _ask_delete, ":material/delete:"),
        ):
            if word in possible:
                label, asked = f"{word.capitalize()}…", (word, run.id)
                st.button(label, key=f"{word}_run", icon=icon, on_click=state.remember, args=("asked", asked))
                if state.recall("asked") == asked:
                    ask(run)
    if told is not None:
        show_error(told)
    _show_promoted(run)


def _try(do: Callable[[], None]) -> MedFunctaError | None:
    """Do it and draw the page anew, or say why it could not be done: the run's state may have changed a moment ago."""
    try:
        do()
    except MedFunctaError as error:
        return error
    st.rerun()


@st.dialog("Fork with changes", width="medium", on_dismiss=_close)
def _ask_fork(run: RunView) -> None:
    st.caption(f"A new run with the settings of {run.id}, some of them changed.")
    meta = {name: run.settings[f"meta.{name}"] for name in ("steps", "outer_lr", "selection_ratio", "seed")}
    name = st.text_input("Name", f"{run.id}-fork", key="fork_name", max_chars=60)
    weights = st.radio(
        "Start from",
        list(STARTS),
        format_func=lambda start: str(STARTS[start]).capitalize(),
        horizontal=True,
        key="fork_weights",
        help="Weights can be kept as long as the architecture stays the same.",
    )
    left, right = st.columns(2)
    steps = left.number_input("Steps", 1, 10_000_000, int(meta["steps"]), key="fork_steps", help="Outer steps of the new run.")
    seed = right.number_input("Seed", 0, 2**31, int(meta["seed"]), key="fork_seed", help="Of weights, batches and contexts.")
    rate = left.number_input(
        "Outer learning rate β", 1e-8, 1.0, float(meta["outer_lr"]), format="%.2e", key="fork_rate", help="Its peak."
    )
    ratio = right.number_input(
        "Selection ratio γ", 0.01, 1.0, float(meta["selection_ratio"]), key="fork_ratio", help="Share of points in inner steps."
    )
    more = st.text_area(
        "More changes", key="fork_more", placeholder="meta.batch_size=8\nfield.omega_last=60", help="key=value, one a line."
    )
    if st.button("Fork", key="fork_go", type="primary", icon=":material/fork_right:"):
        chosen = {"steps": steps, "outer_lr": rate, "selection_ratio": ratio, "seed": seed}
        changes = [f"meta.{key}={value}" for key, value in chosen.items() if value != meta[key]]
        with errors_shown_here():
            new = fork(state.run_root(), run.id, [*changes, *_lines(more)], new_name=name.strip(), weights=weights)
            st.query_params["run"] = new
            _close()
            st.rerun()


@st.dialog("Promote to a checkpoint", width="medium", on_dismiss=_close)
def _ask_promote(run: RunView) -> None:
    st.caption(
        f"The weights of step {run.status.best_step:,}, the best validation ({run.status.best_psnr or 0:.1f} dB), become a "
        "checkpoint that every page offers, with a card that says what they are."
    )
    info = run.config.data if run.config else None
    name = st.text_input("Name", run.id, key="promote_name", max_chars=60)
    left, right = st.columns(2)
    licence = left.text_input(
        "Licence of the weights", run.config.licence if run.config else "", key="promote_licence", help="Often the data's own."
    )
    data_licence = right.text_input("Licence of the data", info.licence if info else "", key="promote_data_licence")
    source = st.text_input("Where the data comes from", key="promote_source", placeholder="PneumoniaMNIST (MedMNIST v2)")
    classes = st.text_input("Class names", ", ".join(info.class_names) if info else "", key="promote_classes", help="By number.")
    if st.button("Promote", key="promote_go", type="primary", icon=":material/new_releases:"):
        from medfuncta_core.runs.promoting import Promotion, checkpoint_place, promote_run

        names = tuple(part.strip() for part in classes.split(",") if part.strip())
        words = Promotion(licence or None, data_licence or None, source or None, names or None, keep_metrics=True)
        with errors_shown_here(), st.spinner("Writing the checkpoint", show_time=True):
            out = checkpoint_place(state.checkpoint_root(), name.strip())
            promote_run(run.path, out, words, replace=False)
            state.remember("promoted", (run.id, out.name))
            state.request_checkpoint(out.name)
            _close()
            st.rerun()


@st.dialog("Delete this run?", on_dismiss=_close)
def _ask_delete(run: RunView) -> None:
    st.markdown(f"**{run.id}** with its curves, pictures, log and all its checkpoints. This cannot be undone.")
    with st.container(horizontal=True, gap="small"):
        if st.button("Delete", key="delete_go", type="primary", icon=":material/delete:"):
            with errors_shown_here():
                delete_run(state.run_root(), run.id)
                st.query_params.pop("run", None)
                _close()
                st.rerun()
        if st.button("Keep", key="delete_keep", on_click=_close):
            st.rerun()


def _show_promoted(run: RunView) -> None:
    promoted = state.recall("promoted")
    if promoted is None or promoted[0] != run.id:
        return
    st.success(f"Checkpoint {promoted[1]} is written and ready to use.", icon=":material/check_circle:")
    st.page_link(FIT.page, label=f"Open {promoted[1]} in Fit", icon=FIT.icon, query_params={"checkpoint": promoted[1]})


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
