"""How typical each caption is among the captions of its image: CIDEr-D similarity.

Training may then learn more from captions that agree with the others and less from odd ones. CIDEr-D (Vedantam et
al., 2015) counts n-grams of one to four words, weighs each by how few images use it, clips repeats, and punishes a
difference in length. Here captions are split at spaces after cleaning, so that training needs no Java; scores that
are reported come from `rsagent.evaluation.captions`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain

from rsagent.evaluation.wording import clean_caption

ORDERS = 4
SIGMA = 6.0
"""The width, in words, of CIDEr-D's length penalty."""

Gram = tuple[str, ...]
Vector = tuple[list[dict[Gram, float]], list[float], int]
"""Weighted n-gram counts by order, their norms by order, and the caption's length in words."""


def consensus_scores(captions_per_image: Sequence[Sequence[str]]) -> list[list[float]]:
    """For each caption the mean CIDEr-D, 0 to 10, to the other captions of its image; 0 where there is no other."""
    counted = [[_grams(caption) for caption in captions] for captions in captions_per_image]
    rarity = _rarity(counted)
    return [_image_scores([_weigh(counts, rarity) for counts in captions]) for captions in counted]


def consensus_weights(captions_per_image: Sequence[Sequence[str]], temperature: float = 1.0) -> list[list[float]]:
    """A weight for each caption of each image, at least 0, that sum to 1 within the image.

    The softmax of the consensus score over `temperature` (above 0): small gives most to the most typical caption,
    large gives all the same. Raises ValueError for a temperature of 0 or less.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    return [_softmax(scores, temperature) for scores in consensus_scores(captions_per_image)]


class Scorer:
    """CIDEr-D of new captions against an image's references, rarity counted over the images of a data set.

    The end of a sentence counts as a word: without it, a caption that breaks off in "and a" loses nothing, and whoever is
    trained on the score learns to break off.
    """

    def __init__(self, captions_per_image: Sequence[Sequence[str]]) -> None:
        counted = [[_grams(caption, end=True) for caption in captions] for captions in captions_per_image]
        self._rarity = _rarity(counted)
        self._images = math.log(max(2, len(captions_per_image)))

    def scores(self, candidates: Sequence[tuple[str, bool]], references: Sequence[str]) -> list[float]:
        """The mean score, 0 to 10, of each (caption, whether it is finished) over the references."""
        truth = [self._weigh(reference, True) for reference in references]
        said = [self._weigh(caption, finished) for caption, finished in candidates]
        return [sum(_similarity(one, other) for other in truth) / len(truth) for one in said]

    def _weigh(self, caption: str, finished: bool) -> Vector:
        counts = _grams(caption, end=finished)
        return _weigh(counts, {gram: self._rarity.get(gram, self._images) for gram in counts})


def _rarity(counted: Sequence[Sequence[Counter[Gram]]]) -> dict[Gram, float]:
    used: Counter[Gram] = Counter()
    for captions in counted:
        used.update(set(chain.from_iterable(captions)))
    images = math.log(max(2, len(counted)))
    return {gram: images - math.log(count) for gram, count in used.items()}


def _grams(caption: str, *, end: bool = False) -> Counter[Gram]:
    words = clean_caption(caption).rstrip(".").replace(",", "").split() + ["</s>"] * end
    return Counter(tuple(words[i : i + n]) for n in range(1, ORDERS + 1) for i in range(len(words) - n + 1))


def _weigh(counts: Counter[Gram], rarity: dict[Gram, float]) -> Vector:
    weighted: list[dict[Gram, float]] = [{} for _ in range(ORDERS)]
    length = 0
    for gram, count in counts.items():
        weighted[len(gram) - 1][gram] = count * rarity[gram]
        length += count if len(gram) == 1 else 0
    return weighted, [math.sqrt(sum(v * v for v in part.values())) for part in weighted], length


def _image_scores(vectors: Sequence[Vector]) -> list[float]:
    others = len(vectors) - 1
    if others < 1:
        return [0.0] * len(vectors)
    return [
        sum(_similarity(vector, other) for j, other in enumerate(vectors) if j != i) / others
        for i, vector in enumerate(vectors)
    ]


def _similarity(candidate: Vector, reference: Vector) -> float:
    """CIDEr-D of one caption against one reference, 0 to 10."""
    total = 0.0
    for mine, theirs, my_norm, their_norm in zip(candidate[0], reference[0], candidate[1], reference[1], strict=True):
        if my_norm and their_norm:
            clipped = sum(min(value, theirs[gram]) * theirs[gram] for gram, value in mine.items() if gram in theirs)
            total += clipped / (my_norm * their_norm)
    return 10.0 * total / ORDERS * math.exp(-((candidate[2] - reference[2]) ** 2) / (2 * SIGMA**2))


def _softmax(scores: Sequence[float], temperature: float) -> list[float]:
    if not scores:
        return []
    top = max(scores)
    powers = [math.exp((score - top) / temperature) for score in scores]
    return [power / sum(powers) for power in powers]
