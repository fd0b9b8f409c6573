"""How long the small budget of every sweep takes on this machine: each run's steps and validations, measured and added up.

    python -m benchmarks.sweep_budgets --data nihcxr_64.npz mitbih_full_187.npz hippocampus3d_32.npz
        --json benchmarks/results/small-budgets.json

Every distinct run of a sweep is measured as the Train page measures a launch (a few outer steps, a part of a validation) and
multiplied; runs that differ in their omegas only cost the same and are measured once. Give the machine nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.speed import machine  # noqa: E402
from medfuncta_core.atomic import write_atomically  # noqa: E402
from medfuncta_core.fitting import choose_device  # noqa: E402
from medfuncta_core.runs.measuring import measure  # noqa: E402
from medfuncta_core.runs.probing import Estimate  # noqa: E402
from medfuncta_core.runs.request import RunRequest  # noqa: E402
from medfuncta_core.runs.sweep_kinds import SweepKind, make_cells  # noqa: E402
from medfuncta_core.runs.sweeps import SweepConfig, plan_sweep  # noqa: E402

HOUR = 3600.0


def estimate_sweep(kind: SweepKind, data: str, seconds: float) -> dict[str, Any]:
    """Seconds of a sweep's runs one after the other, at the small budget.

    Args:
        kind: Which ablation.
        data: Data set with train and val.
        seconds: Spent on each distinct run.
    """
    preset, steps = plan_sweep(kind, data, "small")
    cells = make_cells(kind, RunRequest(preset=preset, data=data).resolve())
    config = SweepConfig(name=f"{kind}-{preset}", kind=kind, preset=preset, data=data, steps=steps, device="cpu", cells=cells)
    known: dict[tuple[str, ...], Estimate] = {}
    runs: list[dict[str, Any]] = []
    for cell in cells:
        costly = tuple(change for change in cell.settings if "omega" not in change)
        if costly not in known:
            (known[costly],) = (e for e in measure(config.request(cell), seconds=seconds) if isinstance(e, Estimate))
        runs.append({"run": cell.name} | asdict(known[costly]))
    total = sum(run["total_seconds"] for run in runs)
    return {"sweep": kind, "preset": preset, "steps_of_a_run": steps, "total_seconds": total, "runs": runs}


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description="What the small budget of every sweep takes here.")
    parser.add_argument("--data", nargs="+", required=True, help="a data set of each kind of signal to sweep over")
    parser.add_argument("--seconds", type=float, default=8.0, help="spent on each distinct run")
    parser.add_argument("--json", type=Path, help="where the result goes")
    options = parser.parse_args()
    about, sweeps = machine(choose_device("cpu")), []
    for data in options.data:
        for kind in get_args(SweepKind):
            sweeps.append(estimate_sweep(kind, data, options.seconds) | {"data": Path(data).name})
            last = sweeps[-1]
            print(f"{last['preset']:16} {kind:10} {len(last['runs']):3} runs {last['total_seconds'] / 60:6.1f} min", flush=True)
    if options.json:
        within = all(sweep["total_seconds"] <= HOUR for sweep in sweeps)
        command = f"python -m benchmarks.sweep_budgets --data {' '.join(Path(data).name for data in options.data)}"
        report = {
            "command": f"{command} --seconds {options.seconds:g} --json {options.json}",
            "machine": about,
            "all_within_an_hour": within,
            "sweeps": sweeps,
        }
        write_atomically(options.json, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())


if __name__ == "__main__":
    main()
