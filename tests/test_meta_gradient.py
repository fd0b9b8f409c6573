"""The hand-derived meta-gradient against autograd through the inner loop, and both against finite differences, in float64."""

import itertools

import pytest
import torch

from medfuncta_core.config import FieldConfig
from medfuncta_core.errors import ConfigError
from medfuncta_core.fields import FieldPasses, ModulatedSIREN
from medfuncta_core.grids import ContextSet, draw_indices, grid_context
from medfuncta_core.learning.meta_gradient import StepIndices, inner_loop, meta_gradient
from medfuncta_core.learning.reference import meta_gradient_autograd

SWITCHES = [s for s in itertools.product((False, True), repeat=4) if s[2] or s[3]]
SHAPES = [(16,), (8, 6), (4, 5, 6)]


def problem(
    shape: tuple[int, ...], switches: tuple[bool, ...] = (False, False, True, False), channels: int = 2
) -> tuple[ModulatedSIREN, ContextSet, StepIndices]:
    torch.manual_seed(7)
    residual, modulate_first, modulate_shift, modulate_scale = switches
    config = FieldConfig(
        coord_dim=len(shape), channels=channels, depth=5, width=7, latent_dim=5, omega_first=3, omega_last=9, residual=residual,
        modulate_first=modulate_first, modulate_shift=modulate_shift, modulate_scale=modulate_scale, output_offset=0.5,
    )  # fmt: skip
    context = grid_context(torch.rand(3, *shape, channels, dtype=torch.float64))
    generator = torch.Generator().manual_seed(1)
    indices = [draw_indices(3, context.points, 0.5, generator) for _ in range(3)]
    return ModulatedSIREN(config).double(), context, [*indices, None]


def relative_difference(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max(float((found[name] - expected[name]).norm() / expected[name].norm()) for name in expected)


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("shape", SHAPES)
def test_meta_gradient_equals_autograd(shape: tuple[int, ...], switches: tuple[bool, ...], second_order: bool) -> None:
    field, context, indices = problem(shape, switches)
    expected = meta_gradient_autograd(field, context, indices, inner_lr=0.5, second_order=second_order)
    for tile_elements in (None, 40):  # 40: several tiles per signal
        passes = FieldPasses(field, tile_elements=tile_elements)
        found = meta_gradient(passes, context, indices, inner_lr=0.5, second_order=second_order)
        assert relative_difference(found.gradients, expected.gradients) < 1e-10
        torch.testing.assert_close(found.latents, expected.latents, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(found.loss, expected.loss, rtol=1e-10, atol=0)
        torch.testing.assert_close(found.first_loss, expected.first_loss, rtol=1e-10, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("switches", [(False, False, True, False), (True, True, True, True)])
def test_meta_gradient_equals_finite_differences(shape: tuple[int, ...], switches: tuple[bool, ...]) -> None:
    field, context, indices = problem(shape, switches)
    field.requires_grad_(False)
    found = meta_gradient(FieldPasses(field), context, indices, inner_lr=0.5).gradients
    direction = {name: torch.randn_like(parameter) for name, parameter in field.named_parameters()}
    step, losses = 1e-6, []
    for sign in (1, -1):
        for name, parameter in field.named_parameters():
            parameter.add_(direction[name], alpha=sign * step)
        losses.append(float(meta_gradient(FieldPasses(field), context, indices, inner_lr=0.5).loss.mean()))
        for name, parameter in field.named_parameters():
            parameter.add_(direction[name], alpha=-sign * step)
    along = sum(float((found[name] * direction[name]).sum()) for name in found)
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(along, rel=1e-6)


def test_meta_gradient_in_float32_is_close_to_float64() -> None:
    field, context, indices = problem((8, 6))
    exact = meta_gradient(FieldPasses(field), context, indices, inner_lr=0.5).gradients
    single = ContextSet(context.coords.float(), context.values.float())
    found = meta_gradient(FieldPasses(field.float()), single, indices, inner_lr=0.5).gradients
    assert relative_difference({name: g.double() for name, g in found.items()}, exact) < 1e-5


def test_meta_gradient_takes_irregular_coordinates_of_each_signal() -> None:
    field, _, _ = problem((8, 6))
    context = ContextSet(torch.rand(2, 11, 2, dtype=torch.float64) * 2 - 1, torch.rand(2, 11, 2, dtype=torch.float64))
    expected = meta_gradient_autograd(field, context, [None, None], inner_lr=0.5)
    found = meta_gradient(FieldPasses(field), context, [None, None], inner_lr=0.5)
    assert relative_difference(found.gradients, expected.gradients) < 1e-10


@pytest.mark.parametrize(("room", "together"), [(0, 1), (1, 1), (4, 2), (6, 3)])
def test_meta_gradient_is_the_same_in_groups_of_any_size(room: int, together: int) -> None:
    field, _, _ = problem((8, 6))
    context = grid_context(torch.rand(3, 8, 6, 2, generator=torch.Generator().manual_seed(5)).double())
    drawn = torch.stack([torch.randperm(48, generator=torch.Generator().manual_seed(seed))[:20] for seed in range(3)])
    tape = FieldPasses(field)._tape_size(48)
    passes = FieldPasses(field, tape_bytes=room * tape)
    assert passes.together(2, 3, 48) == together
    expected = meta_gradient_autograd(field, context, [None, drawn], inner_lr=0.5)
    found = meta_gradient(passes, context, [None, drawn], inner_lr=0.5)
    assert relative_difference(found.gradients, expected.gradients) < 1e-10
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(found.first_loss, expected.first_loss)
    torch.testing.assert_close(found.latents, expected.latents)


def test_meta_gradient_needs_an_inner_step() -> None:
    field, context, _ = problem((16,))
    with pytest.raises(ConfigError, match="inner_steps"):
        meta_gradient(FieldPasses(field), context, [], inner_lr=0.5)


def test_inner_loop_starts_at_zero_and_descends() -> None:
    field, context, _ = problem((8, 6))
    latents, _, losses = inner_loop(FieldPasses(field), context, [None] * 5, 0.5)
    assert len(latents) == 6
    assert not latents[0].any()
    assert all((after < before).all() for before, after in itertools.pairwise(losses))
