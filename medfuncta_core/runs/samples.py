"""Fixed validation signals as the run saw them: input, learned initialisation, reconstruction; a small file a validation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from medfuncta_core.atomic import write_atomically
from medfuncta_core.config import Kind
from medfuncta_core.errors import TrainingError

SUFFIX = ".safetensors"


@dataclass(frozen=True, eq=False)
class Samples:
    """The strip of one validation. Volumes are pictures here: their three middle slices side by side.

    Args:
        kind: Of the signals.
        step: Outer steps done; 0 is the network before training.
        fit_steps: Inner steps G behind the reconstructions.
        rows: Which signals of the validation split they are.
        inputs: `(m, n, c)` for an ECG, `(m, h, w, c)` for pictures, in [0, 1].
        reconstructions: Of the same shape.
        initial: The field of the latent 0, the same for all signals: `(n, c)` or `(h, w, c)`.
        psnr: `(m,)` in dB, of the whole signals.
    """

    kind: Kind
    step: int
    fit_steps: int
    rows: tuple[int, ...]
    inputs: Float[np.ndarray, "m *shape c"]
    reconstructions: Float[np.ndarray, "m *shape c"]
    initial: Float[np.ndarray, "*shape c"]
    psnr: Float[np.ndarray, " m"]


def sample_file(run: Path, step: int) -> Path:
    """Where the samples of a step are kept."""
    return run / "samples" / f"{step:08d}{SUFFIX}"


def list_sample_steps(run: Path) -> tuple[int, ...]:
    """Steps that have samples, ascending."""
    return tuple(sorted(int(file.stem) for file in (run / "samples").glob(f"[0-9]*{SUFFIX}") if file.stem.isdigit()))


def read_samples(run: Path, step: int) -> Samples | None:
    """The samples of a step; None when there are none that can be read."""
    try:
        with safe_open(sample_file(run, step), framework="numpy") as stored:
            header = json.loads((stored.metadata() or {})["samples"])
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}
        inputs, reconstructions, initial = (_to_float(arrays[name]) for name in ("inputs", "reconstructions", "initial"))
        kind, fit_steps, rows = header["kind"], header["fit_steps"], tuple(header["rows"])
        return Samples(kind, step, fit_steps, rows, inputs, reconstructions, initial, arrays["psnr"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def write_samples(run: Path, samples: Samples) -> None:
    """Keep the samples of a step, whole or not at all; curves keep 16 bits a value, pictures 8.

    Raises:
        TrainingError: when they cannot be written.
    """
    levels = np.dtype(np.uint16 if samples.kind == "ecg" else np.uint8)
    parts = {name: getattr(samples, name) for name in ("inputs", "reconstructions", "initial")}
    arrays = {name: np.rint(np.clip(part, 0, 1) * np.iinfo(levels).max).astype(levels) for name, part in parts.items()}
    header = {"kind": samples.kind, "fit_steps": samples.fit_steps, "rows": list(samples.rows)}
    content = save({**arrays, "psnr": samples.psnr.astype(np.float32)}, metadata={"samples": json.dumps(header)})
    write_atomically(sample_file(run, samples.step), content, TrainingError)


def _to_float(levels: np.ndarray) -> Float[np.ndarray, "*shape c"]:
    return levels.astype(np.float32) / np.float32(np.iinfo(levels.dtype).max)
