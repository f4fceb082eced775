"""Floors: what is scored by answering without looking, or by looking only as far as a class or a neighbour.

A caption or an answer is worth something as far as it beats these, so they stand beside every score. All of them are
deterministic; those that draw take a seed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rsagent.errors import UserError

KeyT = TypeVar("KeyT")
_CHUNK = 1024  # rows compared at a time: all at once would hold test x train similarities in memory


@dataclass(frozen=True)
class QuestionPrior:
    """The blind answerer: the most frequent training answer to that exact question, else to its type, else to any."""

    by_question: Mapping[str, str]
    by_type: Mapping[str, str]
    fallback: str

    @classmethod
    def fit(cls, items: Iterable[tuple[str, str, str]]) -> QuestionPrior:
        """Learn from (question, type, answer) of the training part.

        Raises:
            UserError: there is no training question.
        """
        questions: dict[str, Counter[str]] = defaultdict(Counter)
        types: dict[str, Counter[str]] = defaultdict(Counter)
        every: Counter[str] = Counter()
        for question, kind, answer in items:
            questions[_asked(question)][answer] += 1
            types[kind][answer] += 1
            every[answer] += 1
        if not every:
            raise UserError("the question prior has no training questions: check the data folder")
        return cls(
            {question: most_frequent(answers) for question, answers in questions.items()},
            {kind: most_frequent(answers) for kind, answers in types.items()},
            most_frequent(every),
        )

    def answer(self, question: str, kind: str) -> str:
        """The answer it gives to `question` of type `kind`."""
        return self.by_question.get(_asked(question), self.by_type.get(kind, self.fallback))


def most_frequent(texts: Mapping[str, int] | Iterable[str]) -> str:
    """The most frequent of `texts` (or of counted texts, at least one); of several, the first in the alphabet."""
    counted = Counter(texts)
    most = max(counted.values())
    return min(text for text, count in counted.items() if count == most)


def random_captions(train: Sequence[Sequence[str]], images: Sequence[KeyT], *, seed: int = 0) -> dict[KeyT, str]:
    """For each image one caption of a training image, both drawn at random; `train` holds each image's captions."""
    _need_captions(train)
    rng = np.random.default_rng(seed)
    chosen: dict[KeyT, str] = {}
    for image in images:
        captions = train[int(rng.integers(len(train)))]
        chosen[image] = captions[int(rng.integers(len(captions)))]
    return chosen


def class_captions(train: Iterable[tuple[str, Sequence[str]]]) -> dict[str, str]:
    """The class lookup: each class's most frequent training caption, from (class, captions) of the training images.

    Captions are compared with their white space and case set aside, and given in the spelling met first.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    spelling: dict[str, str] = {}
    for label, captions in train:
        for caption in captions:
            key = " ".join(caption.casefold().split())
            spelling.setdefault(key, caption)
            counts[label][key] += 1
    if not counts:
        raise UserError("the class lookup has no training captions: check the data folder")
    return {label: spelling[most_frequent(found)] for label, found in counts.items()}


def nearest(train: NDArray[np.floating[Any]], features: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The nearest training image by cosine.

    Args:
        train: (training images, dim).
        features: (images, dim).

    Returns:
        (images,) rows of `train`; the first one where several are equally near.
    """
    if train.ndim != 2 or features.ndim != 2 or train.shape[1] != features.shape[1] or not len(train):
        raise ValueError(f"features {features.shape} cannot be compared with {train.shape}")
    there = _unit_rows(train)
    rows = [
        np.argmax(_unit_rows(features[start : start + _CHUNK]) @ there.T, axis=1) for start in range(0, len(features), _CHUNK)
    ]
    return np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)


def neighbour_captions(
    train: Sequence[Sequence[str]],
    train_features: NDArray[np.floating[Any]],
    features: NDArray[np.floating[Any]],
) -> list[str]:
    """For each image the nearest training image's most frequent caption (where all differ, the alphabet's first)."""
    _need_captions(train)
    if len(train) != len(train_features):
        raise ValueError(f"{len(train)} training images but {len(train_features)} features")
    return [most_frequent(train[int(row)]) for row in nearest(train_features, features)]


def derangement(count: int, *, seed: int = 0) -> NDArray[np.int64]:
    """A random pairing of `count` things (two or more) in which none keeps its own: the shuffled image.

    Returns (count,) indices, each once, the i-th never i.
    """
    if count < 2:
        raise UserError("one image cannot be shuffled: give two or more")
    rng = np.random.default_rng(seed)
    while True:  # one permutation in e (2.7) has no fixed point, so this ends soon
        order = rng.permutation(count)
        if not np.any(order == np.arange(count)):
            return order


def _asked(question: str) -> str:
    return " ".join(question.casefold().split())


def _need_captions(train: Sequence[Sequence[str]]) -> None:
    if not train or not all(train):
        raise UserError("a training image has no caption, or there is none at all: check the data folder")


def _unit_rows(rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    plain = rows.astype(np.float32)
    length = np.linalg.norm(plain, axis=1, keepdims=True)
    return plain / np.maximum(length, np.float32(1e-12))
