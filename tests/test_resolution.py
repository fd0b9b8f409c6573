"""Quality over resolution: the benchmark's numbers, its figure, and its word on where a field beats interpolation."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from benchmarks import resolution
from medfuncta_core.checkpoint import save_checkpoint
from medfuncta_core.config import CheckpointConfig, FieldConfig, FitConfig, SignalSpec
from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.figures import resolution_figure, resolution_sentence


def report_of(**psnr: tuple[float, float, float | None]) -> dict:
    runs = [
        {
            "source": "test split",
            "factor": float(factor[1:]),
            "methods": {
                name: {"psnr": value, "ssim": 0.5} for name, value in zip(("field", "linear", "cubic"), values, strict=True)
            },
        }
        for factor, values in psnr.items()
    ]
    return {"runs": runs}


def test_resample_keeps_corners_and_what_is_linear() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 5, dtype=np.float32)[None, :, None, None, None], (2, 5, 4, 3, 1))
    for method in ("linear", "cubic"):
        finer = resolution.resample(ramp, (9, 7, 3), method)
        assert finer.shape == (2, 9, 7, 3, 1)
        # A spline that mirrors beyond the last voxel bends a ramp near its ends; the voxels themselves stay.
        between = 1e-5 if method == "linear" else 0.025
        np.testing.assert_allclose(finer[0, :, 3, 1, 0], np.linspace(0, 1, 9), atol=between)
        np.testing.assert_allclose(finer[0, ::2, 3, 1, 0], np.linspace(0, 1, 5), atol=1e-5)


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (report_of(f4=(20, 18, 19), f2=(20, 22, 23), f1=(20, 99, None)), "at 4×; interpolation is better at 2×."),
        (report_of(f4=(20, 18, 21)), "Interpolation of the grid is better at every factor measured (4×)"),
        (report_of(f4=(20, 18, 19)), "The field is better than linear and cubic interpolation at every factor"),
    ],
)  # fmt: skip
def test_resolution_sentence_says_where_the_field_wins(report: dict, sentence: str) -> None:
    assert sentence in resolution_sentence(report)


def test_resolution_benchmark_measures_a_split_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    field = ModulatedSIREN(FieldConfig(coord_dim=3, depth=4, width=7, latent_dim=5, omega_first=3.0, omega_last=6.0))
    spec = SignalSpec(kind="volume", shape=(16, 16, 16), normalisation="range")
    config = CheckpointConfig(name="tiny", field=field.config, signal=spec, fit=FitConfig(steps=2))
    save_checkpoint(tmp_path / "tiny", field, config)
    x, y, z = np.meshgrid(*[np.linspace(0, 1, n) for n in (13, 18, 12)], indexing="ij")
    smooth = np.sin(3 * x + y * z) + z
    nibabel.save(nibabel.Nifti1Image(smooth.astype(np.float32), np.eye(4)), tmp_path / "v.nii")
    rows = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", test_images=rows)
    monkeypatch.setattr(resolution, "COARSE", (12,))
    out = tmp_path / "report.json"
    arguments = ["--checkpoint", tmp_path / "tiny", "--data", tmp_path / "set.npz", "--original", tmp_path / "v.nii"]
    resolution.main([*map(str, arguments), "--device", "cpu", "--limit", "2", "--json", str(out)])
    report = json.loads(out.read_text())
    assert [(run["n"], run["fitted_shape"], run["decoded_shape"]) for run in report["runs"]] == [
        (2, [12] * 3, [16] * 3),
        (2, [16] * 3, [16] * 3),
        (1, [16] * 3, [13, 18, 12]),
        (1, [16] * 3, [32] * 3),
    ]
    coarse, same, own, _ = report["runs"]
    assert coarse["factor"] == pytest.approx(16 / 12)
    assert same["methods"]["linear"]["psnr"] is None
    assert own["methods"]["cubic"]["psnr"] > 30  # smooth: interpolation of the coarse grid is nearly exact
    assert own["share_field_wins"] == 0
    traces = json.loads(str(resolution_figure(report).to_json()))["data"]
    assert [trace["name"] for trace in traces if trace["showlegend"]] == ["Field", "Linear", "Cubic"]
    assert traces[0]["x"] == pytest.approx([1, 16 / 12])
