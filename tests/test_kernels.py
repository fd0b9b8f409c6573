"""The fused kernels against their PyTorch twins, on a GPU or in Triton's interpreter, and the twins against autograd.

Every output starts as NaN, so that what a kernel leaves out is seen.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from test_meta_gradient import SWITCHES, problem, relative_difference
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from medfuncta_core.errors import ConfigError
from medfuncta_core.fields import FieldPasses
from medfuncta_core.fields.choosing import chosen_precision
from medfuncta_core.fields.cuda_passes import CudaPasses
from medfuncta_core.fields.modulating import modulate
from medfuncta_core.fields.tiles import Modulations
from medfuncta_core.grids import ContextSet
from medfuncta_core.kernels import fused, launching, plain
from medfuncta_core.kernels.layers import Kept, Modulation, Pair, SineLayer, moment_kinds
from medfuncta_core.kernels.precision import PRECISIONS, Precision, product, rounded_to_tf32, storage_dtype
from medfuncta_core.learning.meta_gradient import meta_gradient
from medfuncta_core.learning.reference import meta_gradient_autograd

aten = torch.ops.aten
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {"float32": 3e-6, "tf32x3": 6e-6, "tf32": 3e-3, "float16": 2e-3}  # the interpreter multiplies TF32 operands whole
# width, points, signals, channels: one column block and two, one tile of rows and three, and the smallest there is
SHAPES = [(37, 19, 3, 2), (70, 130, 2, 1), (1, 1, 2, 3)]
# residual, scale, shift, tangent, tangent of the input
CASES = [(0, 0, 1, 0, 0), (0, 0, 1, 1, 1), (0, 0, 1, 1, 0), (1, 0, 1, 1, 1), (1, 1, 1, 0, 0), (1, 1, 1, 1, 1), (0, 1, 0, 1, 0)]


@triton.jit
def write_sine_and_cosine(u, sine, cosine, count, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    s, c = fused.sine_and_cosine(tl.load(u + at, mask=at < count, other=0.0))
    tl.store(sine + at, s, mask=at < count)
    tl.store(cosine + at, c, mask=at < count)


@pytest.mark.parametrize(("largest", "error"), [(1.0, 1e-7), (400.0, 1.2e-7), (8000.0, 1.2e-7), (1e5, 1e-6)])
def test_sine_and_cosine_are_those_of_float64(largest: float, error: float) -> None:
    generator = torch.Generator().manual_seed(0)
    u = (torch.rand(4000, generator=generator) * 2 - 1) * largest
    u[:3] = torch.tensor([0.0, torch.pi / 2, -torch.pi])
    sine, cosine = (torch.full((4000,), torch.nan, device=DEVICE) for _ in range(2))
    kernel: Any = write_sine_and_cosine
    kernel[(4,)](u.to(DEVICE), sine, cosine, 4000, BLOCK=1024)
    assert (sine.cpu().double() - torch.sin(u.double())).abs().max() <= error
    assert (cosine.cpu().double() - torch.cos(u.double())).abs().max() <= error


class RecordableOnly(TorchDispatchMode):
    """Refuses what a CUDA graph cannot hold: values read on the host, and numbers sent from it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket not in (aten._local_scalar_dense, aten.lift_fresh, aten.nonzero, aten.equal), func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_meta_gradient_can_be_recorded_as_a_cuda_graph(precision: Precision) -> None:
    field, context, indices = problem((8, 6), (True, True, True, True))
    field, context = field.float(), ContextSet(context.coords.float(), context.values.float())
    passes = CudaPasses(field, precision=precision, kernels=plain)
    with RecordableOnly():
        passes.refresh()
        meta_gradient(passes, context, indices, inner_lr=0.5)
        passes.loss_gradient(context, modulate(field, torch.zeros(3, 5)))
        with pytest.raises(AssertionError, match="lift_fresh"):
            context.values.new_tensor(0.5)


