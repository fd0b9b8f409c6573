"""Block shapes of the kernels: what one program works on. One choice for each kernel and precision, so that nothing is tried out
at run time; `benchmarks/compile_kernels.py` prints registers, spills and shared memory of each.
"""

from __future__ import annotations

from typing import Literal

from medfuncta_core.kernels.precision import Precision

ROWS = 64  # points of one program of the layers' kernels
OUTPUT_ROWS = 16  # of the last layer's, which holds whole rows
SPLITS = 32  # of a weight gradient's sum: with four tiles of 128 x 128 at width 256, 128 programs for 132 multiprocessors
INPUT_PRECISION = {"float32": "ieee", "tf32x3": "tf32x3", "tf32": "tf32", "float16": "tf32"}  # float16 operands know but one way

Pass = Literal["forward", "backward", "weight"]


def column_block(width: int, limit: int | None = 256) -> int:
    """The power of two that holds a row, at least what a matrix unit takes and at most `limit`."""
    block = max(16, 1 << (width - 1).bit_length())
    return block if limit is None else min(block, limit)


def first_blocks(width: int) -> dict[str, int]:
    """For the layer on the coordinates, elementwise."""
    return {"BLOCK_M": ROWS, "BLOCK_N": column_block(width, 64), "num_warps": 4}


def product_blocks(kind: Pass, precision: Precision, width: int, *, dual: bool) -> dict[str, int]:
    """For a kernel with matrix products.

    Args:
        kind: Which.
        precision: float32 has no matrix units, and its tiles of weights and activations must not crowd the registers.
        width: L.
        dual: Whether it carries a tangent, which doubles the sums held in registers.
    """
    deep = 64 if precision == "float16" else 32
    if kind == "weight":
        side = column_block(width, 64 if precision == "float32" else 128)
        return {
            "BLOCK_M": side,
            "BLOCK_N": side,
            "BLOCK_K": 16 if precision == "float32" else 32,
            "num_warps": 8,
            "num_stages": 2,
        }
    if precision == "float32":
        return {"BLOCK_M": ROWS, "BLOCK_N": column_block(width, 64), "BLOCK_K": 16, "num_warps": 8, "num_stages": 2}
    narrow = dual and (kind == "forward" or precision == "tf32x3")  # 256 columns of two sums and what follows them spill
    columns, stages = column_block(width, 128 if narrow else 256), 2 if dual and not narrow else 3
    return {"BLOCK_M": ROWS, "BLOCK_N": columns, "BLOCK_K": deep, "num_warps": 8, "num_stages": stages}
