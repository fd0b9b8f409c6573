"""Table 3 of the paper with our checkpoints: classifiers on latents, and on the pixels behind them; and where latents lose, why.

    python -m benchmarks.classification --data-folder DIR [--sets-folder DIR] [--limit N] [--ecg-limit N] [--points N]
        [--pixel-epochs N] [--pixel-seconds S] [--only NAME ...] [--json benchmarks/results/classification.json]

Encodes what is not encoded yet into the sets folder, and keeps every result there: a second run goes on where the first one
ended, and does anew what other weights or settings change. Images are fitted on at most `--points` points an axis (a field has
no grid of its own), and on no more than their file has. Networks of pixels whose measured estimate exceeds `--pixel-seconds` are
left out and listed with their estimate.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.speed import machine
from medfuncta_core.atomic import write_atomically
from medfuncta_core.checkpoint import load_checkpoint, save_checkpoint
from medfuncta_core.checkpoint.descriptions import WEIGHTS_FILE
from medfuncta_core.config import CheckpointConfig
from medfuncta_core.mednf import EncodeRequest, MednfSet, encode, open_set
from medfuncta_core.mednf.classifying import classify
from medfuncta_core.mednf.classifying_estimate import estimate_seconds
from medfuncta_core.mednf.classifying_findings import find_findings
from medfuncta_core.mednf.classifying_results import HEADING, ClassifyRequest, ClassifyResult, load_results, save_result
from medfuncta_core.signals import load_data_set
from medfuncta_core.signals.sources import hash_file

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Source:
    """A data set of the table.

    Args:
        name: Of its set.
        title: For people.
        file: In the data folder.
        checkpoint: Shipped network that encodes it.
        studied_steps: Other numbers of fit steps to compare with.
    """

    name: str
    title: str
    file: str
    checkpoint: str
    studied_steps: tuple[int, ...] = ()


SOURCES = (
    Source("ecg", "ECG, MIT-BIH, patients disjoint (5 classes)", "mitbih_187.npz", "ecg", (5,)),
    Source("pneumonia", "Pneumonia, chest X-ray (2 classes)", "pneumoniamnist_28.npz", "chest-xray-64"),
    Source("dermatoscope", "Dermatoscope, part of HAM10000 (7 classes)", "ham10000_64.npz", "dermatoscope-64"),
)
TABLE: tuple[dict[str, Any], ...] = (
    {"method": "knn", "k": 1},
    {"method": "knn", "k": 3},
    {"method": "mlp"},
    {"method": "logistic"},
)
"""On standardised latents; the first three are the paper's."""
NETWORKS: tuple[dict[str, Any], ...] = ({"method": "resnet50"}, {"method": "efficientnet"})
STUDY: tuple[dict[str, Any], ...] = (
    {"method": "knn", "k": 3, "scaling": "raw"},
    {"method": "knn", "k": 3, "scaling": "whitened"},
    {"method": "mlp", "scaling": "raw"},
    {"method": "mlp", "scaling": "whitened"},
    {"method": "knn", "k": 3, "space": "modulation"},
    {"method": "logistic", "space": "modulation"},
    {"method": "knn", "k": 3, "space": "pixels"},
    {"method": "logistic", "space": "pixels"},
    {"method": "mlp", "space": "pixels"},
)
"""Why: the scale of latents, the modulations they give, and the same classifiers on the pixels themselves."""
PAPER = {
    "pneumonia": {
        "k-NN (k = 1)": [81.57, 0.87],
        "k-NN (k = 3)": [80.93, 0.87],
        "MLP": [89.10, 0.88],
        "ResNet50": [83.49, 0.80],
        "EfficientNet-B0": [84.46, 0.82],
    },
    "dermatoscope": {
        "k-NN (k = 3)": [69.28, 0.32],
        "MLP": [74.96, 0.48],
        "ResNet50": [74.36, 0.49],
        "EfficientNet-B0": [70.42, 0.44],
    },
}
"""Accuracy (%) and F1 of Table 3: latents of 2048 numbers, larger networks, all signals of MedMNIST's 64-pixel files."""


