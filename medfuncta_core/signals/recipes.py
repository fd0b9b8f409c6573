"""How volumes of known data sets are prepared, by name."""

from __future__ import annotations

from medfuncta_core.config import SignalSpec, VolumeRecipe

_CANVAS = (256, 256, 256)
_EDGE = (32, 32, 32)

RECIPES: dict[str, SignalSpec] = {
    # Voxels in the order that BraTS distributes them in (LPS), as the published loader takes them.
    "brats": SignalSpec(
        kind="volume",
        shape=_EDGE,
        normalisation="quantile",
        limits=(0.001, 0.999),
        recipe=VolumeRecipe(orientation="LPS", canvas=_CANVAS, reduction="average"),
    ),
    # dicom2nifti, which the published preparation starts from, writes axial series in LAS order.
    "lidc-idri": SignalSpec(
        kind="volume",
        shape=_EDGE,
        normalisation="quantile",
        limits=(0.0, 0.999),
        recipe=VolumeRecipe(
            orientation="LAS",
            spacing_mm=(1.0, 1.0, 1.0),
            interpolation="cubic",
            canvas=_CANVAS,
            floor=-1000.0,
            reduction="average",
        ),
    ),
    "hippocampus": SignalSpec(kind="volume", shape=_EDGE, normalisation="quantile", limits=(0.005, 0.995)),
    "lung-ct": SignalSpec(kind="volume", shape=_EDGE, normalisation="window", limits=(-1000.0, 400.0)),
}
"""The paper's BraTS and LIDC-IDRI (Sec. 3: Friedrich et al., 2024; padded or cropped to 256^3, means of 8^3), and what the
shipped checkpoints expect: whole hippocampus volumes, and patches of lung CT in Hounsfield units."""
