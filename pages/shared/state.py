"""This visitor's choices, and what all visitors share: the only place that touches `st.session_state` and `st.cache_*`.

Frozen fields and gallery files are shared. A visitor's signal, fit and choices live in their session only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from medfuncta_core.config import CheckpointConfig, Kind, SignalSpec
from medfuncta_core.runs.curves import CurveReader
from medfuncta_core.runs.samples import read_samples
from medfuncta_core.signals import Signal, count_signals, read_signal

if TYPE_CHECKING:  # torch is imported when a field is needed, so that a first visit shows the page before
    from medfuncta_core.checkpoint import Checkpoint, Gallery
    from medfuncta_core.mednf import MednfSet

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Upload:
    """Files a visitor dropped: one file as it is, several packed into a zip archive in memory."""

    name: str
    content: bytes
    identity: str
    digest: str
    """Of the content; stands for it wherever uploads are compared, which may be hundreds of megabytes."""


@dataclass(frozen=True)
class Pick:
    """A row of a checkpoint's gallery."""

    checkpoint: str
    row: int


@dataclass(frozen=True)
class SetRow:
    """A row of a MedNF set."""

    set: str
    row: int


Stored = Pick | SetRow
"""Signals that are kept as latents."""
Source = Upload | Stored
"""Where a signal comes from."""


def checkpoint_root() -> Path:
    """Where checkpoints are looked for: `MEDFUNCTA_CHECKPOINTS`, else the repository's `checkpoints/`."""
    return Path(os.environ.get("MEDFUNCTA_CHECKPOINTS", ROOT / "checkpoints"))


def gallery_file(checkpoint: str) -> Path:
    """The gallery of a checkpoint: in `MEDFUNCTA_GALLERY`, else in the repository's `assets/gallery/`."""
    return Path(os.environ.get("MEDFUNCTA_GALLERY", ROOT / "assets" / "gallery")) / f"{checkpoint}.safetensors"


def data_root() -> Path:
    """Where uploaded data sets are kept: `MEDFUNCTA_DATA`, else the repository's `data/`."""
    return Path(os.environ.get("MEDFUNCTA_DATA", ROOT / "data"))


def set_root() -> Path:
    """Where MedNF sets are looked for: `MEDFUNCTA_SETS`, else the repository's `sets/`."""
    return Path(os.environ.get("MEDFUNCTA_SETS", ROOT / "sets"))


def enter_app() -> None:
    """Have app.py around the page, also when a visitor's link to it is the first thing that a new server sees.

    Until `st.navigation` was called once, Streamlit serves the files of `pages/` by themselves, without the app's frame.
    """
    from streamlit.runtime.pages_manager import PagesManager

    if PagesManager.uses_pages_directory:
        PagesManager.uses_pages_directory = False
        st.rerun()


def remember(name: str, value: Any) -> None:
    """Keep something for this visitor until they leave."""
    st.session_state[f"medfuncta.{name}"] = value


def recall(name: str, make: Callable[[], Any] = lambda: None) -> Any:
    """What `remember` kept; made and kept now when there is nothing yet."""
    key = f"medfuncta.{name}"
    if key not in st.session_state:
        st.session_state[key] = make()
    return st.session_state[key]


def request_checkpoint(name: str) -> None:
    """Choose a checkpoint from code; takes effect at the start of the next run, before its widget is drawn."""
    remember("wanted_checkpoint", name)


def choose_source(source: Source | None) -> None:
    """Make an upload, a gallery row or a row of a set the signal to fit, and say so in the address."""
    remember("source", source)
    address = {} if source is None or isinstance(source, Upload) else address_of(source)
    for name in ("item", "set", "row"):
        if name in address:
            st.query_params[name] = address[name]
        else:
            st.query_params.pop(name, None)


def address_of(source: Stored) -> dict[str, str]:
    """The parameters of an address that name a stored signal."""
    if isinstance(source, Pick):
        return {"item": f"{source.checkpoint}/{source.row}"}
    return {"set": source.set, "row": str(source.row)}


def list_configs() -> dict[str, CheckpointConfig]:
    """Configurations of all checkpoints, by directory name; read again when a directory changes."""
    root = checkpoint_root()
    files = sorted(root.glob("*/config.json"))
    return _read_configs(str(root), tuple((str(file), file.stat().st_mtime_ns) for file in files))


@st.cache_data(show_spinner=False, max_entries=4)
def _read_configs(root: str, version: tuple[tuple[str, int], ...]) -> dict[str, CheckpointConfig]:
    from medfuncta_core.checkpoint import list_checkpoints

    return {found.path.name: found.config for found in list_checkpoints(root)}


def load_field(name: str, device: str) -> Checkpoint:
    """The frozen `Checkpoint` of a name, shared by everybody."""
    return _load_field(str(checkpoint_root() / name), field_version(name), device)


def field_version(name: str) -> int:
    """Changes when a checkpoint's weights do."""
    return _version(checkpoint_root() / name / "model.safetensors")


def weights_digest(name: str) -> str:
    """SHA-256 of a checkpoint's weights, which a set states of the network that its latents belong to."""
    return _digest(str(checkpoint_root() / name / "model.safetensors"), field_version(name))


@st.cache_data(show_spinner=False, max_entries=64)
def _digest(path: str, version: int) -> str:
    file = Path(path)
    if not file.is_file():
        return ""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def gallery_version(name: str) -> int:
    """Changes when a checkpoint's gallery does."""
    return _version(gallery_file(name))


