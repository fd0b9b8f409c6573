"""Where a signal comes from: the drop zone, the gallery strip beside it, and the picker for files that hold several."""

from __future__ import annotations

import io
import zipfile

import streamlit as st

from medfuncta_core.config import SignalSpec
from medfuncta_core.errors import CheckpointError, SignalError
from medfuncta_core.signals import Signal, prepare_signal
from pages.shared import state
from pages.shared.components import tiles
from pages.shared.sidebar import KIND_WORDS, Choice
from pages.shared.state import Pick, Upload

FORMATS = "PNG, JPEG, TIFF, DICOM, NIfTI, WFDB (.hea + .dat), CSV, npy or npz. Drop the files of a DICOM series or WFDB record together."
TILES_PER_TURN = 2


def show_drop_zone() -> None:
    """Where a visitor's own files go."""
    st.markdown("**Your own file**", help=FORMATS)
    turn = state.recall("uploader", lambda: 0)
    label = "Drop a medical image, ECG or volume"
    files = st.file_uploader(label, accept_multiple_files=True, key=f"upload-{turn}", label_visibility="collapsed")
    st.caption("Image, ECG or volume: PNG, JPEG, TIFF, DICOM, NIfTI, WFDB, CSV, npy.")
    _notice_upload(files)


def current_source() -> Upload | Pick | None:
    """What is to be fitted, or None while nothing is chosen."""
    return state.recall("source")


def read_source(source: Upload | Pick, choice: Choice) -> Signal:
    """The signal as the chosen checkpoint wants it; a new file first chooses the checkpoint that fits it.

    Raises:
        MedFunctaError: when the file cannot be read, or no checkpoint is of its kind.
    """
    spec = choice.config.signal
    if isinstance(source, Pick):
        return _decode_pick(source, choice)
    if state.recall("matched") != source.identity:
        best = _best_checkpoint(state.read_upload(source.content, source.name, None, 0), choice)
        state.remember("matched", source.identity)
        if best != choice.name:
            state.request_checkpoint(best)
            state.remember("gallery_of", best)
            st.rerun()
    if spec is None:
        raise CheckpointError(
            f"{choice.name} does not say what signals it expects; import it again with the shape of its signals"
        )
    return state.read_upload(source.content, source.name, spec, _pick_index(source, spec))


def show_gallery() -> None:
    """Test signals stored as latents; thumbnails are decoded a few at a time, so the page is there at once."""
    _open_linked_item()
    names = [name for name in state.list_configs() if state.gallery_file(name).is_file()]
    if not names:
        st.markdown("**Gallery**")
        st.caption("No gallery is stored beside these checkpoints. Drop a file on the left to begin.")
        return
    wanted = state.recall("gallery_of")
    if wanted in names:
        state.set_widget("gallery", wanted)
        state.remember("gallery_of", None)
    elif state.widget("gallery") not in names:
        current = state.widget("checkpoint")
        state.set_widget("gallery", current if current in names else names[0])
    head, tabs = st.columns([2, 5], vertical_alignment="center", gap="small")
    head.markdown(
        "**Or one of ours**", help="Signals of test splits, stored as latents and decoded by their checkpoint when you look."
    )
    name = tabs.segmented_control("Gallery of", names, key="gallery", required=True, label_visibility="collapsed")
    gallery = state.load_gallery(name)
    made = state.thumbnails(name, state.gallery_file(name).stat().st_mtime_ns)
    waiting = len(made) < len(gallery)
    st.fragment(_show_strip, run_every=0.2 if waiting else None)(name, gallery, made)


def _show_strip(name: str, gallery: object, made: dict[int, str]) -> None:
    source = state.recall("source")
    selected = str(source.row) if isinstance(source, Pick) and source.checkpoint == name else None
    items = [
        {
            "id": str(row),
            "title": gallery.class_name(row) or gallery.ids[row],
            "detail": f"{gallery.psnr[row]:.1f} dB",
            "src": made.get(row, ""),
        }
        for row in range(len(gallery))
    ]
    picked = tiles(items, selected, label=f"Gallery of {name}", key=f"tiles-{name}")
    if picked is not None:
        pick_item(Pick(name, int(picked)))
        st.rerun()
    missing = [row for row in range(len(gallery)) if row not in made]
    if missing and not state.recall("busy"):
        _make_thumbnails(name, gallery, missing[:TILES_PER_TURN], made)
        if len(made) == len(gallery):
            st.rerun()


