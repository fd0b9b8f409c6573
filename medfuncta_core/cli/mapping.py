"""`embed`: the map of a MedNF set."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfuncta_core.cli.app import JsonOption, app, emit
from medfuncta_core.cli.sets import MetricChoice, SetArgument

if TYPE_CHECKING:
    from medfuncta_core.mednf.embedding import EmbedStep


class Method(StrEnum):
    """How a map is made."""

    umap = "umap"
    pca = "pca"
    tsne = "tsne"


@app.command()
def embed(
    latents: SetArgument,
    out: Annotated[Path | None, typer.Option("--out", help="Parquet file to write.", metavar="FILE.parquet")] = None,
    method: Annotated[Method, typer.Option("--method", help="How the map is made.")] = Method.umap,
    dims: Annotated[int, typer.Option("--dims", min=2, max=3, help="Axes of the map.")] = 2,
    neighbors: Annotated[int, typer.Option("--neighbors", help="UMAP: neighbours a point looks at.")] = 15,
    min_dist: Annotated[float, typer.Option("--min-dist", help="UMAP: how close points may lie.")] = 0.1,
    perplexity: Annotated[float, typer.Option("--perplexity", help="t-SNE: about how many neighbours a point looks at.")] = 30,
    metric: Annotated[MetricChoice, typer.Option("--metric", help="Distance between latents.")] = MetricChoice.euclidean,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same map.")] = 0,
    fit_rows: Annotated[
        int, typer.Option("--fit-rows", min=0, help="At most N rows make the map, the rest is placed in it; 0 by method.")
    ] = 0,
    progress: Annotated[
        Path | None, typer.Option("--progress", help="File that always says how far it is, for programs that wait.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Every latent of a set as a point in two or three dimensions; without --out the map is kept where the app looks for it."""
    from medfuncta_core.mednf import EmbedRequest, map_file, open_set, write_map
    from medfuncta_core.mednf import embed as embed_set

    opened = open_set(latents)
    values: dict[str, Any] = {"method": str(method), "dims": dims, "seed": seed, "fit_rows": fit_rows, "neighbors": neighbors}
    request = EmbedRequest.parse(
        values | {"min_dist": min_dist, "perplexity": perplexity, "metric": str(metric)}, f"embed {latents}"
    )
    with _told(progress) as report:
        made = embed_set(opened, request, report)
    file = write_map(out or map_file(opened, request), opened, made)
    fitted = int(made.fitted.sum())
    report_values = {"set": str(latents), "file": str(file), "n": len(opened), "fitted": fitted, "seconds": made.seconds}
    report_values |= {"request": request.relevant, "variance_shares": list(made.shares) or None}
    placed = "" if made.complete else f", made of {fitted:,} and the others placed in it"
    emit(report_values, as_json, [f"{file}: {len(opened):,} points{placed}, {made.seconds:.1f} s"])


class _told:
    """A progress bar on stderr, and a file for programs, both told at every step."""

    def __init__(self, file: Path | None) -> None:
        from tqdm import tqdm

        self._file = file
        self._bar = tqdm(total=100, unit="%", bar_format="{percentage:3.0f} % {bar:24} {elapsed} {desc}", disable=None)

    def __enter__(self) -> Callable[[EmbedStep], None]:
        return self._tell

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _tell(self, step: EmbedStep) -> None:
        from medfuncta_core.atomic import write_atomically

        self._bar.set_description_str(step.words, refresh=False)
        self._bar.update(100 * step.share - self._bar.n)
        if self._file is not None:
            write_atomically(self._file, json.dumps({"words": step.words, "share": step.share}).encode())
