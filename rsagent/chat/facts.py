"""What answers establish about a picture, so that later ones can be held against them. Pure functions, no network."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rsagent.chat.phrases import COLOURS, nouns, pluralise
from rsagent.chat.records import Fact

MOST_FACTS = 48
"""Facts that a conversation keeps, the newest; older ones are no longer held against anything."""

_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("count", re.compile(r"^(?:how many|what (?:is the )?number of|count the|can you count the)\b", re.I)),
    (
        "colour",
        re.compile(r"^(?:what|which|in (?:what|which)) colou?r\b|^what is the colou?r of\b|^tell me the colou?r of\b", re.I),
    ),
    ("place", re.compile(r"^(?:where (?:is|are)|in which part)\b(?!.*\b(?:relative|compared)\b)", re.I)),
    (
        "presence",
        re.compile(r"^(?:is|are) there\b|^can you see\b|^do(?:es)? (?:you|this|the) (?:see|image|picture|scene)\b", re.I),
    ),
    ("season", re.compile(r"^(?:what|which) (?:season|time of year)\b|^in which season\b", re.I)),
    ("scene", re.compile(r"^what (?:type|kind) of (?:scene|place)\b", re.I)),
)
_NUMBERS = {
    word: str(number) for number, word in enumerate("no one two three four five six seven eight nine ten eleven twelve".split())
}
_WORDS = {number: word for word, number in _NUMBERS.items()}


def fact_of(question: str, answer: str, digest: str, turn: int) -> Fact | None:
    """What `answer` to the complete `question` establishes; None where nothing can be held against it later."""
    kind = next((name for name, pattern in _KINDS if pattern.search(question)), "")
    value = re.sub(r"[\s.!]+$", "", answer.strip().casefold())
    value = _NUMBERS.get(value, value) if kind == "count" else value
    named = nouns(question)
    thing = "" if kind in ("season", "scene") else pluralise(named[0].words) if named else None
    if not kind:  # another question with a short answer: the whole of it is the thing
        kind, thing = "answer", re.sub(r"[\W_]+", " ", question.casefold()).strip()
    elif len(named) > 1 or (
        kind in ("count", "presence") and re.search(r"\b(?:on|at|in) the (?!image|picture|scene)", question)
    ):
        thing = re.sub(r"[\W_]+", " ", question.casefold()).strip()  # about a part only
    if thing is None or not value or len(value) > 40 or len(thing) > 80:
        return None
    if kind == "count" and not value.isdecimal():
        return None
    if kind == "presence" and value not in ("yes", "no"):
        return None
    return Fact(digest=digest, kind=kind, thing=thing, value=value, turn=turn)


def told_by(words: str, digest: str, turn: int) -> list[Fact]:
    """What the object expert's words of a description establish: how many of a thing, its colour, whether it is there."""
    words = re.sub(r"\b(?:[0-9]|10)\b", lambda found: _WORDS[found[0]], words)
    named = nouns(words)
    heads = [pluralise(noun.head) for noun in named]
    found: list[Fact] = []
    for noun, head in zip(named, heads, strict=True):
        if heads.count(head) > 1:
            continue  # such as white ships and red ships: neither speaks of all of them
        before = re.search(r"(\w+) $", words[: noun.start].casefold())
        word = before[1] if before else ""
        absent = word in ("no", "zero")
        values = {"presence": "no" if absent else "yes"}
        if not absent:
            values |= {"count": _NUMBERS[word]} if word in _NUMBERS and word != "one" else {}
            colours = [one for one in noun.words.split() if one in COLOURS]
            values |= {"colour": " ".join(colours)} if colours else {}
        found += [Fact(digest=digest, kind=kind, thing=head, value=value, turn=turn) for kind, value in values.items()]
    return [fact for fact in found if len(fact.thing) <= 80]


def held_against(fact: Fact, known: Sequence[Fact]) -> tuple[Fact, bool] | None:
    """The newest known fact that says the same as `fact`, or otherwise (then True); None where none bears on it."""
    for earlier in reversed(known):
        if earlier.digest != fact.digest or earlier.thing != fact.thing:
            continue
        if earlier.kind == fact.kind:
            return earlier, earlier.value != fact.value
        there = _there(earlier), _there(fact)
        if None not in there and there[0] != there[1]:
            return earlier, True
    return None


def keep(known: Sequence[Fact], fact: Fact) -> list[Fact]:
    """`known` with `fact`, in place of an older one of its kind and thing."""
    same = (fact.digest, fact.kind, fact.thing)
    return [*(old for old in known if (old.digest, old.kind, old.thing) != same), fact][-MOST_FACTS:]


def in_words(fact: Fact, contradicted: bool) -> str:
    """How a reply cites an earlier fact."""
    about = {"count": f"{fact.thing}: {fact.value}", "presence": f"{fact.thing}: {fact.value}"}.get(fact.kind, fact.value)
    return f"turn {fact.turn} said otherwise ({about})" if contradicted else f"as in turn {fact.turn}"


def _there(fact: Fact) -> bool | None:
    """Whether a fact says that its thing is there."""
    if fact.kind == "count":
        return fact.value != "0"
    if fact.kind == "presence":
        return fact.value == "yes"
    return True if fact.kind in ("colour", "place") and fact.value not in ("none", "no") else None