class Layers:
    """Random layers and inputs for one case, on the device, in the precision's storage dtype."""

    def __init__(
        self, shape: tuple[int, int, int, int], case: tuple[int, ...], precision: Precision, *, first: bool = False
    ) -> None:
        width, self.points, signals, channels = shape
        residual, scale, shift, self.dual, input_tangent = map(bool, case)
        generator = torch.Generator().manual_seed(3)
        draw = lambda *size: torch.randn(*size, generator=generator).to(DEVICE)  # noqa: E731
        self.storage = storage_dtype(precision)
        self.rows, self.width, self.scale, self.signals = signals * self.points, width, scale, signals
        inputs, dtype = (2, torch.float32) if first else (width, self.storage)
        weight = draw(width, inputs) / inputs**0.5
        transposed = weight.mT.contiguous().to(dtype)
        self.layer = SineLayer(weight.to(dtype), transposed, draw(width), residual and not first, precision)
        stacks = [draw(signals, 3, width) if present else None for present in (shift, scale, shift, scale)]
        parts = [None if stack is None else stack[:, 1] for stack in stacks]  # cut from all layers' modulations, as they come
        self.modulation = Modulation(*parts[:2])
        self.tangent = Modulation(*parts[2:]) if self.dual else None
        x, d_x = draw(self.rows, inputs).to(dtype), draw(self.rows, inputs).to(dtype)
        self.x = Pair(x, d_x if input_tangent and not first else None)
        self.g = Pair(draw(self.rows, width).to(self.storage), draw(self.rows, width).to(self.storage) if self.dual else None)
        self.last_weight, self.last_bias, self.target = draw(channels, width), draw(channels), draw(self.rows, channels)

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.full(shape, torch.nan, dtype=dtype, device=DEVICE)

    def rows_like(self) -> Tensor:
        return self.empty(self.rows, self.width, dtype=self.storage)

    def pair(self) -> Pair:
        return Pair(self.rows_like(), self.rows_like() if self.dual else None)

    def forward(self, kernels: ModuleType, *, first: bool = False) -> Kept:
        wanted = (True, True, self.scale, self.dual, self.dual, self.dual and self.scale)
        kept = Kept(*(self.rows_like() if some else None for some in wanted))  # type: ignore[arg-type]
        kernels.sine_layer(self.layer, self.x, self.modulation, self.tangent, self.points, kept, first=first)
        return kept

    def backward(self, kernels: ModuleType, kept: Kept, *, first: bool = False) -> list[Tensor | None]:
        of = (self.layer, kept, self.g)
        moments = self.empty(
            moment_kinds(scale=self.scale, dual=self.dual, axes=2 if first else 0),
            self.signals,
            kernels.row_tiles(self.points),
            self.width,
        )
        below = None if first else self.pair()
        coords = self.x.value if first else None
        kernels.sine_layer_backward(*of, self.modulation, self.tangent, self.points, moments, below=below, coords=coords)
        return [moments.sum(2), *(below or ())]

    def weight_gradient(self, kernels: ModuleType, kept: Kept) -> Tensor:
        partial = torch.ones(kernels.weight_splits(self.rows, self.width), self.width, self.width, device=DEVICE)
        kernels.weight_gradient(self.layer, kept, self.g, self.x, self.modulation, self.tangent, self.points, partial)
        return partial.sum(0) - len(partial)  # added to what was there


def assert_alike(found: list[Tensor | None], expected: list[Tensor | None], tolerance: float) -> None:
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            difference, size = float((one.double() - other.double()).norm()), float(other.double().norm())
            assert difference <= tolerance * size, (number, difference, size)  # NaN is not


def cases() -> list[tuple[tuple[int, int, int, int], tuple[int, ...], Precision]]:
    """Every case in float32 on the first shape; every shape and every precision with all switches and with the paper's."""
    some = [(SHAPES[0], case, "float32") for case in CASES]
    some += [(shape, case, "float32") for shape in SHAPES[1:] for case in (CASES[1], CASES[5])]
    return some + [(SHAPES[0], case, precision) for precision in PRECISIONS[1:] for case in (CASES[1], CASES[5])]  # type: ignore[return-value]


@pytest.mark.parametrize(("shape", "case", "precision"), cases())
def test_hidden_layer_kernels_equal_their_twins(
    shape: tuple[int, int, int, int], case: tuple[int, ...], precision: Precision
) -> None:
    layers, tolerance = Layers(shape, case, precision), TOLERANCE[precision]
    kept = layers.forward(plain)
    assert_alike(list(vars(layers.forward(launching)).values()), list(vars(kept).values()), tolerance)
    assert_alike(layers.backward(launching, kept), layers.backward(plain, kept), tolerance)
    assert_alike([layers.weight_gradient(launching, kept)], [layers.weight_gradient(plain, kept)], tolerance)


@pytest.mark.parametrize("case", CASES)
def test_first_layer_kernels_equal_their_twins(case: tuple[int, ...]) -> None:
    for precision in ("float32", "float16"):
        layers = Layers(SHAPES[0], case, precision, first=True)
        kept = layers.forward(plain, first=True)
        found = list(vars(layers.forward(launching, first=True)).values())
        assert_alike(found, list(vars(kept).values()), TOLERANCE[precision])
        assert_alike(layers.backward(launching, kept, first=True), layers.backward(plain, kept, first=True), 3e-6)


