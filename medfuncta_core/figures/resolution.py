"""Quality over resolution: fields against interpolation, as `benchmarks/resolution.py` measures it."""

from __future__ import annotations

import csv
import io
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from medfuncta_core.figures.plots import LEGEND, MARGIN, OKABE_ITO, TEMPLATE

METHODS = {"field": ("Field", "solid", "circle"), "linear": ("Linear", "dash", "square"), "cubic": ("Cubic", "dot", "diamond")}


def resolution_figure(results: dict[str, Any]) -> go.Figure:
    """PSNR and SSIM of what is decoded beyond the grid that was given, over how many times finer it is.

    Lines join the means over test volumes; single marks are one original file. Interpolation of a grid to itself is exact and
    has no PSNR, so that its lines begin beside the field's.

    Args:
        results: A report of `benchmarks/resolution.py`.
    """
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.13)
    runs = sorted(results["runs"], key=lambda run: run["factor"])
    split = [run for run in runs if run["source"] == "test split"]
    files = [run for run in runs if run["source"] != "test split"]
    for (method, (name, dash, symbol)), colour in zip(METHODS.items(), OKABE_ITO, strict=False):
        for column, metric in enumerate(("psnr", "ssim"), start=1):
            unit = "%{y:.2f} dB" if metric == "psnr" else "%{y:.3f}"
            about = {"legendgroup": method, "name": name, "row": 1, "col": column}
            figure.add_scatter(
                **_points(split, method, metric), **about, mode="lines+markers", showlegend=column == 1, hovertemplate=unit,
                line={"color": colour, "width": 2, "dash": dash}, marker={"size": 7, "symbol": symbol},
            )  # fmt: skip
            figure.add_scatter(
                **_points(files, method, metric), **about, mode="markers", showlegend=False,
                hovertemplate=f"{unit}, %{{customdata}}",
                marker={"size": 10, "symbol": f"{symbol}-open", "color": colour, "line": {"width": 2}},
            )  # fmt: skip
    figure.update_layout(template=TEMPLATE, margin=MARGIN, legend=LEGEND, hovermode="closest")
    figure.update_xaxes(title={"text": "Times finer than the grid given", "standoff": 6}, ticksuffix="×")
    figure.update_yaxes(title={"text": "PSNR (dB)", "standoff": 6}, row=1, col=1)
    figure.update_yaxes(title={"text": "SSIM", "standoff": 6}, row=1, col=2)
    return figure


def _points(runs: list[dict[str, Any]], method: str, metric: str) -> dict[str, list[Any]]:
    """What a trace draws: the metric over the factor, and which data it is of."""
    values = [run["methods"][method][metric] for run in runs]
    return {"x": [run["factor"] for run in runs], "y": values, "customdata": [run["source"] for run in runs]}


def resolution_csv(results: dict[str, Any]) -> str:
    """What `resolution_figure` draws, as CSV with a header."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["source", "factor", "method", "psnr_db", "ssim"])
    for run in results["runs"]:
        for method, rated in run["methods"].items():
            writer.writerow([run["source"], f"{run['factor']:.4g}", method, rated["psnr"], rated["ssim"]])
    return buffer.getvalue()


def resolution_sentence(results: dict[str, Any]) -> str:
    """Where the field beats interpolation on test volumes and where it does not, in one sentence."""
    split = sorted((run for run in results["runs"] if run["source"] == "test split"), key=lambda run: run["factor"])
    finer = [run for run in split if run["factor"] > 1]
    ahead = [f"{run['factor']:.2g}×" for run in finer if _is_ahead(run)]
    behind = [f"{run['factor']:.2g}×" for run in finer if not _is_ahead(run)]
    if not ahead:
        return f"Interpolation of the grid is better at every factor measured ({', '.join(behind)})."
    if not behind:
        return f"The field is better than linear and cubic interpolation at every factor measured ({', '.join(ahead)})."
    return f"The field is better than interpolation at {', '.join(ahead)}; interpolation is better at {', '.join(behind)}."


def _is_ahead(run: dict[str, Any]) -> bool:
    """Whether the field's mean PSNR is above that of both interpolations."""
    rated = {method: run["methods"][method]["psnr"] for method in METHODS}
    return all(rated[method] is not None and rated["field"] > rated[method] for method in ("linear", "cubic"))
