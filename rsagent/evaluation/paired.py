"""Two systems on the same images: how much one is better, and whether that is more than chance.

"better" is said only where both the bootstrap interval of the difference leaves out 0 and a paired permutation test says
that so large a difference is rare (p < 0.05) when the two are interchangeable. Images are the units of both: the questions
about one picture change sides together.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rsagent.evaluation.intervals import LEVEL, Figure, bootstrap, bootstrap_mean, group_numbers

Verdict = Literal["better", "worse", "no difference beyond the interval"]
_CHUNK = 256


@dataclass(frozen=True)
class Difference:
    """One system's mean minus the other's, with its interval over images, and the permutation test's two-sided p."""

    figure: Figure
    p: float

    @property
    def verdict(self) -> Verdict:
        """What may be said of it."""
        low, high = self.figure.low, self.figure.high
        if low is None or high is None or not self.p < 1 - LEVEL or low <= 0 <= high:
            return "no difference beyond the interval"
        return "better" if self.figure.value > 0 else "worse"


def difference(
    ours: Sequence[float] | NDArray[np.floating[Any]],
    theirs: Sequence[float] | NDArray[np.floating[Any]],
    groups: Sequence[Hashable] | None = None,
    *,
    n: int = 1000,
    permutations: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Compare two systems item by item.

    Args:
        ours: a score an item, of the system that is judged.
        theirs: of the other, in the same order.
        groups: which image each item is about; None: one each.
        n: how many times the bootstrap draws.
        permutations: how many times the test changes sides.
        seed: of both.
    """
    gain = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    figure = bootstrap_mean(gain, groups, n=n, seed=seed)
    if gain.size == 0:
        return Difference(figure, 1.0)
    sums: NDArray[np.float64] = np.bincount(group_numbers(groups, gain.size), weights=gain).astype(np.float64)
    return Difference(figure, _permutation_p(sums, permutations, seed))


def ratio_difference(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], *, n: int = 1000, permutations: int = 10_000, seed: int = 0
) -> Difference:
    """Compare two systems by a ratio of sums, such as precision over all images.

    Args:
        ours: (images, 2), what counts and of how much, of the system that is judged.
        theirs: of the other, in the same order.
        n: how many times the bootstrap draws.
        permutations: how many times the test changes sides, an image at a time.
        seed: of both.

    Returns:
        The difference of the two ratios; its figure is NaN where a system has nothing to count of.
    """
    images = len(ours)

    def gain(rows: NDArray[np.int64]) -> float:
        return float(_ratio(ours[rows].sum(axis=0)) - _ratio(theirs[rows].sum(axis=0)))

    value = gain(np.arange(images))
    low, high = bootstrap(gain, images, n=n, seed=seed)
    figure = Figure(value, images, low, high)
    if not np.isfinite(value) or value == 0:
        return Difference(figure, 1.0)
    rng = np.random.default_rng(seed)
    half, lean = (ours + theirs).sum(axis=0) / 2, (ours - theirs) / 2
    as_far = 0
    for start in range(0, permutations, _CHUNK):
        signs = rng.integers(0, 2, size=(min(_CHUNK, permutations - start), images), dtype=np.int8) * 2 - 1
        moved = signs @ lean
        gains = _ratio(half + moved) - _ratio(half - moved)
        as_far += int(np.count_nonzero(~(np.abs(gains) < abs(value) - 1e-12)))
    return Difference(figure, (1 + as_far) / (1 + permutations))


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 2) -> (...,); NaN where there is nothing to count of."""
    of = sums[..., 1]
    return np.divide(sums[..., 0], of, out=np.full_like(of, np.nan), where=of > 0)


def _permutation_p(sums: NDArray[np.float64], permutations: int, seed: int) -> float:
    """How often random signs give a sum as far from 0; the one that is there counts as one of them."""
    sums = sums[sums != 0]
    observed = abs(float(sums.sum()))
    if not sums.size:
        return 1.0
    rng = np.random.default_rng(seed)
    slack = 1e-9 * float(np.abs(sums).sum())  # sums of the same numbers in another order
    as_far = 0
    for start in range(0, permutations, _CHUNK):
        rows = min(_CHUNK, permutations - start)
        signs = rng.integers(0, 2, size=(rows, sums.size), dtype=np.int8) * 2 - 1
        as_far += int(np.count_nonzero(np.abs(signs @ sums) >= observed - slack))
    return (1 + as_far) / (1 + permutations)
