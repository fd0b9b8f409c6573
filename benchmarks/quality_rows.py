"""What the recipe study compares: studies, each a list of rows, each a preset with some settings changed."""

from __future__ import annotations

from dataclasses import dataclass

REFERENCE = "shipped"  # the row whose steps the budget buys; every other row gets as many as cost the same
PAPER = "paper"  # AdamW at 3e-6, no warm-up, the paper's switches
PAPER_SMALL = "paper-batch-8"  # the same with fewer signals a step, so that the time is enough for many steps


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


_BASE = "batch_size=8 warmup_steps=@0.05"  # of all rows but the first: smaller batches, four times the steps for the time
_ECG = (
    *_rows(
        "ecg-187-cpu",
        {
            REFERENCE: ("the shipped checkpoint's recipe: rate 1e-4, 32 signals a step", "warmup_steps=@0.05"),
            "lr-1e-4": ("8 signals a step, rate 1e-4", f"{_BASE} outer_lr=1e-4"),
            "lr-3e-4": ("8 signals a step, rate 3e-4", f"{_BASE} outer_lr=3e-4"),
            "lr-1e-3": ("8 signals a step, rate 1e-3", f"{_BASE} outer_lr=1e-3"),
            "by-omega-1e-3": (
                "rate 1e-3, hidden layers' times omega_1 / omega_k",
                f"{_BASE} outer_lr=1e-3 scale_lr_by_omega=true",
            ),
            "by-omega-3e-3": (
                "rate 3e-3, hidden layers' times omega_1 / omega_k",
                f"{_BASE} outer_lr=3e-3 scale_lr_by_omega=true",
            ),
        },
    ),
    *_rows(
        "ecg-187",
        {
            PAPER_SMALL: ("the paper's recipe with 8 signals a step", "batch_size=8"),
            PAPER: ("the paper's recipe: AdamW at 3e-6, no warm-up, its switches, G and batch of 64", ""),
        },
    ),
)

STUDIES: dict[str, Study] = {"ecg": Study("mitbih_full_187.npz", _ECG, curve_signals=24, final_signals=128)}
