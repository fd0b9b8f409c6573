"""What the recipe study compares: studies, each a list of rows, each a preset with some settings changed."""

from __future__ import annotations

from dataclasses import dataclass

REFERENCE = "adamw"  # the row whose steps the budget buys; every other row gets as many as cost the same
PAPER = "paper"  # AdamW at 3e-6, no warm-up, the paper's switches
PAPER_SMALL = "paper-few"  # the same with few signals a step, so that the time is enough for more steps


@dataclass(frozen=True)
class Row:
    """One recipe.

    Args:
        name: For tables and `--row`.
        about: What is changed, in words.
        settings: Changes to the preset, as `--set` takes them. `warmup_steps=@0.1` is a
            share of the row's steps.
        preset: What is changed.
    """

    name: str
    about: str
    settings: tuple[str, ...]
    preset: str


@dataclass(frozen=True)
class Study:
    """Rows that are compared on one data set.

    Args:
        file: Data file; recipes are chosen on its val split.
        rows: `REFERENCE` is among them.
        curve_signals: Validation signals of the curves.
        final_signals: And of the final number.
    """

    file: str
    rows: tuple[Row, ...]
    curve_signals: int
    final_signals: int

    def row(self, name: str) -> Row:
        """The row of a name."""
        return next(row for row in self.rows if row.name == name)


def _rows(preset: str, rows: dict[str, tuple[str, str]]) -> tuple[Row, ...]:
    """From name -> (about, settings in one string)."""
    return tuple(Row(name, about, tuple(settings.split()), preset) for name, (about, settings) in rows.items())


