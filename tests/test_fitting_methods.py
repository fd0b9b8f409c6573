"""Gauss-Newton fits: their Jacobian, their solver, what they promise, and stopping early."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from conftest import tiny_field_config

from medfuncta_core.config import FieldConfig, FitConfig
from medfuncta_core.fields import FieldPasses, ModulatedSIREN, gauss_newton, passes_for
from medfuncta_core.fields.gauss_newton import damped_steps, solve_damped
from medfuncta_core.fields.jacobians import modulation_jacobian, modulation_weight
from medfuncta_core.fields.modulating import modulate
from medfuncta_core.fields.scaling import scale_latents
from medfuncta_core.fitting import Fitter
from medfuncta_core.fitting.stopping import Stopping
from medfuncta_core.grids import make_grid
from medfuncta_core.signals import Signal

SWITCHES = [
    {},
    {"residual": True, "modulate_first": True, "output_offset": 0.5},
    {"modulate_scale": True},
    {"modulate_scale": True, "modulate_shift": False, "modulate_first": True, "residual": True},
]
GAUSS_NEWTON = FitConfig(steps=8, inner_lr=0.2, method="gauss_newton", plain_steps=2)


def make_field(config: FieldConfig, **switches: object) -> ModulatedSIREN:
    config = config.model_copy(update=switches)
    return ModulatedSIREN(config, generator=torch.Generator().manual_seed(0)).requires_grad_(False)


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize(("axes", "channels"), [(1, 1), (2, 3), (3, 1)])
def test_jacobian_equals_autograd_for_every_switch(axes: int, channels: int, switches: dict[str, object]) -> None:
    field = make_field(tiny_field_config(axes, channels), **switches).double()
    coords = make_grid((5, 4, 3)[:axes], dtype=torch.float64)
    latents = torch.randn(2, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = modulation_jacobian(field, coords.expand(2, *coords.shape), modulate(field, latents)) @ modulation_weight(field)
    for one, latent in zip(found, latents, strict=True):
        expected = torch.func.jacrev(lambda phi: field(coords, phi[None])[0].flatten())(latent)
        torch.testing.assert_close(one, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("short", [0, 256])
def test_solver_matches_a_direct_solution_signal_by_signal(short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauss_newton, "SHORT_LATENT", short)
    generator = torch.Generator().manual_seed(0)
    jacobian, weight, gradient = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((2, 30, 7), (7, 5), (2, 5))
    )
    damping = torch.tensor([0.1, 10.0], dtype=torch.float64)
    found = solve_damped(jacobian, weight, gradient, damping, iterations=5)
    for i in range(2):
        rows = jacobian[i] @ weight
        expected = torch.linalg.solve(2 / 30 * rows.mT @ rows + damping[i] * torch.eye(5, dtype=torch.float64), gradient[i])
        torch.testing.assert_close(found[i], expected, rtol=1e-8, atol=1e-10)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets torch's number of threads until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("short", [0, 256])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("passes", [FieldPasses, passes_for])
def test_steps_are_the_same_to_the_last_bit_on_any_number_of_cores(
    passes: Callable[[ModulatedSIREN], FieldPasses],
    channels: int,
    short: int,
    threads: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"TILE_POINTS": 7, "SHORT_LATENT": short}.items():
        monkeypatch.setattr(gauss_newton, name, value)
    monkeypatch.setattr(gauss_newton, "JACOBIAN_BYTES", {"cpu": 1})
    field = make_field(tiny_field_config(2, channels), modulate_scale=True)
    generator = torch.Generator().manual_seed(2)
    coords = torch.rand(2, 24, 2, generator=generator) * 2 - 1
    latents, gradient = torch.randn(2, 2, 5, generator=generator)
    damping, weight = torch.tensor([0.1, 1.0]), modulation_weight(field)
    found = []
    for count in (1, 2, 3):  # fewer signals than cores, as many, more
        threads(count)
        found.append(damped_steps(passes(field), weight, coords, latents, gradient, damping, iterations=5))
    expected = solve_damped(modulation_jacobian(field, coords, modulate(field, latents)), weight, gradient, damping, iterations=5)
    torch.testing.assert_close(found[0], expected, rtol=1e-3, atol=1e-5)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("length", ["short", "nearly square", "longer"])
def test_scaled_latents_measure_steps_by_what_they_do(length: str, switches: dict[str, object]) -> None:
    modulations = len(modulation_weight(make_field(tiny_field_config(2), **switches)))
    latent_dim = {"short": 5, "nearly square": modulations - 1, "longer": modulations + 9}[length]
    field = make_field(tiny_field_config(2), **switches, latent_dim=latent_dim).double()
    scaled, weight = scale_latents(field), modulation_weight(field)
    assert scaled.weight.shape == (modulations, min(modulations, latent_dim))
    coords = torch.rand(1, 4000, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 2 - 1
    start = modulate(field, torch.zeros(1, latent_dim, dtype=torch.float64))
    effects = 2 * modulation_jacobian(field, coords, start)[0].square().mean(0)
    y = torch.eye(scaled.weight.shape[1], dtype=torch.float64)
    latents = scaled.latents(y)
    torch.testing.assert_close(latents @ weight.mT, y @ scaled.weight.mT, rtol=1e-6, atol=1e-9)
    lengths = ((latents @ weight.mT).square() * effects).sum(1)  # effects at other points, so about
    if length == "short":
        assert float(lengths.mean()) == pytest.approx(1, rel=0.15)
    else:
        torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0.2, atol=0)
    slopes = torch.randn(3, modulations, generator=torch.Generator().manual_seed(6), dtype=torch.float64) @ weight
    torch.testing.assert_close(scaled.gradient(slopes) @ y.mT, slopes @ latents.mT)  # the same slope along every step


def test_scaled_latents_are_computed_once_until_the_field_changes(image_config: FieldConfig) -> None:
    field = make_field(image_config)
    first = scale_latents(field)
    assert scale_latents(field) is first
    with torch.no_grad():
        field.hidden_weight.mul_(0.5)
    second = scale_latents(field)
    assert not torch.allclose(second.weight, first.weight)
    fresh = ModulatedSIREN(field.config)
    fresh.load_state_dict(field.state_dict())
    assert torch.equal(scale_latents(fresh).weight, second.weight)


def test_scaling_survives_modulations_that_do_nothing(image_signal: Signal, image_config: FieldConfig) -> None:
    field = make_field(image_config, latent_dim=200)
    with torch.no_grad():
        field.hidden_weight[-1] = 0
    assert torch.isfinite(scale_latents(field).weight).all()
    result = Fitter(field, GAUSS_NEWTON, device="cpu").fit(image_signal)
    assert result.history[-1].loss < result.history[0].loss


def test_fits_of_long_latents_do_not_depend_on_their_coordinate_system(image_signal: Signal, image_config: FieldConfig) -> None:
    field, other = (make_field(image_config, latent_dim=12).double() for _ in range(2))
    turn = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(8), dtype=torch.float64))[0]
    mix = turn @ torch.diag(torch.logspace(-1, 1, 12, dtype=torch.float64))
    weights = field.state_dict()
    other.load_state_dict(weights | {"shift_weight": weights["shift_weight"] @ mix})
    config = GAUSS_NEWTON.model_copy(update={"plain_steps": 0, "steps": 5})
    ours, theirs = (Fitter(one, config, device="cpu").fit(image_signal) for one in (field, other))
    np.testing.assert_allclose(theirs.reconstruction, ours.reconstruction, atol=1e-4)
    np.testing.assert_allclose(theirs.latent @ mix.mT.numpy(), ours.latent, rtol=2e-2, atol=2e-3)


def test_gauss_newton_begins_with_plain_steps_and_never_gets_worse(image_signal: Signal, image_config: FieldConfig) -> None:
    field = make_field(image_config)
    newton = list(Fitter(field, GAUSS_NEWTON, device="cpu").steps(image_signal))
    plain = list(Fitter(field, GAUSS_NEWTON.model_copy(update={"method": "gradient_descent"}), device="cpu").steps(image_signal))
    assert len(newton) == 9
    for ours, theirs in zip(newton[:3], plain[:3], strict=True):
        torch.testing.assert_close(ours.latent, theirs.latent)
    losses = [step.loss for step in newton[2:]]
    assert losses == sorted(losses, reverse=True)
    assert newton[-1].loss < 0.7 * plain[-1].loss


@pytest.mark.parametrize("kind", ["ecg", "image", "volume"])
def test_gauss_newton_finds_a_signal_that_the_field_can_represent(kind: str, request: pytest.FixtureRequest) -> None:
    signal: Signal = request.getfixturevalue(f"{kind}_signal")
    field = make_field(request.getfixturevalue(f"{kind}_config"), output_offset=0.5)
    truth = 0.3 * torch.randn(1, 5, generator=torch.Generator().manual_seed(3))
    values = field(make_grid(signal.shape), truth).view(signal.values.shape).numpy()
    assert 0 < values.min() < values.max() < 1
    result = Fitter(field, GAUSS_NEWTON.model_copy(update={"steps": 30}), device="cpu").fit(Signal(values, signal.kind, "made"))
    assert result.psnr > 60


def test_gauss_newton_batch_equals_single_fits(image_signal: Signal, image_config: FieldConfig) -> None:
    fitter = Fitter(make_field(image_config), GAUSS_NEWTON, device="cpu")
    values = np.stack([image_signal.values, image_signal.values[::-1]])
    batch = fitter.fit_batch(values)
    for i, value in enumerate(values):
        alone = fitter.fit(Signal(value.copy(), "image", str(i)))
        assert float(batch.psnr[i]) == pytest.approx(alone.psnr, abs=1e-2)
        np.testing.assert_allclose(batch.latents[i], alone.latent, rtol=2e-2, atol=1e-3)


def test_gauss_newton_masked_fit_never_sees_hidden_points(image_signal: Signal, image_config: FieldConfig) -> None:
    fitter, mask = Fitter(make_field(image_config), GAUSS_NEWTON, device="cpu"), np.ones((8, 6), dtype=bool)
    mask[2:5, 1:4] = False
    spoiled = image_signal.values.copy()
    spoiled[2:5, 1:4] = 1 - spoiled[2:5, 1:4]
    first, second = (fitter.fit(Signal(values, "image", "x"), mask=mask).latent for values in (image_signal.values, spoiled))
    np.testing.assert_array_equal(first, second)


def test_gauss_newton_with_a_share_of_points_keeps_the_same_ones(image_signal: Signal, image_config: FieldConfig) -> None:
    config = GAUSS_NEWTON.model_copy(update={"selection_ratio": 0.5})
    history = list(Fitter(make_field(image_config), config, device="cpu").steps(image_signal))
    losses = [step.loss for step in history[2:]]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("method", ["gradient_descent", "gauss_newton"])
def test_fit_stops_at_its_target(method: str, image_signal: Signal, image_config: FieldConfig) -> None:
    config = GAUSS_NEWTON.model_copy(update={"method": method, "steps": 200})
    whole = list(Fitter(make_field(image_config), config.model_copy(update={"steps": 8}), device="cpu").steps(image_signal))
    target = whole[4].psnr - 0.01
    first = next(step.index for step in whole if step.psnr >= target)
    fitter = Fitter(make_field(image_config), config.model_copy(update={"target_psnr": target}), device="cpu")
    result = fitter.fit(image_signal)
    assert result.fit_steps == first
    batch = fitter.fit_batch(np.stack([image_signal.values, image_signal.values]))
    np.testing.assert_allclose(batch.psnr.numpy(), result.psnr, atol=1e-2)


def test_fit_stops_at_a_plateau(image_signal: Signal, image_config: FieldConfig) -> None:
    config = FitConfig(steps=500, inner_lr=0.2, plateau_db=0.5)
    history = Fitter(make_field(image_config), config, device="cpu").fit(image_signal).history
    assert 5 < len(history) < 500
    assert history[-1].psnr - history[-6].psnr < 0.5
    assert all(later.psnr - early.psnr >= 0.5 for early, later in zip(history[:-6], history[5:-1], strict=True))


def test_stopping_remembers_every_signal_that_was_done() -> None:
    stopping = Stopping(FitConfig(target_psnr=30))
    assert stopping(torch.tensor([29.0, 31.0])).tolist() == [False, True]
    assert stopping(torch.tensor([30.0, 20.0])).tolist() == [True, True]
