"""The network of a set with the settings its latents were fitted with, so that what is fitted later lies among them."""

from __future__ import annotations

from dataclasses import replace

from medfuncta_core.checkpoint import Checkpoint, load_checkpoint
from medfuncta_core.mednf.mednf_set import MednfSet


def load_network(opened: MednfSet, device: str = "cpu") -> Checkpoint:
    """A set's shared network; its fit settings are the set's, whatever the checkpoint would choose for a single signal.

    Args:
        opened: The set.
        device: Where the weights go.

    Raises:
        MedFunctaError: when the network is not there, or is another one.
    """
    loaded, info = load_checkpoint(opened.checkpoint_path, device), opened.info
    fit = loaded.config.fit.model_copy(update={"steps": info.fit_steps, "method": info.fit_method})
    return replace(loaded, config=loaded.config.model_copy(update={"fit": fit}))