_BASE = "batch_size=8 warmup_steps=@0.05 muon_lr=none"  # of the other ECG rows: smaller batches, more steps for the time
_SCALED = "scale_lr_by_omega=true scale_modulation_lr_by_omega=true"
_PAPER = {
    PAPER_SMALL: ("the paper's recipe with 8 signals a step", "batch_size=8"),
    PAPER: ("the paper's recipe: AdamW at 3e-6, no warm-up, its switches, G and batch of 64", ""),
}
_ECG = (
    *_rows(
        "ecg-187-cpu",
        {
            REFERENCE: ("the first checkpoint's recipe: AdamW at 1e-4, 32 signals a step", "warmup_steps=@0.05 muon_lr=none"),
            "lr-1e-4": ("8 signals a step, rate 1e-4", f"{_BASE} outer_lr=1e-4"),
            "lr-3e-4": ("8 signals a step, rate 3e-4", f"{_BASE} outer_lr=3e-4"),
            "batch-32-3e-4": ("rate 3e-4, 32 signals a step", "warmup_steps=@0.05 outer_lr=3e-4 muon_lr=none"),
            "multi-step-3e-4": (
                "rate 3e-4, losses after earlier inner steps at first",
                f"{_BASE} outer_lr=3e-4 multi_step_share=0.8",
            ),
            "inner-0.03-3e-4": ("rate 3e-4, inner rate 0.03", f"{_BASE} outer_lr=3e-4 meta.inner_lr=0.03 fit.inner_lr=0.03"),
            "all-by-omega-3e-4": (
                "rate 3e-4, hidden layers' and modulations' times omega_1 / omega_k",
                f"{_BASE} outer_lr=3e-4 {_SCALED}",
            ),
            "all-by-omega-1e-3": (
                "rate 1e-3, hidden layers' and modulations' times omega_1 / omega_k",
                f"{_BASE} outer_lr=1e-3 {_SCALED}",
            ),
            "modulation-1e-3": (
                "rate 1e-3, modulations' times omega_1 / omega_k",
                f"{_BASE} outer_lr=1e-3 scale_modulation_lr_by_omega=true",
            ),
            "muon-1e-4": ("rate 1e-4, Muon at 1e-3 omega_1 / omega_k", f"{_BASE} outer_lr=1e-4 muon_lr=1e-3"),
            "batch-32-muon": ("Muon at 1e-3 omega_1 / omega_k, 32 signals a step", "warmup_steps=@0.05 muon_lr=1e-3"),
            "batch-16-muon": (
                "Muon at 1e-3 omega_1 / omega_k, 16 signals a step",
                "warmup_steps=@0.05 batch_size=16 muon_lr=1e-3",
            ),
            "growing-1e-4": (
                "rate 1e-4, G from 2 to 5, context from 0.25 to 0.5",
                f"{_BASE} outer_lr=1e-4 inner_steps_start=2 selection_ratio_start=0.25",
            ),
            "meta-sgd-1e-4": ("rate 1e-4, an inner rate learned for each coordinate", f"{_BASE} outer_lr=1e-4 meta_sgd_lr=1e-3"),
            "lr-1e-3": ("8 signals a step, rate 1e-3", f"{_BASE} outer_lr=1e-3"),
        }
        | {
            name: (about, f"{_BASE} outer_lr=1e-3 {settings}")
            for name, (about, settings) in {
                "no-warm-up": ("rate 1e-3, no warm-up", "warmup_steps=0"),
                "no-average": ("rate 1e-3, weights not averaged", "average_decay=none"),
                "beta2-0.99": ("rate 1e-3, AdamW's second moment over 100 steps", "adam_beta2=0.99"),
                "omega-40": ("rate 1e-3, omega 10 to 40", "omega_last=40"),
                "omega-20-200": ("rate 1e-3, omega 20 to 200, the paper's", "omega_first=20 omega_last=200"),
                "inner-0.3": ("rate 1e-3, inner rate 0.3", "meta.inner_lr=0.3 fit.inner_lr=0.3"),
                "by-omega-1e-3": ("rate 1e-3, hidden layers' times omega_1 / omega_k", "scale_lr_by_omega=true"),
                "by-omega-3e-3": ("rate 3e-3, hidden layers' times omega_1 / omega_k", "outer_lr=3e-3 scale_lr_by_omega=true"),
                "muon-1e-3": ("rate 1e-3, Muon at 1e-3 omega_1 / omega_k", "muon_lr=1e-3"),
                "muon-3e-3": ("rate 1e-3, Muon at 3e-3 omega_1 / omega_k", "muon_lr=3e-3"),
                "growing": (
                    "rate 1e-3, G from 2 to 5, context from 0.25 to 0.5",
                    "inner_steps_start=2 selection_ratio_start=0.25",
                ),
                "meta-sgd": ("rate 1e-3, an inner rate learned for each coordinate", "meta_sgd_lr=1e-2"),
                "multi-step": ("rate 1e-3, losses after earlier inner steps at first", "multi_step_share=0.4"),
                "clip-median": ("rate 1e-3, clipped at the running median of the norm", "clip_norm=none clip_ratio=1"),
                "context-1": ("rate 1e-3, whole context in every inner step", "meta.selection_ratio=1"),
                "g-3": ("rate 1e-3, 3 inner steps", "inner_steps=3"),
            }.items()
        },
    ),
    *_rows("ecg-187", _PAPER),
)
_IMAGE = (
    *_rows(
        "image-64-small",
        {
            REFERENCE: ("the first checkpoints' recipe: AdamW at 1e-4, 4 signals a step", "warmup_steps=@0.05 muon_lr=none"),
            "muon-1e-4": ("rate 1e-4, Muon at 1e-3 omega_1 / omega_k", "warmup_steps=@0.05 muon_lr=1e-3"),
        }
        | {
            name: (about, f"warmup_steps=@0.05 muon_lr=none {settings}")
            for name, (about, settings) in {
                "lr-3e-4": ("rate 3e-4", "outer_lr=3e-4"),
                "lr-1e-3": ("rate 1e-3", "outer_lr=1e-3"),
                "by-omega-1e-3": ("rate 1e-3, hidden layers' times omega_1 / omega_k", "outer_lr=1e-3 scale_lr_by_omega=true"),
                "muon-3e-3": ("rate 1e-3, Muon at 3e-3 omega_1 / omega_k", "outer_lr=1e-3 muon_lr=3e-3"),
                "batch-2": ("rate 3e-4, 2 signals a step", "outer_lr=3e-4 batch_size=2"),
                "growing": (
                    "rate 3e-4, G from 2 to 5, context from 0.1 to 0.25",
                    "outer_lr=3e-4 inner_steps_start=2 selection_ratio_start=0.1",
                ),
            }.items()
        },
    ),
    *_rows(
        "image-64",
        {PAPER_SMALL: ("the paper's recipe with one signal a step", "batch_size=1"), PAPER: ("the paper's recipe", "")},
    ),
)

STUDIES: dict[str, Study] = {
    "ecg": Study("mitbih_full_187.npz", _ECG, curve_signals=24, final_signals=128),
    "image": Study("nihcxr_64.npz", _IMAGE, curve_signals=8, final_signals=32),
}
