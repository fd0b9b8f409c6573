"""What a cloud of latents is like: how many dimensions it really fills, and how many of them its signals need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from medfuncta_core.errors import SetError
from medfuncta_core.fitting import Fitter
from medfuncta_core.grids import make_grid

LARGEST_SAMPLE = 10_000  # rows that components are found from: 2048 of them are known to a fraction of a per cent by then
TESTED_SIGNALS = 16
TESTED_POINTS = 2048  # of every tested signal, drawn once


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of latents.

    Args:
        mean: `(p,)`.
        variances: Of every component, largest first; `min(n - 1, p)` of them.
        directions: `(k, p)`, of length 1, in the same order.
        rows: Latents they were found from, n.
    """

    mean: Float[np.ndarray, " p"]
    variances: Float[np.ndarray, " k"]
    directions: Float[np.ndarray, "k p"]
    rows: int

    @property
    def effective_dimension(self) -> float:
        """Participation ratio of the variances."""
        return participation_ratio(self.variances)

    def holding(self, share: float) -> int:
        """How many of the largest components hold this share of the variance."""
        held = np.cumsum(self.variances) / max(float(self.variances.sum()), 1e-300)
        return min(int(np.searchsorted(held, share - 1e-12)) + 1, len(self.variances))

    def keep(self, latents: Float[np.ndarray, "m p"], count: int) -> Float[np.ndarray, "m p"]:
        """Latents with only the first `count` components left; with 0, the mean."""
        kept = self.directions[:count].astype(np.float64)
        return (self.mean + (latents - self.mean).astype(np.float64) @ kept.T @ kept).astype(np.float32)

    def csv(self) -> str:
        """Variance of every component and the share that it and those before it hold, as CSV with a header."""
        held = np.cumsum(self.variances) / max(float(self.variances.sum()), 1e-300)
        rows = [f"{place},{v:.8g},{h:.6f}" for place, (v, h) in enumerate(zip(self.variances, held, strict=True), start=1)]
        return "\n".join(["component,variance,share_held", *rows]) + "\n"


def participation_ratio(variances: Float[np.ndarray, " k"]) -> float:
    """Effective dimension `(sum v)^2 / sum v^2`: k where k components share the variance equally, 1 where one holds it all.

    Source: Gao et al., "A theory of multineuronal dimensionality", 2017.
    """
    squares = float(np.square(variances).sum())
    return float(variances.sum()) ** 2 / squares if squares > 0 else 0.0


def principal_components(latents: Float[np.ndarray, "n p"]) -> Components:
    """Directions of largest variance, one after the other.

    Args:
        latents: At least two.

    Raises:
        SetError: for fewer.
    """
    rows, length = latents.shape
    if rows < 2:
        raise SetError("a variance needs at least 2 latents; choose a larger set")
    mean = latents.mean(0, dtype=np.float64)
    centred = latents - mean
    small = centred @ centred.T if rows <= length else centred.T @ centred
    values, vectors = np.linalg.eigh(small)
    count = min(rows - 1, length)
    values, vectors = np.maximum(values[::-1][:count], 0), vectors[:, ::-1][:, :count]
    if rows <= length:  # the small matrix was of products between latents: back to directions, as far as there is variance
        vectors = centred.T @ vectors / np.maximum(np.sqrt(values), 1e-12)
    return Components(mean.astype(np.float32), values / (rows - 1), vectors.T.astype(np.float32), rows)


