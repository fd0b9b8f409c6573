"""UMAP and t-SNE, seeded, told to say how far they are; both are imported when first used, which takes seconds."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from medfuncta_core.mednf.map_request import EmbedRequest

Report = Callable[[str, float], None]
TSNE_ITERATIONS = 1000
SPECTRAL_FROM = 64  # rows; UMAP's spectral start needs a graph that is more than a handful


def lay_out_umap(reduced: Float[np.ndarray, "m r"], request: EmbedRequest, report: Report) -> Float[np.ndarray, "m d"]:
    """UMAP (McInnes et al. 2018) by umap-learn."""
    report("Loading UMAP", 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TensorFlow is not there, that one seed means one core
        import umap

        report("Neighbours of all points", 0.1)
        told = _Told(r"(\d+)/(\d+)", lambda done, total: report(f"UMAP: epoch {done:,} of {total:,}", 0.2 + 0.8 * done / total))
        model = umap.UMAP(
            n_components=request.dims,
            n_neighbors=min(request.neighbors, len(reduced) - 1),
            min_dist=request.min_dist,
            metric="euclidean",  # cosine was taken care of before
            init="spectral" if len(reduced) >= SPECTRAL_FROM else "pca" if reduced.shape[1] >= request.dims else "random",
            random_state=request.seed,
            n_jobs=1,
            tqdm_kwds={"disable": False, "file": told, "bar_format": "{n_fmt}/{total_fmt} ", "mininterval": 0.25},
        )
        return np.asarray(model.fit_transform(reduced), dtype=np.float32)


def lay_out_tsne(reduced: Float[np.ndarray, "m r"], request: EmbedRequest, report: Report) -> Float[np.ndarray, "m d"]:
    """t-SNE (van der Maaten and Hinton 2008) by scikit-learn, Barnes-Hut."""
    report("Neighbours of all points", 0.0)
    from sklearn.manifold import TSNE

    told = _Told(
        r"Iteration (\d+)()",
        lambda done, _: report(f"t-SNE: iteration {done:,} of {TSNE_ITERATIONS:,}", 0.1 + 0.9 * done / TSNE_ITERATIONS),
    )
    model = TSNE(
        n_components=request.dims,
        perplexity=min(request.perplexity, (len(reduced) - 1) / 3),
        init="pca" if reduced.shape[1] >= request.dims else "random",
        random_state=request.seed,
        max_iter=TSNE_ITERATIONS,
        n_jobs=1,
        verbose=2,
    )
    with contextlib.redirect_stdout(told):
        return np.asarray(model.fit_transform(reduced), dtype=np.float32)


LAYOUTS: dict[str, Callable[[np.ndarray, EmbedRequest, Report], np.ndarray]] = {"umap": lay_out_umap, "tsne": lay_out_tsne}
"""By method."""


class _Told(io.TextIOBase):
    """A file that reads numbers out of what a library prints."""

    def __init__(self, pattern: str, tell: Callable[[int, int], None]) -> None:
        self._pattern, self._tell = re.compile(pattern), tell

    def write(self, text: str) -> int:
        """Tell the last numbers in a text."""
        if found := self._pattern.findall(text):
            done, total = found[-1]
            self._tell(int(done), int(total or 0))
        return len(text)
