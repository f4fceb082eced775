"""Bootstrap intervals: how far a figure would move if other images of the same kind had been drawn.

The images are what is resampled. Questions about one picture stand or fall together, so they are drawn together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
"""Share of the resampled figures that an interval holds."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, the number of things it was measured on, and its 95 % interval (None where none can be given)."""

    value: float
    n: int
    low: float | None = None
    high: float | None = None


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float], units: int, *, n: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The interval of any statistic, by drawing the units anew with replacement.

    Args:
        statistic: from drawn indices (units,), each in [0, units), to the figure.
        units: how many images (or other units that are independent of each other) there are.
        n: how many times to draw.
        seed: of the draws.

    Returns:
        The lower and upper end; both NaN without units.
    """
    if units < 1:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    return _ends(np.array([statistic(rng.integers(units, size=units)) for _ in range(n)], dtype=np.float64))


def bootstrap_each(
    statistic: Callable[[NDArray[np.int64]], Sequence[float]], units: int, *, n: int = 1000, seed: int = 0
) -> list[tuple[float, float]]:
    """The intervals of several statistics from the same draws, at least one unit; each is what `bootstrap` gives for it."""
    rng = np.random.default_rng(seed)
    samples = np.array([statistic(rng.integers(units, size=units)) for _ in range(n)], dtype=np.float64)
    return [_ends(column) for column in samples.T]


def bootstrap_mean(
    values: Sequence[float] | NDArray[np.floating[Any]],
    groups: Sequence[Hashable] | None = None,
    *,
    n: int = 1000,
    seed: int = 0,
) -> Figure:
    """The mean of `values` with its interval; values of one group (the questions about one image) are drawn together.

    The difference of two systems on the same items is the mean of their differences, item by item.
    Returns a NaN figure with n 0 when there are no values.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return Figure(float("nan"), 0)
    members = group_numbers(groups, array.size)
    sums = np.bincount(members, weights=array)
    sizes = np.bincount(members).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(n)
    for draw in range(n):  # a draw at a time: all at once would be n x units indices in memory
        chosen = rng.integers(sums.size, size=sums.size)
        means[draw] = sums[chosen].sum() / sizes[chosen].sum()
    low, high = _ends(means)
    return Figure(float(array.mean()), int(array.size), low, high)


def group_numbers(groups: Sequence[Hashable] | None, size: int) -> NDArray[np.int64]:
    """A number from 0 up for each of `size` items, the same for items of one group; without groups each its own."""
    if groups is None:
        return np.arange(size)
    if len(groups) != size:
        raise ValueError(f"{size} values but {len(groups)} groups")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def _ends(samples: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
