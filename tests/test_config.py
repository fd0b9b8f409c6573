"""Settings: what the paper's numbers give, what is refused, and in which words."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from medfuncta_core.config import CheckpointConfig, FieldConfig, FitConfig, MetaConfig, Metrics, SignalSpec
from medfuncta_core.errors import ConfigError, MedFunctaError

TABLE_6_IMAGE = {"coord_dim": 2, "depth": 15, "width": 256, "latent_dim": 2048, "omega_first": 20.0, "omega_last": 400.0}
SMALL = {"coord_dim": 1, "depth": 4, "width": 3, "latent_dim": 2, "omega_first": 10.0, "omega_last": 40.0}


def test_field_config_table_6_image_has_7675393_parameters() -> None:
    assert FieldConfig(**TABLE_6_IMAGE).parameter_count == 7_675_393


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        # first layer 3 * 2, two hidden ones 2 * 3 * 4, last one 4, shift of two layers 2 * 3 * 3
        ({}, 6 + 24 + 4 + 18),
        ({"modulate_first": True}, 6 + 24 + 4 + 27),
        ({"modulate_scale": True}, 6 + 24 + 4 + 36),
        ({"modulate_scale": True, "modulate_shift": False}, 6 + 24 + 4 + 18),
        ({"channels": 3}, 6 + 24 + 12 + 18),
        ({"coord_dim": 3}, 12 + 24 + 4 + 18),
        ({"residual": True, "output_offset": 0.5}, 6 + 24 + 4 + 18),
    ],
)
def test_field_config_parameter_count_matches_numbers_by_hand(changes: dict, count: int) -> None:
    assert FieldConfig(**{**SMALL, **changes}).parameter_count == count


def test_field_config_omegas_rise_linearly_from_first_to_last() -> None:
    assert FieldConfig(**SMALL).omegas == pytest.approx((10, 20, 30, 40))
    omegas = FieldConfig(**TABLE_6_IMAGE).omegas
    assert len(omegas) == 15
    assert (omegas[0], omegas[-1]) == (20, 400)


def test_field_config_omegas_follow_the_published_increment() -> None:
    config = FieldConfig(**{**SMALL, "omega_last": None, "omega_increment": 5.0})
    assert config.omegas == (10, 15, 20, 25)


def test_field_config_both_forms_of_omegas_agree() -> None:
    by_increment = FieldConfig(**{**SMALL, "omega_last": None, "omega_increment": 10.0})
    assert by_increment.omegas == pytest.approx(FieldConfig(**SMALL).omegas)


@pytest.mark.parametrize(("modulate_first", "layers"), [(False, 2), (True, 3)])
def test_field_config_modulated_layers_leave_out_the_last(modulate_first: bool, layers: int) -> None:
    assert FieldConfig(**SMALL, modulate_first=modulate_first).modulated_layers == layers


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"omega_increment": 5.0}, "exactly one of omega_last and omega_increment"),
        ({"omega_last": None}, "exactly one of omega_last and omega_increment"),
        ({"modulate_shift": False}, "latent has no effect"),
        ({"depth": 2}, "depth: .*greater than or equal to 3"),
        ({"coord_dim": 4}, "coord_dim: .*less than or equal to 3"),
        ({"latent_dim": 0}, "latent_dim: .*greater than or equal to 1"),
        ({"omega_first": 0}, "omega_first: .*greater than 0"),
        ({"width": "wide"}, "width: .*integer.*'wide'"),
        ({"heads": 8}, "heads: .*[Ee]xtra.*8"),
    ],
)
def test_parse_names_place_key_and_problem_in_one_line(changes: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=f"^config.json: .*{words}") as caught:
        FieldConfig.parse({**SMALL, **changes}, "config.json")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, MedFunctaError)


def test_parse_names_a_missing_key() -> None:
    with pytest.raises(ConfigError, match=r"^recipe\.json: batch_size: .*required"):
        MetaConfig.parse({}, "recipe.json")


def test_parse_names_the_path_of_a_nested_key() -> None:
    values = {"name": "ecg", "field": {**SMALL, "depth": 1}}
    with pytest.raises(ConfigError, match=r"^config\.json: field\.depth: "):
        CheckpointConfig.parse(values, "config.json")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "image", "shape": (8,)}, "an? image has 2 axes"),
        ({"kind": "ecg", "shape": (1,)}, "at least 2 points"),
        ({"kind": "volume", "shape": (4, 5, 6), "normalisation": "quantile"}, "need limits"),
        ({"kind": "volume", "shape": (4, 5, 6), "limits": (0.0, 1.0)}, "the others take none"),
        ({"kind": "volume", "shape": (4, 5, 6), "normalisation": "window", "limits": (1.0, 1.0)}, "lower < upper"),
        ({"kind": "audio", "shape": (16,)}, "kind: "),
        ({"kind": "ecg", "shape": (16,), "sampling_rate": 0}, "sampling_rate: "),
    ],
)
def test_signal_spec_refuses_what_does_not_go_together(values: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SignalSpec.parse(values, "config.json")


def test_signal_spec_takes_a_window_with_limits() -> None:
    spec = SignalSpec(kind="volume", shape=(4, 5, 6), normalisation="window", limits=(-1000.0, 400.0))
    assert spec.limits == (-1000, 400)


@pytest.mark.parametrize(
    "changes",
    [{"steps": 0}, {"inner_lr": 0}, {"selection_ratio": 0}, {"selection_ratio": 1.01}, {"seed": -1}, {"steps": 1.5}],
)
def test_fit_config_refuses_values_out_of_range(changes: dict) -> None:
    with pytest.raises(ConfigError, match=rf"^fit: {next(iter(changes))}: "):
        FitConfig.parse(changes, "fit")


@pytest.mark.parametrize(
    "changes",
    [{"skip_ratio": 1}, {"clip_norm": 0}, {"average_decay": 1}, {"adam_beta2": 1}, {"final_lr_ratio": -0.1}, {"batch_size": 0}],
)
def test_meta_config_refuses_values_out_of_range(changes: dict) -> None:
    with pytest.raises(ConfigError, match=rf"^recipe: {next(iter(changes))}: "):
        MetaConfig.parse({"batch_size": 4, **changes}, "recipe")


def test_config_is_frozen() -> None:
    config = FitConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.steps = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_checkpoint_config_survives_json() -> None:
    config = CheckpointConfig(
        name="ecg",
        field=FieldConfig(**SMALL),
        signal=SignalSpec(kind="ecg", shape=(16,), normalisation="range", sampling_rate=125.0),
        meta=MetaConfig(batch_size=4),
        metrics=(Metrics(split="test", n=3, fit_steps=20, mse=1e-4, psnr=40.0),),
    )
    assert CheckpointConfig.parse(json.loads(config.model_dump_json()), "config.json") == config


def test_checkpoint_config_refuses_another_format_version() -> None:
    with pytest.raises(ConfigError, match=r"^config\.json: format_version: "):
        CheckpointConfig.parse({"name": "ecg", "field": SMALL, "format_version": 2}, "config.json")
