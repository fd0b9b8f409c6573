"""Gauss-Newton fits against the paper's gradient descent, at equal computing time, on the shipped checkpoints' own data.

    python benchmarks/fitting.py --data-folder FOLDER [--checkpoints NAME ...] [--limit N] [--split test]
                                 [--neighbours] [--plain-steps N ...] [--json FILE]

Both methods fit the same signals in the same batches, one after the other; seconds are the process's computing time, so that a
busy machine disturbs neither. `gain_db` is what Gauss-Newton is ahead by when gradient descent has taken its 20 steps,
`time_share` the part of that time after which it is as good. `--neighbours` classifies test latents of both methods by their
three nearest training latents (cosine), the same signals for both. `--plain-steps` fits by Gauss-Newton once more for each N,
with N plain steps before its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.speed import machine, synchronise  # noqa: E402
from medfuncta_core.atomic import write_atomically  # noqa: E402
from medfuncta_core.checkpoint import Checkpoint, load_checkpoint  # noqa: E402
from medfuncta_core.fitting import Fitter, choose_device  # noqa: E402
from medfuncta_core.grids import grid_context  # noqa: E402
from medfuncta_core.mednf.choosing import choose_batch_size, choose_rows  # noqa: E402
from medfuncta_core.signals import DataSet, load_data_set  # noqa: E402

NAMES = ("ecg", "chest-xray-64", "dermatoscope-64", "hippocampus-32")
METHODS = ("gradient_descent", "gauss_newton")
STEPS = 20
NEIGHBOURS = 3


def main(arguments: list[str] | None = None) -> None:
    """Measure what the command line asks for and print it, or write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-folder", type=Path, required=True)
    parser.add_argument("--checkpoints", nargs="+", default=list(NAMES))
    parser.add_argument("--root", type=Path, default=ROOT / "checkpoints", help="where the checkpoints lie")
    parser.add_argument("--limit", type=int, default=24, help="signals of the split, evenly spread")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--neighbours", action="store_true")
    parser.add_argument("--per-class", type=int, default=100, help="signals of a class and split for --neighbours")
    parser.add_argument("--plain-steps", type=int, nargs="+", default=[], help="of Gauss-Newton, curves for each")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    device = choose_device(options.device)
    report: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(device),
        "command": "python benchmarks/fitting.py " + " ".join(_shown(arguments or sys.argv[1:])),
        "checkpoints": [],
    }
    for name in options.checkpoints:
        checkpoint = load_checkpoint(options.root / name)
        found = compare(checkpoint, options, device)
        report["checkpoints"].append(found)
        print(line(found), file=sys.stderr, flush=True)
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    if options.json:
        write_atomically(options.json, text.encode())
    else:
        print(text, end="")


