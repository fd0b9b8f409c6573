"""Compiles every kernel that a meta-step launches for a GPU that need not be there: registers, spills and shared memory of each.

    python benchmarks/compile_kernels.py [--preset image-64] [--capability 90] [--precisions float32 tf32 ...] [--json]

A meta-step is walked through with launches noted instead of started; each distinct one is then compiled and its PTX assembled.
What the interpreter does not check is checked here: types, shapes of matrix units, and that a multiprocessor's memory suffices.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import triton  # noqa: E402
from torch import Tensor  # noqa: E402
from triton import knobs  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from medfuncta_core.config import PRESETS, FieldConfig  # noqa: E402
from medfuncta_core.fields import ModulatedSIREN  # noqa: E402
from medfuncta_core.fields.cuda_passes import CudaPasses  # noqa: E402
from medfuncta_core.grids import ContextSet, make_grid  # noqa: E402
from medfuncta_core.kernels import launching  # noqa: E402
from medfuncta_core.kernels.precision import PRECISIONS, Precision  # noqa: E402
from medfuncta_core.learning.meta_gradient import meta_gradient  # noqa: E402

Launch = tuple[Any, tuple[Any, ...], dict[str, Any]]
SHARED_LIMIT = {80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}  # KiB that one block may have
OPTIONS = ("num_warps", "num_stages")
TYPES = {torch.float32: "*fp32", torch.float16: "*fp16", int: "i32", float: "fp32"}


def main(arguments: list[str] | None = None) -> None:
    """Compile what the command line asks for and print it; exit status 1 when a kernel does not fit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", choices=list(PRESETS), default="image-64")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the field, such as residual=true")
    parser.add_argument("--capability", type=int, default=90, choices=list(SHARED_LIMIT), help="80 A100, 90 H100, ...")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    changes = dict(item.split("=", 1) for item in options.set)
    config = FieldConfig.parse(PRESETS[options.preset].field.model_dump() | changes, "--set")
    rows = []
    for precision in options.precisions:
        for launch in launches(config, precision):
            rows.append({"precision": precision, **compiled(*launch, options.capability)})
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    report = {"preset": options.preset, "settings": options.set, "capability": options.capability, "triton": triton.__version__}
    print(json.dumps(report | {"kernels": rows}, indent=2) if options.json else table(rows))
    if any(row["shared_kib"] > SHARED_LIMIT[options.capability] for row in rows):
        raise SystemExit("a kernel needs more shared memory than a block may have")


def launches(config: FieldConfig, precision: Precision) -> list[Launch]:
    """Every distinct launch of a meta-step and a decoding, by types and constants; the field has the real width, few points."""
    field = ModulatedSIREN(config.model_copy(update={"depth": 4, "latent_dim": 4})).requires_grad_(False)
    noted: dict[Any, Launch] = {}

    def note(kernel: Any, _: tuple[int, ...], *values: Any, **constants: Any) -> None:
        noted.setdefault((kernel.fn.__name__, tuple(map(_type, values)), tuple(constants.items())), (kernel, values, constants))

    started, launching._launch = launching._launch, note
    try:
        passes = CudaPasses(field, precision=precision)
        context = ContextSet(make_grid((70,) + (1,) * (config.coord_dim - 1)), torch.rand(2, 70, config.channels))
        meta_gradient(passes, context, [None, None], inner_lr=0.1)
        passes.values(context.coords, passes_modulations(field))
    finally:
        launching._launch = started
    return list(noted.values())


def passes_modulations(field: ModulatedSIREN) -> Any:
    """Modulations of two zero latents."""
    from medfuncta_core.fields.modulating import modulate

    return modulate(field, torch.zeros(2, field.config.latent_dim))


def compiled(kernel: Any, values: tuple[Any, ...], constants: dict[str, Any], capability: int) -> dict[str, Any]:
    """Resources of one launch's kernel."""
    fixed = {name: value for name, value in constants.items() if name not in OPTIONS}
    named = dict(zip(kernel.arg_names, values, strict=False))
    signature = {name: _type(value) for name, value in named.items()} | dict.fromkeys(fixed, "constexpr")
    fixed |= {name: None for name, value in named.items() if value is None}
    source = ASTSource(kernel, {name: signature[name] for name in kernel.arg_names}, fixed)
    options = {name: constants[name] for name in OPTIONS if name in constants}
    done = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    resources = assembled(done.asm["ptx"], capability)
    blocks = "x".join(str(fixed[name]) for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K") if name in fixed)
    tangent = any(name.startswith("d_") and name != "d_shift" and value is not None for name, value in named.items())
    return {
        "kernel": kernel.fn.__name__,
        "dual": tangent,
        "blocks": blocks,
        **options,
        "shared_kib": done.metadata.shared / 1024,
        **resources,
    }


def assembled(ptx: str, capability: int) -> dict[str, int]:
    """Registers a thread and bytes spilled, as the assembler reports them."""
    suffix = "a" if capability >= 90 else ""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.ptx"
        file.write_text(ptx)
        command = [knobs.nvidia.ptxas.path, "-v", f"--gpu-name=sm_{capability}{suffix}", str(file), "-o", "/dev/null"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = {
        key: re.search(pattern, said)
        for key, pattern in (("registers", r"(\d+) registers"), ("spilled", r"(\d+) bytes spill st"))
    }
    return {key: int(match.group(1)) if match else 0 for key, match in found.items()}


def table(rows: list[dict[str, Any]]) -> str:
    """The report for people."""
    lines = [f"{'precision':<10} {'kernel':<16} dual {'blocks':<12} warps  shared KiB  registers  bytes spilled"]
    for row in rows:
        lines.append(
            f"{row['precision']:<10} {row['kernel']:<16} {'yes' if row['dual'] else 'no':<4} {row['blocks']:<12} "
            f"{row.get('num_warps', 4):5d} {row['shared_kib']:11.1f} {row['registers']:10d} {row['spilled']:14d}"
        )
    return "\n".join(lines)


def _type(value: Any) -> str:
    if value is None:
        return "constexpr"
    return TYPES[value.dtype] if isinstance(value, Tensor) else TYPES[type(value)]


if __name__ == "__main__":
    main()
