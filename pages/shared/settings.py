"""Rare settings of a fit, folded away: method, steps, learning rate, share of points, and a mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from medfuncta_core.config import FitConfig, FitMethod, Kind
from pages.shared.sidebar import Choice

AXES: dict[Kind, tuple[str, ...]] = {
    "ecg": ("Time",),
    "image": ("Rows", "Columns"),
    "volume": ("First axis", "Second axis", "Third axis"),
}
METHODS: dict[FitMethod, str] = {"gradient_descent": "Gradient descent", "gauss_newton": "Gauss-Newton"}
BOX_WORDS: dict[Kind, str] = {"ecg": "Interval", "image": "Rectangle", "volume": "Box"}


@dataclass(frozen=True)
class Hiding:
    """Which part of a signal a fit does not see."""

    how: Literal["nothing", "random", "box"] = "nothing"
    hidden_share: float = 0.5
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def make_mask(self, shape: tuple[int, ...]) -> Any:
        """Booleans of `shape`, True where a point is used; None when nothing is hidden."""
        from medfuncta_core.grids import box_mask, random_mask

        if self.how == "random":
            return random_mask(shape, 1 - self.hidden_share)
        return box_mask(shape, self.low, self.high) if self.how == "box" else None


def choose_settings(choice: Choice, more: Callable[[], None] = lambda: None) -> tuple[FitConfig, Hiding]:
    """Draw the folded settings; a change starts the fit again. The checkpoint's own values are always within reach.

    Args:
        choice: Whose settings are the default.
        more: Draws a page's own settings below them.
    """
    default = choice.config.fit
    percent = max(1, round(100 * default.selection_ratio))
    kind = choice.config.signal.kind if choice.config.signal else "image"
    with st.expander("Fit settings", icon=":material/tune:"):
        method = st.segmented_control(
            "Method",
            list(METHODS),
            default=default.method,
            required=True,
            format_func=METHODS.__getitem__,
            key=f"method-{choice.name}",
            help="Gradient descent takes the paper's plain steps. Gauss-Newton begins with them, then takes steps that use "
            "the curvature: each costs two to three times as much and brings far more.",
        )
        first, second, third = st.columns(3, gap="medium")
        steps = first.number_input(
            "Fit steps",
            1,
            max(2000, default.steps),
            default.steps,
            key=f"fit_steps-{choice.name}",
            help="Steps of the latent; the shared network stays.",
        )
        rate = second.number_input(
            "Inner learning rate",
            min_value=min(1e-5, default.inner_lr),
            max_value=max(10.0, default.inner_lr),
            value=default.inner_lr,
            format="%.5g",
            key=f"inner_lr-{choice.name}",
            help="How far the latent moves in one step. The checkpoint was trained with its default.",
        )
        share = third.slider(
            "Share of points per step",
            1,
            100,
            percent,
            format="%d %%",
            key=f"share-{choice.name}",
            help="Points used; fewer are faster and noisier. Gradient descent draws them anew at every step.",
        )
        hiding = _choose_hiding(kind)
        more()
    ratio = default.selection_ratio if share == percent else share / 100  # the slider's whole per cents may round it
    chosen = {"steps": int(steps), "inner_lr": float(rate), "selection_ratio": ratio, "method": method}
    return default.model_copy(update=chosen), hiding


def _choose_hiding(kind: Kind) -> Hiding:
    options = {"Nothing": "nothing", "Random points": "random", BOX_WORDS[kind]: "box"}
    word = st.segmented_control(
        "Hide from the fit",
        list(options),
        default="Nothing",
        required=True,
        key=f"hide-{kind}",
        help="The fit sees only the rest; the field fills in what is hidden.",
    )
    how = options[word or "Nothing"]
    if how == "random":
        share = st.slider("Share hidden", 5, 95, 50, step=5, format="%d %%", key=f"hidden-{kind}")
        return Hiding("random", hidden_share=share / 100)
    if how == "box":
        columns = st.columns(len(AXES[kind]), gap="medium")
        spans = [
            column.slider(f"{axis} hidden", 0, 100, (35, 65), format="%d %%", key=f"box-{kind}-{axis}")
            for column, axis in zip(columns, AXES[kind], strict=True)
        ]
        spans = [(low, max(high, low + 1)) if low < 100 else (99, 100) for low, high in spans]
        return Hiding("box", low=tuple(low / 100 for low, _ in spans), high=tuple(high / 100 for _, high in spans))
    return Hiding()
