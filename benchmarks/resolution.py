"""Quality over resolution: fields fitted to a coarse grid and decoded at a finer one, against interpolation of that grid.

    python benchmarks/resolution.py --data hippocampus3d_32.npz [--original hippocampus_190.nii.gz] [--checkpoint DIR] [--limit N]
                                    [--json benchmarks/results/resolution-hippocampus-32.json]

Test volumes are reduced to 8, 12, 16 and 24 points an axis (linearly, corner voxels fixed), fitted there, and decoded at their
own 32. An original file is reduced to the checkpoint's grid, and decoded at its own voxels and at twice the checkpoint's grid.
Linear and cubic interpolation start from the same coarse grid. `share_field_wins`: for which share of volumes the field is best.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.speed import machine  # noqa: E402
from medfuncta_core import metrics  # noqa: E402
from medfuncta_core.atomic import write_atomically  # noqa: E402
from medfuncta_core.checkpoint import load_checkpoint  # noqa: E402
from medfuncta_core.cli.evaluating import choose_batch_size  # noqa: E402
from medfuncta_core.config import SignalSpec  # noqa: E402
from medfuncta_core.fitting import Fitter, choose_device  # noqa: E402
from medfuncta_core.signals import load_data_set, read_signal  # noqa: E402
from medfuncta_core.signals.resizing import cubic_weights, linear_weights  # noqa: E402

COARSE = (8, 12, 16, 24)
METHODS = ("field", "linear", "cubic")


def main(arguments: list[str] | None = None) -> None:
    """Measure what the command line asks for and print it, or write it."""
    options = parse(arguments)
    checkpoint = load_checkpoint(options.checkpoint)
    spec = checkpoint.config.signal
    assert spec is not None  # shipped checkpoints say what they expect
    fitter = Fitter(checkpoint, device=options.device)
    report: dict[str, Any] = {
        "checkpoint": checkpoint.config.name,
        "checkpoint_step": checkpoint.config.step,
        "fit_steps": fitter.config.steps,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(choose_device(options.device)),
        "command": command(options),
        "runs": [],
    }
    for run in measure_split(fitter, spec, options.data, options.limit):
        report["runs"].append(run)
        print(line(run), file=sys.stderr, flush=True)
    if options.original:
        for run in measure_original(fitter, spec, options.original):
            report["runs"].append(run)
            print(line(run), file=sys.stderr, flush=True)
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    if options.json:
        write_atomically(options.json, text.encode())
    else:
        print(text, end="")


def command(options: argparse.Namespace) -> str:
    """What measures this again, wherever the files lie."""
    words = ["python benchmarks/resolution.py", f"--checkpoint checkpoints/{options.checkpoint.name}"]
    words += [f"--data {Path(options.data).name}", f"--original {options.original.name}" if options.original else ""]
    return " ".join(filter(None, [*words, f"--limit {options.limit}" if options.limit else ""]))


def measure_split(fitter: Fitter, spec: SignalSpec, data: str, limit: int | None) -> Iterator[dict[str, Any]]:
    """Test volumes fitted at fewer points than they have and decoded at their own; the last run has all points."""
    opened = load_data_set(data, "test", spec=spec, limit=limit)
    truth = opened.batch(slice(None))
    for edge in (*COARSE, spec.shape[0]):
        coarse = resample(truth, (edge,) * 3, "linear")
        yield measure(fitter, coarse, truth) | {"source": "test split", "data": opened.name}


def measure_original(fitter: Fitter, spec: SignalSpec, path: Path) -> Iterator[dict[str, Any]]:
    """A file fitted at the checkpoint's grid and decoded at its own voxels, and at twice the grid."""
    own = read_signal(path, spec=spec.model_copy(update={"shape": read_signal(path).shape}))
    coarse = read_signal(path, spec=spec)
    twice = read_signal(path, spec=spec.model_copy(update={"shape": tuple(2 * points for points in spec.shape)}))
    for truth, what in ((own, "original voxels"), (twice, "original, linear to twice the grid")):
        yield measure(fitter, coarse.values[None], truth.values[None]) | {"source": what, "data": path.name}


def measure(fitter: Fitter, coarse: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Quality of each method that sees `coarse` (b, *shape, c) alone, compared with `truth`."""
    shape = truth.shape[1:-1]
    made = {method: resample(coarse, shape, method) for method in METHODS[1:]}
    made["field"] = decode(fitter, coarse, shape)
    quality = {method: rate(values, truth) for method, values in made.items()}
    factor = float(np.mean([fine / few for fine, few in zip(shape, coarse.shape[1:-1], strict=True)]))
    best = np.maximum(quality["linear"]["psnr"], quality["cubic"]["psnr"])
    return {
        "fitted_shape": list(coarse.shape[1:-1]),
        "decoded_shape": list(shape),
        "factor": factor,
        "n": len(truth),
        "methods": {method: {name: mean(column) for name, column in quality[method].items()} for method in METHODS},
        "share_field_wins": float((quality["field"]["psnr"] > best).mean()),
    }


def decode(fitter: Fitter, coarse: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Fields fitted to coarse grids, on a finer one."""
    size = choose_batch_size(fitter.field.config, coarse.shape[1:-1])
    parts = []
    for start in range(0, len(coarse), size):
        latents = fitter.fit_batch(coarse[start : start + size]).latents
        parts.append(fitter.decode_batch(latents, shape))
    return np.concatenate(parts)


def resample(values: np.ndarray, shape: tuple[int, ...], method: str) -> np.ndarray:
    """Grids `(b, *shape, c)` at another shape, corner points fixed, in [0, 1]."""
    make_weights = cubic_weights if method == "cubic" else linear_weights
    for axis, points in enumerate(shape, start=1):
        moved = np.moveaxis(values, axis, -1) @ make_weights(values.shape[axis], points).T
        values = np.moveaxis(moved, -1, axis)
    return np.ascontiguousarray(np.clip(values, 0, 1), dtype=np.float32)


def rate(values: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """PSNR in dB and SSIM of every volume; identical ones, as interpolation at factor 1, have no finite PSNR."""
    pair = torch.from_numpy(values), torch.from_numpy(truth)
    return {"psnr": metrics.psnr(*pair).numpy(), "ssim": metrics.ssim(*pair).numpy()}


def mean(column: np.ndarray) -> float | None:
    """A column's mean as JSON can hold it."""
    return metrics.finite_or_none(float(np.mean(column, dtype=np.float64)))


def line(run: dict[str, Any]) -> str:
    """A run for people."""
    rated = {method: values["psnr"] for method, values in run["methods"].items()}
    quality = ", ".join(f"{method} {'exact' if psnr is None else f'{psnr:.2f} dB'}" for method, psnr in rated.items())
    fitted, decoded = ("x".join(map(str, run[key])) for key in ("fitted_shape", "decoded_shape"))
    return (
        f"{run['source']}: {fitted} to {decoded}, {run['n']} volume(s): {quality}; field ahead in {run['share_field_wins']:.0%}"
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description="Quality of fields and of interpolation over resolution.")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "checkpoints" / "hippocampus-32")
    parser.add_argument("--data", required=True, help="data set with a test split of the checkpoint's shape")
    parser.add_argument("--original", type=Path, help="a volume's own file")
    parser.add_argument("--limit", type=int, help="at most so many test volumes")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", type=Path, help="write the report here instead of printing it")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
