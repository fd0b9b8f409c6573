"""The modulated SIREN: analytic values, initialisation, parameter counts, and its passes against autograd."""

import math
from collections.abc import Iterator

import pytest
import torch

from medfuncta_core.config import PRESETS, FieldConfig
from medfuncta_core.errors import ConfigError
from medfuncta_core.fields import FieldPasses, ModulatedSIREN
from medfuncta_core.fields.arithmetic import cosine, sine
from medfuncta_core.fields.cores import spread
from medfuncta_core.fields.modulating import latent_gradient, modulate, modulate_tangent
from medfuncta_core.fields.products import PRODUCTS_VARIABLE, Products, add_gram, chosen_products, product
from medfuncta_core.grids import ContextSet, grid_context, make_grid

TORCH_PRODUCTS = [products for products in Products if products != Products.COMPILED]
TINY = {"depth": 3, "width": 1, "latent_dim": 1, "omega_first": 2.0, "omega_last": 6.0}


def constant_field(config: FieldConfig, value: float) -> ModulatedSIREN:
    field = ModulatedSIREN(config)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.fill_(value)
    return field


def test_field_forward_by_hand() -> None:
    field = constant_field(FieldConfig(coord_dim=1, **TINY), 0.5)
    x, phi = 0.3, 0.7
    h1 = math.sin(2 * (0.5 * x + 0.5))
    h2 = math.sin(4 * (0.5 * h1 + 0.5 + 0.5 * phi + 0.5))
    out = field(torch.tensor([[x]]), torch.tensor([[phi]]))
    assert out.item() == pytest.approx(0.5 * h2 + 0.5, abs=1e-6)


def test_field_published_switches_by_hand() -> None:
    config = FieldConfig(
        coord_dim=1, depth=3, width=1, latent_dim=1, omega_first=2, omega_increment=3, residual=True, modulate_first=True,
        modulate_scale=True, output_offset=0.5,
    )  # fmt: skip
    field = constant_field(config, 0.5)
    x, phi = 0.3, 0.7
    modulation = 0.5 * phi + 0.5  # both shift and scale
    h1 = math.sin(2 * (modulation * (0.5 * x + 0.5) + modulation))
    h2 = h1 + math.sin(5 * (modulation * (0.5 * h1 + 0.5) + modulation))
    assert field(torch.tensor([[x]]), torch.tensor([[phi]])).item() == pytest.approx(0.5 * h2 + 0.5 + 0.5, abs=1e-6)


def test_field_parameter_count_is_the_papers() -> None:
    field = ModulatedSIREN(PRESETS["image-64"].field)
    assert sum(parameter.numel() for parameter in field.parameters()) == 7_675_393 == field.config.parameter_count


@pytest.mark.parametrize(
    "switches", [{}, {"modulate_first": True}, {"modulate_scale": True}, {"modulate_shift": False, "modulate_scale": True}]
)
def test_field_parameter_count_follows_switches(switches: dict[str, bool]) -> None:
    config = FieldConfig(coord_dim=2, channels=3, depth=5, width=6, latent_dim=4, omega_first=1, omega_last=2, **switches)
    assert sum(parameter.numel() for parameter in ModulatedSIREN(config).parameters()) == config.parameter_count


def test_field_initialisation_fills_the_ranges_of_equation_2() -> None:
    config = FieldConfig(coord_dim=2, depth=6, width=64, latent_dim=100, omega_first=10, omega_last=60)
    field = ModulatedSIREN(config, generator=torch.Generator().manual_seed(0))
    spread = math.sqrt(6 / 64)
    bounds = [(field.first_weight, 1 / 2), (field.first_bias, 1 / 2), (field.last_weight, spread / 60), (field.shift_weight, 0.1)]
    bounds += [(field.hidden_weight[k], spread / omega) for k, omega in enumerate((20, 30, 40, 50))]
    for parameter, bound in bounds:
        assert 0.85 * bound < parameter.abs().max().item() <= bound