def main(arguments: list[str] | None = None) -> None:
    """Measure what the command line asks for, and print it or write it."""
    options = parse(arguments)
    report: dict[str, Any] = {
        "machine": machine(torch.device("cuda" if torch.cuda.is_available() and options.device != "cpu" else "cpu")),
        "command": command(options),
        "protocol": "learned from train, chosen by val, tested on test; scaled by train alone; AdamW 1e-3, best epoch on val",
        "paper": PAPER,
        "sets": [],
    }
    for source in SOURCES:
        if options.only and source.name not in options.only:
            continue
        report["sets"].append(measure(source, options))
        if options.json:
            write_atomically(options.json, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
    if not options.json:
        print(json.dumps(report, indent=2, allow_nan=False))


def command(options: argparse.Namespace) -> str:
    """What measures this again, wherever the data lie."""
    words = ["python -m benchmarks.classification --data-folder DIR"]
    for name in ("limit", "ecg_limit", "points", "pixel_seconds", "pixel_epochs"):
        value = getattr(options, name)
        words += [] if value is None else [f"--{name.replace('_', '-')} {value:g}"]
    return " ".join(words)


def measure(source: Source, options: argparse.Namespace) -> dict[str, Any]:
    """All results on one data set, and what they say."""
    data = options.data_folder / source.file
    opened, checkpoint = encoded(source, data, options, None)
    print(f"{source.title}\n{HEADING}", file=sys.stderr)
    left_out: list[dict[str, Any]] = []
    results: list[ClassifyResult] = []
    networks = requests_of(NETWORKS, {"epochs": options.pixel_epochs}) if opened.info.kind == "image" else []
    for request in [*requests_of(TABLE, {}), *requests_of(STUDY, {}), *networks]:
        if seconds := too_long(opened, request, data, options):
            left_out.append({"classifier": request.title, "epochs": request.epochs, "estimated_seconds": round(seconds)})
        else:
            results.append(_one(opened, request, data, options))
    findings = [*find_findings(results), latent_scale(opened)]
    for steps in source.studied_steps:
        other, _ = encoded(source, data, options, steps)
        findings.append(compare_steps(opened, other, data, options))
    spec = opened.info
    about = (
        f"{results[0].n_train:,} / {results[0].n_val:,} / {results[0].n_test:,} signals, latents of {opened.latent_dim} from "
        f"{spec.fit_steps} steps on {' × '.join(map(str, spec.shape))} points by {source.checkpoint} at step {checkpoint.step:,}"
    )
    return {
        "name": source.name,
        "title": source.title,
        "about": about,
        "data": source.file,
        "licence": spec.licence,
        "psnr": float(np.mean(opened.column("psnr"))),
        "results": [{"classifier": r.request.title, "features": r.request.features} | r.summary() for r in results],
        "left_out": left_out,
        "findings": findings,
    }


def too_long(opened: MednfSet, request: ClassifyRequest, data: Path, options: argparse.Namespace) -> float:
    """Seconds that a network of pixels is estimated to take, where that is more than it may; else 0."""
    kept = kept_in(opened, options) / f"{request.key}.json"
    if request.inputs != "pixels" or request.method in ("knn", "logistic") or kept.is_file():
        return 0.0
    seconds = estimate_seconds(opened, request, data=data, device=options.device)
    return seconds if seconds > options.pixel_seconds else 0.0


def requests_of(rows: tuple[dict[str, Any], ...], more: dict[str, Any]) -> list[ClassifyRequest]:
    """Requests of a part of the table."""
    return [ClassifyRequest.parse(row | more, "benchmark") for row in rows]


def encoded(source: Source, data: Path, options: argparse.Namespace, steps: int | None) -> tuple[MednfSet, CheckpointConfig]:
    """The set, encoded now or before; with the checkpoint's own number of fit steps when None."""
    network, config = network_for(source, data, options)
    limit = options.ecg_limit if config.signal and config.signal.kind == "ecg" else options.limit
    request = EncodeRequest.parse(
        {"limit": limit, "name": source.name} | ({} if steps is None else {"fit_steps": steps}), "encode"
    )
    weights = hash_file(options.checkpoints / source.checkpoint / WEIGHTS_FILE)
    said = [weights, config.fit.model_dump(), config.signal and config.signal.shape, limit, steps]
    folder = options.sets_folder / f"{source.name}-{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:8]}"
    with tqdm(desc=f"encoding {folder.name}", unit="signal", disable=None) as bar:
        for step in encode(network, data, folder, request, resume=True, device=options.device):
            bar.total = step.total
            bar.update(step.done - bar.n)
    return open_set(folder), config


def network_for(source: Source, data: Path, options: argparse.Namespace) -> tuple[Path, CheckpointConfig]:
    """The shipped checkpoint, or a copy whose signals have fewer points: the same weights on a coarser grid."""
    path = options.checkpoints / source.checkpoint
    checkpoint = load_checkpoint(path)
    config = checkpoint.config
    assert config.signal is not None  # shipped checkpoints say what they expect
    own = load_data_set(data, "val").shape
    shape = tuple(min(points, there, options.points or there) for points, there in zip(config.signal.shape, own, strict=True))
    if len(shape) == 1 or shape == config.signal.shape:
        return path, config
    name = f"{source.checkpoint}-{hash_file(path / WEIGHTS_FILE)[:8]}-at-{shape[0]}"
    copy = options.sets_folder / "networks" / name
    config = config.model_copy(update={"signal": config.signal.model_copy(update={"shape": shape})})
    if not (copy / WEIGHTS_FILE).is_file():  # written again, its header may differ, and sets would be of another network
        save_checkpoint(copy, checkpoint.field, config)
    return copy, config


def kept_in(opened: MednfSet, options: argparse.Namespace) -> Path:
    """Where results on a set are kept; another set under the same name has others."""
    return options.sets_folder / "results" / f"{opened.name}-{opened.fingerprint[:12]}"


def _one(opened: MednfSet, request: ClassifyRequest, data: Path, options: argparse.Namespace) -> ClassifyResult:
    folder = kept_in(opened, options)
    known = {result.request.key: result for result in load_results(folder)}
    result = known.get(request.key)
    if result is None:
        for step in _steps(opened, request, data, options.device):
            result = step.result or result
        assert result is not None
        save_result(folder, result)
    print(result.line(), file=sys.stderr, flush=True)
    return result


def _steps(opened: MednfSet, request: ClassifyRequest, data: Path, device: str) -> Iterator[Any]:
    with tqdm(total=100, unit="%", desc=request.title, disable=None, leave=False) as bar:
        for step in classify(opened, request, data=data, device=device):
            bar.update(round(100 * step.share) - bar.n)
            yield step


def latent_scale(opened: MednfSet) -> str:
    """How far training latents spread in each of their numbers: what raw distances and learning rates have to cope with."""
    train = opened.latents(opened.rows_of("train"))
    deviation = train.std(0, dtype=np.float64)
    low, middle, high = np.quantile(deviation, (0, 0.5, 1))
    variances = np.linalg.eigvalsh(np.cov(train.T, dtype=np.float64))[::-1]
    held = int(np.searchsorted(np.cumsum(variances) / variances.sum(), 0.9)) + 1
    return (
        f"Training latents deviate by {middle:.2g} in the median number, {low:.2g} in the steadiest and {high:.2g} in the "
        f"liveliest; {held} of {opened.latent_dim} principal components hold 90 % of their variance."
    )


def compare_steps(opened: MednfSet, other: MednfSet, data: Path, options: argparse.Namespace) -> str:
    """Whether latents of fewer or more fit steps classify better."""
    parts = []
    for request in requests_of(TABLE[1:], {}):
        ours, theirs = (_one(of, request, data, options) for of in (opened, other))
        parts.append(f"{request.title} {100 * theirs.accuracy:.1f} % against {100 * ours.accuracy:.1f} %")
    psnr = [float(np.mean(of.column("psnr"))) for of in (other, opened)]
    return (
        f"Latents of {other.info.fit_steps} fit steps ({psnr[0]:.1f} dB) against those of {opened.info.fit_steps} "
        f"({psnr[1]:.1f} dB): {', '.join(parts)}."
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description="Classifiers on latents and on pixels: the paper's Table 3.")
    parser.add_argument("--data-folder", type=Path, required=True, help=f"holds {', '.join(of.file for of in SOURCES)}")
    parser.add_argument(
        "--sets-folder", type=Path, default=ROOT / "runs" / "classification", help="sets and results are kept here"
    )
    parser.add_argument("--checkpoints", type=Path, default=ROOT / "checkpoints")
    parser.add_argument("--only", nargs="*", choices=[of.name for of in SOURCES], help="these data sets; all if left out")
    parser.add_argument("--limit", type=int, help="at most so many images of each split, evenly spread")
    parser.add_argument("--ecg-limit", type=int, help="at most so many ECGs of each split, which are quicker")
    parser.add_argument("--points", type=int, help="fit images on at most so many points an axis")
    parser.add_argument("--pixel-seconds", type=float, default=600.0, help="longest estimate of a network of pixels that is run")
    parser.add_argument("--pixel-epochs", type=int, default=50, help="epochs of networks of pixels")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", type=Path, help="write the report here instead of printing it")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
