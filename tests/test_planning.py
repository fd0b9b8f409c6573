"""The arithmetic that says how many points a GPU works on at once and how much memory a meta-step takes."""

import pytest

from medfuncta_core.config import PRESETS
from medfuncta_core.kernels.planning import meta_step_bytes, plan, row_bytes
from medfuncta_core.kernels.precision import Precision

GIB = 2**30


def test_row_bytes_by_hand() -> None:
    config = PRESETS["image-64"].field  # K = 15, L = 256, shift only
    point = 4 * (2 + 1)
    assert row_bytes(config, "float32", dual=False) == (14 * 2 + 2) * 256 * 4 + point  # h, cos u; two layers' g
    assert row_bytes(config, "float32", dual=True) == (14 * 4 + 4) * 256 * 4 + point  # and dh, sin(u) du; dg
    assert row_bytes(config, "float16", dual=True) == (14 * 4 + 4) * 256 * 2 + point
    scaled = config.model_copy(update={"modulate_scale": True})
    assert row_bytes(scaled, "float32", dual=True) == (14 * 6 + 4) * 256 * 4 + point  # and a, da


@pytest.mark.parametrize(("signals", "points"), [(1, 1), (3, 48), (24, 1024), (5, 7000), (2, 50_176), (64, 187)])
@pytest.mark.parametrize("chunk_bytes", [1, 2**24, 3 * 2**29])
def test_chunks_cover_every_point_once_within_their_bytes(signals: int, points: int, chunk_bytes: int) -> None:
    config = PRESETS["image-64"].field
    chosen = plan(config, "float32", signals, points, dual=True, chunk_bytes=chunk_bytes)
    seen = [[0] * points for _ in range(signals)]
    sizes = []
    for i, j in chosen.chunks(signals, points):
        sizes.append((i.stop - i.start) * (j.stop - j.start))
        for row in seen[i]:
            row[j] = [count + 1 for count in row[j]]
    assert all(count == 1 for row in seen for count in row)
    assert max(sizes) <= max(64, chunk_bytes // row_bytes(config, "float32", dual=True))
    assert max(sizes) <= 2 * min(sizes) + points  # no chunk is a small rest


def test_paper_batch_is_one_chunk_of_a_tenth_of_the_published_memory() -> None:
    preset = PRESETS["image-64"]
    chosen = plan(preset.field, "float32", 24, 1024, dual=True)
    assert (chosen.signals, chosen.points) == (24, 1024)
    found = meta_step_bytes(preset.field, "float32", signals=24, points=4096, inner_points=1024, inner_steps=10)
    assert found < 21.5e9 / 10  # Table 5: 21.5 GB at batch 24


@pytest.mark.parametrize("precision", ["float32", "tf32", "float16"])
def test_full_context_at_224_fits_in_20_gb(precision: Precision) -> None:
    preset = PRESETS["image-224"]
    assert preset.field.latent_dim == 16_384
    found = meta_step_bytes(
        preset.field, precision, signals=preset.meta.batch_size, points=224 * 224, inner_points=224 * 224, inner_steps=10
    )
    assert 1 * GIB < found < 20e9
    assert found < 5 * GIB  # 221 MB of parameters six times over, 1.5 GiB of activations


def test_memory_does_not_grow_with_the_inner_steps() -> None:
    preset = PRESETS["image-64"]
    few, many = (
        meta_step_bytes(preset.field, "float32", signals=24, points=4096, inner_points=1024, inner_steps=steps)
        for steps in (1, 21)
    )
    assert many - few < 0.1 * few  # the drawn points and the factors of the modulations' gradient alone
