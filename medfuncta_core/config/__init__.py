"""Settings: the frozen models, and the presets made of them."""

from medfuncta_core.config.models import (
    AXES_OF_KIND,
    KIND_OF_AXES,
    CheckpointConfig,
    Config,
    DataSetInfo,
    FieldConfig,
    FitConfig,
    FitMethod,
    Kind,
    MetaConfig,
    Metrics,
    Normalisation,
    Preset,
    SignalSpec,
    StoredDtype,
    VolumeRecipe,
)
from medfuncta_core.config.presets import PRESETS

__all__ = [
    "AXES_OF_KIND",
    "KIND_OF_AXES",
    "PRESETS",
    "CheckpointConfig",
    "Config",
    "DataSetInfo",
    "FieldConfig",
    "FitConfig",
    "FitMethod",
    "Kind",
    "MetaConfig",
    "Metrics",
    "Normalisation",
    "Preset",
    "SignalSpec",
    "StoredDtype",
    "VolumeRecipe",
]
