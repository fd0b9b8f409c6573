"""`classify`: how well the classes of a MedNF set can be told apart by its latents, or by the pixels behind them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfuncta_core.cli.app import Device, DeviceOption, JsonOption, app, emit
from medfuncta_core.cli.sets import MetricChoice, SetArgument

if TYPE_CHECKING:
    from medfuncta_core.mednf.classifying_results import ClassifyRequest, ClassifyResult


class MethodChoice(StrEnum):
    """A classifier."""

    knn = "knn"
    mlp = "mlp"
    logistic = "logistic"
    resnet50 = "resnet50"
    efficientnet = "efficientnet"


class SpaceChoice(StrEnum):
    """What is classified."""

    latent = "latent"
    modulation = "modulation"
    pixels = "pixels"


class ScalingChoice(StrEnum):
    """How features are scaled."""

    raw = "raw"
    standardised = "standardised"
    whitened = "whitened"


@app.command()
def classify(
    latents: SetArgument,
    methods: Annotated[list[MethodChoice], typer.Option("--method", help="Classifier; may be repeated.")],
    k: Annotated[list[int] | None, typer.Option("-k", min=1, help="Neighbours that vote, of knn; may be repeated.")] = None,
    metric: Annotated[MetricChoice, typer.Option("--metric", help="Distance of knn.")] = MetricChoice.cosine,
    space: Annotated[SpaceChoice, typer.Option("--space", help="What is classified.")] = SpaceChoice.latent,
    scaling: Annotated[
        ScalingChoice, typer.Option("--scaling", help="How features are scaled, by training signals alone.")
    ] = ScalingChoice.standardised,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of initial weights, dropout and order.")] = 0,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the training signals, of networks.")] = 50,
    batch_size: Annotated[int, typer.Option("--batch-size", min=2, help="Signals of an update, of networks.")] = 32,
    limit: Annotated[int | None, typer.Option("--limit", min=2, help="At most N training signals, evenly spread.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="What the set was encoded from, to classify pixels: MedMNIST name, .npz, folder.")
    ] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Only measure how long networks would take here.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to keep results in, and progress while it runs.")] = None,
    device: DeviceOption = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """Classify the test signals of a set after learning from its training signals: the protocol of the paper's Table 3."""
    from medfuncta_core.mednf.classifying_results import HEADING, ClassifyRequest

    common = {"metric": str(metric), "space": str(space), "scaling": str(scaling), "seed": seed, "epochs": epochs}
    common |= {"batch_size": batch_size, "limit": limit}
    voters = {method: k or [1] if method == MethodChoice.knn else [1] for method in dict.fromkeys(methods)}
    requests = [
        ClassifyRequest.parse({"method": str(method), "k": votes} | common, "classify")
        for method, counts in voters.items()
        for votes in counts
    ]
    if estimate:
        _estimate(latents, requests, data, str(device), out, as_json)
        return
    results = _kept(latents, requests, data, str(device), out) if out else _classify(latents, requests, data, str(device))
    report: dict[str, Any] = {"set": str(latents), "data": data, "results": [result.summary() for result in results]}
    if len(results) == 1:
        report |= results[0].summary()
    emit(report, as_json, [HEADING, *(result.line() for result in results)])


def _classify(path: Path, requests: list[ClassifyRequest], data: str | None, device: str) -> list[ClassifyResult]:
    """One after the other, with a progress bar."""
    from tqdm import tqdm

    from medfuncta_core.mednf import open_set
    from medfuncta_core.mednf.classifying import classify as classify_set

    opened, results = open_set(path), []
    for request in requests:
        with tqdm(total=100, unit="%", desc=request.title, disable=None) as bar:
            for step in classify_set(opened, request, data=data, device=device):
                bar.update(round(100 * step.share) - bar.n)
                bar.set_postfix_str(step.doing, refresh=False)
                results += [step.result] if step.result is not None else []
    return results


def _kept(path: Path, requests: list[ClassifyRequest], data: str | None, device: str, out: Path) -> list[ClassifyResult]:
    """Those of the requests that were not kept before are classified; all are given."""
    from medfuncta_core.mednf.classifying_results import load_results
    from medfuncta_core.runs.classification import work_on_classifications

    work_on_classifications(out, path, requests, data=data, device=device)
    found = {result.request.key: result for result in load_results(out)}
    return [found[request.key] for request in requests]


def _estimate(
    path: Path, requests: list[ClassifyRequest], data: str | None, device: str, out: Path | None, as_json: bool
) -> None:
    if out is not None:
        from medfuncta_core.runs.classification import read_estimates, work_on_estimates

        work_on_estimates(out, path, requests, data=data, device=device)
        seconds = [read_estimates(out)[request.key] for request in requests]
    else:
        from medfuncta_core.mednf import open_set
        from medfuncta_core.mednf.classifying_estimate import estimate_seconds

        seconds = [estimate_seconds(open_set(path), request, data=data, device=device) for request in requests]
    report = {"set": str(path), "estimates": [{"method": r.method, "seconds": s} for r, s in zip(requests, seconds, strict=True)]}
    emit(report, as_json, [f"{r.title}: about {s:,.0f} s" for r, s in zip(requests, seconds, strict=True)])
