"""Turning a volume: which way its axes run in the patient, and the permutation and flips that make them run another way."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from medfuncta_core.signals.signal import Signal


class Turn(NamedTuple):
    """How axes become others: axis a of the result is axis `order[a]` of the source, backwards where `flips[a]`.

    Args:
        affine: Of the result.
        codes: Directions of the source's axes, such as LPS.
    """

    order: tuple[int, ...]
    flips: tuple[bool, ...]
    affine: np.ndarray
    codes: str


def find_turn(affine: np.ndarray, shape: tuple[int, ...], orientation: str = "RAS") -> Turn:
    """The permutation and flips that make a grid's axes run most nearly in the directions asked for.

    Args:
        affine: Voxel index to RAS+ millimetres `(4, 4)`.
        shape: Voxels per axis.
        orientation: Where each axis of the result shall run to.
    """
    from nibabel import orientations

    current = orientations.io_orientation(affine)
    if np.isnan(current).any():
        return Turn((0, 1, 2), (False, False, False), affine, orientation)
    moves = orientations.ornt_transform(current, orientations.axcodes2ornt(tuple(orientation)))
    order = np.argsort(moves[:, 0]).astype(int)
    codes = "".join(str(code) for code in orientations.ornt2axcodes(current))
    turned = affine @ orientations.inv_ornt_aff(moves, shape)
    return Turn(tuple(order.tolist()), tuple((moves[order, 1] < 0).tolist()), turned, codes)


def reorient(signal: Signal, orientation: str = "RAS") -> Signal:
    """A volume with its axes permuted and flipped so that they run most nearly in the directions asked for (RAS+)."""
    if signal.affine is None:
        return signal
    turn = find_turn(signal.affine, signal.shape, orientation)
    if turn.codes == orientation:
        return signal
    steps = tuple(slice(None, None, -1) if flip else slice(None) for flip in turn.flips)
    return replace(
        signal,
        values=np.ascontiguousarray(signal.values.transpose(*turn.order, 3)[steps]),
        affine=turn.affine,
        spacing=None if signal.spacing is None else tuple(signal.spacing[axis] for axis in turn.order),
        notes=(*signal.notes, turned_note(turn, orientation)),
    )


def turned_note(turn: Turn, orientation: str) -> str:
    """What a turn did, as a sentence."""
    return f"Turned from {turn.codes} to {orientation} axes, as the training data is."
