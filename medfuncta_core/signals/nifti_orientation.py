"""Where a NIfTI header says that its voxels lie: sform before qform, and no guess where it gives neither."""

from __future__ import annotations

from typing import Any

import numpy as np

from medfuncta_core.signals.guarding import one_line

Orientation = tuple[np.ndarray | None, tuple[float, ...] | None, tuple[str, ...]]

TOLERANCE_VOXELS = 0.1
"""How far sform and qform may lie apart before it is worth a word."""


def read_orientation(header: Any) -> Orientation:
    """Affine and spacing of a header, and what is doubtful about them.

    Args:
        header: nibabel's NIfTI-1 or NIfTI-2 header.

    Returns:
        Voxel index to RAS+ millimetres `(4, 4)`, or None when neither sform nor qform states one; spacing in mm, or None when
        the file gives none; warnings, one sentence each.
    """
    shape = tuple(int(length) for length in header.get_data_shape()[:3])
    sform, qform = _matrix(header, "sform"), _matrix(header, "qform")
    stated, affine, warnings = None, None, []
    for name, matrix in (("sform", sform), ("qform", qform)):
        if isinstance(matrix, str):
            warnings.append(f"Its {name} is unusable ({matrix}).")
        elif matrix is not None and affine is None:
            stated, affine = name, matrix
    if affine is None:
        warnings.append(
            "It does not say how the volume lies in the patient: left and right are unknown and its axes were taken as stored."
        )
        return None, _pixel_spacing(header), tuple(warnings)
    if warnings:
        warnings.append(f"Its {stated} was used instead.")
    if isinstance(sform, np.ndarray) and isinstance(qform, np.ndarray):
        apart, voxel = _distance(sform, qform, shape), np.sqrt((sform[:3, :3] ** 2).sum(axis=0)).min()
        if apart > TOLERANCE_VOXELS * voxel:
            warnings.append(
                f"Its sform and qform disagree by up to {apart:.3g} mm; the sform was used. If left and right look wrong, "
                "copy the right one over the other (nifti_tool, fslorient)."
            )
    spacing = tuple(float(step) for step in np.sqrt((affine[:3, :3] ** 2).sum(axis=0)))
    return affine, spacing, tuple(warnings)


def _matrix(header: Any, name: str) -> np.ndarray | str | None:
    """The header's sform or qform: a matrix, what is wrong with it, or None when its code says that there is none."""
    if int(header[f"{name}_code"]) <= 0:
        return None
    try:
        matrix = np.asarray(getattr(header, f"get_{name}")(), dtype=np.float64)
    # A quaternion of arbitrary numbers makes nibabel raise its own errors and numpy's.
    except Exception as error:
        return one_line(error, 60)
    if not np.isfinite(matrix).all():
        return "it is not finite"
    lengths = np.sqrt((matrix[:3, :3] ** 2).sum(axis=0))
    if not lengths.any():
        return "it is all zeros"
    if not lengths.all() or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-6:
        return "it is singular"
    return matrix


def _distance(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance in mm between the places that two affines give a corner voxel."""
    edges = [(0, length - 1) for length in (*shape, *[1] * (3 - len(shape)))]
    corners = np.array([[x, y, z, 1] for x in edges[0] for y in edges[1] for z in edges[2]], dtype=np.float64)
    return float(np.linalg.norm(corners @ (first - second).T, axis=1).max())


def _pixel_spacing(header: Any) -> tuple[float, ...] | None:
    """The header's pixdim, which gives distances without directions, or None when it is no distance."""
    steps = tuple(float(step) for step in header["pixdim"][1:4])
    return steps if all(np.isfinite(step) and step > 0 for step in steps) else None
