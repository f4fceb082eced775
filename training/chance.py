"""Choices drawn from either kind of random generator: numpy's, as the scenes use, or plain Python's."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import numpy as np

T = TypeVar("T")
Chance: TypeAlias = random.Random | np.random.Generator


def choose(rng: Chance, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
    """One of `options` (at least one), each as likely as its weight (at least 0, not all 0) or all alike."""
    place = float(rng.random())
    if weights is None:
        return options[min(int(place * len(options)), len(options) - 1)]
    place *= sum(weights)
    for option, weight in zip(options, weights, strict=True):
        place -= weight
        if place < 0:
            return option
    return options[-1]


def coin(rng: Chance, share: float = 0.5) -> bool:
    """True in `share` (0-1) of all tosses."""
    return float(rng.random()) < share
