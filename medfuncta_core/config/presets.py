"""Architectures with the recipes that train them: the paper's (Table 6, Table 2), and others for two CPU cores."""

from __future__ import annotations

from typing import Any

from medfuncta_core.config.models import FieldConfig, FitConfig, FitMethod, MetaConfig, Preset


def _preset(
    summary: str,
    shape: tuple[int, ...],
    network: tuple[int, int, int],
    omegas: tuple[float, float],
    *,
    switches: dict[str, Any] | None = None,
    fit_method: FitMethod = "gradient_descent",
    **meta: Any,
) -> Preset:
    """One row: network is (K, L, P), omegas (omega_1, omega_K); one channel, which training replaces by the data's."""
    depth, width, latent_dim = network
    field = FieldConfig(
        coord_dim=len(shape),
        depth=depth,
        width=width,
        latent_dim=latent_dim,
        omega_first=omegas[0],
        omega_last=omegas[1],
        **(switches or {}),
    )
    recipe = MetaConfig(**meta)
    fit = FitConfig(inner_lr=recipe.inner_lr, method=fit_method)
    return Preset(summary=summary, shape=shape, field=field, meta=recipe, fit=fit)


_PUBLISHED = {"residual": True, "modulate_first": True, "output_offset": 0.5}  # switches of the published code; train faster
_CPU_RATES = {"outer_lr": 1e-4, "final_lr_ratio": 0.01, "skip_ratio": 3.0}
_CPU_RECIPE: dict[str, Any] = {"fit_method": "gauss_newton", "inner_steps": 5} | _CPU_RATES
_SMALL_RECIPE = _CPU_RECIPE | {"inner_lr": 0.2, "warmup_steps": 50, "average_decay": 0.99}
_VOLUME_RECIPE: dict[str, Any] = _SMALL_RECIPE | {"inner_lr": 0.6}
_LONG_LATENT_RECIPE: dict[str, Any] = _VOLUME_RECIPE | {"inner_lr": 0.5, "outer_lr": 4e-5, "muon_lr": 5e-4}

PRESETS: dict[str, Preset] = {
    "ecg-187": _preset(
        "Heartbeats of 187 samples: the paper's 1D configuration (Table 6).", (187,), (8, 64, 64), (20, 200), batch_size=64
    ),
    "image-64": _preset(
        "64 x 64 images: the paper's 2D configuration (Table 6).",
        (64, 64),
        (15, 256, 2048),
        (20, 400),
        batch_size=24,
        selection_ratio=0.25,
    ),
    "image-128": _preset(
        "128 x 128 images: Table 2.", (128, 128), (15, 256, 8192), (30, 300), batch_size=8, selection_ratio=0.25
    ),
    "image-224": _preset(
        "224 x 224 images: Table 2.", (224, 224), (15, 256, 16384), (30, 300), batch_size=4, selection_ratio=0.1
    ),
    "volume-32": _preset(
        "32 x 32 x 32 volumes: the paper's 3D configuration (Table 6).",
        (32, 32, 32),
        (15, 256, 8192),
        (20, 300),
        batch_size=4,
        selection_ratio=0.25,
    ),
    "ecg-187-cpu": _preset(
        "Heartbeats on two CPU cores: the paper's K, L and P with a recipe of hours instead of days.",
        (187,),
        (8, 64, 64),
        (10, 80),
        switches=_PUBLISHED,
        **_CPU_RECIPE,
        steps=7000,
        batch_size=32,
        inner_lr=0.1,
        muon_lr=1e-3,
        selection_ratio=0.5,
        warmup_steps=100,
        validate_every=250,
        validate_signals=128,
        average_decay=0.995,
    ),
    "image-64-small": _preset(
        "64 x 64 images on two CPU cores.",
        (64, 64),
        (8, 128, 512),
        (10, 80),
        switches=_PUBLISHED,
        **_SMALL_RECIPE,
        steps=1600,
        batch_size=4,
        muon_lr=1e-3,
        selection_ratio=0.25,
        validate_every=200,
        validate_signals=16,
    ),
    "volume-32-small": _preset(
        "32 x 32 x 32 volumes on two CPU cores.",
        (32, 32, 32),
        (8, 128, 2048),
        (10, 80),
        switches=_PUBLISHED | {"modulate_scale": True},
        **_VOLUME_RECIPE,
        steps=500,
        batch_size=1,
        selection_ratio=0.125,
        validate_every=100,
        validate_signals=6,
    ),
    "volume-32-medium": _preset(
        "32 x 32 x 32 volumes full of detail on two CPU cores: wider, lower frequencies, a longer latent.",
        (32, 32, 32),
        (8, 320, 4096),
        (7, 12),
        switches=_PUBLISHED | {"modulate_scale": True},
        **_LONG_LATENT_RECIPE,
        steps=1500,
        batch_size=1,
        selection_ratio=0.125,
        validate_every=250,
        validate_signals=2,
    ),
}
