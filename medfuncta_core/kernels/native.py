"""`native_code/passes.c` as a library for this processor: compiled by the machine's own C compiler when first needed, and kept.

A compiler (`cc`, or what the variable CC names) is not required: without one, or on processors other than x86-64 with AVX2,
fields go through PyTorch. The libraries lie in MEDFUNCTA_CACHE, `~/.cache/medfuncta` where it is not set.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

CACHE_VARIABLE = "MEDFUNCTA_CACHE"
CODE = Path(__file__).with_name("native_code")
# contraction to fused multiply-add is wanted, reordering of sums is not; -nostdlib, since nothing of a library is used
FLAGS = tuple("-O3 -march=native -ffp-contract=fast -fno-math-errno -fno-trapping-math -shared -fPIC -nostdlib -w".split())
WIDE_FLAGS = (*FLAGS, "-mprefer-vector-width=512")
_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 60  # compiling takes about two

_Floats = ctypes.c_void_p
_Long = ctypes.c_long


class Network(ctypes.Structure):
    """`Network` of basics.h; whoever fills it keeps the tensors."""

    _fields_ = [
        *((name, _Long) for name in ("layers", "width", "coords", "channels", "first_modulated", "residual")),
        *((name, _Floats) for name in ("first_weight", "biases", "ahead", "back", "last_weight", "last_bias")),
    ]


class Pass(ctypes.Structure):
    """`Pass` of basics.h."""

    _fields_ = [
        *((name, _Long) for name in ("signals", "points", "rows")),
        ("coords", _Floats),
        ("coords_stride", _Long),
        *((name, _Floats) for name in ("targets", "shift", "scale", "d_shift", "d_scale")),
        *((name, _Floats) for name in ("first_h", "first_cosine", "first_product", "values", "tape", "loss")),
        *((name, _Floats) for name in ("shift_sum", "scale_sum", "d_shift_sum", "d_scale_sum")),
        *((name, _Floats) for name in ("first_weight_sum", "weight_sum", "bias_sum", "last_weight_sum", "last_bias_sum")),
        *((name, _Floats) for name in ("tail", "tail_g", "scratch")),
    ]


def address(tensor: Tensor | None) -> int | None:
    """Where a contiguous tensor begins; None where there is none."""
    return None if tensor is None else tensor.data_ptr()


@cache
def library() -> ctypes.CDLL | None:
    """The compiled passes; None where this machine cannot compile or run them. Compiling takes about two seconds, once."""
    if platform.machine().lower() not in ("x86_64", "amd64") or torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return None
    return build(WIDE_FLAGS if torch.backends.cpu.get_cpu_capability() == "AVX512" else FLAGS)


def build(flags: Sequence[str]) -> ctypes.CDLL | None:
    """The passes compiled with some flags; None where there is no compiler, or it does not know them."""
    compiler = _compiler()
    if compiler is None:
        return None
    try:
        return _declare(ctypes.CDLL(str(_compiled(compiler, flags))))
    except (OSError, subprocess.SubprocessError, AttributeError):
        return None  # no room for the library, or a compiler or processor that we have not met


def _compiler() -> str | None:
    names = (os.environ["CC"],) if os.environ.get("CC") else _COMPILERS
    return next((found for name in names if (found := shutil.which(name))), None)


def _compiled(compiler: str, flags: Sequence[str]) -> Path:
    """The library's file, named after everything that it depends on, so that machines may share the folder."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
    parts = (*(path.read_text(encoding="utf-8") for path in sorted(CODE.iterdir())), " ".join(flags), version, _processor())
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    folder = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "medfuncta")
    path = folder / f"passes-{name}.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            built = Path(temporary) / path.name
            command = [compiler, *flags, str(CODE / "passes.c"), "-o", str(built)]
            subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True)
            built.replace(path)
    return path


def _processor() -> str:
    """What `-march=native` depends on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    found = {
        line.split(":", 1)[0].strip(): line for line in lines if line.startswith(("vendor_id", "cpu family", "model", "flags"))
    }
    return "".join(found.values()) or platform.processor()


def _declare(found: ctypes.CDLL) -> ctypes.CDLL:
    """Types of the library's functions.

    Raises:
        AttributeError: when one is missing.
    """
    network, pass_ = ctypes.POINTER(Network), ctypes.POINTER(Pass)
    for name in ("panel_width", "block_rows", "most_layers"):
        getattr(found, name).argtypes, getattr(found, name).restype = [], _Long
    found.scratch_floats.argtypes, found.scratch_floats.restype = [network, pass_, _Long], _Long
    for name in ("tape_floats", "tail_floats"):
        getattr(found, name).argtypes, getattr(found, name).restype = [network, pass_], _Long
    rest = {name: [_Long, _Long] for name in ("pass_values", "pass_gradient", "pass_hessian")} | {
        "pass_jacobian": [_Floats, _Long, _Floats, _Long, _Long],
        "share_first": [_Floats, _Floats, _Floats],
        "pass_tail": [],
    }
    for name, types in rest.items():
        getattr(found, name).argtypes, getattr(found, name).restype = [network, pass_, *types], None
    return found
