"""What every page shares: which checkpoint, on which device."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from medfuncta_core.config import CheckpointConfig, Kind
from pages.shared import state, widgets

KIND_WORDS = {"ecg": "ECG", "image": "image", "volume": "volume"}


@dataclass(frozen=True)
class Choice:
    """The checkpoint and device a visitor works with."""

    name: str
    config: CheckpointConfig
    device: str


def show_sidebar(kind: Kind | None = None) -> Choice | None:
    """Draw the sidebar; None when there is no checkpoint to choose, which the page explains.

    Args:
        kind: Offer the checkpoints of this kind of signal only; all when None.
    """
    state.enter_app()
    configs = {
        name: config
        for name, config in state.list_configs().items()
        if kind is None or (config.signal is not None and config.signal.kind == kind)
    }
    with st.sidebar:
        if not configs:
            st.caption("No checkpoint yet.")
            return None
        _apply_wanted(configs)
        name = st.selectbox(
            "Checkpoint",
            list(configs),
            key=widgets.replaceable_key("checkpoint"),
            on_change=_follow_checkpoint,
            help="A shared network, meta-learned on one kind of data. Your signal becomes a latent vector that modulates it.",
        )
        st.query_params["checkpoint"] = name
        st.caption(describe(configs[name]))
        device = st.selectbox("Device", _devices(), key="device", help="Where fits run. Auto takes the GPU when there is one.")
        st.caption("Light or dark: menu :material/more_vert: at the top right.")
    return Choice(name, configs[name], device)


def chosen_name() -> str | None:
    """Name of the chosen checkpoint, also before the sidebar is drawn in this run."""
    return widgets.widget(widgets.replaceable_key("checkpoint"))


def describe(config: CheckpointConfig) -> str:
    """A checkpoint in one line: what it expects, how long its latents are, how well it does."""
    parts: list[str] = []
    if config.signal is not None:
        shape = " × ".join(str(points) for points in config.signal.shape)
        colour = " RGB" if config.signal.channels == 3 else ""
        parts.append(f"{shape}{colour} {KIND_WORDS[config.signal.kind]}")
    parts.append(f"latent of {config.field.latent_dim:,}")
    own = (config.fit.method, config.fit.steps)
    tested = [of for of in config.metrics if of.split == "test" and (of.method, of.fit_steps) == own]
    if tested:
        parts.append(f"{tested[-1].psnr:.1f} dB on test")
    if config.licence:
        parts.append(config.licence)
    return " · ".join(parts)


def _follow_checkpoint() -> None:
    """A visitor chose another checkpoint: its gallery comes up, and a gallery signal of another kind goes."""
    name, configs, source = chosen_name(), state.list_configs(), state.recall("source")
    state.remember("gallery_of", name)
    if isinstance(source, state.Stored) and name in configs:
        config = configs[name]
        if config.signal and state.kind_of(source) not in (None, config.signal.kind):
            state.choose_source(None)


def _apply_wanted(configs: dict[str, CheckpointConfig]) -> None:
    """A choice made by code or by the address, before the widget is drawn."""
    wanted = state.recall("wanted_checkpoint")
    state.remember("wanted_checkpoint", None)
    if wanted is None and chosen_name() is None:
        wanted = st.query_params.get("checkpoint")
    if wanted in configs and wanted != chosen_name():
        widgets.replace_widget("checkpoint", wanted)
    elif chosen_name() not in configs:
        widgets.replace_widget("checkpoint", next(iter(configs)))


def accelerated() -> bool:
    """Whether this machine has a GPU to compute on."""
    from medfuncta_core.fitting import choose_device

    return choose_device("auto").type == "cuda"


def _devices() -> list[str]:
    """Auto, and what this machine has."""
    return ["auto", "cpu", "cuda"] if accelerated() else ["auto", "cpu"]
