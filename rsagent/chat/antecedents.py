"""What the pronouns of a follow-up stand for: the things that earlier questions of the conversation named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsagent.chat.phrases import COLOURS, SIDES, SIZES, Noun, may_begin, nouns, pluralise, singularise, with_article
from rsagent.chat.typed import without_fillers

if TYPE_CHECKING:
    from rsagent.chat.records import Turn

# "it" that stands for nothing, or for the picture as a whole.
_EXPLETIVE = re.compile(
    r"\b(?:season|time of (?:year|day)|weather|type of image|kind of image)\b.*\bit\b|"
    r"\bis it (?:true|possible|likely|cold|warm|hot|snowing|cloudy|winter|summer|autumn|spring|day|night|an?\b|"
    r"in (?:colou?r|gr[ae]y))",
    re.I,
)


# "Is that above the trees?", "is this red?"; "is that a house?" points at something.
_POINTING = (
    r"(?<=\bis )that\b(?= (?:(?:also|still|really|on|in|at|near|next|close|to|left|right|bigger|larger|"
    r"smaller|taller|longer)\b|"
    rf"(?:{'|'.join(sorted(SIDES))})\b|(?:{'|'.join(sorted(COLOURS | SIZES))})\b))"
)


_MORE_OF = frozenset("another second third single different".split())


@dataclass(frozen=True)
class Asked:
    """An earlier question of the conversation: as it was typed, as it was asked, and of which pictures (from 1).

    `told` marks words of a description, which name things and ask nothing.
    """

    said: str
    question: str
    pictures: tuple[int, ...]
    told: bool = False


def asked_of(turn: Turn) -> Asked:
    """A turn as the resolver sees it; of a description, the things that it names."""
    if turn.task == "answer":
        return Asked(turn.said, turn.question, tuple(turn.pictures))
    told = " ".join(reply.said.get("object", reply.text) for reply in turn.replies)
    return Asked("", told, tuple(turn.pictures), told=True)


def fill_ones(core: str, history: Sequence[Asked]) -> str:
    """Such as "the green one", "the one in the corner": of the kind that was spoken of last."""

    def fill(match: re.Match[str]) -> str:
        noun = topic_of(history)
        if noun is None or not (match[1] or match[2].lower().strip() in COLOURS | SIZES | _MORE_OF):
            return match[0]
        head = singularise(noun.head) if match[3].lower() == "one" else pluralise(noun.head)
        return f"{match[1] or ''}{match[2]}{head}"

    def others(match: re.Match[str]) -> str:
        noun = topic_of(history)
        return f"the other {pluralise(noun.head)}" if noun else match[0]

    def some(match: re.Match[str]) -> str:
        noun = topic_of(history)
        if noun is None:
            return match[0]
        return (
            f"{match[1]} any {pluralise(noun.head)}"
            if match[2].lower() == "any"
            else f"{match[1]} {with_article(singularise(noun.head))}"
        )

    core = re.sub(r"\b(?:that|this) one\b(?=[\s?.!,]*$| (?:is|in|on)\b)", "it", core, flags=re.I)
    core = re.sub(r"\bthe (?:others|other ones|rest)\b(?! of)", others, core, flags=re.I)
    core = re.sub(r"\b(the )?((?:\w+ )?)(ones?)\b", fill, core, flags=re.I)
    return re.sub(
        r"\b((?:is|are) there|(?:do|can) you see) (any|one)\b"
        r"(?= (?:to|on|in|at|near|next|close|around|above|below|left|right|beside|behind|between|under|over|"
        r"with|of)\b|[\s?.!]*$)",
        some,
        core,
        flags=re.I,
    )


def fill_order(core: str, history: Sequence[Asked]) -> str:
    """`core` with what "the former" and "the latter" stand for: the things of the last question that named two."""
    if not re.search(r"\bthe (?:former|latter)\b", core, re.I):
        return core
    for asked in reversed(history):
        pair = list(dict.fromkeys(noun.words for noun in nouns(asked.question)))
        if len(pair) > 1:
            core = re.sub(r"\bthe former\b(?: ones?\b)?", f"the {pair[0]}", core, flags=re.I)
            return re.sub(r"\bthe latter\b(?: ones?\b)?", f"the {pair[-1]}", core, flags=re.I)
    return core


def fill_pronouns(core: str, history: Sequence[Asked]) -> str:
    """`core` with what its pronouns stand for."""
    core = re.sub(r"\b(that|those|these) (?=(\w+))", _demonstrative, core, flags=re.I)
    identity = re.match(r"(?:is (?:that|this) an?|are (?:those|these)) (\w+)[\s?.!]*$", core, re.I)
    if _EXPLETIVE.search(core) or (identity and identity[1].casefold() not in COLOURS | SIZES):
        return core  # "it" is the picture, "those" are pointed at
    own = {noun.head for noun in nouns(core)}
    used: set[str] = set()

    def fill(match: re.Match[str]) -> str:
        word = match[0].lower()
        plural = word in ("they", "them", "those", "these", "their")
        newest = word in ("that", "those", "these") or bool(re.search(r"\bof $", core[: match.start()], re.I))
        noun = (newest_of if newest else topic_of)(history, plural=plural, without=own | used)
        if noun is None:
            return match[0]
        used.update((noun.head, singularise(noun.head), pluralise(noun.head)))
        phrase = noun.the(plural)
        return f"{phrase}'{'' if phrase.endswith('s') else 's'}" if word in ("its", "their") else phrase

    pattern = r"\b(?:it|they|them|its|their|those|these)\b|\bthat\b(?=[\s?.!]*$| (?:is|are)\b)|" + _POINTING
    many = re.sub(r"\bhow many of (?:them|those|these)\b", lambda _: _how_many(history, own), core, flags=re.I)
    if many != core:
        return many
    possessive = re.match(r"^what(?:'s| is| are) (?:its|their) (\w+)[\s?.!]*$", core, re.I)
    if possessive:
        noun = topic_of(history)
        return f"What is the {possessive[1]} of {noun.the()}?" if noun else core
    return re.sub(pattern, fill, core, flags=re.I)


def _how_many(history: Sequence[Asked], own: set[str]) -> str:
    noun = newest_of(history, plural=True, without=own)
    return f"How many {pluralise(noun.head)}" if noun else "How many of them"


def _demonstrative(match: re.Match[str]) -> str:
    """In "that building" it is the building; in "those are" it stays a pronoun."""
    identity = re.match(r"(?:is|are) $", match.string[: match.start()], re.I)  # "are those cars?"
    return "the " if may_begin(match[2].casefold()) and not identity else match[0]


def topic_of(history: Sequence[Asked], plural: bool | None = None, without: set[str] | None = None) -> Noun | None:
    """What the conversation is about: the subject of the last question, then its other things, then earlier ones.

    In the last questions that name anything the asked number wins; otherwise the number is bent.
    """
    fallback: Noun | None = None
    for asked in reversed(history):
        ordered = by_role(asked.question)
        fitting = [noun for noun in ordered if not without or noun.head not in without]
        if fitting:
            fallback = fallback or fitting[0]
            if plural is None:
                return fitting[0]
            exact = next((noun for noun in fitting if noun.plural == plural), None)
            if exact is not None:
                return exact
            return fallback
    return fallback


def newest_of(history: Sequence[Asked], plural: bool | None = None, without: set[str] | None = None) -> Noun | None:
    """What was named last in the user's own words."""
    for asked in reversed(history):
        for text in (asked.said, asked.question):
            fitting = [noun for noun in nouns(without_fillers(text), bare=True) if not without or noun.head not in without]
            exact = [noun for noun in fitting if plural is None or noun.plural == plural]
            if exact or fitting:
                return (exact or fitting)[-1]
    return None


def by_role(question: str) -> list[Noun]:
    """The things of a question, its subject first."""
    found = nouns(question)
    swapped = re.match(r"^(?:on|in|from) (?:which|what) (?:side|direction|part) (?:of|from) |^seen from ", question, re.I)
    return found[1:] + found[:1] if swapped and len(found) > 1 else found
