"""The modulated SIREN: analytic values, initialisation, parameter counts, and its passes against autograd."""

import math

import pytest
import torch

from medfuncta_core.config import PRESETS, FieldConfig
from medfuncta_core.fields import FieldPasses, ModulatedSIREN
from medfuncta_core.fields.modulating import latent_gradient, modulate, modulate_tangent
from medfuncta_core.grids import ContextSet, grid_context, make_grid

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
