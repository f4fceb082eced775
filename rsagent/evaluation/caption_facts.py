"""What is said of captions beside n-grams: the things they name, their length, and how many stand word for word in train.

The things are the known nouns of `rsagent.evaluation.nouns`, synonyms taken together; "no cars" names no car. A caption is
held against all references of its image: *precision* is the share of the things it names that any reference names too,
*recall* the share of the things that the references name that it names. References leave out much that is there, so both
compare captions with each other and say little by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rsagent.evaluation import nouns
from rsagent.evaluation.intervals import Figure, bootstrap, bootstrap_mean
from rsagent.evaluation.wording import clean_caption

PRECISION, RECALL = "object precision", "object recall"
WORDS, VERBATIM = "words", "verbatim in train"
_DENIALS = frozenset({"no", "without", "not"})
_VAGUE = frozenset("area region zone land ground place image picture side bank ring light center".split())


@lru_cache(maxsize=100_000)  # every row of a table is held against the same references
def things_in(caption: str) -> frozenset[str]:
    """The things and places that a caption names, each by the first of its synonyms.

    A noun that only describes the next one ("forest trees") is no thing of its own, nor is what is denied.
    """
    words = clean_caption(caption).rstrip(".").replace(",", " ,").split()
    found: set[str] = set()
    i = 0
    while i < len(words):
        length, head = nouns.head_at(words, i)
        describes = head == " ".join(words[i : i + length]) and nouns.head_at(words, i + length)[1] is not None
        denied = i > 0 and words[i - 1] in _DENIALS
        if head is not None and not describes and not denied and head not in _VAGUE:
            found.add(nouns.SYNONYMS.get(head, head))
        i += length
    return frozenset(found)


def object_counts(caption: str, references: Iterable[str]) -> tuple[int, int, int]:
    """Things that the caption and a reference name, that the caption names, that any reference names."""
    said = things_in(caption)
    true = frozenset[str]().union(*(things_in(reference) for reference in references))
    return len(said & true), len(said), len(true)


def things_counted(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> NDArray[np.float64]:
    """`object_counts` of each caption: (images, 3)."""
    return np.array([object_counts(text, references[image]) for image, text in predictions.items()], dtype=np.float64)


def caption_key(caption: str) -> str:
    """The form in which captions are compared word for word: white space, case and full stops at the end set aside."""
    return " ".join(caption.casefold().split()).rstrip(" .")


def caption_facts(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    train: Iterable[str],
    *,
    n: int = 1000,
    seed: int = 0,
) -> dict[str, Figure]:
    """Object precision and recall over all captions, their mean length, the share that is verbatim in `train`, (0-1).

    Each has its interval over images. Without training captions there is no share of verbatim ones.
    """
    counts = things_counted(predictions, references)
    known = {caption_key(text) for text in train}
    texts = list(predictions.values())
    facts = {
        PRECISION: _ratio(counts, 0, 1, n, seed),
        RECALL: _ratio(counts, 0, 2, n, seed),
        WORDS: bootstrap_mean([float(len(text.split())) for text in texts], n=n, seed=seed),
    }
    if known:
        facts[VERBATIM] = bootstrap_mean([float(caption_key(text) in known) for text in texts], n=n, seed=seed)
    return facts


def _ratio(counts: NDArray[np.float64], part: int, whole: int, n: int, seed: int) -> Figure:
    def share(rows: NDArray[np.int64]) -> float:
        of = counts[rows, whole].sum()
        return float(counts[rows, part].sum() / of) if of else float("nan")

    statistic: Callable[[NDArray[np.int64]], float] = share
    return Figure(share(np.arange(len(counts))), len(counts), *bootstrap(statistic, len(counts), n=n, seed=seed))
