"""Seconds, ratio, memory and share of the machine's ceiling: this library against Algorithm 1 through autograd.

    python benchmarks/speed.py [--configs ecg-187 image-64 volume-32] [--repeats 5] [--batch B] [--quick] [--json]

Both sides take turns in one process and the medians are compared, so that a busy machine disturbs both alike; on a CPU the
processor's time is compared as well, which other programs change little (with OMP_NUM_THREADS=1, where no thread waits for
another). Memory is measured on a CPU by the operating system, each side in a process of its own, and on a GPU by its allocator.
FLOP are the baseline's matrix products as torch counts them, for both sides: work that is saved, or repeated to save memory,
shows in the seconds alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.workloads import BATCHES, SIDES, TASKS, Workload, gradient_difference, prepare  # noqa: E402
from medfuncta_core.fitting import choose_device  # noqa: E402

DEFAULT_CONFIGS = ("ecg-187", "image-64", "volume-32")
GIB = 2**30


def main(arguments: list[str] | None = None) -> None:
    """Measure what the command line asks for and print it."""
    options = parse(arguments)
    device = choose_device(options.device)
    if options.memory_of:
        side, task = options.memory_of
        print(json.dumps(peak_memory(chosen(options, options.configs[0], options.batch, device), task, side, device)))
        return
    report: dict[str, Any] = {"machine": machine(device), "ceiling_gflops": matmul_ceiling(device), "runs": []}
    for name in options.configs:
        for batch in [options.batch] if options.batch else BATCHES[name][device.type == "cuda"]:
            workload = chosen(options, name, batch, device)
            for task in options.tasks:
                print(f"{name}, batch {batch}: {task}", file=sys.stderr, flush=True)
                run = measure(workload, task, device, options.repeats, report["ceiling_gflops"])
                if not options.no_memory:
                    run["peak_memory_mib"] = memory_of_both(workload, task, device, options)
                report["runs"].append(run)
    report["machine"]["load_average_after"] = os.getloadavg()[0]
    print(json.dumps(report, indent=2) if options.json else table(report))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--configs", nargs="+", choices=list(BATCHES), default=list(DEFAULT_CONFIGS), help="presets")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--repeats", type=int, default=5, help="runs of each side, after one that does not count")
    parser.add_argument("--batch", type=int, help="signals, instead of each configuration's own numbers")
    parser.add_argument("--selection-ratio", type=float, help="gamma, instead of the preset's")
    parser.add_argument("--memory-limit", type=float, help="GiB the baseline may take; gamma is halved until it fits")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quick", action="store_true", help="two steps on a coarse grid: does it run, not how fast")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory out")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory-of", nargs=2, metavar=("SIDE", "TASK"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    return options


def chosen(options: argparse.Namespace, name: str, batch: int, device: torch.device) -> Workload:
    """A workload whose baseline fits into the memory that is there."""
    workload = Workload.of(name, batch, quick=options.quick, selection_ratio=options.selection_ratio)
    limit = int(options.memory_limit * GIB) if options.memory_limit else int(0.8 * available_memory(device))
    return workload.within(limit)


def measure(workload: Workload, task: str, device: torch.device, repeats: int, ceiling: float) -> dict[str, Any]:
    """Both sides in turns: medians, their ratio, and what share of the ceiling they reach."""
    from benchmarks.counting import ProductCounter

    runs = {side: prepare(workload, task, side, device) for side in SIDES}
    with ProductCounter() as counter:
        runs["plain"]()
    runs["ours"]()
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    processor: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(repeats):
        for side in SIDES:
            start = time.process_time()
            seconds[side].append(timed(runs[side], device))
            processor[side].append(time.process_time() - start)
    medians = {side: statistics.median(seconds[side]) for side in SIDES}
    return {
        "config": workload.name,
        "shape": workload.shape,
        "batch": workload.batch,
        "inner_steps": workload.inner_steps,
        "fit_steps": workload.fit_steps,
        "selection_ratio": workload.selection_ratio,
        "task": task,
        "seconds": medians,
        "ratio": medians["plain"] / medians["ours"],
        "every_run_seconds": seconds,
        "processor_seconds": {side: statistics.median(processor[side]) for side in SIDES} if device.type == "cpu" else None,
        "processor_ratio": statistics.median(processor["plain"]) / statistics.median(processor["ours"])
        if device.type == "cpu"
        else None,
        "gflop": counter.flop / 1e9,
        "share_of_ceiling": {side: counter.flop / 1e9 / medians[side] / ceiling for side in SIDES},
        "gradient_difference_from_float64": gradient_difference(workload, device) if task == "meta-step" else None,
    }


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one run, the device's queue included."""
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    """Wait for what was queued on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_ceiling(device: torch.device) -> float:
    """GFLOP/s of a large float32 product with the present settings and threads, the best of many."""
    n = 8192 if device.type == "cuda" else 1024
    a, b = torch.rand(2, n, n, device=device)
    out = torch.empty_like(a)
    return 2 * n**3 / min(timed(lambda: torch.mm(a, b, out=out), device) for _ in range(20)) / 1e9


def memory_of_both(workload: Workload, task: str, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    """MiB of both sides: `peak` of everything, `step` the part of it that was not there before the first run."""
    found = {side: _peak_elsewhere(workload, task, side, device, options) for side in SIDES}
    ratios = {key: found["ours"][key] / found["plain"][key] for key in ("peak", "step")}
    return {**found, "ours_as_share_of_plain": ratios}


def _peak_elsewhere(
    workload: Workload, task: str, side: str, device: torch.device, options: argparse.Namespace
) -> dict[str, float]:
    """On a CPU a process of its own, for its peak; a GPU's allocator can be asked here."""
    if device.type == "cuda":
        return peak_memory(workload, task, side, device)
    command = [sys.executable, __file__, "--memory-of", side, task, "--device", "cpu", "--configs", workload.name]
    command += ["--batch", str(workload.batch), "--selection-ratio", str(workload.selection_ratio), "--memory-limit", "1e6"]
    done = subprocess.run([*command, *(["--quick"] if options.quick else [])], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"measuring memory failed (exit {done.returncode}):\n{done.stderr}")
    return json.loads(done.stdout)


