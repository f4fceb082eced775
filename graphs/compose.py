"""The composer's rules, as pure functions: which experts are asked, which report counts, how aspects become one text.

The way `join`: the aspects in the paper's order (theme, objects, relations), each in sentence case and punctuated, a
sentence that only repeats an earlier one left out. Nothing is invented: an empty aspect stays empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rsagent.errors import AllExpertsFailed
from rsagent.schemas import OBJECTS, Answer, Caption, Conflict, ExpertPrompt, ExpertReport, ImageFacts, Task

ASPECTS = {"theme": "theme", "object": "objects", "relation": "relations"}
"""Expert -> the field of a Caption that holds its aspect. Experts of other names appear in the text alone."""

_OTHERS = (("whole",), ("specific",), ("position",))
"""Beside theme, objects and relations: the experts of the paper's sets of one, two and four."""

EVIDENCE_THRESHOLD = 0.3
"""The gate from which on an expert is asked, unless the caller says otherwise."""

_NOTHING = frozenset(("", "none", "nothing", "n/a", "no relations", "no objects", "no theme"))
_FILLERS = frozenset("a an and are is it of the there this".split())
_NEGATIONS = frozenset("no not without never nor".split())


def choose(prompts: Sequence[ExpertPrompt], task: Task, threshold: float) -> list[ExpertPrompt]:
    """Those of the router's prompts that are sent.

    A caption needs all aspects that the picture offers; an expert whose gate is low has nothing to say and is not asked, so
    its aspect stays empty and nothing is invented. An answer comes from the highest gate; the others that pass are evidence.

    Args:
        prompts: what the router wrote, at least one.
        task: for a caption the order is kept; for an answer the highest gate comes first.
        threshold: the gate from which on an expert is asked, 0 to 1. The highest is asked in any case.
    """
    if task == "caption":
        highest = max(prompt.gate for prompt in prompts)
        return [prompt for prompt in prompts if prompt.gate >= min(threshold, highest)]
    ranked = sorted(prompts, key=lambda prompt: -prompt.gate)
    return ranked[:1] + [prompt for prompt in ranked[1:] if prompt.gate >= threshold]


def latest(reports: Sequence[ExpertReport]) -> dict[str, ExpertReport]:
    """The report that counts for each expert, in the order of first asking: its last good one, else its last one.

    An expert that fails when it is asked again keeps what it said before.
    """
    counting: dict[str, ExpertReport] = {}
    for report in reports:
        before = counting.get(report.expert)
        if before is None or before.error is not None or report.error is None:
            counting[report.expert] = report
    return counting


def words_of(reports: Sequence[ExpertReport]) -> dict[str, str]:
    """What each expert that did not fail says, untouched; the composer adapter was trained on exactly this.

    Only a list in the form of `OBJECTS_SCHEMA` is put into words.
    """
    return {name: listed(report.text) for name, report in latest(reports).items() if report.error is None}


def listed(text: str) -> str:
    """A JSON list of name, count and where as words, such as "3 trees (left)"; any other text as it is."""
    if not text.startswith("["):
        return text
    try:
        things = OBJECTS.validate_json(text)
    except ValueError:  # some other form
        return text
    return ", ".join(f"{thing.count} {thing.name}{f' ({thing.where})' if thing.where else ''}" for thing in things)


def punctuated(text: str) -> str:
    """`text` without the spaces that models write before punctuation."""
    return re.sub(r"\s+([.,;:!?])", r"\1", text)


def tidy(text: str) -> str:
    """Sentences as people write them: capitals, no space before punctuation, an end; "" when nothing is said."""
    text = punctuated(" ".join(text.split()))
    text = re.sub(r"([.,;:!?])\1+", r"\1", text).lstrip(" .,;:!?-").rstrip(" ,;:-")
    if text.rstrip(".!").casefold() in _NOTHING:
        return ""
    if not re.search(r"[.!?。！？][\"')\]]?$", text):
        text += "."
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in _sentences(text))


def tidy_aspect(text: str) -> str:
    """`tidy`, and in each sentence an item of a list once: small models go round in circles ("two trees, a car, two trees")."""
    return " ".join(_items_once(sentence) for sentence in _sentences(tidy(text)))


def join(aspects: Sequence[str]) -> str:
    """The aspects one after the other, tidied, without the sentences that an earlier one already says."""
    kept: list[str] = []
    for aspect in aspects:
        for sentence in _sentences(tidy_aspect(aspect)):
            if not any(_repeats(sentence, earlier) for earlier in kept):
                kept.append(sentence)
    return " ".join(kept)


