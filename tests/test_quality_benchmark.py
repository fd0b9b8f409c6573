"""The recipe study: rows of equal cost, kept as they are done, and repeated by one command."""

import json
import re
from pathlib import Path

import pytest
from test_training import beats  # noqa: F401

from benchmarks import quality
from benchmarks.quality import costs_the_same, main, recipe
from benchmarks.quality_report import report_lines, steps_to
from benchmarks.quality_rows import PAPER_SMALL, REFERENCE, STUDIES, Row, Study
from medfuncta_core.runs.settings import apply_settings

SMALL = ("field.width=8", "field.depth=4", "field.latent_dim=6", "meta.batch_size=2", "inner_steps=1", "fit.steps=2")
ROWS = (
    Row(REFERENCE, "as shipped", SMALL, "ecg-187-cpu"),
    Row("fast", "rate 1e-2", (*SMALL, "outer_lr=1e-2", "warmup_steps=@0.25"), "ecg-187-cpu"),
    Row("costly", "five inner steps", (*SMALL, "inner_steps=5"), "ecg-187-cpu"),
    Row(PAPER_SMALL, "the paper's", (*SMALL, "outer_lr=3e-6"), "ecg-187"),
)


@pytest.fixture
def command(beats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:  # noqa: F811
    """What every call begins with, for a study of small rows."""
    monkeypatch.setitem(quality.STUDIES, "small", Study(beats.name, ROWS, curve_signals=3, final_signals=4))
    return ["--data-folder", str(beats.parent), "--study", "small", "--budget-seconds", "1", "--out", str(tmp_path / "q.json")]


def test_study_keeps_rows_goes_on_with_the_missing_and_repeats_one(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*command, "--rows", REFERENCE, "costly"])
    first = json.loads((tmp_path / "q.json").read_text())
    reference, costly = first["rows"]
    assert [row["row"] for row in first["rows"]] == [REFERENCE, "costly"]
    assert reference["steps"] == reference["planned_steps"] == first["reference_steps"] == reference["curve"][-1]["step"]
    assert costly["planned_steps"] < reference["planned_steps"]
    assert costly["cost_ratio"] > 1
    capsys.readouterr()
    main([*command, "--seeds", "2", "--html", str(tmp_path / "q.html")])
    table = capsys.readouterr().out
    report = json.loads((tmp_path / "q.json").read_text())
    assert report["rows"][:2] == first["rows"]
    assert sorted((row["row"], row["seed"]) for row in report["rows"]) == sorted((row.name, s) for row in ROWS for s in (0, 1))
    assert len({row["planned_steps"] for row in report["rows"] if row["row"] in (REFERENCE, "fast")}) == 1
    assert "| `fast` | rate 1e-2 | 2 |" in table
    assert re.search(r"- `fast`: [+-]\d+\.\d\d dB ± \d+\.\d\d \(standard error, 2 seeds\)", table)
    assert "plotly" in (tmp_path / "q.html").read_text()
    main([*command, "--row", "fast", "--seed", "1"])
    assert "the curves are equal" in capsys.readouterr().out
    main([*command, "--print"])
    assert capsys.readouterr().out == table
    assert json.loads((tmp_path / "q.json").read_text()) == report


def test_study_refuses_another_budget_and_an_unknown_row(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main([*command, "--rows", "fast"])
    with pytest.raises(SystemExit, match=r"holds study small at 1 s"):
        main([*command, "--budget-seconds", "9"])
    with pytest.raises(SystemExit):
        main([*command, "--rows", "slow"])
    assert "choose adamw, fast, costly" in capsys.readouterr().err


def test_recipes_resolve_shares_and_know_when_they_cost_the_same() -> None:
    reference, fast, costly, _ = ROWS
    assert recipe(fast, 80, 3).meta.warmup_steps == 20
    assert (recipe(fast, 80, 3).meta.steps, recipe(fast, 80, 3).meta.seed) == (80, 3)
    assert costs_the_same(fast, reference)
    assert not costs_the_same(costly, reference)


def test_every_row_of_the_studies_is_a_recipe() -> None:
    for study in STUDIES.values():
        names = [row.name for row in study.rows]
        assert {REFERENCE, PAPER_SMALL} <= set(names)
        assert len(names) == len(set(names))
        presets = [recipe(row, 1000, 0) for row in study.rows]
        assert len({preset.model_dump_json() for preset in presets}) == len(presets)
        for preset in presets:
            assert preset.fit.inner_lr == preset.meta.inner_lr
            assert apply_settings(preset, ["meta.seed=1"]).meta.seed == 1


def test_steps_to_a_psnr_are_those_of_the_first_point_that_has_it() -> None:
    done = {"curve": [{"step": 5, "psnr": 12.0}, {"step": 10, "psnr": 15.0}, {"step": 15, "psnr": 14.0}]}
    assert [steps_to(done, psnr) for psnr in (12.0, 12.1, 15.1)] == [5, 10, None]


def test_report_of_rows_that_failed_says_so() -> None:
    failed = {
        "row": "fast", "about": "rate 1e-2", "seed": 0, "psnr": None, "steps": 3, "batch_size": 2, "seconds": 1.0, "curve": [],
        "gradient_norm": {"median": 1.0, "highest": 2.0}, "skipped": 0, "collapses": 6,
    }  # fmt: skip
    study = Study("beats.npz", ROWS, curve_signals=3, final_signals=4)
    lines = report_lines(study, {"study": "small", "budget_seconds": 1, "rows": [failed]})
    assert lines[-1] == "| `fast` | rate 1e-2 | 1 | none | 3 | 2 | 1 |  | 1, 2 | 0 | 6 |"
