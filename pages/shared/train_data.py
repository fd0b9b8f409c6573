"""Which data to train on: a MedMNIST name, an upload that is kept, or a path on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from medfuncta_core.errors import DataSetError
from medfuncta_core.signals import DataSurvey, survey_data_set
from medfuncta_core.signals.data_sets import path_exists
from medfuncta_core.signals.keeping import MAX_UPLOAD_BYTES, keep_data_set, list_kept
from medfuncta_core.signals.medmnist_files import cached_medmnist, find_medmnist, list_medmnist
from pages.shared import state, widgets
from pages.shared.messages import errors_shown_here
from pages.shared.train_download import show_download

MEDMNIST, UPLOAD, PATH = "MedMNIST", "Upload", "On this machine"


@dataclass(frozen=True, eq=False)
class TrainData:
    """Data that can be trained on.

    Args:
        data: What `load_data_set` takes.
        survey: What is in it.
        licence: As its publisher states it; "" when not known.
    """

    data: str
    survey: DataSurvey
    licence: str = ""


def choose_data() -> TrainData | None:
    """Draw the choice; None while there is nothing to train on, which the page then says what to do about."""
    _open_linked_data()
    if widgets.widget("data_from") is None:
        widgets.set_widget("data_from", MEDMNIST)
    where = st.segmented_control("Where is the data?", [MEDMNIST, UPLOAD, PATH], required=True, key="data_from")
    chosen: TrainData | None = None
    with errors_shown_here():
        if where == MEDMNIST:
            chosen = _choose_medmnist()
        else:
            data = _choose_upload() if where == UPLOAD else _choose_path()
            chosen = TrainData(data, _survey(data, _version(data))) if data else None
    if chosen is not None:
        st.query_params["data"] = chosen.data
    return chosen


def _open_linked_data() -> None:
    """What the address of a fresh visit names."""
    if state.recall("train_link_read"):
        return
    state.remember("train_link_read", True)
    data = st.query_params.get("data", "")
    name, _, edge = data.partition(":")
    if name in list_medmnist():
        widgets.set_widget("medmnist_name", name)
        sizes = [size for size in list_medmnist()[name] if str(size) == edge]
        widgets.set_widget(f"medmnist_edge-{name}", sizes[0] if sizes else 28)
    elif data:
        kept = Path(data) in list_kept(state.data_root().resolve())
        widgets.set_widget("data_from", UPLOAD if kept else PATH)
        widgets.set_widget("kept_data" if kept else "data_path", data)


def _choose_medmnist() -> TrainData | None:
    sets = list_medmnist()
    name = st.selectbox(
        "Data set", list(sets), key="medmnist_name", help="MedMNIST's own names; a name that ends in 3d holds volumes."
    )
    size = f"medmnist_edge-{name}"
    if widgets.widget(size) is None:
        widgets.set_widget(size, sets[name][0])
    edge = st.segmented_control("Size", sets[name], required=True, key=size, help="Points per axis as published.")
    flag = find_medmnist(f"{name}:{edge}")
    if flag is None or not cached_medmnist(flag).is_file():
        if flag is not None:
            show_download(flag)
        return None
    data = f"{name}:{edge}"
    return TrainData(data, _survey(data, _version(str(cached_medmnist(flag)))), flag.licence)


def _choose_upload() -> str:
    file = st.file_uploader(
        "A .npz with MedMNIST's keys, a .csv of beats, or a .zip of pictures or volumes",
        type=["npz", "zip", "csv"],
        key="data_upload",
        max_upload_size=MAX_UPLOAD_BYTES // 2**20,
        help="A .zip holds a sub-folder a class, or train, val and test folders with one each; without them one file in ten "
        "validates. Uploads are kept in the data folder of this app, so that a run can be resumed.",
    )
    if file is not None and state.recall("kept_upload") != file.file_id:
        kept = keep_data_set(file.getvalue(), file.name, state.data_root())
        state.remember("kept_upload", file.file_id)
        widgets.set_widget("kept_data", str(kept.resolve()))
    there = [str(path) for path in list_kept(state.data_root().resolve())]
    if not there:
        return ""
    return st.selectbox("Data sets kept here", there, key="kept_data", format_func=lambda path: Path(path).name)


def _choose_path() -> str:
    data = st.text_input(
        "Path of a .npz, a .csv or a folder",
        key="data_path",
        placeholder="a path on the machine that runs this app",
        help="A folder holds a sub-folder a class, under train, val and test folders or not.",
    ).strip()
    if data and not path_exists(Path(data).expanduser()):
        raise DataSetError(f"{data}: no such file or folder on this machine; check the path")
    return data


def _version(data: str) -> int:
    path = Path(data).expanduser()
    return path.stat().st_mtime_ns if path_exists(path) else 0


@st.cache_data(show_spinner="Looking into the data", max_entries=16)
def _survey(data: str, version: int) -> DataSurvey:
    return survey_data_set(data)
