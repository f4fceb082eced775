"""Whatever a file of annotations holds, reading it ends in items below the image folder or in one line."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rsagent.errors import UserError
from rsagent.evaluation.published.catalogue import check, open_dataset
from rsagent.evaluation.published.class_names import CLASS_NAMES, in_words
from rsagent.evaluation.published.rsivqa import parse_line
from tests.evaluation import layouts

FILES = {
    "ucm-captions": "dataset.json",
    "rsicd": "dataset_rsicd.json",
    "nwpu-captions": "dataset_nwpu.json",
    "rsicap": "captions.json",
    "rsieval-vqa": "annotations.json",
    "rsvqa-lr": "LR_split_test_questions.json",
    "vrsbench-captions": "VRSBench_train.json",
    "vrsbench-vqa": "VRSBench_EVAL_vqa.json",
}
KEYS = (
    "images", "filename", "split", "sentences", "raw", "annotations", "qa_pairs", "question", "answer", "type", "id", "img_id",
    "questions", "active", "conversations", "value", "image", "image_id", "ground_truth", "caption", "text_output",
)  # fmt: skip
NAMES = st.sampled_from(("1.tif", "../1.tif", "/etc/passwd", "", ".", "a/b.jpg", "0", "\0"))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | NAMES, inner, max_size=4),
    max_leaves=12,
)


def mutate(value: Any, steps: list[int], other: Any) -> Any:
    """`value` with what lies at the end of a path through it replaced; the path is walked modulo the sizes met."""
    if not steps or not isinstance(value, dict | list) or not value:
        return other
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[steps[0] % len(keys)]
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = mutate(value[key], steps[1:], other)
    return copy


def read_everything(name: str, root: Path) -> None:
    """Open and check; either gives items below the root or one line."""
    try:
        items = open_dataset(name, root, "all").items
    except UserError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
    else:
        assert all(item.path.resolve().is_relative_to(root.resolve()) and item.path.is_file() for item in items)
    try:
        problems = check(root).problems
    except UserError:
        return
    assert all(len(problem) < 1000 for problem in problems)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.integers(0, 20), max_size=6), other=VALUES)
def test_a_file_with_one_thing_changed(name: str, steps: list[int], other: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        file = layouts.WRITERS[name](root) / FILES[name]
        file.write_text(json.dumps(mutate(json.loads(file.read_text()), steps, other)))
        read_everything(name, root)


@settings(max_examples=20)
@given(st.binary(max_size=200))
def test_a_file_of_any_bytes(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        home = layouts.rsivqa(root)
        (home / "UCM" / "ucm_res.txt").write_bytes(data)
        (root / "UCM_captions" / "dataset.json").write_bytes(data)
        read_everything("rsivqa", root)


@given(st.text(max_size=60))
def test_a_line_has_three_parts_or_is_none(text: str) -> None:
    line = parse_line(text)
    if line is not None:
        assert line.image and line.answer
        assert line.question.endswith("?") and len(line.question) > 1


@given(st.text(st.characters(codec="utf-8", exclude_characters=":?\n\r"), min_size=1).map(str.strip).filter(bool))
def test_a_line_gives_back_what_was_written(word: str) -> None:
    line = parse_line(f"{word}: how many {word} are there?{word}")
    assert line is not None
    assert (line.image, line.answer) == (word, word)


@given(st.text(max_size=30))
def test_words_of_a_class_stay_what_they_are(name: str) -> None:
    words = in_words(name)
    assert "_" not in words
    assert in_words(words) == words or name in {n for known in CLASS_NAMES.values() for n in known}
