"""Latents that follow one another, decoded to be looked at, and a morph beside the cross-fade that knows of no network.

latents = walk(a, b, even_shares(24), "spherical")
frames = join_frames(decode_frames(fitter, latents, middle_grids("image", (64, 64))))
morph = compare_with_fade(latents, even_shares(24), frames)
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from medfuncta_core import metrics
from medfuncta_core.config import Kind
from medfuncta_core.errors import SetError
from medfuncta_core.fitting import Fitter

BATCH_POINTS = 2**14  # decoded together: a few frames, so that progress is seen


class Grid(NamedTuple):
    """Points per axis on which a signal is decoded; a plane has one on its `flat` axis, which is left out of its values."""

    shape: tuple[int, ...]
    flat: int | None = None


Grids = tuple[Grid, ...]


def middle_grids(kind: Kind, shape: Sequence[int]) -> Grids:
    """The grids on which a signal is decoded to be looked at: the whole one, or of a volume its three middle planes.

    An axis of one point lies in the volume's middle, so only the planes that are shown are computed.
    """
    if kind != "volume":
        return (Grid(tuple(shape)),)
    return tuple(Grid(tuple(1 if axis == flat else points for axis, points in enumerate(shape)), flat) for flat in range(3))


def one_grid(kind: Kind, shape: Sequence[int]) -> Grids:
    """As `middle_grids`, of a volume only the last plane: for many small pictures."""
    return middle_grids(kind, shape)[-1:]


@dataclass(frozen=True, eq=False)
class Frames:
    """Signals that follow one another, decoded: for each grid looked at `(f, *grid, c)`, without the flat axis of a plane."""

    parts: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    def frame(self, index: int) -> tuple[np.ndarray, ...]:
        """One signal: its values on every grid."""
        return tuple(part[index] for part in self.parts)

    @property
    def flat(self) -> Float[np.ndarray, "f n c"]:
        """All points of all grids in a row."""
        return np.concatenate([part.reshape(len(part), -1, part.shape[-1]) for part in self.parts], axis=1)


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """A few frames, decoded together: those of `rows`, of `total`."""

    rows: range
    total: int
    frames: Frames


def decode_frames(fitter: Fitter, latents: Float[np.ndarray, "f p"], grids: Grids) -> Iterator[FrameBatch]:
    """Decode latents a few at a time, clamped to [0, 1].

    Args:
        fitter: Of the latents' field.
        latents: `(f, p)`.
        grids: As `middle_grids` gives them.

    Yields:
        Batches that follow each other; whoever stops pulling has cancelled the rest.

    Raises:
        ConfigError: when latents or grids do not belong to the field.
    """
    each = max(1, BATCH_POINTS // sum(math.prod(grid.shape) for grid in grids))
    for first in range(0, len(latents), each):
        rows = range(first, min(first + each, len(latents)))
        chosen = latents[rows.start : rows.stop]
        yield FrameBatch(rows, len(latents), Frames(tuple(_decode(fitter, chosen, grid) for grid in grids)))


def _decode(fitter: Fitter, latents: np.ndarray, grid: Grid) -> np.ndarray:
    values = fitter.decode_batch(latents, grid.shape)
    return values if grid.flat is None else values.squeeze(1 + grid.flat)


def join_frames(batches: Iterable[FrameBatch]) -> Frames:
    """All batches of a decoding in one.

    Raises:
        SetError: when there are none.
    """
    found = [batch.frames.parts for batch in batches]
    if not found:
        raise SetError("there is nothing to decode; give at least one latent")
    return Frames(tuple(np.concatenate(parts) for parts in zip(*found, strict=True)))


@dataclass(frozen=True, eq=False)
class Morph:
    """A path between two signals, decoded, and the fade between their values for comparison.

    Args:
        shares: Places on the path, 0 is A and 1 is B.
        latents: `(f, p)`.
        frames: Decoded from the latents.
        fade: The two ends' values mixed in the same shares.
        psnr: `(2, f)` dB of every frame to A and to B; infinite at the end itself.
        fade_psnr: The same of the fade.
    """

    shares: Float[np.ndarray, " f"]
    latents: Float[np.ndarray, "f p"]
    frames: Frames
    fade: Frames
    psnr: Float[np.ndarray, "2 f"]
    fade_psnr: Float[np.ndarray, "2 f"]


def compare_with_fade(latents: Float[np.ndarray, "f p"], shares: Float[np.ndarray, " f"], frames: Frames) -> Morph:
    """A decoded path beside what mixing the values of its ends gives.

    Args:
        latents: Of `walk`.
        shares: From 0 to 1.
        frames: The latents, decoded.

    Raises:
        SetError: when the shares do not begin at 0 and end at 1, where the two ends are.
    """
    if shares[0] != 0 or shares[-1] != 1:
        raise SetError(f"a morph runs from share 0 to share 1, not from {shares[0]:g} to {shares[-1]:g}; use even_shares")
    fade = Frames(tuple(cross_fade(part[0], part[-1], shares) for part in frames.parts))
    return Morph(shares, latents, frames, fade, quality_to_ends(frames), quality_to_ends(fade))


def cross_fade(
    first: Float[np.ndarray, "*grid c"], last: Float[np.ndarray, "*grid c"], shares: Float[np.ndarray, " f"]
) -> Float[np.ndarray, "f *grid c"]:
    """Values of two signals mixed point by point: what an editor's cross-fade shows, and no network knows of."""
    place = shares.reshape(-1, *[1] * first.ndim).astype(np.float32)
    return (1 - place) * first[None] + place * last[None]


