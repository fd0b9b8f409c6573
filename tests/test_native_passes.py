"""The compiled passes of a CPU against their twins in float64, what compiles them, and the thread that conducts them."""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from medfuncta_core.config import FieldConfig, FitConfig
from medfuncta_core.errors import ConfigError
from medfuncta_core.fields import FieldPasses, ModulatedSIREN, Modulations, passes_for
from medfuncta_core.fields.cores import conduct, cores, spread
from medfuncta_core.fields.jacobians import modulation_jacobian
from medfuncta_core.fields.modulating import modulate
from medfuncta_core.fields.native_passes import NativePasses
from medfuncta_core.fields.products import PRODUCTS_VARIABLE
from medfuncta_core.fitting import Fitter
from medfuncta_core.grids import ContextSet
from medfuncta_core.kernels import native
from medfuncta_core.learning.meta_gradient import StepIndices, meta_gradient

SWITCHES = [s for s in itertools.product((False, True), repeat=4) if s[2] or s[3]]
SIZES = [(1, 1, 3, 8, 1, 5), (2, 3, 5, 40, 2, 101), (3, 1, 4, 64, 3, 50)]  # d, c, K, L, signals, points: awkward on purpose


@pytest.fixture(scope="module", params=["this processor's", "AVX2"])
def library(request: pytest.FixtureRequest) -> ctypes.CDLL:
    found = native.build([*native.FLAGS, "-mno-avx512f"]) if request.param == "AVX2" else native.library()
    if found is None and "CI" not in os.environ:
        pytest.skip("no C compiler that 'cc' starts, or no x86-64 processor with AVX2")
    assert found is not None
    return found


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def random_field(
    depth: int = 4,
    width: int = 24,
    coord_dim: int = 2,
    channels: int = 1,
    switches: tuple[bool, ...] = (False, False, True, False),
) -> ModulatedSIREN:
    residual, modulate_first, modulate_shift, modulate_scale = switches
    config = FieldConfig(
        coord_dim=coord_dim, channels=channels, depth=depth, width=width, latent_dim=6, omega_first=5, omega_last=11,
        residual=residual, modulate_first=modulate_first, modulate_shift=modulate_shift, modulate_scale=modulate_scale,
        output_offset=0.5,
    )  # fmt: skip
    return ModulatedSIREN(config, generator=torch.Generator().manual_seed(1)).requires_grad_(False)


def in_float64(field: ModulatedSIREN) -> ModulatedSIREN:
    exact = ModulatedSIREN(field.config).requires_grad_(False).double()
    exact.load_state_dict({name: parameter.double() for name, parameter in field.state_dict().items()})
    return exact