def _make_thumbnails(name: str, gallery: object, rows: list[int], made: dict[int, str]) -> None:
    from medfuncta_core.figures import thumbnail
    from medfuncta_core.fitting import Fitter

    kind = state.list_configs()[name].signal.kind
    fitter = Fitter(state.load_field(name, "cpu"), device="cpu")
    shape = gallery.shape if kind == "ecg" else tuple(min(points, 48 if kind == "image" else 24) for points in gallery.shape)
    for row in rows:
        made[row] = thumbnail(fitter.decode(gallery.latents[row], shape), kind)


def pick_item(pick: Pick) -> None:
    """Make a gallery row the signal to fit, with its own checkpoint, and empty the drop zone."""
    state.choose_source(pick)
    state.request_checkpoint(pick.checkpoint)
    state.remember("uploader", state.recall("uploader", lambda: 0) + 1)


def _open_linked_item() -> None:
    """A gallery row named in the address of a fresh visit."""
    if state.recall("link_read"):
        return
    state.remember("link_read", True)
    name, _, row = st.query_params.get("item", "").rpartition("/")
    gallery = state.load_gallery(name) if name in state.list_configs() else None
    if gallery is not None and row.isdecimal() and int(row) < len(gallery):
        state.choose_source(Pick(name, int(row)))
        state.remember("gallery_of", name)
        if state.widget("checkpoint") != name:
            state.request_checkpoint(name)
            st.rerun()


def _notice_upload(files: list) -> None:
    """Turn newly dropped files into the source; taking them away leaves nothing chosen."""
    identity = "+".join(file.file_id for file in files)
    source = state.recall("source")
    if files and not (isinstance(source, Upload) and source.identity == identity):
        if state.recall("seen_upload") != identity:
            state.choose_source(_pack(files, identity))
    elif not files and isinstance(source, Upload):
        state.choose_source(None)
    state.remember("seen_upload", identity)


def _pack(files: list, identity: str) -> Upload:
    if len(files) == 1:
        return Upload(files[0].name, files[0].getvalue(), identity)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in files:
            archive.writestr(file.name, file.getvalue())
    stem = sorted(file.name for file in files)[0].partition(".")[0]
    return Upload(f"{stem}.zip", buffer.getvalue(), identity)


def _best_checkpoint(signal: Signal, choice: Choice) -> str:
    """The current checkpoint where it fits, else the first of the signal's kind, the same number of channels first."""
    fitting = {
        name: config.signal
        for name, config in state.list_configs().items()
        if config.signal and config.signal.kind == signal.kind
    }
    if not fitting:
        raise SignalError(
            f"{signal.name} is a {KIND_WORDS[signal.kind]}, and no checkpoint here is for one; train or import one first"
        )
    same = [name for name, spec in fitting.items() if spec.channels == signal.channels]
    candidates = same or list(fitting)
    return choice.name if choice.name in candidates else candidates[0]


def _pick_index(source: Upload, spec: SignalSpec) -> int:
    """Which of the beats, rows or slices of a file; asked only where it holds several."""
    count = state.count_upload(source.content, source.name, spec)
    if count <= 1:
        return 0
    word = {"ecg": "Beat", "image": "Slice or page"}.get(spec.kind, "Signal")
    help_text = f"The file holds {count:,}; this one is fitted."
    number = st.number_input(
        f"{word} (1 to {count:,})", 1, count, 1, key=f"index-{source.identity}-{spec.kind}", help=help_text, width=220
    )
    return int(number) - 1


def _decode_pick(pick: Pick, choice: Choice) -> Signal:
    """A gallery row as a signal, decoded by the checkpoint that fitted it, and brought to the chosen one where that is another."""
    from medfuncta_core.fitting import Fitter

    gallery = state.load_gallery(pick.checkpoint)
    spec = state.list_configs()[pick.checkpoint].signal
    fitter = Fitter(state.load_field(pick.checkpoint, "cpu"), device="cpu")
    rate = spec.sampling_rate
    where = f"{gallery.data} {gallery.ids[pick.row]}".strip()
    signal = Signal(
        fitter.decode(gallery.latents[pick.row], gallery.shape),
        kind=spec.kind,
        name=f"{pick.checkpoint} {gallery.ids[pick.row]}",
        spacing=(1 / rate,) if rate else None,
        spacing_unit="s" if rate else "",
        original_shape=tuple(gallery.shape),
        notes=(f"Decoded from a stored latent, which reached {gallery.psnr[pick.row]:.1f} dB on the original ({where}).",),
        class_name=gallery.class_name(pick.row),
    )
    return (
        signal if pick.checkpoint == choice.name or choice.config.signal is None else prepare_signal(signal, choice.config.signal)
    )