def compose_caption(
    reports: Sequence[ExpertReport],
    conflicts: Sequence[Conflict],
    *,
    style: str,
    image: ImageFacts,
    written: ExpertReport | None = None,
    seconds: float = 0.0,
) -> Caption:
    """The caption of a turn.

    Args:
        reports: all that the experts said, in the order in which their aspects are joined.
        conflicts: contradictions found, the resolved ones marked.
        style: the style that was asked for.
        image: facts of the picture.
        written: what the composer adapter wrote; None joins the aspects by rule. If it failed, they are joined, too, and
            the caption is partial.
        seconds: how long the turn took.

    Raises:
        AllExpertsFailed: no expert gave a report.
    """
    said = words_of(reports)
    missing = _missing(reports)
    if not said:
        raise AllExpertsFailed(_all_failed(latest(reports)))
    if written is not None and written.error is not None:
        missing.append("composer")
    aspects = {field: tidy_aspect(said.get(expert, "")) for expert, field in ASPECTS.items()}
    return Caption(
        **aspects,
        text=join(list(said.values())) if written is None or written.error is not None else tidy(written.text),
        style=style,
        partial=bool(missing),
        missing=missing,
        conflicts=list(conflicts),
        reports=list(reports),
        tokens=sum(report.tokens for report in (*reports, *([written] if written else []))),
        image=image,
        seconds=seconds,
    )


def compose_answer(
    question: str,
    reports: Sequence[ExpertReport],
    conflicts: Sequence[Conflict],
    *,
    image: ImageFacts,
    seconds: float = 0.0,
) -> Answer:
    """The answer of a turn: what the first expert says that did say something; the others are evidence.

    Args:
        question: what was asked.
        reports: what the experts said, highest gate first.
        conflicts: answers that contradict each other.
        image: facts of the picture.
        seconds: how long the turn took.

    Raises:
        AllExpertsFailed: no expert gave an answer.
    """
    counting = latest(reports)
    winner = next((report for report in counting.values() if report.error is None and report.text), None)
    if winner is None:
        raise AllExpertsFailed(_all_failed(counting))
    missing = _missing(reports)  # who says nothing has not failed: an aspect that the picture does not offer stays empty
    return Answer(
        question=question,
        text=punctuated(winner.text),
        expert=winner.expert,
        evidence=[report for report in counting.values() if report is not winner],
        partial=bool(missing),
        missing=missing,
        conflicts=list(conflicts),
        tokens=sum(report.tokens for report in reports),
        image=image,
        seconds=seconds,
    )


def in_paper_order(words: Mapping[str, str]) -> dict[str, str]:
    """Experts' words by Caption field, for the composer's prompt; an aspect nobody reported is "".

    With one, two or four experts, those of other names stand where their words belong.
    """
    return {
        field: " ".join(words[name] for name in (*others, expert) if words.get(name))
        for (expert, field), others in zip(ASPECTS.items(), _OTHERS, strict=True)
    }


def _missing(reports: Sequence[ExpertReport]) -> list[str]:
    return [name for name, report in latest(reports).items() if report.error is not None]


def _all_failed(reports: Mapping[str, ExpertReport]) -> str:
    reasons = "; ".join(f"{name}: {report.error or 'said nothing'}" for name, report in reports.items())
    return f"no expert answered ({reasons})"


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?。！？])\s+", text) if part]


def _items_once(sentence: str) -> str:
    """A sentence without the items of its list that it already named; untouched where nothing is repeated."""
    body = sentence.rstrip(".!?。！？")
    first, *others = re.split(r"(, and |,? and |, )", body)
    kept, named = [first], {first.casefold()}
    for separator, item in zip(others[::2], others[1::2], strict=True):
        folded = item.casefold()
        if folded in named or first.casefold().endswith(f" {folded}"):  # the first item stands behind "there are"
            continue
        kept += [separator, item]
        named.add(folded)
    if len(kept) == 1 + len(others):
        return sentence
    if len(kept) > 1 and any("and" in separator for separator in others[::2]):
        kept[-2] = " and "
    return "".join(kept) + sentence[len(body) :]


def _content(sentence: str) -> list[str]:
    """The words that carry a sentence, plurals made alike."""
    words = re.findall(r"\w+", sentence.casefold())
    return [word[:-1] if len(word) > 3 and word.endswith("s") else word for word in words if word not in _FILLERS]


def _repeats(sentence: str, earlier: str) -> bool:
    """Whether `earlier` says all that `sentence` says, in the same order and with the same negations."""
    new, old = _content(sentence), _content(earlier)
    if _NEGATIONS.intersection(new) != _NEGATIONS.intersection(old):
        return False
    return any(old[start : start + len(new)] == new for start in range(len(old) - len(new) + 1))
