"""What is answered without looking, where no training part is published."""

from __future__ import annotations

import numpy as np

from rsagent.evaluation.scoring import prior_answers
from rsagent.evaluation.sets import EvaluationSet, Item


def _set(*asked: tuple[str, str, str]) -> EvaluationSet:
    """A question an image: (question, type, answer)."""
    picture = np.zeros((4, 4, 3), np.uint8)
    items = [
        Item(f"{place}#0", str(place), lambda: picture, (answer,), kind, question)
        for place, (question, kind, answer) in enumerate(asked)
    ]
    return EvaluationSet("toy", "all", "answer", "", items, [])


def test_a_balanced_type_is_guessed_right_half_the_time() -> None:
    chosen = _set(*((f"is thing {n} there?", "presence", "yes" if n % 2 else "no") for n in range(10)))
    said = prior_answers(chosen)
    assert said is not None
    assert sum(one == item.truths[0] for one, item in zip(said, chosen.items, strict=True)) == 5


def test_a_question_never_tells_its_own_answer() -> None:
    chosen = _set(
        ("how many?", "count", "3"),
        ("how many?", "count", "7"),
        ("where?", "position", "left"),
        ("whither?", "position", "left"),
    )
    assert prior_answers(chosen) == ["7", "3", "left", "left"]
