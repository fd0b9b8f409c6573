"""What leaves a fit: its latent, its reconstruction as a file, its history, and a report of all there is to know."""

from __future__ import annotations

import csv
import io
import math
import platform
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from medfuncta_core.config import CheckpointConfig, FitConfig
from medfuncta_core.fitting import FitResult, FitStep
from medfuncta_core.metrics import finite_or_none
from medfuncta_core.signals import Signal, write_signal

SUFFIXES = {"ecg": ".csv", "image": ".png", "volume": ".nii.gz"}
REPORT_FORMAT = 1


def fit_report(
    result: FitResult,
    fit: FitConfig,
    checkpoint: CheckpointConfig | None = None,
    *,
    mask: Bool[np.ndarray, "*shape"] | None = None,
) -> dict[str, Any]:
    """Everything about a fit but the latent and the values, ready for JSON.

    Args:
        result: The fit, of a `Signal`.
        fit: Settings it ran with; `result.fit_steps` is smaller than its steps when it was stopped.
        checkpoint: The shared network.
        mask: As given to the fit; its share and the quality on the hidden points are reported.
    """
    signal = result.signal
    assert isinstance(signal, Signal)
    values, latent = int(signal.values.size), int(result.latent.size)
    return {
        "format": REPORT_FORMAT,
        "signal": {
            "name": signal.name,
            "kind": signal.kind,
            "shape": list(signal.shape),
            "channels": signal.channels,
            "original_shape": list(signal.original_shape),
            "spacing": list(signal.spacing) if signal.spacing else None,
            "spacing_unit": signal.spacing_unit,
            "value_range": list(signal.value_range),
            "unit": signal.unit,
            "notes": list(signal.notes),
            "class_name": signal.class_name,
        },
        "checkpoint": None if checkpoint is None else checkpoint.model_dump(mode="json"),
        "fit": {
            **fit.model_dump(),
            "steps_done": result.fit_steps,
            "share_of_points": 1.0 if mask is None else float(mask.mean()),
        },
        "metrics": {
            "mse": result.mse,
            "psnr": finite_or_none(result.psnr),
            "ssim": result.ssim,
            "lpips": result.lpips,
            "psnr_hidden": None if mask is None else finite_or_none(hidden_psnr(signal, result.reconstruction, mask)),
            "seconds": result.seconds,
        },
        "latent": {"length": latent, "values_in_signal": values, "compression_ratio": values / latent},
        "history": [
            {"step": step.index, "loss": step.loss, "psnr": finite_or_none(step.psnr), "seconds": step.seconds}
            for step in result.history
        ],
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("torch", "numpy", "streamlit", "plotly")},
        },
    }


def hidden_psnr(signal: Signal, reconstruction: Float[np.ndarray, "*shape c"], mask: Bool[np.ndarray, "*shape"]) -> float | None:
    """PSNR in dB of the points that a fit did not see; None when it saw all, infinite for a perfect guess."""
    if mask.all():
        return None
    mse = float(np.square(signal.values - reconstruction)[~mask].mean())
    return -10 * math.log10(mse) if mse > 0 else math.inf


def history_csv(history: Sequence[FitStep]) -> str:
    """Loss, PSNR (dB) and seconds of every step as CSV with a header."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["step", "loss", "psnr_db", "seconds"])
    writer.writerows([step.index, f"{step.loss:.8g}", f"{step.psnr:.4f}", f"{step.seconds:.4f}"] for step in history)
    return buffer.getvalue()


def latent_file(latent: Float[np.ndarray, " p"]) -> bytes:
    """A latent as the bytes of an `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, latent, allow_pickle=False)
    return buffer.getvalue()


def signal_file(signal: Signal, suffix: str | None = None) -> bytes:
    """A signal as the bytes of a file; `with_values` makes one of a reconstruction.

    Args:
        suffix: Extension with its dot; by kind when None: .csv, .png, .nii.gz.
    """
    with tempfile.TemporaryDirectory() as folder:
        return write_signal(signal, Path(folder) / f"signal{suffix or SUFFIXES[signal.kind]}").read_bytes()


def plain_stem(name: str) -> str:
    """A file name without its extension, fit for another file's name."""
    stem = Path(name).name
    for ending in (".nii.gz", Path(stem).suffix):
        if ending and stem.lower().endswith(ending.lower()):
            stem = stem[: -len(ending)]
            break
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in stem).strip("-.") or "signal"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