def _version(file: Path) -> int:
    return file.stat().st_mtime_ns if file.is_file() else 0


@st.cache_resource(show_spinner=False, max_entries=8)
def _load_field(path: str, version: int, device: str) -> Checkpoint:
    from medfuncta_core.checkpoint import load_checkpoint

    return load_checkpoint(path, device)


def load_gallery(name: str) -> Gallery:
    """The gallery of a checkpoint.

    Raises:
        CheckpointError: when there is none, or it cannot be read.
    """
    return _load_gallery(str(gallery_file(name)), gallery_version(name))


@st.cache_resource(show_spinner=False, max_entries=16)
def _load_gallery(path: str, version: int) -> Gallery:
    from medfuncta_core.checkpoint import load_gallery

    return load_gallery(path)


def list_set_names() -> tuple[str, ...]:
    """Names of the MedNF sets that are there; the last thing written of a set is its metadata."""
    return tuple(sorted(file.parent.name for file in set_root().glob("*/metadata.parquet")))


def set_version(name: str) -> int:
    """Changes when a set does."""
    return _version(set_root() / name / "metadata.parquet")


def load_set(name: str) -> MednfSet:
    """A MedNF set, its latents left on the disk until they are asked for.

    Raises:
        SetError: when there is none, or it cannot be read.
    """
    return _load_set(str(set_root() / name), set_version(name))


@st.cache_resource(show_spinner=False, max_entries=16)
def _load_set(path: str, version: int) -> MednfSet:
    from medfuncta_core.mednf import open_set

    return open_set(path)


def result_folder(name: str) -> Path:
    """Where results on a set are kept: in the cache, by the set's content, so that a changed set has none."""
    from medfuncta_core.signals.medmnist_files import default_cache_dir

    return default_cache_dir() / "classified" / load_set(name).fingerprint[:24]


def load_set_field(name: str, device: str) -> Checkpoint:
    """The frozen network that a set's latents belong to, shared by everybody."""
    weights = _version(load_set(name).checkpoint_path / "model.safetensors")
    return _load_network(str(set_root() / name), (set_version(name), weights), device)


@st.cache_resource(show_spinner=False, max_entries=8)
def _load_network(path: str, version: tuple[int, int], device: str) -> Checkpoint:
    from medfuncta_core.mednf import open_set
    from medfuncta_core.mednf.network import load_network

    return load_network(open_set(path), device)


def kind_of(source: Stored) -> Kind | None:
    """What kind of signal is stored, where that is known."""
    if isinstance(source, SetRow):
        return load_set(source.set).info.kind
    signal = list_configs()[source.checkpoint].signal
    return signal.kind if signal else None


@st.cache_resource(show_spinner=False, max_entries=16)
def thumbnails(checkpoint: str, version: int) -> dict[int, str]:
    """Thumbnails of a gallery made so far, row to `data:` address; filled by the gallery strip, shared by everybody."""
    return {}


UPLOADS: dict[str | type, Callable[..., str]] = {
    Upload: lambda upload: f"{upload.digest} {upload.name}",
    SignalSpec: SignalSpec.model_dump_json,
}
"""What cached readings are known by."""


@st.cache_data(show_spinner="Reading the file", max_entries=256, hash_funcs=UPLOADS)
def inspect_upload(upload: Upload) -> tuple[Kind, int]:
    """Kind and number of channels of what a file holds. The values are not kept: a whole scan may be very large."""
    signal = read_signal(upload.content, upload.name)
    return signal.kind, signal.channels


@st.cache_data(show_spinner="Reading the file", max_entries=8, ttl="15m", hash_funcs=UPLOADS)
def read_upload(upload: Upload, spec: SignalSpec, index: int) -> Signal:
    """The signal in a file's bytes as a checkpoint expects it; kept for a while only, it is somebody's scan."""
    return read_signal(upload.content, upload.name, spec=spec, index=index)


@st.cache_data(show_spinner=False, max_entries=256, hash_funcs=UPLOADS)
def count_upload(upload: Upload, spec: SignalSpec) -> int:
    """How many beats, rows or slices a file offers to a checkpoint."""
    return count_signals(upload.content, upload.name, spec)


def run_root() -> Path:
    """Where runs are kept and looked for: `MEDFUNCTA_RUNS`, else the repository's `runs/`."""
    return Path(os.environ.get("MEDFUNCTA_RUNS", ROOT / "runs"))


@st.cache_resource(show_spinner=False, max_entries=64)
def curve_reader(path: str) -> CurveReader:
    """Reads a run's curves as they grow; shared by everybody, so that a long run is read once."""
    return CurveReader(Path(path))


@st.cache_data(show_spinner=False, max_entries=256)
def sample_pictures(path: str, step: int, height: int) -> dict[str, list[str]]:
    """The samples of a run's step as pictures: `data:` addresses by what they show. A step's samples are written once."""
    from medfuncta_core import figures

    samples = read_samples(Path(path), step)
    if samples is None:
        return {}
    kind = "ecg" if samples.kind == "ecg" else "image"  # volumes are kept as their middle slices
    return {
        "input": [figures.frame_url(values, kind, height) for values in samples.inputs],
        "reconstruction": [figures.frame_url(values, kind, height) for values in samples.reconstructions],
        "initial": [figures.frame_url(samples.initial, kind, height)],
    }