def test_field_initialisation_repeats_with_its_seed() -> None:
    config = FieldConfig(coord_dim=1, **TINY)
    first, again, other = (ModulatedSIREN(config, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.hidden_weight, again.hidden_weight)
    assert not torch.equal(first.hidden_weight, other.hidden_weight)


def random_field(shape: tuple[int, ...], **switches: bool) -> tuple[ModulatedSIREN, ContextSet, torch.Tensor]:
    torch.manual_seed(len(shape))
    config = FieldConfig(
        coord_dim=len(shape),
        channels=2,
        depth=5,
        width=7,
        latent_dim=5,
        omega_first=3,
        omega_last=9,
        output_offset=0.5,
        **switches,
    )
    field = ModulatedSIREN(config).double()
    return field, grid_context(torch.rand(3, *shape, 2, dtype=torch.float64)), torch.randn(3, 5, dtype=torch.float64)


@pytest.mark.parametrize("tile_elements", [None, 40])
@pytest.mark.parametrize("switches", [{}, {"residual": True, "modulate_first": True}, {"modulate_scale": True}])
def test_passes_equal_autograd(switches: dict[str, bool], tile_elements: int | None) -> None:
    field, context, latent = random_field((8, 6), **switches)
    passes = FieldPasses(field, tile_elements=tile_elements)
    phi = latent.clone().requires_grad_()
    values = field(context.coords, phi)
    losses = (values - context.values).square().mean((1, 2))
    (expected,) = torch.autograd.grad(losses.sum(), phi)
    found = passes.loss_gradient(context, modulate(field, latent))
    torch.testing.assert_close(passes.values(context.coords, modulate(field, latent)), values.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.loss, losses.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(latent_gradient(field, found.gradient), expected, rtol=1e-11, atol=1e-14)
    clamped = (values.detach().clamp(0, 1) - context.values).square().mean((1, 2))
    torch.testing.assert_close(found.clamped_loss, clamped, rtol=1e-12, atol=0)


def test_passes_hessian_product_equals_finite_differences() -> None:
    field, context, latent = random_field((4, 5, 6), residual=True, modulate_scale=True)
    passes, direction, step = FieldPasses(field), torch.randn_like(latent), 1e-6
    into = {name: torch.zeros_like(parameter) for name, parameter in field.named_parameters()}
    _, dual = passes.hessian_product(context, modulate(field, latent), modulate_tangent(field, direction), into=into)
    gradients = [
        latent_gradient(field, passes.loss_gradient(context, modulate(field, latent + e * direction)).gradient)
        for e in (step, -step)
    ]
    torch.testing.assert_close(latent_gradient(field, dual), (gradients[0] - gradients[1]) / (2 * step), rtol=1e-6, atol=1e-8)


def test_passes_of_a_signal_do_not_depend_on_its_neighbours() -> None:
    field, context, latent = random_field((16,))
    together = FieldPasses(field).loss_gradient(context, modulate(field, latent))
    alone = FieldPasses(field).loss_gradient(ContextSet(context.coords, context.values[1:2]), modulate(field, latent[1:2]))
    torch.testing.assert_close(together.loss[1:2], alone.loss)
    assert together.gradient.shift is not None
    assert alone.gradient.shift is not None
    torch.testing.assert_close(together.gradient.shift[1:2], alone.gradient.shift)


def test_passes_permute_with_the_points() -> None:
    field, context, latent = random_field((8, 6))
    order = torch.randperm(48)
    shuffled = ContextSet(context.coords[order], context.values[:, order])
    first, second = (FieldPasses(field).loss_gradient(c, modulate(field, latent)) for c in (context, shuffled))
    torch.testing.assert_close(first.loss, second.loss)


def test_passes_refresh_reads_new_parameters() -> None:
    field, context, latent = random_field((16,))
    passes = FieldPasses(field)
    with torch.no_grad():
        field.hidden_weight.mul_(1.5)
    passes.refresh()
    torch.testing.assert_close(
        passes.values(context.coords, modulate(field, latent)), field(make_grid((16,), dtype=torch.float64), latent).detach()
    )


def test_hessian_product_is_the_same_with_a_tape_a_used_one_or_an_empty_one() -> None:
    field, context, latent = random_field((8, 6), residual=True)
    passes, modulations = FieldPasses(field), modulate(field, latent)
    tangent = modulate_tangent(field, torch.ones_like(latent))
    (tape,) = passes.tapes(1, 3, 48)
    assert tape is not None
    results = []
    for filled, given in ((0, None), (0, tape), (1, tape), (2, tape)):
        for _ in range(filled):
            passes.loss_gradient(context, modulations, tape=tape)
        into = {name: torch.zeros_like(parameter) for name, parameter in field.named_parameters()}
        gradient, dual = passes.hessian_product(context, modulations, tangent, into=into, tape=given)
        results.append((gradient.shift, dual.shift, into["hidden_weight"]))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-12, atol=1e-14)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("switches", [{}, {"residual": True, "modulate_first": True, "modulate_scale": True}])
def test_passes_on_two_cores_equal_those_on_one_and_repeat(switches: dict[str, bool], two_threads: None) -> None:
    field, context, latent = random_field((8, 6), **switches)
    modulations, tangent = modulate(field, latent), modulate_tangent(field, torch.ones_like(latent))
    results = []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        passes = FieldPasses(field, tile_elements=40)
        into = {name: torch.zeros_like(parameter) for name, parameter in field.named_parameters()}
        passes.loss_gradient(context, modulations, weight=0.3, into=into)
        (tape,) = passes.tapes(1, 3, 48)
        found = passes.loss_gradient(context, modulations, tape=tape)
        _, dual = passes.hessian_product(context, modulations, tangent, into=into, tape=tape)
        results.append([passes.values(context.coords, modulations), *found[:2], found.gradient.shift, dual.shift, *into.values()])
    torch.testing.assert_close(results[1], results[0], rtol=1e-11, atol=1e-13)
    assert all(torch.equal(one, other) for one, other in zip(results[1], results[2], strict=True))


def test_spread_gives_every_tile_to_its_worker_in_order(two_threads: None) -> None:
    taken: list[list[tuple[int, int]]] = [[], []]
    spread(5, 2, lambda worker, tile: taken[worker].append((tile, torch.get_num_threads())))
    assert taken == [[(0, 1), (2, 1), (4, 1)], [(1, 1), (3, 1)]]
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError):
        spread(2, 2, lambda worker, tile: print(1 / 0))