def test_first_layer_without_modulation_takes_no_tangent_but_passes_one_back() -> None:
    layers = Layers(SHAPES[0], (0, 0, 1, 1, 0), "float32", first=True)
    layers.modulation, layers.tangent, layers.dual = Modulation(), None, False
    kept = layers.forward(launching, first=True)
    assert kept.d_h is None
    layers.dual = True  # from the layers above
    assert_alike(layers.backward(launching, kept, first=True), layers.backward(plain, kept, first=True), 3e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dual", [False, True])
def test_output_layer_kernel_equals_its_twin(shape: tuple[int, int, int, int], dual: bool) -> None:
    layers = Layers(shape, (0, 0, 1, dual, dual), "float32")
    last = (layers.last_weight, layers.last_bias, layers.x, layers.points)
    results = []
    for kernels in (launching, plain):
        values, g = layers.empty(layers.rows, shape[3]), layers.pair()
        kernels.output_layer(*last, values=values)
        output = kernels.output_layer(*last, target=layers.target, factor=0.3, g=g, own_gradient=True)
        results.append([values, *g, *output])
        loss_only = kernels.output_layer(*last, target=layers.target, factor=0.3, g=layers.pair())
        torch.testing.assert_close(loss_only.losses, output.losses)
    assert_alike(results[0], results[1], 3e-6)


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("switches", SWITCHES)
def test_twins_meta_gradient_equals_autograd(switches: tuple[bool, ...], second_order: bool) -> None:
    field, context, indices = problem((8, 6), switches)
    expected = meta_gradient_autograd(field, context, indices, inner_lr=0.5, second_order=second_order)
    for chunk_bytes in (2**30, 1):  # 1: as small as chunks become, several of them a context
        passes = CudaPasses(field, kernels=plain, chunk_bytes=chunk_bytes)
        found = meta_gradient(passes, context, indices, inner_lr=0.5, second_order=second_order)
        assert relative_difference(found.gradients, expected.gradients) < 1e-10
        torch.testing.assert_close(found.loss, expected.loss, rtol=1e-10, atol=0)


@pytest.mark.parametrize("switches", [(False, False, True, False), (True, True, True, True)])
def test_kernels_meta_gradient_equals_the_tiles(switches: tuple[bool, ...]) -> None:
    field, context, indices = problem((8, 6), switches)
    field = field.float().to(DEVICE)
    context = ContextSet(context.coords.float().to(DEVICE), context.values.float().to(DEVICE))
    expected = meta_gradient(FieldPasses(field), context, indices[-2:], inner_lr=0.5)
    found = meta_gradient(CudaPasses(field), context, indices[-2:], inner_lr=0.5)
    assert relative_difference(found.gradients, expected.gradients) < 5e-6
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-5, atol=0)
    latents = torch.ones(3, 5, device=DEVICE)
    values = CudaPasses(field).values(context.coords, modulate(field, latents))
    torch.testing.assert_close(values, field(context.coords, latents).detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_reduced_precision_keeps_small_errors_and_tangents(precision: Precision) -> None:
    """Losses of 1e-10 and tangents of 1e-9 pass float16, whose smallest number is 6e-8, as they pass float32."""
    field, context, _ = problem((8, 6), (True, True, True, True))
    field = field.float()
    latents = torch.zeros(3, 5)
    values = field(context.coords.float(), latents).detach()
    near = ContextSet(
        context.coords.float(), values + 1e-5 * torch.randn(values.shape, generator=torch.Generator().manual_seed(0))
    )
    tangent = Modulations(*(None if part is None else part * 1e-9 for part in modulate(field, torch.ones(3, 5))))
    results = []
    for kind in ("float32", precision):
        into = {name: torch.zeros_like(parameter) for name, parameter in field.named_parameters()}
        passes = CudaPasses(field, precision=kind, kernels=plain)
        _, dual = passes.hessian_product(near, modulate(field, latents), tangent, into=into)
        results.append({"dual": dual.shift} | {name: g for name, g in into.items() if name.startswith(("hidden", "last"))})
    exact, found = results
    assert relative_difference(found, exact) < {"float32": 1e-12, "tf32x3": 1e-5}.get(precision, 5e-3)


def test_product_rounds_as_the_matrix_units_do() -> None:
    x = torch.tensor([[1 + 2**-10, 1 + 2**-11, 1 + 2**-12, -1 - 2**-11]])
    assert rounded_to_tf32(x).tolist() == [[1 + 2**-10, 1 + 2**-10, 1.0, -1 - 2**-10]]
    one = torch.tensor([[1 + 2**-12]])
    results = {precision: float(product(one, one, precision)) - 1 for precision in PRECISIONS}
    assert results["tf32"] == results["float16"] == 0
    assert results["float32"] == results["tf32x3"] == pytest.approx(2**-11, rel=1e-3)


def test_precision_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_precision() == "float32"
    monkeypatch.setenv("MEDFUNCTA_PRECISION", "tf32")
    assert chosen_precision() == "tf32"
    monkeypatch.setenv("MEDFUNCTA_PRECISION", "half")
    with pytest.raises(ConfigError, match="MEDFUNCTA_PRECISION is 'half'; set it to one of float32, tf32x3, tf32, float16"):
        chosen_precision()


def test_importing_the_library_leaves_triton_alone() -> None:
    modules = ("fields", "fields.choosing", "fields.cuda_passes", "fitting", "learning", "learning.captured", "kernels.plain")
    imports = "; ".join(f"import medfuncta_core.{module}" for module in modules)
    subprocess.run([sys.executable, "-c", f"{imports}; import sys; assert 'triton' not in sys.modules"], check=True)


def test_cases_of_the_kernels_cover_every_switch() -> None:
    """A hidden layer with and without each of residual, scale, shift, tangent and its input's tangent."""
    for position, value in itertools.product(range(5), (0, 1)):
        assert any(case[position] == value for case in CASES)
