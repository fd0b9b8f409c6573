"""Where a signal comes from: the drop zone, the gallery, and the picker for files that hold several."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Hashable
from typing import Any

import streamlit as st

from medfuncta_core import figures
from medfuncta_core.config import Kind, SignalSpec
from medfuncta_core.errors import CheckpointError, SignalError
from medfuncta_core.signals import Signal
from pages.shared import state
from pages.shared.handover import decode_source
from pages.shared.messages import escape
from pages.shared.sidebar import KIND_WORDS, Choice
from pages.shared.state import Pick, SetRow, Source, Upload

FORMATS = "Drop the files of one DICOM series (.dcm) or one WFDB record (.hea, .dat, .atr) together."

ALONE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".nii", ".gz", ".csv", ".npy", ".npz", ".zip")  # never a record's part


def show_drop_zone(kind: Kind | None = None) -> None:
    """Where a visitor's own files go.

    Args:
        kind: What the page is for; everything when None.
    """
    st.markdown("**Drop your own file**", help=FORMATS)
    turn = state.recall("uploader", lambda: 0)
    label = "Drop a medical image, ECG or volume"
    files = st.file_uploader(label, accept_multiple_files=True, key=f"upload-{turn}", label_visibility="collapsed")
    everything = "Image, ECG or volume: PNG, JPEG, TIFF, DICOM, NIfTI, WFDB, CSV, npy."
    st.caption("NIfTI, a DICOM series (zipped, or all its files at once), or npy." if kind == "volume" else everything)
    _notice_upload(files)


def show_what_to_do(choice: Choice | None) -> None:
    """What to do next while there is nothing to fit."""
    if choice is None:
        root = state.checkpoint_root()
        st.warning(
            f"There is no checkpoint in `{root}` yet. Train one with `python -m medfuncta_core train`, bring one in with "
            "`import-official`, or start the app with `MEDFUNCTA_CHECKPOINTS` set to a folder that has some.",
            icon=":material/folder_open:",
        )
        return
    with st.container(key="warm_up"):  # out of sight: the browser loads the plotting code while the visitor chooses
        st.plotly_chart(figures.psnr_curve([0], [0.0], 1), key="warm_up_chart")
    st.info("Drop a file or pick a signal: the fit starts at once and you can watch every step.", icon=":material/arrow_upward:")


def current_source() -> Source | None:
    """What is to be fitted, or None while nothing is chosen."""
    return state.recall("source")


def read_source(source: Source, choice: Choice) -> tuple[Signal, Hashable]:
    """The signal as the chosen checkpoint wants it; a new file first chooses the checkpoint that fits it.

    Returns:
        The signal, and what it was made from: equal for equal signals.

    Raises:
        MedFunctaError: when the file cannot be read, or no checkpoint is of its kind.
    """
    spec = choice.config.signal
    if isinstance(source, Pick):
        return decode_source(source, spec), (source, state.gallery_version(source.checkpoint))
    if isinstance(source, SetRow):
        return decode_source(source, spec), (source, state.set_version(source.set))
    if state.recall("matched") != source.identity:
        best = best_checkpoint(source.name, *state.inspect_upload(source), choice)
        state.remember("matched", source.identity)
        if best != choice.name:
            state.request_checkpoint(best)
            state.remember("gallery_of", best)
            st.rerun()
    if spec is None:
        raise CheckpointError(
            f"{choice.name} does not say what signals it expects; import it again with the shape of its signals"
        )
    index = pick_index(source, spec)
    return state.read_upload(source, spec, index), (source.digest, source.name, index)


def is_carried(source: Source | None) -> bool:
    """Whether it is a file that was dropped before this page was opened."""
    visit, _ = _seen_upload()
    return isinstance(source, Upload) and visit != state.recall("visit")


def _seen_upload() -> tuple[int | None, str]:
    """What the drop zone held when it was drawn last, and during which page's visit."""
    return state.recall("seen_upload") or (None, "")


def _notice_upload(files: list[Any]) -> None:
    """Turn newly dropped files into the source; taking them away leaves nothing chosen, leaving the page does not."""
    identity, visit = "+".join(file.file_id for file in files), state.recall("visit")
    source, seen = state.recall("source"), _seen_upload()
    if files and not (isinstance(source, Upload) and source.identity == identity):
        if seen != (visit, identity):
            state.choose_source(pack_files(files))
    elif not files and isinstance(source, Upload):
        if seen[0] != visit:  # its network may be another by now
            state.remember("matched", None)
        elif seen[1]:
            state.choose_source(None)
    state.remember("seen_upload", (visit, identity))
    source = state.recall("source")
    if not files and isinstance(source, Upload):
        _show_carried(source)


def _show_carried(source: Upload) -> None:
    """The file that another page left; Streamlit's drop zone does not show it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="carried"):
        st.markdown(f":material/draft: {escape(source.name)}", width="content")
        look: dict[str, Any] = {"icon": ":material/close:", "type": "tertiary"}
        st.button("Take the file away", key="drop_carried", on_click=state.choose_source, args=(None,), **look)


def pack_files(files: list[Any]) -> Upload:
    """The newest of dropped files as an upload, together with those that it belongs to."""
    identity = "+".join(file.file_id for file in files)
    files = belonging_together(files)
    if len(files) == 1:
        return _upload(files[0].name, files[0].getvalue(), identity)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in files:
            archive.writestr(file.name, file.getvalue())
    stem = sorted(file.name for file in files)[0].partition(".")[0]
    return _upload(f"{stem}.zip", buffer.getvalue(), identity)


def belonging_together(files: list[Any]) -> list[Any]:
    """Of dropped files the last one's DICOM series or WFDB record, else it alone: the one before was looked at already."""
    newest = files[-1]
    if _is_dicom(newest):
        return [file for file in files if _is_dicom(file)]
    if newest.name.lower().endswith(ALONE):
        return [newest]
    return [file for file in files if not _is_dicom(file) and not file.name.lower().endswith(ALONE)]


def _is_dicom(file: Any) -> bool:
    return bytes(file.getbuffer()[128:132]) == b"DICM"  # without a copy of it all


def _upload(name: str, content: bytes, identity: str) -> Upload:
    return Upload(name, content, identity, hashlib.sha256(content).hexdigest())


def best_checkpoint(file: str, kind: Kind, channels: int, choice: Choice) -> str:
    """The current checkpoint where it fits, else the first of the signal's kind, the same number of channels first."""
    fitting = {
        name: config.signal for name, config in state.list_configs().items() if config.signal and config.signal.kind == kind
    }
    if not fitting:
        raise SignalError(f"{file} is a {KIND_WORDS[kind]}, and no checkpoint here is for one; train or import one first")
    same = [name for name, spec in fitting.items() if spec.channels == channels]
    candidates = same or list(fitting)
    return choice.name if choice.name in candidates else candidates[0]


def pick_index(source: Upload, spec: SignalSpec) -> int:
    """Which of the beats, rows or slices of a file; asked only where it holds several."""
    count = state.count_upload(source, spec)
    if count <= 1:
        return 0
    word = {"ecg": "Beat", "image": "Slice or page"}.get(spec.kind, "Signal")
    help_text = f"The file holds {count:,}; this one is fitted."
    number = st.number_input(
        f"{word} (1 to {count:,})", 1, count, 1, key=f"index-{source.identity}-{spec.kind}", help=help_text, width=220
    )
    return int(number) - 1
