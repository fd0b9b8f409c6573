"""Every setting as frozen models, which checkpoints store as they are."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from medfuncta_core.errors import ConfigError

Kind = Literal["ecg", "image", "volume"]
Normalisation = Literal["range", "dtype", "quantile", "window"]
FitMethod = Literal["gradient_descent", "gauss_newton"]
StoredDtype = Literal["float32", "float16"]

AXES_OF_KIND: dict[Kind, int] = {"ecg": 1, "image": 2, "volume": 3}
KIND_OF_AXES: dict[int, Kind] = {axes: kind for kind, axes in AXES_OF_KIND.items()}


class Config(BaseModel):
    """A frozen, closed model: unknown keys and values out of range are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, values: dict[str, Any], where: str) -> Self:
        """Build from names and values of fields; `where` is what is being read, for the message.

        Raises:
            ConfigError: naming `where`, the first offending key and what it allows.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or cls.__name__
            raise ConfigError(f"{where}: {key}: {first['msg']} (got {first.get('input')!r})") from error


class FieldConfig(Config):
    """Architecture of a modulated SIREN (Sec. 2, Eq. 1, Table 6), with the published code's variations as switches."""

    coord_dim: int = Field(ge=1, le=3, description="Axes of a coordinate, d (the paper's C): 1 time, 2 image, 3 volume.")
    channels: int = Field(default=1, ge=1, description="Values per point, c (the paper's D).")
    depth: int = Field(ge=3, description="Layers K, the linear last one included.")
    width: int = Field(ge=1, description="Hidden units L.")
    latent_dim: int = Field(ge=1, description="Length of the latent, P.")
    omega_first: float = Field(gt=0, description="Frequency of the first layer, omega_1.")
    omega_last: float | None = Field(default=None, gt=0, description="Frequency of layer K, omega_K; linear in between.")
    omega_increment: float | None = Field(
        default=None, ge=0, description="Published code's form: omega_k = omega_1 + (k - 1) * increment. Excludes omega_last."
    )
    residual: bool = Field(default=False, description="Published code: h + sin(...) from the second layer on.")
    modulate_first: bool = Field(default=False, description="Published code: the first layer is modulated too.")
    modulate_shift: bool = Field(default=True, description="Add m_k(latent) to the pre-activation (Eq. 1).")
    modulate_scale: bool = Field(
        default=False, description="Published code: multiply the pre-activation by an affine map of the latent, without + 1."
    )
    output_offset: float = Field(default=0.0, description="Constant added to the output; the published code adds 0.5.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.omega_last is None) == (self.omega_increment is None):
            raise ValueError("give exactly one of omega_last and omega_increment")
        if not (self.modulate_shift or self.modulate_scale):
            raise ValueError("without shift or scale modulation a latent has no effect; turn one of them on")
        return self

    @property
    def omegas(self) -> tuple[float, ...]:
        """omega_1 ... omega_K, one a layer (Sec. 2, "omega-schedule"); the last one only scales the initialisation."""
        if self.omega_increment is not None:
            return tuple(self.omega_first + k * self.omega_increment for k in range(self.depth))
        assert self.omega_last is not None
        return tuple(float(omega) for omega in np.linspace(self.omega_first, self.omega_last, self.depth))

    @property
    def modulated_layers(self) -> int:
        """How many layers see the latent: 2 ... K-1, or 1 ... K-1 with `modulate_first`."""
        return self.depth - 2 + int(self.modulate_first)

    @property
    def parameter_count(self) -> int:
        """Shared parameters theta, the modulation's included; 7,675,393 for Table 6's 2D row and one channel."""
        modulations = int(self.modulate_shift) + int(self.modulate_scale)
        return (
            (self.coord_dim + 1) * self.width
            + (self.depth - 2) * (self.width + 1) * self.width
            + (self.width + 1) * self.channels
            + modulations * self.modulated_layers * (self.latent_dim + 1) * self.width
        )


class VolumeRecipe(Config):
    """How a volume is prepared: turned, resampled, cropped, floored, then normalised, then padded and reduced to its shape."""

    orientation: str = Field(
        default="RAS", pattern="^[RLAPIS]{3}$", description="Directions that the axes run towards, such as RAS or LPS."
    )
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        default=None, description="Distance of voxels to resample to, in mm per axis of `orientation`."
    )
    interpolation: Literal["linear", "cubic"] = Field(
        default="linear", description="Of that resampling: linear with antialiasing, or a cubic spline without."
    )
    canvas: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        default=None, description="Voxels per axis to crop to, or to pad to with zeros after normalisation, about the centre."
    )
    floor: float | None = Field(default=None, description="Lower values are raised to it before normalisation; in file units.")
    reduction: Literal["linear", "average"] = Field(
        default="linear", description="How the canvas becomes the shape: linear, corner voxels fixed, or means of whole blocks."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sorted({"L": "R", "P": "A", "I": "S"}.get(code, code) for code in self.orientation) != ["A", "R", "S"]:
            raise ValueError(f"orientation names one of R/L, A/P and S/I each, in any order, not {self.orientation}")
        return self


class SignalSpec(Config):
    """What a checkpoint expects of a signal, and how files are brought there (as its training data was)."""

    kind: Kind = Field(description="ecg (one axis), image (two) or volume (three).")
    shape: tuple[int, ...] = Field(description="Points per axis the field was trained on, without channels.")
    channels: int = Field(default=1, ge=1, description="1 grey or single lead, 3 RGB.")
    normalisation: Normalisation = Field(
        default="dtype",
        description="How file values become [0, 1]: dtype (integer range of the file: 255, 65535), range (min to max of "
        "the signal), quantile (clip to `limits` quantiles, then min to max), window (clip to `limits` in file units).",
    )
    limits: tuple[float, float] | None = Field(default=None, description="Quantiles or window bounds that `normalisation` uses.")
    sampling_rate: float | None = Field(default=None, gt=0, description="Samples per second of an ECG.")
    recipe: VolumeRecipe | None = Field(default=None, description="A volume's own steps; None: RAS axes, normalised, linear.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        axes = AXES_OF_KIND[self.kind]
        if len(self.shape) != axes or min(self.shape) < 2:
            raise ValueError(f"a {self.kind} has {axes} axes of at least 2 points each, not shape {self.shape}")
        if (self.normalisation in ("quantile", "window")) != (self.limits is not None):
            raise ValueError("normalisation quantile and window need limits; the others take none")
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise ValueError("limits are (lower, upper) with lower < upper")
        if self.recipe is not None and self.kind != "volume":
            raise ValueError("a recipe is for volumes; leave it out")
        if self.recipe is not None and self.recipe.reduction == "average":
            canvas = self.recipe.canvas
            if canvas is None or any(points % kept for points, kept in zip(canvas, self.shape, strict=True)):
                raise ValueError("averaging needs a canvas of whole multiples of the shape, such as 256 for 32")
        return self


class MetaConfig(Config):
    """Meta-learning of the shared parameters (Algorithm 1, App. F)."""

    steps: int = Field(default=250_000, ge=1, description="Outer (meta) steps.")
    batch_size: int = Field(ge=1, description="Signals per outer step, B.")
    inner_steps: int = Field(default=10, ge=1, description="Inner steps during training, G.")
    inner_lr: float = Field(default=1e-2, gt=0, description="Inner learning rate, alpha.")
    selection_ratio: float = Field(default=1.0, gt=0, le=1, description="Share of points in each inner step's context, gamma.")
    outer_lr: float = Field(default=3e-6, gt=0, description="Peak outer learning rate, beta.")
    final_lr_ratio: float = Field(default=0.0, ge=0, le=1, description="Where cosine annealing ends, as a share of beta.")
    warmup_steps: int = Field(default=0, ge=0, description="Steps of linear warm-up to beta.")
    weight_decay: float = Field(default=1e-2, ge=0, description="AdamW's decoupled weight decay (torch's default).")
    adam_beta2: float = Field(default=0.999, gt=0, lt=1, description="AdamW's second-moment decay.")
    scale_lr_by_omega: bool = Field(default=False, description="Multiply hidden layers' rates by omega_1 / omega_k (App. E).")
    scale_modulation_lr_by_omega: bool = Field(
        default=False, description="Multiply the modulations' rates by omega_1 / omega_k: they act through omega_k as well."
    )
    clip_norm: float | None = Field(default=1.0, gt=0, description="Clip the meta-gradient's norm here (published code: 1).")
    skip_ratio: float | None = Field(
        default=None, gt=1, description="Skip steps whose meta-gradient norm exceeds this multiple of its running median."
    )
    clip_ratio: float | None = Field(
        default=None, gt=0, description="Clip the meta-gradient's norm at this multiple of its running median."
    )
    average_decay: float | None = Field(default=None, gt=0, lt=1, description="Of averaged weights, which are then shipped.")
    muon_lr: float | None = Field(
        default=None, gt=0, description="Peak rate of Muon for the hidden matrices, times omega_1 / omega_k; none: AdamW for all."
    )
    meta_sgd_lr: float | None = Field(
        default=None, gt=0, description="Learn an inner rate per latent coordinate (Meta-SGD), their logarithms at this rate."
    )
    inner_steps_start: int | None = Field(default=None, ge=1, description="Inner steps at first; they go to G in stages.")
    selection_ratio_start: float | None = Field(
        default=None, gt=0, le=1, description="Share of points at first; it goes to gamma in stages."
    )
    grow_share: float = Field(default=0.5, gt=0, le=1, description="Share of the outer steps over which those two change.")
    multi_step_share: float = Field(
        default=0.0, ge=0, le=1, description="Share of the outer steps in which losses after earlier inner steps count (MAML++)."
    )
    second_order: bool = Field(default=True, description="Exact meta-gradient; off: first-order approximation (App. H).")
    validate_every: int = Field(default=500, ge=1, description="Outer steps between validations (and checkpoints).")
    validate_signals: int = Field(default=64, ge=1, description="Validation signals, the same ones each time.")
    collapse_drop_db: float = Field(default=3.0, gt=0, description="Validation PSNR this far below the best counts as collapse.")
    collapse_lr_factor: float = Field(default=0.5, gt=0, lt=1, description="Rate is multiplied by this after a collapse.")
    max_collapses: int = Field(default=5, ge=0, description="Give up after this many returns to the last good state.")
    seed: int = Field(default=0, ge=0, description="Seed of weights, batches and contexts.")


class FitConfig(Config):
    """Fitting a latent to one signal with shared parameters frozen (Sec. 2, "Fitting Neural Fields at Test Time")."""

    steps: int = Field(default=20, ge=1, le=100_000, description="Fit steps, H.")
    inner_lr: float = Field(default=1e-2, gt=0, description="Learning rate, alpha.")
    selection_ratio: float = Field(default=1.0, gt=0, le=1, description="Share of the points used at each step, drawn anew.")
    seed: int = Field(default=0, ge=0, description="Seed of the drawn points.")
    method: FitMethod = Field(default="gradient_descent", description="The paper's plain steps, or damped Gauss-Newton ones.")
    plain_steps: int = Field(default=1, ge=0, description="Plain steps before Gauss-Newton, as the network was trained for.")
    target_psnr: float | None = Field(default=None, gt=0, description="Stop a fit that has reached this PSNR, in dB.")
    plateau_db: float | None = Field(default=None, gt=0, description="Stop a fit that gained less in 5 steps, in dB.")


class Preset(Config):
    """An architecture with the recipe that trains it."""

    summary: str = Field(description="One sentence: what it is for and where its numbers come from.")
    shape: tuple[int, ...] = Field(description="Points per axis of the signals it is meant for.")
    field: FieldConfig
    meta: MetaConfig
    fit: FitConfig = FitConfig()


class DataSetInfo(Config):
    """Which data trained a checkpoint."""

    name: str
    sha256: str = Field(default="", description="SHA-256 of the training file, or of the listing of a folder.")
    train_signals: int = Field(default=0, ge=0)
    class_names: tuple[str, ...] = ()
    licence: str = ""
    source: str = Field(default="", description="Where it was read from, or where it comes from, for people.")
    file: str = Field(default="", description="Name of the file that commands take, when source is for people.")


class Metrics(Config):
    """Mean reconstruction quality over a split, on reconstructions clamped to [0, 1]."""

    split: str
    n: int = Field(ge=1)
    spread: bool = Field(default=False, description="Signals are evenly spread over the split, not its first ones.")
    fit_steps: int = Field(ge=1)
    method: FitMethod = Field(default="gradient_descent", description="How each signal was fitted.")
    mse: float
    psnr: float = Field(description="Mean over signals of 10 log10(1 / mse), in dB.")
    ssim: float | None = None
    lpips: float | None = None


class CheckpointConfig(Config):
    """`config.json` of a checkpoint: everything about its weights but the weights."""

    format_version: Literal[1] = 1
    name: str
    origin: Literal["trained", "imported"] = "trained"
    field: FieldConfig
    signal: SignalSpec | None = Field(default=None, description="What it expects; None when an import did not say.")
    fit: FitConfig = FitConfig()
    meta: MetaConfig | None = Field(default=None, description="The recipe; None for imported weights.")
    data: DataSetInfo | None = None
    step: int = Field(default=0, ge=0, description="Outer steps behind these weights.")
    metrics: tuple[Metrics, ...] = ()
    licence: str = Field(default="", description="Licence of the weights.")
    modulation_dtype: StoredDtype = Field(
        default="float32", description="Of the modulation matrices in the file; other weights are float32 in any case."
    )
