"""Heads that teach the Q-Former while the base trains, and are dropped afterwards.

The LLM's loss tells the queries late, and in few bits, what they should have carried: one short answer for a whole picture.
These heads ask the queries directly. The read-out predicts the short answer from all of them. Grounding asks each anchored
query about its own region: how many of the things that a question is about lie there, how many of those it compares them
with, and, under a caption's instruction, which kinds and colours stand there. Rendered scenes know all this; real pictures
are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsagent.model.vlm_encoder import VLMFeatures
from rsagent.training.scene_model import COLOURS, KINDS
from rsagent.training.scene_questions import Points
from rsagent.training.scene_store import Thing

MAPS = len(KINDS) + len(COLOURS)


class ReadOut(nn.Module):
    """The short answer from the Q-Former alone: the mean of the queries, the query the instruction asks for, and its words."""

    def __init__(self, dim: int, answers: int) -> None:
        super().__init__()
        self.ask = nn.Linear(dim, dim)
        self.answer = nn.Linear(3 * dim, answers)

    def forward(self, seen: VLMFeatures) -> Tensor:
        """Logits over the answers, `(batch, answers)`."""
        instruction = seen.instruction()
        scores = torch.einsum("bd,bqd->bq", self.ask(instruction), seen.queries) / seen.queries.shape[-1] ** 0.5
        chosen = torch.einsum("bq,bqd->bd", scores.softmax(-1), seen.queries)
        return self.answer(torch.cat([seen.queries.mean(1), chosen, instruction], 1))

    def loss(self, seen: VLMFeatures, answers: Tensor) -> Tensor:
        """Cross-entropy, summed over the rows whose answer, `(batch,)`, is known (not negative)."""
        known = answers >= 0
        if not bool(known.any()):
            return self(seen).sum() * 0.0
        return F.cross_entropy(self(seen)[known].float(), answers[known], reduction="sum")


class Grounding(nn.Module):
    """What each query says of its own region."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.counts = nn.Linear(dim, 2)
        self.maps = nn.Linear(dim, MAPS)
        for head, rate in ((self.counts, -2.5), (self.maps, -3.5)):  # most regions are empty
            nn.init.zeros_(head.weight)
            nn.init.constant_(head.bias, rate)

    def loss(self, seen: VLMFeatures, marks: Tensor, maps: Tensor) -> Tensor:
        """Summed over the queries and over what is known: the loss of the numbers, then that of the maps, `(2,)`.

        Args:
            seen: of a batch.
            marks: `(batch, 2, queries)` how many subjects and others lie in each region; nan where nobody knows.
            maps: `(batch, MAPS, queries)` 1 where a kind or a colour stands in a region, 0 where not; nan where unknown.
        """
        return torch.stack([self._counts(seen, marks), self._maps(seen, maps)])

    def _counts(self, seen: VLMFeatures, marks: Tensor) -> Tensor:
        known = known_marks(marks)
        if not bool(known.any()):
            return self.counts(seen.queries).sum() * 0.0
        rates = self.counts(seen.queries).float().transpose(1, 2)[known]
        return F.poisson_nll_loss(rates, marks[known], log_input=True, reduction="none").sum()

    def _maps(self, seen: VLMFeatures, maps: Tensor) -> Tensor:
        rows = known_maps(maps)
        if not bool(rows.any()):
            return self.maps(seen.queries).sum() * 0.0
        said, truth = self.maps(seen.queries[rows]).float().transpose(1, 2), maps[rows]
        known = ~truth.isnan()
        losses = F.binary_cross_entropy_with_logits(said[known], truth[known], reduction="none")
        return losses.sum() / 4  # a region has few kinds and colours, but a caption's row has all of them


def known_marks(marks: Tensor) -> Tensor:
    """Where somebody knows the numbers: `(batch, 2)` of `(batch, 2, queries)`."""
    return ~marks[:, :, 0].isnan()


def known_maps(maps: Tensor) -> Tensor:
    """Of which rows somebody knows what stands where: `(batch,)` of `(batch, MAPS, queries)`."""
    return ~maps.isnan().all(2).all(1)


def mark_grid(found: Points | None, side: int) -> Tensor:
    """How many of the points (shares of the picture) lie in each of `side` x `side` regions: `(side * side,)`, row by row."""
    if found is None:
        return torch.full((side * side,), torch.nan)
    grid = torch.zeros(side * side)
    for x, y in found:
        grid[int(y * side) * side + int(x * side)] += 1.0
    return grid


def map_grid(things: Sequence[Thing] | None, masses: Sequence[int], side: int) -> Tensor:
    """Which kinds and colours stand in each region: `(MAPS, side * side)`; nan for kinds that are a mass."""
    if things is None:
        return torch.full((MAPS, side * side), torch.nan)
    grid = torch.zeros(MAPS, side * side)
    for kind, colour, x, y in things:
        region = int(y * side) * side + int(x * side)
        grid[kind, region] = 1.0
        if colour >= 0:
            grid[len(KINDS) + colour, region] = 1.0
    for kind in masses:
        grid[kind] = torch.nan
    return grid
