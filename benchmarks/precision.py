"""What the products' precision does to what is learned: PSNR after the same steps from the same seed, float32 against the others.

    python benchmarks/precision.py --data nihcxr_64.npz [--preset image-64] [--steps 1000] [--set KEY=VALUE ...] [--json]

Every precision trains a field of its own on the same batches and points, and all are validated in float32, so that what differs
is what training made of the weights. A precision passes when it loses at most 0.1 dB. On a GPU the fused kernels compute; on a
CPU their PyTorch twins, which round operands as the tensor cores do, so that the harness can be tried at small sizes anywhere.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.speed import machine  # noqa: E402
from medfuncta_core.config import PRESETS, Preset  # noqa: E402
from medfuncta_core.fields import ModulatedSIREN  # noqa: E402
from medfuncta_core.fields.cuda_passes import CudaPasses  # noqa: E402
from medfuncta_core.fitting import choose_device  # noqa: E402
from medfuncta_core.grids import grid_context  # noqa: E402
from medfuncta_core.kernels import plain  # noqa: E402
from medfuncta_core.kernels.precision import PRECISIONS, Precision  # noqa: E402
from medfuncta_core.learning import validate  # noqa: E402
from medfuncta_core.learning.outer_step import MetaLearner  # noqa: E402
from medfuncta_core.learning.schedule import batch_rows, context_indices, learning_rate  # noqa: E402
from medfuncta_core.runs.settings import apply_settings  # noqa: E402
from medfuncta_core.signals import DataSet, load_data_set  # noqa: E402

ALLOWED_LOSS_DB = 0.1


def main(arguments: list[str] | None = None) -> None:
    """Train once a precision and print how they compare."""
    options = parse(arguments)
    device = choose_device(options.device)
    preset = apply_settings(PRESETS[options.preset], [f"meta.steps={options.steps}", *options.set])
    train, val = (load_data_set(options.data, split) for split in ("train", "val"))
    preset = preset.model_copy(update={"field": preset.field.model_copy(update={"channels": train.channels})})
    report: dict[str, Any] = {"machine": machine(device), "preset": options.preset, "settings": options.set}
    report |= {"data": train.name, "sha256": train.sha256, "steps": preset.meta.steps, "seed": preset.meta.seed, "runs": []}
    for precision in options.precisions:
        run = train_with(precision, preset, train, val, device)
        report["runs"].append(run)
        print(f"{precision}: {run['psnr']:.2f} dB, {run['milliseconds_a_step']:.1f} ms a step", file=sys.stderr, flush=True)
    exact = next((run["psnr"] for run in report["runs"] if run["precision"] == "float32"), None)
    for run in report["runs"]:
        run["loss_against_float32_db"] = None if exact is None else exact - run["psnr"]
        run["passes"] = None if exact is None else exact - run["psnr"] <= ALLOWED_LOSS_DB
    print(json.dumps(report, indent=2) if options.json else table(report))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help=".npz with train and val splits, or what load_data_set takes")
    parser.add_argument("--preset", choices=list(PRESETS), default="image-64")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the preset")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def train_with(precision: Precision, preset: Preset, train: DataSet, val: DataSet, device: torch.device) -> dict[str, Any]:
    """One field trained in a precision from the recipe's seed, and its float32 validation."""
    meta = preset.meta
    field = ModulatedSIREN(preset.field, generator=torch.Generator().manual_seed(meta.seed)).requires_grad_(False).to(device)
    passes = CudaPasses(field, precision=precision, kernels=plain if device.type == "cpu" else None)
    learner = MetaLearner(field, meta, passes=passes)
    losses, seconds = [], []
    for step in range(1, meta.steps + 1):
        start = time.perf_counter()
        context = grid_context(torch.from_numpy(train.batch(batch_rows(meta, step, len(train)))).to(device))
        indices = context_indices(meta, step, meta.batch_size, context.points)
        done = learner.outer_step(context, indices, step=step, lr=learning_rate(meta, step))
        losses.append(done.loss)  # a float: the device has finished
        seconds.append(time.perf_counter() - start)
    found = validate(learner.learned, preset.fit, val.take(min(meta.validate_signals, len(val))), step=meta.steps)
    return {
        "precision": precision,
        "psnr": found.psnr,
        "ssim": found.ssim,
        "signals": found.n,
        "milliseconds_a_step": 1e3 * statistics.median(seconds),
        "training_loss": [statistics.fmean(losses[at : at + 50]) for at in range(0, len(losses), 50)],  # means of 50 steps
    }


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [f"{report['preset']} on {report['data']}, {report['steps']} steps, seed {report['seed']}"]
    lines.append("precision   PSNR dB   loss dB   ms a step")
    for run in report["runs"]:
        loss = "" if run["loss_against_float32_db"] is None else f"{run['loss_against_float32_db']:+.3f}"
        lines.append(f"{run['precision']:<10} {run['psnr']:8.2f} {loss:>9} {run['milliseconds_a_step']:11.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
