"""A handful of invented pictures with their words, and features that no encoder made, for the language side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from rsagent.training.corpus import Corpus, Picture
    from rsagent.training.material import Material

CAPTIONS = (
    "two white hangars stand beside a runway",
    "a runway with two hangars",
    "many boats lie in a narrow harbour",
    "the harbour is full of boats",
    "a field of wheat",
    "an orchard between two roads",
    "some lorries on a car park near a red roof",
)
QUESTIONS = (
    ("is there a runway ?", "yes", "presence"),
    ("how many boats are there ?", "5", "quantity"),
    ("what stands left of the hangar ?", "a lorry", "re_position"),
    ("where is the tank ?", "top left", "ab_position"),
    ("what kind of place is this ?", "harbour", "scene"),
)


def _picture(style: str, index: int, images: tuple[int, ...]) -> Picture:
    from rsagent.training.corpus import Picture
    from rsagent.training.scene_questions import Question

    captions = [CAPTIONS[index % 7], CAPTIONS[(index + 1) % 7], CAPTIONS[index % 7]]
    aspects = [
        {"theme": f"a place {index}", "object": "boats and lorries", "relation": "" if index % 2 else "boats near a road"},
        {"theme": f"place number {index}", "object": "a tank", "relation": ""},
    ]
    questions = [Question(*QUESTIONS[(index + shift) % 5]) for shift in range(index % 4)]  # some pictures have none
    things = ((0, 1, 0.1, 0.2), (2, -1, 0.9, 0.5)) if style == "scenes" else None
    return Picture(style, images, captions, [0.5, 0.3, 0.2], aspects, questions, things=things)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Sums over several threads come in any order, so only one thread gives the very same weights twice."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """Six real pictures in two styles, two views each (features 0-11), and four scenes (features 12-15)."""
    from rsagent.prompts import load_prompts
    from rsagent.training.corpus import Corpus

    views = [(2 * index, 2 * index + 1) for index in range(6)]
    pictures = {
        "ucm": [_picture("ucm", index, views[index]) for index in range(3)],
        "rsicd": [_picture("rsicd", index, views[index]) for index in range(3, 6)],
        "scenes": [_picture("scenes", index, (6 + index,)) for index in range(6, 10)],
    }
    return Corpus(pictures, load_prompts(), ("theme", "object", "relation"), scene_share=0.4, seed=0, looks=1)


@pytest.fixture(scope="session")
def material(corpus: Corpus) -> Material:
    """What the stages of the language side need, without any picture."""
    from rsagent.training.batches import Stores
    from rsagent.training.corpus import answer_vocabulary, corpus_texts
    from rsagent.training.features import FeatureStore
    from rsagent.training.fresh import train_tokenizer
    from rsagent.training.material import Material

    rng = np.random.default_rng(0)

    def store(count: int) -> FeatureStore:
        fine = rng.normal(size=(count, 112, 14, 14)).astype(np.float16)
        return FeatureStore(fine, rng.integers(0, 256, (count, 1280, 7, 7), dtype=np.uint8))

    tokenizer = train_tokenizer([*corpus_texts(corpus), *corpus.prompts.styles.values()] * 3, 400)
    return Material(corpus, Stores([store(12), store(4)]), tokenizer, answer_vocabulary(corpus))
