"""A set with a map for the tests of the Latent space page: the map is made by PCA and filed as UMAP's, which takes seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from app_material import make_app_material, make_set

from medfuncta_core.mednf import EmbedRequest, LatentMap, MednfSet, embed, map_file, open_set, write_map

SET = "tiny-picture-set"


def make_map_material(folder: Path) -> dict[str, str]:
    """Checkpoints, a gallery, and a set of 56 pictures with its map; the environment variables that show them to the app."""
    environment = make_app_material(folder, ["tiny-picture"]) | make_set(folder, "tiny-picture")
    file_map(open_set(folder / "sets" / SET))
    return environment


def file_map(latents: MednfSet) -> LatentMap:
    """The map that the page opens first."""
    made = replace(embed(latents, EmbedRequest(method="pca")), request=EmbedRequest(), shares=())
    write_map(map_file(latents, made.request), latents, made)
    return made
