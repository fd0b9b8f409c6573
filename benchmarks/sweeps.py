"""Two of the paper's ablations at a small budget: selection ratio (Table 4) and omega grid (Figure 4), as the app runs them.

    python benchmarks/sweeps.py gamma --data pneumoniamnist_28.npz --json benchmarks/results/sweep-gamma.json
    python benchmarks/sweeps.py omega --data pneumoniamnist_28.npz --json benchmarks/results/sweep-omega.json

The runs are those of `python -m medfuncta_core sweep`, queued one after the other in `--root`; started again, the command goes
on where it was. Networks are shrunk (K = 6, L = 64, P = 128) and images 28 x 28, so that a core is done in minutes. On a machine
that does other work as well, `cpu_seconds_per_100_steps` says more than `seconds_per_100_steps`.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.speed import machine  # noqa: E402
from medfuncta_core.atomic import write_atomically  # noqa: E402
from medfuncta_core.cli.sweeping import wait_for_sweep  # noqa: E402
from medfuncta_core.fitting import choose_device  # noqa: E402
from medfuncta_core.runs.sweep_kinds import SweepKind  # noqa: E402
from medfuncta_core.runs.sweep_results import collect, table_lines  # noqa: E402
from medfuncta_core.runs.sweeps import continue_sweep, list_sweeps, read_sweep, start_sweep  # noqa: E402

PRESET, SHAPE = "image-64-small", (28, 28)
SETTINGS = (
    *("field.width=64", "field.depth=6", "field.latent_dim=128"),
    *("meta.outer_lr=3e-4", "fit.steps=10", "meta.validate_signals=32"),
)
STEPS: dict[SweepKind, int] = {"gamma": 400, "omega": 120}


def main() -> None:
    """Run or continue a sweep, and write what it found."""
    options = parse()
    kind: SweepKind = options.kind
    about, name = machine(choose_device("cpu")), f"benchmark-{kind}"
    if name in [sweep.config.name for sweep in list_sweeps(options.root)]:
        continue_sweep(options.root, name)
    else:
        start_sweep(
            options.root,
            kind,
            preset=PRESET,
            data=options.data,
            steps=STEPS[kind],
            settings=SETTINGS,
            shape=SHAPE,
            device="cpu",
            name=name,
        )
    wait_for_sweep(options.root, name)
    result = collect(read_sweep(options.root, name))
    data = Path(options.data).name
    command = f"python benchmarks/sweeps.py {kind} --data {data} --json benchmarks/results/{options.json.name}"
    kept = result.model_copy(update={"data": data, "command": command, "machine": about})
    report = {"date": datetime.now(UTC).date().isoformat(), **kept.model_dump(mode="json")}
    write_atomically(options.json, (json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())
    print("\n".join(table_lines(result)))


def parse() -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description="Ablations of the paper at a small budget.")
    parser.add_argument("kind", choices=tuple(STEPS))
    parser.add_argument("--data", required=True, help="images with train and val splits")
    parser.add_argument("--root", type=Path, default=ROOT / "runs", help="folder of all runs")
    parser.add_argument("--json", type=Path, required=True, help="where the result goes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
