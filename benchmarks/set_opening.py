"""Seconds and memory to open a MedNF set of any size, and to take single latents and columns from it.

    python benchmarks/set_opening.py [--rows 500000] [--latent-dim 2048] [--json FILE]

A synthetic float16 set is written to a temporary folder that is deleted afterwards: a table of that many rows, and shards whose
first latents are random numbers and whose rest is a hole in the file, so that the disk holds little of it; a latent is read from
such a file as from any other. Every task runs in a process of its own; memory is what the operating system counts at most
(`VmHWM`), less what the library alone takes. Processor seconds are beside the wall's, which count other programs' work as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from medfuncta_core.config import DataSetInfo  # noqa: E402
from medfuncta_core.mednf.describing import place_columns  # noqa: E402
from medfuncta_core.mednf.mednf_set import open_set  # noqa: E402
from medfuncta_core.mednf.metadata import SetInfo, write_metadata  # noqa: E402
from medfuncta_core.mednf.shards import read_shard, shard_name, write_shard  # noqa: E402

ROWS_PER_SHARD = 4096
WRITTEN_ROWS = 64
TASKS = ("open", "one latent", "1,000 latents", "a column", "everything of a row")


def main(arguments: list[str] | None = None) -> None:
    """Write the set, measure every task, and print or keep the report."""
    options = parse(arguments)
    if options.task:
        print(json.dumps(measure(options.task, options.folder)))
        return
    report: dict[str, Any] = {
        "command": f"python benchmarks/set_opening.py --rows {options.rows} --latent-dim {options.latent_dim}",
        "rows": options.rows,
        "latent_dim": options.latent_dim,
        "gib_of_latents": options.rows * options.latent_dim * 2 / 2**30,
        "machine": machine(),
        "tasks": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        write_synthetic(Path(folder), options.rows, options.latent_dim)
        report["table_mib"] = (Path(folder) / "metadata.parquet").stat().st_size / 2**20
        for task in TASKS:
            command = [sys.executable, __file__, "--task", task, "--folder", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            report["tasks"][task] = json.loads(done.stdout)
            print(f"{task}: {report['tasks'][task]}", file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    else:
        print(json.dumps(report, indent=2))


def write_synthetic(folder: Path, rows: int, latent_dim: int) -> None:
    """Shards with holes, and a whole table."""
    rng = np.random.default_rng(0)
    shards = -(-rows // ROWS_PER_SHARD)
    full = write_shard(folder / "pattern.safetensors", np.zeros((ROWS_PER_SHARD, latent_dim), np.float16))
    last = write_shard(folder / "last.safetensors", np.zeros((rows - (shards - 1) * ROWS_PER_SHARD, latent_dim), np.float16))
    for index in range(shards):
        pattern = read_shard(last if index == shards - 1 else full)
        written = rng.normal(size=(min(WRITTEN_ROWS, pattern.rows), latent_dim)).astype(np.float16)
        with (folder / shard_name(index, shards)).open("wb") as file:
            file.write(pattern.path.read_bytes()[: pattern.offset] + written.tobytes())
            file.truncate(pattern.path.stat().st_size)
    full.unlink()
    last.unlink()
    info = SetInfo(
        name="synthetic",
        rows=rows,
        latent_dim=latent_dim,
        dtype="float16",
        shards=shards,
        kind="image",
        shape=(64, 64),
        class_names=tuple("abcdefgh"),
        checkpoint="none",
        data=DataSetInfo(name="synthetic"),
    )
    label = rng.integers(0, 8, rows)
    columns = {
        "id": [f"train/{row}" for row in range(rows)],
        "split": ["train"] * rows,
        "label": label,
        "class_name": [info.class_names[number] for number in label],
        "source": [f"synthetic.npz#train/{row}" for row in range(rows)],
        **{name: rng.normal(size=rows).astype(np.float32) for name in ("mse", "psnr", "ssim")},
    }
    write_metadata(folder, info, columns | place_columns(rows, ROWS_PER_SHARD))


def measure(task: str, folder: Path) -> dict[str, float]:
    """Seconds and memory of one task in this process, from a folder's path to the numbers."""
    before, start, start_cpu = peak_mib(), time.perf_counter(), time.process_time()
    opened = open_set(folder)
    if task == "one latent":
        opened.latent(len(opened) // 2)
    elif task == "1,000 latents":
        opened.latents(np.random.default_rng(1).integers(0, len(opened), 1000))
    elif task == "a column":
        opened.column("psnr")
    elif task == "everything of a row":
        opened.describe(len(opened) // 2)
    seconds, processor = time.perf_counter() - start, time.process_time() - start_cpu
    return {"seconds": seconds, "processor_seconds": processor, "peak_mib": peak_mib() - before}


def peak_mib() -> float:
    """The most memory this process ever had."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def machine() -> dict[str, Any]:
    """Where and when."""
    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "numpy": np.__version__,
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """What to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--latent-dim", type=int, default=2048)
    parser.add_argument("--json", type=Path, help="Write the report here.")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