def quality_to_ends(frames: Frames) -> Float[np.ndarray, "2 f"]:
    """PSNR in dB of every frame to the first and to the last one; infinite where they are equal."""
    values = torch.from_numpy(frames.flat)
    return np.stack([metrics.psnr(values, values[end : end + 1].expand_as(values)).numpy() for end in (0, len(values) - 1)])


def quality_between(first: Frames, second: Frames) -> Float[np.ndarray, " f"]:
    """PSNR in dB between the frames of two films, one by one; infinite where they are equal."""
    return metrics.psnr(torch.from_numpy(first.flat), torch.from_numpy(second.flat)).numpy()


def measure_detail(frames: Frames) -> Float[np.ndarray, " f"]:
    """Mean absolute difference between neighbouring points of every frame, in shares of the value range.

    Mixing two signals point by point blurs what does not lie in the same place in both, and this number falls half-way.
    """
    total, points = np.zeros(len(frames)), 0
    for part in frames.parts:
        for axis in range(1, part.ndim - 1):
            steps = np.abs(np.diff(part, axis=axis)).reshape(len(part), -1)
            total, points = total + steps.sum(1, dtype=np.float64), points + steps.shape[1]
    return total / max(points, 1)


def pack_morph(morph: Morph, about: dict[str, str]) -> bytes:
    """A morph as the bytes of an `.npz` file that is read without unpickling.

    It holds `shares (f,)`, `latents (f, p)`, `frames` and `fade` (of a volume's planes `frames_0` to `frames_2`), `psnr_to_ends`
    and `fade_psnr_to_ends (2, f)`, and the words of `about`.
    """
    fade = _name_parts("fade", morph.fade)
    quality = {"psnr_to_ends": morph.psnr, "fade_psnr_to_ends": morph.fade_psnr}
    return pack_frames(morph.latents, morph.frames, about, shares=morph.shares, **fade, **quality)


def pack_frames(latents: Float[np.ndarray, "f p"], frames: Frames, about: dict[str, str], **more: np.ndarray) -> bytes:
    """Latents, what they decode to, and other arrays, as the bytes of an `.npz` file; names as in `pack_morph`."""
    words = {name: np.array(text) for name, text in about.items()}
    arrays = {"latents": latents, **_name_parts("frames", frames), **more, **words}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _name_parts(name: str, frames: Frames) -> dict[str, np.ndarray]:
    single = len(frames.parts) == 1
    return {name if single else f"{name}_{axis}": part for axis, part in enumerate(frames.parts)}


def morph_csv(morph: Morph) -> str:
    """Every frame's place, PSNR to both ends and detail, of the latents and of the fade, as CSV with a header."""
    details = measure_detail(morph.frames), measure_detail(morph.fade)
    lines = ["share,psnr_to_a_db,psnr_to_b_db,detail,fade_psnr_to_a_db,fade_psnr_to_b_db,fade_detail"]
    for at, share in enumerate(morph.shares):
        own, fade = (
            [*(f"{value:.4f}" if math.isfinite(value) else "" for value in psnr[:, at]), f"{detail[at]:.6f}"]
            for psnr, detail in zip((morph.psnr, morph.fade_psnr), details, strict=True)
        )
        lines.append(",".join([f"{share:.6g}", *own, *fade]))
    return "\n".join(lines) + "\n"
