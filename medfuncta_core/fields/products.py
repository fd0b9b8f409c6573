"""Matrix products of tall arrays (points by width), by the faster of the two libraries that torch carries.

They serve where the compiled passes of `kernels/native_code/` cannot: without a compiler, in float64, on other processors.

`torch.mm` is MKL's on x86, which uses 256 of the 512 bits of AMD's vector units; oneDNN, which torch offers for float32 as a
linear layer, uses them all. GFLOP/s of MKL and of oneDNN on one core, float32, width 256, torch 2.14: on Zen 5 95 and 215 (sums
over points, for which oneDNN transposes a copy first, were not measured there). On Zen 4, whose units do 512 bits in two turns,
86 and 96 forwards, 95 and 102 backwards, 90 and 86 for sums over points; but oneDNN allocates its results, and a whole
meta-step holds 60 MB more and is not measurably faster (2 % faster to 3 % slower), so MKL it is there.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from medfuncta_core.errors import ConfigError
from medfuncta_core.kernels import native

PRODUCTS_VARIABLE = "MEDFUNCTA_PRODUCTS"
SMALLEST = 2**17  # points times width from which oneDNN's overhead for each call is made up for
ZEN_5 = 26  # AMD's number of the family


class Products(StrEnum):
    """Which products are oneDNN's; all others are torch's own (MKL's on x86), where they are not part of compiled passes."""

    COMPILED = "compiled"  # where they cannot be, the fastest of the others
    TORCH = "torch"
    ROWS = "onednn-rows"  # those whose result has a row a point
    ONEDNN = "onednn"  # the sums over points as well


def chosen_products() -> Products:
    """Of torch's: what MEDFUNCTA_PRODUCTS says, or what is faster on processors of this kind. It never depends on a timing.

    Raises:
        ConfigError: when the variable says something else than compiled, torch, onednn-rows or onednn.
    """
    products, name = _wanted(), os.environ.get(PRODUCTS_VARIABLE)
    if products == Products.COMPILED:
        return _fastest()
    if products != Products.TORCH and not _has_onednn():
        raise ConfigError(f"{PRODUCTS_VARIABLE} is {name!r}, but this torch has no oneDNN; set it to torch")
    return products


def compiled_products() -> bool:
    """Whether passes should be the compiled ones: unless MEDFUNCTA_PRODUCTS names others.

    Raises:
        ConfigError: as `chosen_products`; also when it asks for the compiled ones and there are none.
    """
    wanted = _wanted() == Products.COMPILED
    if wanted and PRODUCTS_VARIABLE in os.environ and native.library() is None:
        raise ConfigError(
            f"{PRODUCTS_VARIABLE} is 'compiled', but that needs an x86-64 processor with AVX2 and a C compiler: "
            "install one so that 'cc' starts it, or unset the variable"
        )
    return wanted


def _wanted() -> Products:
    name = os.environ.get(PRODUCTS_VARIABLE, Products.COMPILED)
    try:
        return Products(name)
    except ValueError:
        raise ConfigError(f"{PRODUCTS_VARIABLE} is {name!r}; set it to one of {', '.join(Products)}") from None


def product(
    x: Tensor, weight: Tensor, bias: Tensor | None, products: Products, out: Callable[[], Tensor], *, lasting: bool = False
) -> Tensor:
    """x W^T + b `(rows, l)` of x `(rows, k)`, W `(l, k)`, which may be a transposed view, and b `(l,)`.

    Args:
        x: Contiguous.
        weight: W.
        bias: b, none when None.
        products: Whose.
        out: Gives memory for the result.
        lasting: The result must lie in that memory; else oneDNN returns the memory that it has allocated, to be given back soon.
    """
    if products != Products.TORCH and x.dtype == torch.float32 and x.numel() >= SMALLEST:
        result = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out().copy_(result) if lasting else result
    return torch.mm(x, weight.mT, out=out()) if bias is None else torch.addmm(bias, x, weight.mT, out=out())


def add_gram(into: Tensor, g: Tensor, x: Tensor, products: Products) -> None:
    """Add g^T x `(l, k)`, the sum over rows, to `into`."""
    if products != Products.ONEDNN or x.dtype != torch.float32 or x.numel() < SMALLEST:
        into.addmm_(g.mT, x)
    else:
        into += torch.ops.mkldnn._linear_pointwise(g.mT, x.mT, None, "none", [], "")


@cache
def _fastest() -> Products:
    vendor, family = _processor()
    wide = vendor == "AuthenticAMD" and family >= ZEN_5 and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return Products.ONEDNN if wide and _has_onednn() else Products.TORCH


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _processor() -> tuple[str, int]:
    """Vendor and family of an x86 processor; ("", 0) where they are not known."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        found = {key.strip(): value.strip() for key, value in lines}
        family = found.get("cpu family", "")
        return found.get("vendor_id", ""), int(family) if family.isdigit() else 0
    words = platform.processor().replace(",", " ").split()  # Windows: AMD64 Family 25 Model 97 Stepping 2, AuthenticAMD
    after = words[words.index("Family") + 1] if "Family" in words[:-1] else ""
    return words[-1] if words else "", int(after) if after.isdigit() else 0
