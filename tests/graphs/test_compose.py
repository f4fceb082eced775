"""The composer's rules."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsagent.errors import AllExpertsFailed, UserError
from rsagent.graphs.compose import choose, compose_answer, compose_caption, in_paper_order, join, latest, tidy, tidy_aspect
from rsagent.graphs.text import clean, clean_question, strip_controls
from rsagent.schemas import ExpertPrompt, ExpertReport, ImageFacts

FACTS = ImageFacts(sha256="ab", name="a.png", width=8, height=8, bands=3, dtype="uint8", format="PNG")


def prompt(expert: str, gate: float) -> ExpertPrompt:
    return ExpertPrompt(expert=expert, text="t", digest="ab", instruction="i", task="answer", gate=gate)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a dense residential area .", "A dense residential area."),
        ("two planes , one truck", "Two planes, one truck."),
        ("a road..  cars on it ,", "A road. Cars on it."),
        ("is it a lake ?", "Is it a lake?"),
        ("", ""),
        (" . ", ""),
        ("None.", ""),
        ("0.5 m of water", "0.5 m of water."),
    ],
)
def test_tidy_writes_sentences(raw: str, expected: str) -> None:
    assert tidy(raw) == expected


def test_a_list_of_objects_becomes_words_in_a_caption() -> None:
    listed = '[{"name":"tree","count":3,"where":"left"},{"name":"road","count":1,"where":""}]'
    reports = [ExpertReport(expert="theme", text="a park"), ExpertReport(expert="object", text=listed)]
    caption = compose_caption(reports, [], style="detailed", image=FACTS)
    assert caption.text == "A park. 3 tree (left), 1 road." and caption.objects == "3 tree (left), 1 road."
    assert caption.reports[1].text == listed
    empty = [*reports[:1], ExpertReport(expert="object", text="[]")]
    assert compose_caption(empty, [], style="detailed", image=FACTS).objects == ""


def test_join_keeps_the_order_and_drops_repeats() -> None:
    assert join(["an airport", "two planes and a road .", "the planes are on the road"]) == (
        "An airport. Two planes and a road. The planes are on the road."
    )
    assert join(["two planes on the runway", "There are two planes .", "planes on a runway."]) == "Two planes on the runway."
    assert join(["a port", "", "none"]) == "A port."
    assert join(["no cars on the road", "cars on the road"]) == "No cars on the road. Cars on the road."
    assert join([]) == ""


@settings(deadline=None)
@given(st.lists(st.text(max_size=60), max_size=4))
def test_join_never_fails_and_joining_again_changes_nothing(aspects: list[str]) -> None:
    once = join([clean(aspect) for aspect in aspects])
    assert once == clean(once)
    assert join([once]) == once


def test_the_highest_gate_answers_and_those_above_the_threshold_are_evidence() -> None:
    prompts = [prompt("theme", 0.1), prompt("object", 0.7), prompt("relation", 0.3)]
    assert [p.expert for p in choose(prompts, "answer", 0.3)] == ["object", "relation"]
    assert [p.expert for p in choose(prompts, "answer", 0.9)] == ["object"]  # the highest always


def test_a_caption_asks_every_expert_that_has_something_to_say() -> None:
    prompts = [prompt("theme", 0.97), prompt("object", 0.9), prompt("relation", 0.1)]
    assert [p.expert for p in choose(prompts, "caption", 0.05)] == ["theme", "object", "relation"]
    assert [p.expert for p in choose(prompts, "caption", 0.3)] == ["theme", "object"]  # no relation on offer: left empty
    assert [p.expert for p in choose(prompts[2:], "caption", 0.3)] == ["relation"]  # asked for alone, it is asked


def test_a_failed_second_try_does_not_erase_the_first() -> None:
    first = ExpertReport(expert="object", text="cars")
    failed = ExpertReport(expert="object", error="away", attempt=1)
    second = ExpertReport(expert="object", text="ships", attempt=1)
    assert latest([first, failed])["object"] is first
    assert latest([first, second])["object"] is second
    assert latest([failed, second])["object"] is second


def test_a_caption_has_aspects_and_says_what_is_missing() -> None:
    reports = [
        ExpertReport(expert="theme", text="a port ."),
        ExpertReport(expert="object", error="out of memory"),
        ExpertReport(expert="relation", text=""),
    ]
    caption = compose_caption(reports, [], style="detailed", image=FACTS)
    assert (caption.theme, caption.objects, caption.relations) == ("A port.", "", "")
    assert (caption.text, caption.partial, caption.missing) == ("A port.", True, ["object"])
    assert caption.reports == reports
    # an expert that had nothing to say has not failed
    whole = compose_caption(reports[2:], [], style="detailed", image=FACTS)
    assert (whole.text, whole.partial) == ("", False)


def test_a_written_caption_replaces_the_join_and_a_failed_one_does_not() -> None:
    reports = [ExpertReport(expert="theme", text="a port .")]
    written = compose_caption(
        reports,
        [],
        style="ucm",
        image=FACTS,
        written=ExpertReport(expert="composer", text="there are boats at the port .", tokens=7),
    )
    assert (written.text, written.theme, written.partial) == ("There are boats at the port.", "A port.", False)
    joined = compose_caption(reports, [], style="ucm", image=FACTS, written=ExpertReport(expert="composer", error="away"))
    assert (joined.text, joined.partial, joined.missing) == ("A port.", True, ["composer"])


def test_the_next_expert_answers_when_the_first_cannot() -> None:
    reports = [
        ExpertReport(expert="object", error="away", gate=0.8),
        ExpertReport(expert="theme", text="", gate=0.6),
        ExpertReport(expert="relation", text="on the left .", gate=0.5),
    ]
    answer = compose_answer("where?", reports, [], image=FACTS)
    assert (answer.text, answer.expert, answer.partial) == ("on the left.", "relation", True)
    assert answer.missing == ["object"]  # the theme expert had nothing to say, which is no failure
    assert [report.expert for report in answer.evidence] == ["object", "theme"]


def test_an_expert_that_says_nothing_has_not_failed() -> None:
    reports = [ExpertReport(expert="object", text="two", tokens=1, gate=0.8), ExpertReport(expert="theme", tokens=2, gate=0.6)]
    answer = compose_answer("how many?", reports, [], image=FACTS)
    assert (answer.text, answer.partial, answer.missing, answer.tokens) == ("two", False, [], 3)


def test_without_any_report_there_is_one_clear_line() -> None:
    reports = [ExpertReport(expert="theme", error="away"), ExpertReport(expert="object", error="too slow")]
    with pytest.raises(AllExpertsFailed, match=r"^no expert answered \(theme: away; object: too slow\)$"):
        compose_caption(reports, [], style="detailed", image=FACTS)
    with pytest.raises(AllExpertsFailed, match="theme: said nothing"):
        compose_answer("?", [ExpertReport(expert="theme", text="")], [], image=FACTS)


def test_the_composer_prompt_has_every_aspect() -> None:
    assert in_paper_order({"relation": "r", "theme": "t"}) == {"theme": "t", "objects": "", "relations": "r"}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("how\x00 many\x1b[31m red\x1b[0m cars?\n", "how many red cars?"),
        ("\x1b]0;title\x07plain\x9b2J", "plain"),
        ("\u202egnirts\u202c ok", "gnirts ok"),
        ("كم عدد السيارات؟ 🚗👩\u200d🌾", "كم عدد السيارات؟ 🚗👩\u200d🌾"),
        ("a\ud800b", "ab"),
        ("two\u2028lines\rhere", "two lines here"),
    ],
)
def test_clean(raw: str, expected: str) -> None:
    assert clean(raw) == expected


@settings(deadline=None)
@given(st.text(max_size=100))
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    for result in (clean(text), strip_controls(text)):
        assert not any(ord(mark) < 32 or 127 <= ord(mark) < 160 for mark in result)
        result.encode("utf-8")


@pytest.mark.parametrize("question", ["", "   ", "\x00\x1b[2J\n", "x" * 2001, "x" * 100_000])
def test_a_question_that_cannot_be_asked_is_one_line(question: str) -> None:
    with pytest.raises(UserError) as refused:
        clean_question(question)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 120


def test_a_question_of_the_greatest_length_can_be_asked() -> None:
    assert len(clean_question("x" * 2000)) == 2000


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("there are two trees, two black houses, two trees", "There are two trees, two black houses."),
        ("there are two trees, a car, two trees and a car", "There are two trees and a car."),
        ("there is a car and a car.", "There is a car."),
        ("one can see a road, a river and a bridge.", "One can see a road, a river and a bridge."),
        ("a car is left of a house, and a tree is too", "A car is left of a house, and a tree is too."),
        ("two trees and three trees", "Two trees and three trees."),
    ],
)
def test_an_aspect_names_an_item_of_its_list_once(said: str, kept: str):
    assert tidy_aspect(said) == kept
    assert join([said]) == kept


@given(st.text(alphabet="ab, .and", max_size=60))
def test_naming_items_once_is_done_once(text: str):
    assert tidy_aspect(tidy_aspect(text)) == tidy_aspect(text)


def test_experts_of_the_other_sets_reach_the_composer():
    assert in_paper_order({"theme": "a", "specific": "b"}) == {"theme": "a", "objects": "b", "relations": ""}
    four = {"theme": "a", "object": "b", "position": "c", "relation": "d"}
    assert in_paper_order(four) == {"theme": "a", "objects": "b", "relations": "c d"}
    assert in_paper_order({"whole": "a"}) == {"theme": "a", "objects": "", "relations": ""}