def test_tapes_are_kept_for_as_many_steps_as_there_is_room_for() -> None:
    field, context, latent = random_field((8, 6))
    step = 2 * 4 * 3 * 48 * 7 * 8  # u and g of four sine layers, 3 signals of 48 points, width 7, float64
    assert [tape is not None for tape in FieldPasses(field, tape_bytes=2 * step).tapes(3, 3, 48)] == [False, True, True]
    assert FieldPasses(field, tape_bytes=step - 1).tapes(2, 3, 48) == [None, None]
    passes = FieldPasses(field, tape_bytes=step)
    (tape,) = passes.tapes(1, 3, 48)
    assert tape is not None
    passes.loss_gradient(context, modulate(field, latent), tape=tape)
    assert sum(buffer.nbytes for buffer in tape.space._buffers.values()) <= step


@pytest.mark.parametrize("size", [1, 17, 4096])
def test_sine_and_cosine_are_close_to_those_of_float64(size: int) -> None:
    u = (torch.rand(size, generator=torch.Generator().manual_seed(0)) * 2 - 1) * 3000
    for found, exact in ((sine(u, torch.empty_like(u)), u.double().sin()), (cosine(u, torch.empty_like(u)), u.double().cos())):
        assert (found.double() - exact).abs().max() < 1.2e-7


@pytest.mark.parametrize("products", TORCH_PRODUCTS)
def test_products_of_every_library_are_those_of_float64(products: Products) -> None:
    x, g, weight = (torch.randn(n, 256, generator=torch.Generator().manual_seed(n)) for n in (700, 701, 256))
    g, bias, out = g[:700], weight[0], torch.full((700, 256), torch.nan)
    found = product(x, weight, bias, products, lambda: out, lasting=True)
    assert found.data_ptr() == out.data_ptr()
    torch.testing.assert_close(found, (x.double() @ weight.double().mT + bias).float(), rtol=1e-5, atol=1e-4)
    found = product(x, weight.mT, None, products, lambda: out)
    torch.testing.assert_close(found, (x.double() @ weight.double()).float(), rtol=1e-5, atol=1e-4)
    into = torch.ones(256, 256)
    add_gram(into, g, x, products)
    torch.testing.assert_close(into, (1 + g.double().mT @ x.double()).float(), rtol=1e-5, atol=1e-3)


def test_products_follow_the_environment_or_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PRODUCTS_VARIABLE, "onednn")
    assert chosen_products() == Products.ONEDNN
    monkeypatch.setenv(PRODUCTS_VARIABLE, "mkl")
    with pytest.raises(ConfigError, match="set it to one of compiled, torch, onednn-rows, onednn"):
        chosen_products()
    for fastest in ("compiled", None):
        if fastest is None:
            monkeypatch.delenv(PRODUCTS_VARIABLE)
        else:
            monkeypatch.setenv(PRODUCTS_VARIABLE, fastest)
        assert chosen_products() in TORCH_PRODUCTS


@pytest.mark.parametrize("modulate_scale", [False, True])
@pytest.mark.parametrize("signals", [1, 3])
def test_passes_agree_whichever_library_multiplies(monkeypatch: pytest.MonkeyPatch, modulate_scale: bool, signals: int) -> None:
    monkeypatch.setattr("medfuncta_core.fields.products.SMALLEST", 1)
    config = FieldConfig(
        coord_dim=2, depth=4, width=16, latent_dim=5, omega_first=3, omega_last=9, residual=True, modulate_scale=modulate_scale
    )
    field = ModulatedSIREN(config, generator=torch.Generator().manual_seed(0)).requires_grad_(False)
    context = grid_context(torch.rand(signals, 8, 6, 1, generator=torch.Generator().manual_seed(1)))
    modulations = modulate(field, torch.randn(signals, 5, generator=torch.Generator().manual_seed(2)))
    found = []
    for products in TORCH_PRODUCTS:
        monkeypatch.setenv(PRODUCTS_VARIABLE, products)
        passes, into = FieldPasses(field), {name: torch.zeros_like(p) for name, p in field.named_parameters()}
        (tape,) = passes.tapes(1, signals, 48)
        passes.loss_gradient(context, modulations, into=into, tape=tape)
        _, dual = passes.hessian_product(context, modulations, modulations, into=into, tape=tape)
        found.append([*into.values(), *(part for part in dual if part is not None)])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-5)