def compare(checkpoint: Checkpoint, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Curves of both methods on one checkpoint's data, and what follows from them."""
    assert checkpoint.config.data is not None  # shipped checkpoints name their data
    data = load_data_set(options.data_folder / checkpoint.config.data.file, options.split)
    chosen = data.take(min(options.limit, len(data)))
    curves = {method: fit_curve(make_fitter(checkpoint, method, device), chosen, device) for method in METHODS}
    plain, newton = (curves[method] for method in METHODS)
    end = plain["seconds"][-1]
    found: dict[str, Any] = {
        "checkpoint": checkpoint.config.name,
        "split": options.split,
        "n": len(chosen),
        "psnr_gradient_descent": plain["psnr"][-1],
        "psnr_gauss_newton": newton["psnr"][-1],
        "step_cost": newton["seconds"][-1] / end,
        "gain_db": float(np.interp(end, newton["seconds"], newton["psnr"])) - plain["psnr"][-1],
        "time_share": _first_time(newton, plain["psnr"][-1]) / end,
        "curves": curves,
    }
    if options.plain_steps:
        fitters = {count: make_fitter(checkpoint, "gauss_newton", device, plain_steps=count) for count in options.plain_steps}
        found["plain_steps"] = {str(count): fit_curve(fitter, chosen, device) for count, fitter in fitters.items()}
    if options.neighbours:
        found["neighbours"] = neighbours(checkpoint, options.data_folder / checkpoint.config.data.file, options.per_class, device)
    return found


def fit_curve(fitter: Fitter, data: DataSet, device: torch.device) -> dict[str, list[float]]:
    """Mean PSNR (dB) and seconds a signal after 0 ... 20 steps, in batches of bounded memory."""
    size = choose_batch_size(fitter.field.config, data.shape, device.type)
    psnr, seconds = np.zeros(STEPS + 1), np.zeros(STEPS + 1)
    for start in range(0, len(data), size):
        values = torch.from_numpy(data.batch(slice(start, start + size))).to(device)
        descent, spent = fitter.descent(grid_context(values)), 0.0
        for step in range(STEPS + 1):
            began = _clock(device)
            place = descent.look()
            looked = _clock(device)
            psnr[step] += float((-10 * torch.log10(place.clamped_loss)).sum())
            seconds[step] += spent + looked - began  # a method's step counts when its result is known
            resumed = _clock(device)
            if step < STEPS:
                descent.move()
            spent += looked - began + _clock(device) - resumed
    return {"psnr": (psnr / len(data)).tolist(), "seconds": (seconds / len(data)).tolist()}


def make_fitter(checkpoint: Checkpoint, method: str, device: torch.device, **changes: int) -> Fitter:
    """A fitter of 20 steps by one method, the checkpoint's other settings kept but for `changes`."""
    fit = checkpoint.config.fit.model_copy(update={"method": method, "steps": STEPS, **changes})
    return Fitter(checkpoint, fit, device.type)


def neighbours(checkpoint: Checkpoint, file: Path, per_class: int, device: torch.device) -> dict[str, Any]:
    """Accuracy of the three nearest training latents on test signals, by method."""
    from sklearn.neighbors import KNeighborsClassifier

    parts = [load_data_set(file, split) for split in ("train", "test")]
    chosen = [choose_rows(part.labels, len(part), per_class) for part in parts]
    labels = [np.asarray(part.labels)[rows].reshape(len(rows), -1)[:, 0] for part, rows in zip(parts, chosen, strict=True)]
    found: dict[str, Any] = {"k": NEIGHBOURS, "train": len(chosen[0]), "test": len(chosen[1])}
    for method in METHODS:
        fitter = make_fitter(checkpoint, method, device)
        latents = [_fit_all(fitter, part, rows) for part, rows in zip(parts, chosen, strict=True)]
        model = KNeighborsClassifier(NEIGHBOURS, metric="cosine").fit(latents[0], labels[0])
        found[f"accuracy_{method}"] = float((model.predict(latents[1]) == labels[1]).mean())
    return found


def line(found: dict[str, Any]) -> str:
    """One checkpoint in a line for people."""
    words = (
        f"{found['checkpoint']}: {found['psnr_gradient_descent']:.2f} dB by gradient descent, {found['psnr_gauss_newton']:.2f} "
        f"by Gauss-Newton in {found['step_cost']:.1f} times its time, {found['gain_db']:+.2f} dB at equal time, as good after "
        f"{100 * found['time_share']:.0f} % of it"
    )
    for count, curve in found.get("plain_steps", {}).items():
        words += f"; with {count} plain steps first {curve['psnr'][5]:.2f} after 5 and {curve['psnr'][-1]:.2f} after {STEPS}"
    near = found.get("neighbours")
    if near:
        words += f"; nearest neighbours right {near['accuracy_gradient_descent']:.3f} and {near['accuracy_gauss_newton']:.3f}"
    return words


def _fit_all(fitter: Fitter, data: DataSet, rows: np.ndarray) -> np.ndarray:
    size = choose_batch_size(fitter.field.config, data.shape, fitter.device.type)
    return np.concatenate(
        [fitter.fit_batch(data.batch(rows[start : start + size])).latents.numpy() for start in range(0, len(rows), size)]
    )


def _first_time(curve: dict[str, list[float]], psnr: float) -> float:
    """Seconds after which a curve first reaches a PSNR, between two steps on a straight line."""
    for step in range(1, STEPS + 1):
        low, high = curve["psnr"][step - 1 : step + 1]
        if high >= psnr:
            first, second = curve["seconds"][step - 1 : step + 1]
            return first + (second - first) * max(0.0, psnr - low) / (high - low)
    return float(curve["seconds"][-1])


def _clock(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    synchronise(device)
    return time.perf_counter()


def _shown(arguments: list[str]) -> list[str]:
    """The arguments with folders of this machine shortened to their names."""
    return [Path(part).name if Path(part).is_absolute() else part for part in arguments]


if __name__ == "__main__":
    main()
