"""The heads that tell the Q-Former what to look for know where things lie, and leave alone what nobody knows."""

from __future__ import annotations

import pytest
import torch

from rsagent.model.vlm_encoder import VLMFeatures
from rsagent.training.auxiliary import MAPS, Grounding, ReadOut, map_grid, mark_grid
from rsagent.training.scene_model import COLOURS, KINDS


def seen(queries: torch.Tensor) -> VLMFeatures:
    count, _, dim = queries.shape
    return VLMFeatures(queries, queries, torch.zeros(count, 2, dim), torch.ones(count, 2), queries)


def test_points_are_counted_in_the_region_they_lie_in():
    grid = mark_grid(((0.0, 0.0), (0.32, 0.1), (0.5, 0.5), (0.999, 0.34)), 3)
    assert grid.tolist() == [2, 0, 0, 0, 1, 1, 0, 0, 0]  # row by row: x to the right, y down


def test_nothing_there_is_known_and_nobody_knows_is_not():
    assert mark_grid((), 2).tolist() == [0, 0, 0, 0]
    assert mark_grid(None, 2).isnan().all()


def test_maps_hold_kinds_and_colours_and_masses_are_unknown():
    car, red, tree = KINDS.index("car"), COLOURS.index("red"), KINDS.index("tree")
    grid = map_grid([(car, red, 0.9, 0.1), (car, -1, 0.1, 0.9)], [tree], 2)
    assert grid.shape == (MAPS, 4)
    assert grid[car].tolist() == [0, 1, 1, 0]
    assert grid[len(KINDS) + red].tolist() == [0, 1, 0, 0]
    assert grid[tree].isnan().all() and int(grid.isnan().sum()) == 4
    assert map_grid(None, (), 2).isnan().all()


def test_unknown_rows_cost_nothing_and_teach_nothing():
    heads = Grounding(8)
    queries = torch.randn(2, 4, 8, requires_grad=True)
    marks, maps = torch.full((2, 2, 4), torch.nan), torch.full((2, MAPS, 4), torch.nan)
    loss = heads.loss(seen(queries), marks, maps).sum()
    loss.backward()
    assert loss.item() == 0 and queries.grad is not None and not queries.grad.any()


def test_what_is_asked_can_be_read_from_the_regions():
    """Queries that carry the count of their region are read; the head's own loss falls near the least that is possible."""
    torch.manual_seed(0)
    counts = torch.randint(0, 3, (64, 9)).float()
    queries = torch.randn(64, 9, 8) * 0.1
    queries[:, :, 0] = counts
    heads = Grounding(8)
    optimizer = torch.optim.Adam(heads.parameters(), 0.1)
    marks = torch.stack([counts, torch.full_like(counts, torch.nan)], 1)
    maps = torch.full((64, MAPS, 9), torch.nan)
    for _ in range(150):
        optimizer.zero_grad()
        heads.loss(seen(queries), marks, maps).sum().backward()
        optimizer.step()
    rates = heads.counts(queries)[:, :, 0].exp()
    assert torch.corrcoef(torch.stack([rates.flatten(), counts.flatten()]))[0, 1].item() > 0.95


@pytest.mark.parametrize("known", [[0, 1, -1], [-1, -1, -1]])
def test_the_read_out_learns_from_known_answers_alone(known: list[int]):
    head = ReadOut(8, 4)
    queries = torch.randn(3, 5, 8, requires_grad=True)
    head.loss(seen(queries), torch.tensor(known)).backward()
    assert queries.grad is not None
    for row, answer in enumerate(known):
        assert bool(queries.grad[row].any()) == (answer >= 0)
