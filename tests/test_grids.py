"""Coordinate grids, context sets and masks."""

import numpy as np
import pytest
import torch

from medfuncta_core.errors import ConfigError, SignalError
from medfuncta_core.grids import (
    ContextSet,
    box_mask,
    draw_indices,
    grid_context,
    grid_coords,
    make_grid,
    random_mask,
    reduce_context,
    select_points,
)


def test_make_grid_follows_array_order() -> None:
    grid = make_grid((3, 2))
    expected = [[-1, -1], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 1]]
    assert grid.tolist() == expected


def test_make_grid_puts_a_single_point_in_the_middle() -> None:
    assert make_grid((1, 2)).tolist() == [[0, -1], [0, 1]]


@pytest.mark.parametrize("shape", [(), (0, 3)])
def test_make_grid_refuses_empty_axes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="at least one point"):
        make_grid(shape)


def test_grid_coords_are_rows_of_the_grid() -> None:
    whole = make_grid((4, 5, 6))
    chunks = [grid_coords((4, 5, 6), range(first, min(first + 17, 120))) for first in range(0, 120, 17)]
    assert torch.equal(torch.cat(chunks), whole)


def test_grid_context_pairs_values_with_their_coordinates() -> None:
    values = torch.arange(48.0).reshape(1, 8, 6, 1)
    context = grid_context(values)
    at = context.coords.isclose(torch.tensor([1.0, -1.0])).all(1)  # last row, first column
    assert context.values[0, at].item() == values[0, 7, 0, 0]


def test_draw_indices_are_distinct_and_differ_between_signals() -> None:
    drawn = draw_indices(3, 48, 0.25, torch.Generator().manual_seed(0))
    assert drawn is not None
    assert drawn.shape == (3, 12)
    assert all(len(set(row.tolist())) == 12 for row in drawn)
    assert drawn[0].tolist() != drawn[1].tolist()


def test_draw_indices_keeps_at_least_one_point() -> None:
    drawn = draw_indices(1, 48, 1e-6, torch.Generator())
    assert drawn is not None
    assert drawn.shape == (1, 1)


def test_reduce_context_keeps_pairs_together() -> None:
    context = grid_context(torch.rand(2, 8, 6, 3))
    indices = torch.tensor([[5, 0], [47, 6]])
    reduced = reduce_context(context, indices)
    for b in range(2):
        assert torch.equal(reduced.coords[b], context.coords[indices[b]])
        assert torch.equal(reduced.values[b], context.values[b, indices[b]])
    again = reduce_context(reduced, torch.tensor([[1], [0]]))  # coordinates of each signal
    assert torch.equal(again.coords[1, 0], context.coords[47])


def test_reduce_context_at_ratio_one_is_the_context() -> None:
    context = grid_context(torch.rand(2, 8, 6, 1))
    assert reduce_context(context, draw_indices(2, 48, 1.0, torch.Generator())) is context


def test_select_points_keeps_where_the_mask_is_true() -> None:
    context = grid_context(torch.rand(1, 8, 6, 1))
    mask = np.zeros((8, 6), dtype=bool)
    mask[2, 3] = mask[7, 5] = True
    kept = select_points(context, mask)
    assert torch.equal(kept.coords, context.coords[[15, 47]])


def test_select_points_refuses_masks_of_other_shapes_and_empty_ones() -> None:
    context = grid_context(torch.rand(1, 8, 6, 1))
    with pytest.raises(SignalError, match="give it the signal's shape"):
        select_points(context, np.ones((6, 6), dtype=bool))
    with pytest.raises(SignalError, match="at least one point"):
        select_points(context, np.zeros((8, 6), dtype=bool))


def test_context_set_refuses_pairs_that_do_not_match() -> None:
    with pytest.raises(SignalError, match="differ in points"):
        ContextSet(torch.rand(5, 2), torch.rand(1, 4, 1))


def test_random_mask_keeps_its_share_and_repeats() -> None:
    mask = random_mask((8, 6), 0.25, seed=3)
    assert mask.sum() == 12
    assert (mask == random_mask((8, 6), 0.25, seed=3)).all()
    assert (mask != random_mask((8, 6), 0.25, seed=4)).any()
    with pytest.raises(ConfigError, match="share"):
        random_mask((8, 6), 0)


def test_box_mask_hides_the_box() -> None:
    mask = box_mask((8, 6), (0.25, 0.5), (0.5, 1.0))
    assert not mask[2:4, 3:6].any()
    assert mask.sum() == 48 - 6


@pytest.mark.parametrize(("low", "high"), [((0.5, 0), (0.5, 1)), ((0, 0), (1, 1)), ((0, -0.1), (1, 0.5))])
def test_box_mask_refuses_boxes_that_make_no_sense(low: tuple[float, float], high: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="box"):
        box_mask((8, 6), low, high)
