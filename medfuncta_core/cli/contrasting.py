"""`compare`: several checkpoints and ways of fitting on one file, beside what as many numbers do without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medfuncta_core.cli.app import (
    Device,
    DeviceOption,
    FitStepsOption,
    JsonOption,
    MethodChoice,
    app,
    emit,
    format_metric,
)


@app.command()
def compare(
    file: Annotated[Path, typer.Argument(help="Image, ECG or volume in any format the library reads.", metavar="FILE")],
    checkpoints: Annotated[
        list[Path], typer.Argument(help="Checkpoints of its kind; the first says how it is prepared.", metavar="CHECKPOINT...")
    ],
    methods: Annotated[
        list[MethodChoice] | None, typer.Option("--method", help="Way of fitting; repeat it for several. Both if left out.")
    ] = None,
    index: Annotated[int, typer.Option("--index", min=0, help="Which beat, row or signal, where the file holds several.")] = 0,
    fit_steps: FitStepsOption = None,
    device: DeviceOption = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """Fit one file with several checkpoints and methods, and print what each reaches."""
    from tqdm import tqdm

    from medfuncta_core.checkpoint import load_checkpoint
    from medfuncta_core.comparison import (
        BASELINES,
        baseline_outcome,
        comparison_rows,
        comparison_sentence,
        fit_outcome,
        require_fitting,
    )
    from medfuncta_core.config import FitConfig
    from medfuncta_core.fitting import Fitter
    from medfuncta_core.signals import read_signal

    checkpoints = list(dict.fromkeys(checkpoints))
    loaded = [load_checkpoint(path) for path in checkpoints]
    signal = read_signal(file, spec=loaded[0].config.signal, index=index)
    require_fitting([checkpoint.config for checkpoint in loaded], signal)
    outcomes = []
    for path, checkpoint in zip(checkpoints, loaded, strict=True):
        for method in methods or list(MethodChoice):
            changes: dict[str, Any] = {"method": str(method)} | ({} if fit_steps is None else {"steps": fit_steps})
            config = FitConfig.parse(checkpoint.config.fit.model_dump() | changes, "fit settings")
            name = f"{path.name}, {str(method).replace('_', ' ')}"
            fitter = Fitter(checkpoint.field, config, device=str(device))  # a bare field takes the signal as it was prepared
            steps = tqdm(fitter.steps(signal), total=config.steps + 1, unit="step", desc=name, disable=None)
            outcomes.append(fit_outcome(name, signal, fitter.finish(signal, tuple(steps))))
    numbers = loaded[0].config.field.latent_dim
    outcomes += [baseline_outcome(name, signal, numbers) for name in BASELINES]
    rows = comparison_rows(signal, outcomes)
    width = max(len(outcome.name) for outcome in outcomes)
    lines = [f"{outcome.name:{width}}  {_describe(row)}" for outcome, row in zip(outcomes, rows, strict=True)]
    report = {"data": str(file), "shape": list(signal.shape), "device": str(device), "outcomes": rows}
    emit(report, as_json, [*lines, comparison_sentence(outcomes)])


def _describe(row: dict[str, Any]) -> str:
    quality = f"PSNR {format_metric(row['psnr'], ' dB'):>9}  SSIM {format_metric(row['ssim']):>6}  {row['numbers']:>6,} numbers"
    return quality if row["seconds"] is None else f"{quality}  {row['steps']} steps, {row['seconds']:.2f} s"
