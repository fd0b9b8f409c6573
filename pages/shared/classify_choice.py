"""Which set is classified, by what, and on which features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.shared import state, widgets
from pages.shared.sidebar import KIND_WORDS
from pages.shared.state import SetRow

if TYPE_CHECKING:
    from medfuncta_core.mednf import MednfSet
    from medfuncta_core.mednf.classifying_results import ClassifyRequest

CLASSIFIERS: dict[str, dict[str, Any]] = {
    "k-NN, k = 1": {"method": "knn", "k": 1},
    "k-NN, k = 3": {"method": "knn", "k": 3},
    "MLP": {"method": "mlp"},
    "Logistic regression": {"method": "logistic"},
}
"""As in the paper's Table 3, and the simplest trained classifier beside them."""
PIXEL_CLASSIFIERS: dict[str, dict[str, Any]] = {
    "ResNet50": {"method": "resnet50"},
    "EfficientNet-B0": {"method": "efficientnet"},
}
SPACES = {"Latents": "latent", "Modulations": "modulation", "Pixels": "pixels"}
SCALINGS = {"Raw": "raw", "Standardised": "standardised", "Whitened": "whitened"}
CLASSIFIER_HELP = (
    "k-NN asks the nearest training signals; the MLP is the paper's: three layers, 50 epochs, the best on validation; the "
    "logistic regression shows what straight boundaries do. ResNet50 and EfficientNet-B0 learn from the pixels instead, from "
    "scratch, which takes minutes to hours."
)


@dataclass(frozen=True)
class Plan:
    """What a visitor wants classified.

    Args:
        set: Name of the set.
        folder: Where its results are kept.
        requests: What to do, in order.
        data: What the set was encoded from, where it was said.
        device: auto, cpu or cuda.
    """

    set: str
    folder: Path
    requests: tuple[ClassifyRequest, ...]
    data: str | None
    device: str

    @property
    def needs_data(self) -> bool:
        """Whether pixels are asked for and nobody said where they are."""
        return self.data is None and any(request.inputs == "pixels" for request in self.requests)


def choose_set() -> str | None:
    """The set: of the address, else of the signal that was looked at last, else the first; None when there is none."""
    names = state.list_set_names()
    if not names:
        return None
    if widgets.widget("classify_set") not in names:
        source = state.recall("source")
        wanted = [st.query_params.get("set"), source.set if isinstance(source, SetRow) else None, names[0]]
        widgets.set_widget("classify_set", next(name for name in wanted if name in names))
    left, right = st.columns([2, 5], gap="medium", vertical_alignment="bottom")
    name = left.selectbox("Set", names, key="classify_set", help="A MedNF set: latents of a whole data set, with their classes.")
    right.caption(describe_set(state.load_set(name)))
    st.query_params["set"] = name
    st.query_params.pop("row", None)
    return name


def describe_set(latents: MednfSet) -> str:
    """A set in one line: what there is to learn from, and what is to be told apart."""
    info = latents.info
    splits = " / ".join(f"{len(latents.rows_of(split)):,}" for split in ("train", "val", "test"))
    parts = [f"**{splits}** signals to learn from, to choose by, to test", f"{len(info.class_names)} classes"]
    parts += [f"latent of {info.latent_dim:,} from {KIND_WORDS[info.kind]} {info.data.name}", *filter(None, [info.licence])]
    return " · ".join(parts).replace("$", "\\$")


def show_no_sets() -> None:
    """How to get a set."""
    st.info(
        f"There is no set in `{state.set_root()}` yet. Make one from any data with classes: "
        "`python -m medfuncta_core encode checkpoints/ecg --data DATA --out sets/NAME`, or start the app with "
        "`MEDFUNCTA_SETS` set to a folder that has some.",
        icon=":material/folder_open:",
    )


def choose_plan(name: str, device: str) -> Plan:
    """Classifiers, and, folded away, what they see and how they learn.

    Raises:
        SetError: when the set has not all splits and classes, before anybody starts anything.
    """
    from medfuncta_core.mednf.classifying_features import split_rows
    from medfuncta_core.mednf.classifying_results import ClassifyRequest

    latents = state.load_set(name)
    split_rows(latents)
    offered = CLASSIFIERS | (PIXEL_CLASSIFIERS if latents.info.kind == "image" else {})
    chosen: Sequence[str] = st.pills(
        "Classifiers",
        list(offered),
        default=list(CLASSIFIERS),
        selection_mode="multi",
        key=f"classifiers-{latents.info.kind}",
        help=CLASSIFIER_HELP,
    )
    with st.expander("Features and settings", icon=":material/tune:"):
        common, votes, data = _choose_settings(latents)
    methods = [offered[title] for title in offered if title in chosen]
    methods += [{"method": "knn", "k": votes}] if votes else []
    requests = [ClassifyRequest.parse(method | common, "classify") for method in methods]
    distinct = {request.key: request for request in requests}
    return Plan(name, state.result_folder(name), tuple(distinct.values()), data, device)


def _choose_settings(latents: MednfSet) -> tuple[dict[str, Any], int | None, str | None]:
    """Settings that all classifiers share, one more k, and where the pixels are."""
    first, second, third = st.columns(3, gap="medium")
    space = first.segmented_control(
        "Features",
        list(SPACES),
        default="Latents",
        required=True,
        key="classify_space",
        help="Latents as stored, the modulations that the network makes of them, or the signals' own values, for comparison.",
    )
    scaling = second.segmented_control(
        "Scaling",
        list(SCALINGS),
        default="Standardised",
        required=True,
        key="classify_scaling",
        help="By training signals only. Standardised: every number has deviation 1; whitened: every principal component.",
    )
    metric = third.segmented_control(
        "Distance of k-NN", ["Cosine", "Euclidean"], default="Cosine", required=True, key="classify_metric"
    )
    first, second, third = st.columns(3, gap="medium")
    votes = first.number_input("One more k", 1, 999, None, key="classify_k", placeholder="none", help="k-NN with so many voters.")
    epochs = second.number_input(
        "Epochs", 1, 1000, 50, key="classify_epochs", help="Of networks: passes over the training signals."
    )
    seed = third.number_input("Seed", 0, 9999, 0, key="classify_seed", help="Of initial weights, dropout and order.")
    data = st.text_input(
        "Data the set was encoded from (for pixels)",
        key=f"classify_data-{latents.name}",
        placeholder=latents.info.data.file or latents.info.data.name,
        help="On the machine that runs this app: a MedMNIST name, the path of an .npz, or a folder. A set holds latents only.",
    )
    common = {
        "space": SPACES[space or "Latents"],
        "scaling": SCALINGS[scaling or "Standardised"],
        "metric": (metric or "Cosine").lower(),
    }
    return common | {"epochs": int(epochs), "seed": int(seed)}, int(votes) if votes else None, data.strip() or None