def peak_memory(workload: Workload, task: str, side: str, device: torch.device) -> dict[str, float]:
    """Two runs of one side: peak MiB, and the part of it that was not there before them."""
    run = prepare(workload, task, side, device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    before = held_bytes(device)
    for _ in range(2):
        run()
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_resident_bytes()
    return {"peak": peak / 2**20, "step": (peak - before) / 2**20}


def held_bytes(device: torch.device) -> int:
    """What is allocated now: on a CPU the pages in memory, as the operating system counts them."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else peak_resident_bytes()


def peak_resident_bytes() -> int:
    """The most this program has held; Linux's `VmHWM`, since `ru_maxrss` of a child begins at its parent's."""
    status = Path("/proc/self/status")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines()) if status.exists() else {}
    if "VmHWM" in lines:
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def available_memory(device: torch.device) -> int:
    """Bytes that can be had without swapping."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    lines = dict(line.split(":") for line in meminfo.read_text().splitlines()) if meminfo.exists() else {}
    return int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else 8 * GIB


def machine(device: torch.device) -> dict[str, Any]:
    """Where and when, for a kept result."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average_before": os.getloadavg()[0],
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "system": platform.platform(),
        "torch": torch.__version__,
        "float32_products": torch.get_float32_matmul_precision(),
    }


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    at = report["machine"]
    lines = [f"{at['gpu'] or at['cpu']}, {at['threads']} threads, torch {at['torch']}, {at['date']}"]
    lines.append(f"ceiling of float32 products: {report['ceiling_gflops']:,.0f} GFLOP/s")
    lines.append(
        "config     batch  gamma  task       plain s   ours s  ratio  share of ceiling    peak MiB plain, ours  gradient"
    )
    for run in report["runs"]:
        seconds, share, memory = run["seconds"], run["share_of_ceiling"], run.get("peak_memory_mib")
        held = f"{memory['plain']['step']:8,.0f} {memory['ours']['step']:8,.0f}" if memory else " " * 17
        gradient = run["gradient_difference_from_float64"]
        lines.append(
            f"{run['config']:<10} {run['batch']:5d}  {run['selection_ratio']:<5.3g}  {run['task']:<9} {seconds['plain']:8.3f} "
            f"{seconds['ours']:8.3f} {run['ratio']:6.2f}  {share['plain']:6.1%} {share['ours']:6.1%}      {held}   "
            + (f"{gradient:.1e}" if gradient is not None else "")
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