def points(signals: int, n: int, field: ModulatedSIREN, *, shared: bool) -> ContextSet:
    generator = torch.Generator().manual_seed(2)
    shape = (n, field.config.coord_dim) if shared else (signals, n, field.config.coord_dim)
    return ContextSet(
        torch.rand(shape, generator=generator) * 2 - 1, torch.rand(signals, n, field.config.channels, generator=generator)
    )


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("sizes", SIZES)
def test_native_meta_gradient_is_that_of_float64(
    library: ctypes.CDLL, threads: int, switches: tuple[bool, ...], sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medfuncta_core.fields.native_passes.SMALLEST_SHARE", 1)
    coord_dim, channels, depth, width, signals, n = sizes
    field = random_field(depth, width, coord_dim, channels, switches)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([torch.randperm(n, generator=generator)[: max(1, n // 2)] for _ in range(signals)])
    indices: StepIndices = [None, drawn, None]
    for shared, tape_bytes in itertools.product((True, False), (0, 2**20)):
        context = points(signals, n, field, shared=shared)
        exact = ContextSet(context.coords.double(), context.values.double())
        torch.set_num_threads(1)
        expected = meta_gradient(FieldPasses(in_float64(field)), exact, indices, inner_lr=0.5)
        torch.set_num_threads(threads)
        passes = NativePasses(field, library, tile_numbers=20 * width, tape_bytes=tape_bytes)
        found = conduct(partial(meta_gradient, passes, context, indices, inner_lr=0.5))
        torch.testing.assert_close(found.loss.double(), expected.loss, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.latents.double(), expected.latents, rtol=1e-4, atol=1e-5)
        whole = torch.cat([gradient.flatten() for gradient in expected.gradients.values()]).norm()
        for name, gradient in expected.gradients.items():  # a last bias may nearly cancel, in torch's float32 as well
            assert float((found.gradients[name] - gradient).norm()) < 1e-5 * float(gradient.norm()) + 1e-6 * float(whole), name


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("sizes", SIZES)
def test_native_jacobian_is_that_of_float64(library: ctypes.CDLL, switches: tuple[bool, ...], sizes: tuple[int, ...]) -> None:
    coord_dim, channels, depth, width, signals, n = sizes
    field = random_field(depth, width, coord_dim, channels, switches)
    coords = points(signals, n, field, shared=False).coords
    latents = torch.randn(signals, 6, generator=torch.Generator().manual_seed(4))
    exact = in_float64(field)
    expected = modulation_jacobian(exact, coords.double(), modulate(exact, latents.double()))
    found = NativePasses(field, library, tile_numbers=20 * width).jacobian(coords, modulate(field, latents))
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_native_passes_repeat_bit_for_bit_and_do_not_depend_on_batch_mates(library: ctypes.CDLL, threads: int) -> None:
    field = random_field(width=32)
    context, passes = points(3, 700, field, shared=True), NativePasses(field, library)
    modulations = modulate(field, torch.randn(3, 6, generator=torch.Generator().manual_seed(0)))
    first, second = (passes.loss_gradient(context, modulations) for _ in range(2))
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(first.gradient.shift, second.gradient.shift)  # type: ignore[arg-type]
    values = passes.values(context.coords, modulations)
    alone = passes.values(context.coords, Modulations(modulations.shift[1:2], None))  # type: ignore[index]
    assert torch.equal(values[1:2], alone)


def test_native_passes_follow_new_weights_and_new_points(library: ctypes.CDLL) -> None:
    field = random_field()
    passes, modulations = NativePasses(field, library), modulate(field, torch.zeros(1, 6))
    for n in (40, 7):
        coords = points(1, n, field, shared=True).coords
        torch.testing.assert_close(passes.values(coords, modulations), field(coords, torch.zeros(1, 6)), rtol=1e-5, atol=1e-5)
        field.first_weight.mul_(0.5)
        passes.refresh()
        torch.testing.assert_close(passes.values(coords, modulations), field(coords, torch.zeros(1, 6)), rtol=1e-5, atol=1e-5)


def test_native_passes_refuse_what_does_not_belong_to_the_field_and_take_other_floats(library: ctypes.CDLL) -> None:
    field = random_field()
    passes, modulations, context = (
        NativePasses(field, library),
        modulate(field, torch.zeros(2, 6)),
        points(2, 9, field, shared=True),
    )
    with pytest.raises(ConfigError, match=r"2 fields of 2 axes cannot be taken at coords \(9, 3\)"):
        passes.values(torch.zeros(9, 3), modulations)
    with pytest.raises(ConfigError, match=r"2 fields of 2 axes cannot be taken at coords \(3, 9, 2\)"):
        passes.values(torch.zeros(3, 9, 2), modulations)
    with pytest.raises(ConfigError, match=r"2 fields at 9 points cannot be compared with values \(1, 9, 1\)"):
        passes.loss_gradient(ContextSet(context.coords, context.values[:1]), modulations)
    assert torch.equal(passes.values(context.coords.double(), modulations), passes.values(context.coords, modulations))


def waves(library: ctypes.CDLL, arguments: torch.Tensor) -> torch.Tensor:
    """Sines as the kernels take them: of the arguments, by a field whose other layers hand them on in their linear part."""
    field = random_field(depth=3, width=1, coord_dim=1)
    for parameter in field.parameters():
        parameter.zero_()
    field.hidden_weight.fill_(1e-4 / field.config.omegas[1])
    field.first_weight.fill_(1 / field.config.omegas[0])
    field.last_weight.fill_(1e4)
    found = NativePasses(field, library).values(arguments[:, None], modulate(field, torch.zeros(1, 6)))
    return found[0, :, 0] - 0.5


def test_native_sines_are_exact_far_out_and_bounded_beyond(library: ctypes.CDLL) -> None:
    near = torch.linspace(-1000, 1000, 40_001)
    assert float((waves(library, near).double() - near.double().sin()).abs().max()) < 3e-7  # 1e-7, and what the other layers add
    assert float(waves(library, torch.tensor([1e7, -1e12, 3e38])).abs().max()) <= 1 + 1e-6
    assert waves(library, torch.tensor([torch.nan, torch.inf, 0.0])).isnan().tolist() == [True, True, False]


def test_passes_for_a_field_on_a_cpu_are_the_compiled_ones_unless_it_cannot_be(
    library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = random_field()
    assert type(passes_for(field)) is NativePasses
    assert type(passes_for(in_float64(field))) is FieldPasses
    assert type(passes_for(random_field(depth=80))) is FieldPasses
    monkeypatch.setenv(PRODUCTS_VARIABLE, "torch")
    assert type(passes_for(field)) is FieldPasses
    monkeypatch.setenv(PRODUCTS_VARIABLE, "compiled")
    assert type(passes_for(field)) is NativePasses
    monkeypatch.setattr(native, "library", lambda: None)
    with pytest.raises(
        ConfigError, match="needs an x86-64 processor with AVX2 and a C compiler: install one so that 'cc' starts"
    ):
        passes_for(field)
    monkeypatch.delenv(PRODUCTS_VARIABLE)
    assert type(passes_for(field)) is FieldPasses


def test_library_is_compiled_once_and_a_machine_that_cannot_goes_without(
    library: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = native.library.__wrapped__
    monkeypatch.setenv(native.CACHE_VARIABLE, str(tmp_path / "cache"))
    assert build() is not None
    (built,) = (tmp_path / "cache").iterdir()  # nothing temporary is left
    written = built.stat().st_mtime_ns
    assert build() is not None
    assert built.stat().st_mtime_ns == written
    monkeypatch.setenv("CC", "false")  # a compiler that fails
    assert build() is None
    monkeypatch.setenv("CC", str(tmp_path / "no-such-compiler"))
    assert build() is None
    monkeypatch.delenv("CC")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(native.CACHE_VARIABLE, str(tmp_path / "file" / "cache"))  # a folder that cannot be made
    assert build() is None


def test_fits_by_compiled_passes_are_those_of_torch(library: ctypes.CDLL, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    field, values = random_field(width=32), torch.rand(2, 20, 20, 1, generator=torch.Generator().manual_seed(3))
    compiled = Fitter(field, FitConfig(steps=5, inner_lr=0.5)).fit_batch(values)
    monkeypatch.setenv(PRODUCTS_VARIABLE, "torch")
    plain = Fitter(field, FitConfig(steps=5, inner_lr=0.5)).fit_batch(values)
    torch.testing.assert_close(compiled.latents, plain.latents, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(compiled.psnr, plain.psnr, rtol=1e-4, atol=1e-4)


def test_conducted_work_spreads_over_all_cores_while_torch_uses_one(threads: int) -> None:
    taken: list[tuple[int, int, bool]] = []

    def work() -> str:
        assert cores() == threads
        assert torch.get_num_threads() == 1
        assert not torch.is_grad_enabled()
        spread(4, threads, lambda worker, tile: taken.append((worker, tile, torch.get_num_threads() == 1)))
        return conduct(lambda: "done")  # already conducted: no thread more

    assert conduct(work) == "done"
    assert sorted(taken) == sorted((tile % threads, tile, True) for tile in range(4))
    assert torch.get_num_threads() == threads
    with pytest.raises(ZeroDivisionError):
        conduct(lambda: spread(2, threads, lambda worker, tile: print(1 / 0)))
    assert conduct(lambda: 5) == 5  # a failure leaves the conductor usable


def test_conductors_work_side_by_side(threads: int) -> None:
    meeting = threading.Barrier(3, timeout=20)
    found: list[int] = []

    def visit(number: int) -> None:
        def work() -> int:
            meeting.wait()  # all three are inside at once
            spread(2, threads, lambda worker, tile: None)
            return number

        found.append(conduct(work))

    visitors = [threading.Thread(target=visit, args=(number,)) for number in range(3)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert sorted(found) == [0, 1, 2]