def choose_sample(rows: int, tested: int = TESTED_SIGNALS) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " t"]]:
    """Rows that components are found from, and, evenly spread and not among them, rows that they are tested on.

    Raises:
        SetError: for fewer than 4 rows.
    """
    if rows < 4:
        raise SetError(f"{rows} latents are too few for statistics; choose at least 4")
    held_out = np.unique(np.linspace(0, rows - 1, min(tested, rows // 4) + 2)[1:-1].round().astype(np.int64))
    rest = np.delete(np.arange(rows), held_out)
    return rest[np.unique(np.linspace(0, len(rest) - 1, min(len(rest), LARGEST_SAMPLE)).round().astype(np.int64))], held_out


@dataclass(frozen=True)
class ComponentStep:
    """Mean PSNR of the tested signals, in dB.

    Args:
        count: Components kept.
        psnr: With them.
        whole: With the whole latents.
        done, total: How many numbers of components were tried, of at most how many.
    """

    count: int
    psnr: float
    whole: float
    done: int
    total: int


def try_components(
    fitter: Fitter,
    components: Components,
    latents: Float[np.ndarray, "m p"],
    psnr: Float[np.ndarray, " m"],
    shape: tuple[int, ...],
    *,
    share: float = 0.99,
) -> Iterator[ComponentStep]:
    """PSNR of signals decoded from their first components: 1, 2, 4 ... all, then by halving where `share` of it is reached.

    The signals themselves are not stored, so their squared error is put together from the one that their fit stated and the one
    that leaving components out adds to what was decoded; the two are taken as uncorrelated.

    Args:
        fitter: Of the latents' field.
        components: Found from other latents.
        latents: To be tried.
        psnr: What their fits stated, dB.
        shape: Points per axis of the signals; at most `TESTED_POINTS` of them are decoded, the same ones each time.
        share: Of the PSNR in dB.

    Raises:
        SetError: when no latent states its PSNR.
    """
    stated = np.isfinite(psnr)
    if not stated.any():
        raise SetError("these latents do not state the PSNR of their fits, so there is nothing to keep 99 % of")
    trial = _Trial(fitter, components, latents[stated], psnr[stated].astype(np.float64), _draw_points(shape))
    most = len(components.variances)
    counts = [*(2**power for power in range(most.bit_length()) if 2**power < most), most]
    total, tried = 2 * len(counts), {}
    for count in counts:
        tried[count] = trial.psnr(count)
        yield ComponentStep(count, tried[count], trial.whole, len(tried), total)
    enough = next((count for count in counts if tried[count] >= share * trial.whole), None)
    low = max((count for count in counts if enough and count < enough), default=0)
    while enough is not None and enough - low > 1:
        middle = (low + enough) // 2
        tried[middle] = trial.psnr(middle)
        yield ComponentStep(middle, tried[middle], trial.whole, len(tried), total)
        low, enough = (low, middle) if tried[middle] >= share * trial.whole else (middle, enough)


def components_needed(steps: Sequence[ComponentStep], share: float = 0.99) -> int | None:
    """The smallest number of components tried that keeps `share` of the PSNR; None when all of them do not."""
    return min((step.count for step in steps if step.psnr >= share * step.whole), default=None)


def trial_csv(steps: Sequence[ComponentStep]) -> str:
    """PSNR by number of components as CSV with a header."""
    rows = [f"{step.count},{step.psnr:.4f},{step.whole:.4f}" for step in steps]
    return "\n".join(["components,psnr_db,whole_psnr_db", *rows]) + "\n"


class _Trial:
    """Signals decoded at the same points, from their whole latents and from a few components."""

    def __init__(
        self, fitter: Fitter, components: Components, latents: np.ndarray, psnr: np.ndarray, coords: Float[np.ndarray, "n d"]
    ) -> None:
        self._fitter, self._components, self._latents, self._coords = fitter, components, latents, coords
        self._stated = 10 ** (-psnr / 10)
        self._truth = self._decode(latents)
        self.whole = float(psnr.mean())

    def psnr(self, count: int) -> float:
        error = np.square(self._decode(self._components.keep(self._latents, count)) - self._truth).mean((1, 2))
        return float((-10 * np.log10(self._stated + error)).mean())

    def _decode(self, latents: np.ndarray) -> Float[np.ndarray, "m n c"]:
        return np.stack([self._fitter.decode_at(latent, self._coords) for latent in latents])


def _draw_points(shape: tuple[int, ...]) -> Float[np.ndarray, "n d"]:
    coords = make_grid(shape)
    if len(coords) <= TESTED_POINTS:
        return coords.numpy()
    return coords[torch.randperm(len(coords), generator=torch.Generator().manual_seed(0))[:TESTED_POINTS]].numpy()
