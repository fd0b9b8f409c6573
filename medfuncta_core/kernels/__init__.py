"""Fused CUDA kernels (Triton) for the passes of the modulated sine layers, each with a plain PyTorch twin of the same signature,
and compiled passes for a CPU (`native_code/`, started by `native.py`), whose twins are `fields/tiles.py` and `fields/duals.py`.

`plain.py` has the twins, `fused.py` the kernels, `launching.py` what starts them; Triton is imported by the last two alone, and
nothing imports those before a field on a GPU asks for them.
"""
