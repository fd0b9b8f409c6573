"""The fitter: its steps, results, partial contexts, batches and decoding."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medfuncta_core.checkpoint import Checkpoint
from medfuncta_core.config import CheckpointConfig, FieldConfig, FitConfig, SignalSpec
from medfuncta_core.errors import ConfigError, SignalError
from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.fitting import Fitter
from medfuncta_core.grids import ContextSet, make_grid
from medfuncta_core.learning.reference import signal_losses
from medfuncta_core.signals import Signal, load_data_set, prepare_signal, read_signal

FIT = FitConfig(steps=6, inner_lr=0.2)


def make_fitter(config: FieldConfig, fit: FitConfig = FIT) -> Fitter:
    field = ModulatedSIREN(config, generator=torch.Generator().manual_seed(0)).requires_grad_(False)
    return Fitter(field, fit, device="cpu")


def test_fitter_steps_are_plain_gradient_descent(image_signal: Signal, image_config: FieldConfig) -> None:
    fitter = make_fitter(image_config)
    context = ContextSet(make_grid((8, 6)), torch.from_numpy(image_signal.values).reshape(1, 48, 1))
    latent = torch.zeros(1, 5, requires_grad=True)
    for step in fitter.steps(image_signal):
        loss = signal_losses(fitter.field, latent, context).sum()
        assert step.loss == pytest.approx(loss.item(), rel=1e-5)
        torch.testing.assert_close(step.latent, latent[0].detach(), rtol=1e-4, atol=1e-6)
        (gradient,) = torch.autograd.grad(loss, latent)
        latent = (latent - 0.2 * gradient).detach().requires_grad_()


def test_fitter_yields_the_initialisation_and_every_step(ecg_signal: Signal, ecg_config: FieldConfig) -> None:
    history = list(make_fitter(ecg_config).steps(ecg_signal))
    assert [step.index for step in history] == list(range(7))
    assert not history[0].latent.any()
    assert all(after.loss < before.loss for before, after in itertools.pairwise(history))
    assert all(after.seconds > before.seconds for before, after in itertools.pairwise(history))


@pytest.mark.parametrize("kind", ["ecg", "image", "volume"])
def test_fit_result_agrees_with_its_parts(kind: str, request: pytest.FixtureRequest) -> None:
    signal: Signal = request.getfixturevalue(f"{kind}_signal")
    fitter = make_fitter(request.getfixturevalue(f"{kind}_config"))
    result = fitter.fit(signal)
    assert result.reconstruction.shape == signal.values.shape
    assert result.mse == pytest.approx(np.mean((result.reconstruction - signal.values) ** 2), rel=1e-5)
    assert result.psnr == pytest.approx(result.history[-1].psnr, abs=1e-3) == pytest.approx(-10 * np.log10(result.mse), abs=1e-3)
    assert result.fit_steps == 6
    assert result.ssim is not None
    assert (fitter.decode(result.latent, signal.shape) == result.reconstruction).all()


def test_fit_takes_any_grid_and_decodes_to_any_other(image_signal: Signal, image_config: FieldConfig) -> None:
    fitter = make_fitter(image_config)
    coarse = Signal(image_signal.values[::2, ::2].copy(), "image", "coarse")
    latent = fitter.fit(coarse).latent
    assert fitter.decode(latent, (16, 12)).shape == (16, 12, 1)
    fine, odd = fitter.decode(latent, (15, 11)), fitter.decode(latent, (8, 6))
    np.testing.assert_allclose(fine[::2, ::2], odd, atol=1e-6)  # 15 = 2 * 8 - 1: every second point is the coarser grid


def test_decode_does_not_depend_on_chunks(volume_config: FieldConfig) -> None:
    fitter = make_fitter(volume_config)
    latent = np.linspace(-1, 1, 5, dtype=np.float32)
    np.testing.assert_allclose(fitter.decode(latent, (4, 5, 6)), fitter.decode(latent, (4, 5, 6), chunk_points=7), atol=1e-6)


def test_decode_clamps_only_when_asked(image_config: FieldConfig) -> None:
    config = image_config.model_copy(update={"output_offset": 3.0})
    fitter = make_fitter(config)
    assert fitter.decode(np.zeros(5, np.float32), (8, 6)).max() == 1
    assert fitter.decode(np.zeros(5, np.float32), (8, 6), clamp=False).max() > 2


def test_decode_refuses_foreign_latents_and_shapes(image_config: FieldConfig) -> None:
    fitter = make_fitter(image_config)
    with pytest.raises(ConfigError, match="length 5"):
        fitter.decode(np.zeros(4, np.float32), (8, 6))
    with pytest.raises(ConfigError, match="2 axes"):
        fitter.decode(np.zeros(5, np.float32), (8, 6, 2))


def test_masked_fit_never_sees_hidden_points(image_signal: Signal, image_config: FieldConfig) -> None:
    fitter, mask = make_fitter(image_config), np.ones((8, 6), dtype=bool)
    mask[2:5, 1:4] = False
    spoiled = image_signal.values.copy()
    spoiled[2:5, 1:4] = 1 - spoiled[2:5, 1:4]
    first = fitter.fit(image_signal, mask=mask)
    second = fitter.fit(replace(image_signal, values=spoiled), mask=mask)
    np.testing.assert_array_equal(first.latent, second.latent)
    assert first.history[-1].loss == second.history[-1].loss
    assert first.psnr != second.psnr  # PSNR is of the whole signal


def test_masked_fit_equals_the_context_set_of_its_points(image_signal: Signal, image_config: FieldConfig) -> None:
    fitter, mask = make_fitter(image_config), np.zeros((8, 6), dtype=bool)
    mask[::3, 1:] = True
    keep = torch.from_numpy(mask.reshape(-1))
    context = ContextSet(make_grid((8, 6))[keep], torch.from_numpy(image_signal.values).reshape(1, 48, 1)[:, keep])
    np.testing.assert_array_equal(fitter.fit(image_signal, mask=mask).latent, fitter.fit(context).latent)


def test_fit_with_drawn_points_repeats_with_its_seed(image_signal: Signal, image_config: FieldConfig) -> None:
    def latent(seed: int) -> np.ndarray:
        return (
            make_fitter(image_config, FitConfig(steps=4, inner_lr=0.2, selection_ratio=0.3, seed=seed)).fit(image_signal).latent
        )

    np.testing.assert_array_equal(latent(1), latent(1))
    assert (latent(1) != latent(2)).any()


def test_fit_batch_equals_single_fits(image_signal: Signal, image_config: FieldConfig) -> None:
    fitter = make_fitter(image_config)
    other = replace(image_signal, values=image_signal.values[::-1].copy())
    batch = fitter.fit_batch(np.stack([image_signal.values, other.values]))
    for i, signal in enumerate((image_signal, other)):
        alone = fitter.fit(signal)
        np.testing.assert_allclose(batch.latents[i], alone.latent, rtol=1e-4, atol=1e-6)
        assert float(batch.psnr[i]) == pytest.approx(alone.psnr, abs=1e-3)
        assert float(batch.ssim[i]) == pytest.approx(alone.ssim, abs=1e-4)


def test_fitter_prepares_signals_for_its_checkpoint(image_signal: Signal, image_config: FieldConfig) -> None:
    spec = SignalSpec(kind="image", shape=(4, 3))
    field = ModulatedSIREN(image_config, generator=torch.Generator().manual_seed(0)).requires_grad_(False)
    fitter = Fitter(Checkpoint(field, CheckpointConfig(name="tiny", field=image_config, signal=spec)), FIT, device="cpu")
    result = fitter.fit(image_signal)
    assert isinstance(result.signal, Signal)
    assert result.reconstruction.shape == (4, 3, 1)
    assert any("4 x 3" in note for note in result.signal.notes)
    ready = prepare_signal(image_signal, spec)
    assert fitter.prepare(ready) is ready
    np.testing.assert_array_equal(fitter.fit(ready).latent, result.latent)


def test_fitter_normalises_signals_that_have_its_grid(tmp_path: Path, volume_config: FieldConfig) -> None:
    spec = SignalSpec(kind="volume", shape=(4, 5, 6), normalisation="quantile", limits=(0.2, 0.8))
    field = ModulatedSIREN(volume_config, generator=torch.Generator().manual_seed(0)).requires_grad_(False)
    fitter = Fitter(Checkpoint(field, CheckpointConfig(name="tiny", field=volume_config, signal=spec)), FIT, device="cpu")
    raw = np.random.default_rng(0).integers(0, 256, (4, 5, 6), dtype=np.uint8)
    np.save(tmp_path / "v.npy", raw)
    prepared = fitter.prepare(read_signal(tmp_path / "v.npy"))
    np.testing.assert_array_equal(prepared.values, read_signal(tmp_path / "v.npy", spec=spec).values)
    assert np.abs(prepared.values[..., 0] - raw / 255).max() > 0.1
    np.savez(tmp_path / "set.npz", test_images=raw[None])
    row = load_data_set(tmp_path / "set.npz", "test").signal(0)
    assert fitter.prepare(row) is row  # what training saw


def test_fitter_refuses_signals_of_another_kind(ecg_signal: Signal, image_config: FieldConfig) -> None:
    with pytest.raises(SignalError, match=r"beat\.csv has 1 axes"):
        make_fitter(image_config).fit(ecg_signal)


def test_fitter_refuses_bad_masks_before_the_first_step(image_signal: Signal, image_config: FieldConfig) -> None:
    with pytest.raises(SignalError, match="mask"):
        make_fitter(image_config).steps(image_signal, mask=np.ones((6, 8, 1), dtype=bool)[:5])


def test_fitter_refuses_values_that_are_not_numbers(image_config: FieldConfig) -> None:
    context = ContextSet(make_grid((8, 6)), torch.full((1, 48, 1), torch.nan))
    with pytest.raises(SignalError, match="NaN"):
        make_fitter(image_config).fit(context)


def test_fit_that_diverges_says_what_to_do(image_signal: Signal, image_config: FieldConfig) -> None:
    with pytest.raises(SignalError, match="lower the inner learning rate"):
        make_fitter(image_config, FitConfig(steps=50, inner_lr=3e38)).fit(image_signal)


def test_fitter_names_missing_devices(image_config: FieldConfig) -> None:
    with pytest.raises(ConfigError, match="not available"):
        Fitter(ModulatedSIREN(image_config), device="tpu")


def test_fitter_refuses_masks_of_another_shape_with_as_many_points(image_signal: Signal, image_config: FieldConfig) -> None:
    fitter = make_fitter(image_config)
    with pytest.raises(SignalError, match="mask is boolean"):
        fitter.steps(image_signal, mask=np.ones((6, 8), dtype=bool))


def test_fitter_is_shared_by_threads(image_config: FieldConfig) -> None:
    fitter = make_fitter(image_config)
    latents = [np.full(5, value, dtype=np.float32) for value in (-1, 1)]
    expected = [fitter.decode(latent, (64, 48)) for latent in latents]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: fitter.decode(latents[i % 2], (64, 48)), range(40)))
    for i, values in enumerate(found):
        np.testing.assert_array_equal(values, expected[i % 2])


def test_fitter_keeps_the_precision_of_its_field(image_signal: Signal, image_config: FieldConfig) -> None:
    field = ModulatedSIREN(image_config, generator=torch.Generator().manual_seed(0)).requires_grad_(False)
    single = Fitter(field, FIT, device="cpu").fit(image_signal)
    double = Fitter(field.double(), FIT, device="cpu").fit(image_signal)
    np.testing.assert_allclose(single.latent, double.latent, rtol=1e-3, atol=1e-6)


def test_fit_batch_refuses_no_signals_and_says_when_it_diverges(image_signal: Signal, image_config: FieldConfig) -> None:
    with pytest.raises(SignalError, match="at least one signal"):
        make_fitter(image_config).fit_batch(np.zeros((0, 8, 6, 1), dtype=np.float32))
    with pytest.raises(SignalError, match="diverged"):
        make_fitter(image_config, FitConfig(steps=50, inner_lr=3e38)).fit_batch(image_signal.values[None])
