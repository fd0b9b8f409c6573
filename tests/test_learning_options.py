"""Ways of learning beside the paper's: exact where they touch the meta-gradient, and resumed bit for bit like all others."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_meta_gradient import problem, relative_difference
from test_training import EVERY_OPTION, META, beats, make_run  # noqa: F401

from medfuncta_core.config import MetaConfig
from medfuncta_core.errors import ConfigError
from medfuncta_core.fields import FieldPasses, ModulatedSIREN
from medfuncta_core.grids import ContextSet, reduce_context
from medfuncta_core.learning import TrainStep, learned_field, train
from medfuncta_core.learning.inner_rates import LOG_RATES, InnerRates
from medfuncta_core.learning.meta_gradient import StepIndices, meta_gradient
from medfuncta_core.learning.muon import muon_step
from medfuncta_core.learning.optimising import Group, Slot, make_groups
from medfuncta_core.learning.outer_step import NORM_WINDOW, MetaLearner
from medfuncta_core.learning.reference import meta_gradient_autograd, signal_losses
from medfuncta_core.learning.schedule import context_indices, loss_weights
from medfuncta_core.learning.state import STATE_FILE, load_state, save_state

WEIGHTS = (0.1, 0.2, 0.0, 0.7)
BOTH = [(False, False, True, False), (True, True, True, True)]


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("switches", BOTH)
def test_multi_step_gradient_equals_autograd(switches: tuple[bool, ...], second_order: bool) -> None:
    field, context, indices = problem((8, 6), switches)
    expected = meta_gradient_autograd(field, context, indices, inner_lr=0.5, second_order=second_order, loss_weights=WEIGHTS)
    for tile_elements in (None, 40):
        passes = FieldPasses(field, tile_elements=tile_elements)
        found = meta_gradient(passes, context, indices, inner_lr=0.5, second_order=second_order, loss_weights=WEIGHTS)
        assert relative_difference(found.gradients, expected.gradients) < 1e-10
        torch.testing.assert_close(found.loss, expected.loss, rtol=1e-10, atol=0)  # after the last step, whatever the weights
    last_only = meta_gradient(FieldPasses(field), context, indices, inner_lr=0.5, second_order=second_order)
    assert relative_difference(found.gradients, last_only.gradients) > 0.01


def test_multi_step_gradient_refuses_other_than_one_weight_a_step() -> None:
    field, context, indices = problem((16,))
    with pytest.raises(ConfigError, match="4 inner steps need as many loss weights, not 3"):
        meta_gradient(FieldPasses(field), context, indices, inner_lr=0.5, loss_weights=(0.5, 0.25, 0.25))


def test_loss_weights_begin_alike_and_fade_in_stages() -> None:
    meta = MetaConfig(steps=100, batch_size=1, multi_step_share=0.4)
    assert loss_weights(meta, 1, 4) == pytest.approx((0.25, 0.25, 0.25, 0.25))
    assert loss_weights(meta, 11, 4) == pytest.approx((0.1875, 0.1875, 0.1875, 0.4375))  # a quarter of the way
    assert loss_weights(meta, 40, 4) == pytest.approx((0.0625, 0.0625, 0.0625, 0.8125))
    assert loss_weights(meta, 41, 4) is None
    assert loss_weights(meta, 1, 1) is None
    assert loss_weights(META, 1, 4) is None


def test_contexts_and_inner_steps_grow_in_stages() -> None:
    meta = MetaConfig(
        steps=80,
        batch_size=2,
        inner_steps=5,
        inner_steps_start=1,
        selection_ratio=0.75,
        selection_ratio_start=0.25,
        grow_share=0.5,
    )
    drawn = [context_indices(meta, step, 2, 16) for step in (1, 10, 11, 21, 31, 41, 80)]
    assert [len(indices) for indices in drawn] == [1, 1, 2, 3, 4, 5, 5]
    assert [indices[0].shape[1] for indices in drawn if indices[0] is not None] == [4, 4, 6, 8, 10, 12, 12]


def meta_sgd_by_autograd(
    field: ModulatedSIREN, log_rates: torch.Tensor, context: ContextSet, indices: StepIndices
) -> dict[str, torch.Tensor]:
    """Gradients through inner steps that have a rate for every coordinate, as Meta-SGD is written."""
    rates = log_rates.clone().requires_grad_()
    latents = torch.zeros(len(context.values), len(rates), dtype=torch.float64, requires_grad=True)
    for drawn in indices:
        loss = signal_losses(field, latents, reduce_context(context, drawn)).sum()
        (gradient,) = torch.autograd.grad(loss, latents, create_graph=True)
        latents = latents - 0.5 * rates.exp() * gradient
    named = dict(field.named_parameters()) | {LOG_RATES: rates}
    return dict(zip(named, torch.autograd.grad(signal_losses(field, latents, context).mean(), list(named.values())), strict=True))


@pytest.mark.parametrize("switches", BOTH)
def test_meta_sgd_gradient_equals_autograd_through_rates_of_each_coordinate(switches: tuple[bool, ...]) -> None:
    field, context, indices = problem((8, 6), switches)
    log_rates = torch.linspace(-1.5, 1.0, 5, dtype=torch.float64)
    expected = meta_sgd_by_autograd(field, log_rates, context, indices)
    field.requires_grad_(False)
    rates = InnerRates(field)
    rates.tensors[LOG_RATES].copy_(log_rates)
    rates.fold()
    found = rates.gradients(meta_gradient(FieldPasses(field), context, indices, inner_lr=0.5).gradients)
    assert relative_difference(found, expected) < 1e-10


def steps_of(meta: MetaConfig, count: int) -> tuple[MetaLearner, MetaLearner]:
    """A learner before its steps, and one after them."""
    field, context, indices = problem((16,))
    before, after = (MetaLearner(ModulatedSIREN(field.config).double().requires_grad_(False), meta) for _ in range(2))
    for learner in (before, after):
        learner.field.load_state_dict(field.state_dict())
    after = MetaLearner(after.field, meta)
    for step in range(1, count + 1):
        after.outer_step(context, indices, step=step, lr=meta.outer_lr)
    return before, after


def test_meta_sgd_learns_rates_and_leaves_a_plain_field() -> None:
    meta = MetaConfig(steps=10, batch_size=3, inner_lr=0.5, outer_lr=1e-3, meta_sgd_lr=0.05)
    before, after = steps_of(meta, 3)
    state = after.tensors()
    assert 0.1 < float(state["rates.log_rates"].abs().max()) < 0.2  # three steps of AdamW at 0.05
    torch.testing.assert_close(
        state["field.shift_weight"], state["rates.shift_weight"] * (state["rates.log_rates"] / 2).exp(), rtol=1e-12, atol=0
    )
    assert after.learned.state_dict().keys() == before.learned.state_dict().keys()


def test_muon_moves_hidden_matrices_in_proportion_to_their_weights_and_adamw_the_rest() -> None:
    meta = MetaConfig(steps=10, batch_size=3, inner_lr=0.5, outer_lr=1e-3, weight_decay=0, clip_norm=None)
    before, muon = steps_of(meta.model_copy(update={"muon_lr": 4e-3}), 1)
    _, adam = steps_of(meta, 1)
    omegas = muon.field.config.omegas
    _, context, indices = problem((16,))
    gradient = meta_gradient(FieldPasses(before.field), context, indices, inner_lr=0.5).gradients["hidden_weight"]
    for k, omega in enumerate(omegas[1:-1]):
        weight = before.field.hidden_weight[k].clone()
        weight.grad = gradient[k]
        torch.optim.Muon([weight], lr=4e-3 * omegas[0] / omega, weight_decay=0, adjust_lr_fn="match_rms_adamw").step()
        expected, found = (moved - before.field.hidden_weight[k] for moved in (weight, muon.field.hidden_weight[k]))
        assert float((found - expected).norm() / expected.norm()) < 0.3  # torch iterates in bfloat16, which small values feel
    for (name, found), expected in zip(muon.field.named_parameters(), adam.field.parameters(), strict=True):
        assert torch.equal(found, expected) == (name != "hidden_weight")


def test_muon_keeps_momentum_and_decays_as_torch_does() -> None:
    generator = torch.Generator().manual_seed(3)
    weights, *gradients = (torch.randn(2, 6, 6, dtype=torch.float64, generator=generator) for _ in range(4))
    expected = [weight.clone() for weight in weights]
    optimiser = torch.optim.Muon(expected, lr=0.05, weight_decay=0.3, adjust_lr_fn="match_rms_adamw")
    found, momentum = weights.clone(), torch.zeros_like(weights)
    for step in gradients:
        for weight, gradient in zip(expected, step, strict=True):
            weight.grad = gradient
        optimiser.step()
        muon_step(found, step, momentum, rates=torch.full((2,), 0.05, dtype=torch.float64), weight_decay=0.3)
    moved = torch.stack(expected) - weights
    assert float((found - weights - moved).norm() / moved.norm()) < 0.02  # torch iterates in bfloat16
    for weight, buffer in zip(expected, momentum, strict=True):
        torch.testing.assert_close(buffer, optimiser.state[weight]["momentum_buffer"], rtol=1e-12, atol=0)


def test_groups_hold_what_muon_does_not_once_at_its_rate() -> None:
    layers = {"first_weight": 7, "hidden_weight": 2, "hidden_bias": 2, "shift_weight": 3, LOG_RATES: 5}
    meta = MetaConfig(batch_size=1, outer_lr=1e-3, muon_lr=2e-3, meta_sgd_lr=1e-2, scale_lr_by_omega=True)
    assert make_groups(layers, meta, (10.0, 20.0, 40.0, 80.0)) == [
        Group(1.0, [Slot("first_weight"), Slot("shift_weight")]),
        Group(0.5, [Slot("hidden_bias", 0)]),
        Group(0.25, [Slot("hidden_bias", 1)]),
        Group(10.0, [Slot(LOG_RATES)], decays=False),
    ]
    meta = MetaConfig(batch_size=1, scale_modulation_lr_by_omega=True)
    assert make_groups(layers | {"scale_bias": 2}, meta, (10.0, 20.0, 40.0, 80.0)) == [
        Group(1.0, [Slot("first_weight"), Slot("hidden_weight"), Slot("hidden_bias")]),
        Group(1.0, [Slot("shift_weight", 0)]),  # of the first layer
        Group(0.5, [Slot("shift_weight", 1), Slot("scale_bias", 0)]),
        Group(0.25, [Slot("shift_weight", 2), Slot("scale_bias", 1)]),
    ]


def test_clipping_follows_the_running_median_once_there_is_one() -> None:
    field, context, indices = problem((16,))
    meta = MetaConfig(steps=10, batch_size=3, inner_lr=0.5, clip_norm=None, clip_ratio=0.5)
    learner = MetaLearner(field.requires_grad_(False), meta)
    norm = learner.outer_step(context, indices, step=1, lr=0.0).gradient_norm
    assert learner._clipping(norm, math.inf) == 1
    assert learner._clipping(norm, norm / 2) == pytest.approx(0.25)
    learner.norms = [norm] * NORM_WINDOW
    learner.outer_step(context, indices, step=2, lr=0.0)
    moments = {name: value for name, value in learner.tensors().items() if ".exp_avg." in name}
    total = math.sqrt(sum(float(value.square().sum()) for value in moments.values()))
    assert total == pytest.approx(0.1 * (0.9 * norm + 0.5 * norm), rel=1e-6)  # AdamW's mean of a whole and a halved gradient


OPTIONS = {
    "muon": {"muon_lr": 1e-3},
    "meta-sgd": {"meta_sgd_lr": 1e-2},
    "growing": {"inner_steps_start": 1, "selection_ratio_start": 0.2, "grow_share": 0.9},
    "multi-step": {"multi_step_share": 0.9},
    "all": EVERY_OPTION,
}


@pytest.mark.parametrize("name", OPTIONS)
def test_run_broken_off_with_an_option_and_resumed_equals_the_whole_one(beats: Path, tmp_path: Path, name: str) -> None:  # noqa: F811
    whole, broken = (make_run(beats, tmp_path / place, **OPTIONS[name]) for place in ("whole", "broken"))
    losses = {event.step: event.loss for event in train(whole) if isinstance(event, TrainStep)}
    plain = {event.step: event.loss for event in train(make_run(beats)) if isinstance(event, TrainStep)}
    assert losses != plain
    for event in itertools.takewhile(lambda event: event.step < 15, train(broken)):
        assert event.step < 15  # the state of step 12 is on the disk
    resumed = [event for event in train(broken, resume=True) if isinstance(event, TrainStep)]
    assert resumed[0].step == 13
    assert all(event.loss == losses[event.step] for event in resumed)
    for a, b in zip(learned_field(whole)[0].parameters(), learned_field(broken)[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_state_from_before_the_options_were_there_still_resumes(beats: Path, tmp_path: Path) -> None:  # noqa: F811
    run = make_run(beats, tmp_path / "run")
    for event in itertools.takewhile(lambda event: event.step < 15, train(run)):
        assert event.step < 15
    state = load_state(tmp_path / "run" / STATE_FILE)
    field, meta, fit, data = state.progress.settings.split("\n")
    options = {key for option in OPTIONS.values() for key in option} - {"scale_lr_by_omega"}
    old = json.dumps({key: value for key, value in json.loads(meta).items() if key not in options})
    assert len(old) < len(meta) - 50
    progress = replace(state.progress, settings="\n".join((field, old, fit, data)))
    save_state(tmp_path / "run" / STATE_FILE, replace(state, progress=progress))
    assert next(train(run, resume=True)).step == 13
