"""Questions in many forms keep their answers; questions from labels are true and balanced."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rsagent.evaluation.published.records import CaptionedImage, LabelledImage, QuestionItem
from rsagent.training.paraphrase import caption_questions, derived_questions, in_digits, rephrase
from rsagent.training.question_types import QUESTION_EXPERT, expert_of
from rsagent.training.scene_classes import SCENE_CLASSES

HERE = Path("x.jpg")


def item(question: str, answer: str, kind: str, faulty: bool = False) -> QuestionItem:
    return QuestionItem(HERE, question, answer, kind, "train", "d", faulty)


@pytest.mark.parametrize(
    ("question", "kind", "noun", "forms"),
    [
        ("Does this picture contain a barge?", "presence", "a barge", 8),
        ("Does this picture contain barges?", "presence", "barges", 8),
        ("How many red barns in the picture?", "count", "red barns", 8),
        ("What is the location of the barns in this picture?", "location", "the barns", 8),
        ("Is a square barn present?", "presence", "a square barn", 8),
        ("What is the amount of barns in the image?", "count", "barns", 8),
        ("What is the theme of this picture?", "theme", "", 10),
    ],
)
def test_rephrasing_keeps_noun_answer_and_type(question: str, kind: str, noun: str, forms: int) -> None:
    rng = random.Random(0)
    asked = [rephrase(item(question, "the answer", kind), rng, keep=0.0) for _ in range(300)]
    assert {(one.answer, one.type) for one in asked} == {("the answer", kind)}
    assert len({one.question.lower().rstrip("?.") for one in asked}) >= forms
    assert all(noun in one.question for one in asked)
    assert not any("{" in one.question for one in asked)


def test_number_of_verb_agrees() -> None:
    rng = random.Random(0)
    for _ in range(200):
        one = rephrase(item("What is the location of the barn in this picture?", "left", "location"), rng, 0.0)
        assert " are " not in one.question


def test_what_cannot_be_rephrased_stays() -> None:
    rng = random.Random(0)
    for question, kind, faulty in (
        ("How many  in the picture?", "count", True),
        ("Are there more barns than vats?", "comp", False),
        ("How many barns in the picture?", "presence", False),
    ):
        assert rephrase(item(question, "no", kind, faulty), rng, 0.0).question == question
    kept = [rephrase(item("How many vats in the picture?", "two", "count"), rng, 1.0).question for _ in range(5)]
    assert set(kept) == {"How many vats in the picture?"}


def test_city_or_countryside_gets_the_answer_of_its_form() -> None:
    rng = random.Random(1)
    asked = {rephrase(item("Is it a rural or an urban area", "rural", "rural_urban"), rng, 0.0)[:2] for _ in range(300)}
    answers = {question.lower().rstrip("?"): answer for question, answer in asked}
    assert answers["is this a city or the countryside"] == "countryside"
    assert answers["is this an urban area"] == "no"
    assert answers["is this a rural area"] == "yes"


def asked_of(label: str, labels: tuple[str, ...] = (), times: int = 200) -> list[tuple[str, str, str]]:
    rng = random.Random(2)
    return [
        tuple(one) for _ in range(times) for one in derived_questions(LabelledImage(HERE, label, "d", "train", labels), rng)
    ]


def test_scene_classes_answer_truly() -> None:
    asked = asked_of("forest", times=1500)
    answers = {question.lower().rstrip("?.").removeprefix("please tell me: "): answer for question, answer, _ in asked}
    assert answers["what kind of place is this"] == "forest"
    assert answers["is this a city or the countryside"] == "countryside"
    assert answers["is this a forest"] == "yes"
    assert answers["is this an airport"] == "no"
    assert not any(re.search(r"\ba park\b", question) and answer == "no" for question, answer, kind in asked if kind == "scene")
    yes_no = Counter(answer for _, answer, kind in asked if kind == "scene" and answer in ("yes", "no"))
    assert derived_questions(LabelledImage(HERE, "no such class", "d", "train"), random.Random(0)) == []
    assert set(yes_no) == {"yes", "no"}


def test_an_unclear_class_is_not_asked_for_city_or_countryside() -> None:
    assert not any(answer in ("urban", "rural", "city", "countryside") for _, answer, _ in asked_of("bridge"))


def test_multilabels_are_true_and_what_is_doubtful_is_not_asked() -> None:
    asked = [one for one in asked_of("harbor", ("ship", "dock", "sea"), 400) if one[2] == "presence"]
    said = {question.lower(): answer for question, answer, _ in asked}
    assert any("boat" in question and answer == "yes" for question, answer in said.items())
    assert any("car" in question and answer == "no" for question, answer in said.items())
    assert not any("water" in question and answer == "no" for question, answer in said.items())
    share = sum(answer == "yes" for _, answer, _ in asked) / len(asked)
    assert 0.35 < share < 0.65


def test_both_kinds_of_generator_and_seeds() -> None:
    image = LabelledImage(HERE, "beach", "d", "train", ("sand", "sea"))
    assert derived_questions(image, np.random.default_rng(5)) == derived_questions(image, np.random.default_rng(5))
    assert derived_questions(image, random.Random(5)) == derived_questions(image, random.Random(5))


def captioned(*captions: str, label: str | None = "airport") -> CaptionedImage:
    return CaptionedImage(HERE, captions, "train", label, "d")


def all_asked(image: CaptionedImage) -> set[tuple[str, str, str]]:
    rng = random.Random(0)
    return {
        (one.question.lower().rstrip("?."), one.answer, one.type) for _ in range(400) for one in caption_questions(image, rng)
    }


def test_captions_answer_number_colour_and_presence() -> None:
    asked = all_asked(captioned("three red planes are parked by a hangar .", "three planes on the apron ."))
    assert ("how many planes are there", "3", "quantity") in asked
    assert ("what color are the planes", "red", "color") in asked
    assert ("can you see any airplanes", "yes", "presence") in asked
    assert ("can you see any ships", "no", "presence") in asked


def test_captions_that_differ_are_not_asked() -> None:
    asked = all_asked(captioned("three red planes .", "four white planes ."))
    assert not any(kind in ("quantity", "color") for _, _, kind in asked)
    asked = all_asked(captioned("two ships lie at a quay .", label="airport"))
    assert not any("ship" in question and answer == "no" for question, answer, _ in asked)
    assert caption_questions(captioned(".", label=None), random.Random(0)) == []


@pytest.mark.parametrize(
    ("word", "digits"),
    [
        ("zero", "0"),
        ("twenty-two", "22"),
        ("Thirty", "30"),
        ("about fifty", "about fifty"),
        ("12", "12"),
        ("several", "several"),
    ],
)
def test_in_digits(word: str, digits: str) -> None:
    assert in_digits(word) == digits


def test_every_question_type_has_its_expert() -> None:
    assert expert_of("count") == "object"
    assert expert_of("location", ("theme", "specifics")) == "specifics"
    assert {"scene", "image", "presence", "quantity", "color", "area_comp", "ab_position", "re_position", "road_ori",
            "reasoning"} <= set(QUESTION_EXPERT)  # fmt: skip
    with pytest.raises(KeyError):
        expert_of("taste")


def test_classes_contradict_themselves_nowhere() -> None:
    for label, scene in SCENE_CLASSES.items():
        assert not set(scene.shows) & set(scene.lacks), label
        assert scene.setting in ("urban", "rural", ""), label
