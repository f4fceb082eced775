"""From what somebody types in a conversation to a complete question: pronouns, words left out, other pictures.

Pure functions on text, no network. What is complete stays as it is; what cannot be completed is asked as it was typed.
The complete question is shown to the user, so a wrong guess is seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rsagent.chat.antecedents import Asked, fill_ones, fill_order, fill_pronouns
from rsagent.chat.ellipsis import completed, wh_ellipsis
from rsagent.chat.exchange import MEANT, corrected, exchange, has_verb, last_question
from rsagent.chat.phrases import nouns
from rsagent.chat.terse import existence, own_words
from rsagent.chat.typed import spelled, uncontracted, without_courtesy, without_fillers
from rsagent.chat.which import Reference, find_pictures


@dataclass(frozen=True)
class Resolved:
    """What to ask, of which pictures (from 1), and whether that differs from what was typed beyond its first words."""

    question: str
    pictures: tuple[int, ...]
    rewritten: bool
    compares: bool = False


_TOPIC = re.compile(
    r"^(?:(?:back to|as for|regarding|about|what about|how about|concerning|with) )?(the [^,:?]+|those [^,:?]+)"
    r"\s*(?:[,:;]| -)\s+(.+)$",
    re.I,
)
# "The trees, how many?", "house colour", "the ships where are they"
_TOPIC_FIRST = re.compile(
    r"^(?:(?:back to|as for|what about|how about) )?(?:the |those |these |all )?(?P<thing>[a-z' -]{2,40}?)(?:[,:;?]| -)?\s+"
    r"(?P<ask>how many|(?:what |which |the )?colou?r|where(?:abouts)?|(?:the )?(?:position|location|count|"
    r"number|direction|size|shape))"
    r"(?: (?:are|is) (?:they|it|there|that|those|them|these))?(?: there)?[\s?.!]*$",
    re.I,
)
_REPEAT = re.compile(
    r"^(?:(?:are )?you (?:really |quite |absolutely |very )?(?:sure|certain)(?: (?:about|of) (?:that|this|it))?|really|sure|"
    r"is that (?:right|true|correct|so)|seriously|for real|again|once more|one more time|repeat(?: that)?|"
    r"(?:check|look|try|count|ask)(?: it| that)? again|double[- ]check|(?:and )?(?:here|there)|"
    r"(?:the )?same(?: question| thing| again)?|ditto|(?:what|how)(?: about)?|i mean(?:t)?)[\s?.!]*$",
    re.I,
)


def resolve(text: str, history: Sequence[Asked], current: int = 1, count: int = 1) -> Resolved:
    """The complete question that `text` asks.

    Args:
        text: what was typed, cleaned, not empty.
        history: earlier questions, oldest first.
        current: the picture that is meant when none is named, from 1.
        count: how many pictures there are.

    Raises:
        UserError: a picture is named that is not there.
    """
    typed = " ".join(text.split())
    plain = without_fillers(spelled(typed))
    named = find_pictures(plain, current, count, explicit_before=bool(history) and _names_a_picture(history[-1], history))
    core = without_fillers(named.text) if named.pictures else named.text
    question = _complete(core, history, named)
    if question == plain:
        question = core
    question = _sentence(question if re.search(r"\w", question) else plain)  # only a picture was named
    return Resolved(question, named.pictures or (current,), _bones(question) != _bones(without_fillers(typed)), named.compares)


def _complete(core: str, history: Sequence[Asked], named: Reference) -> str:
    """The question without anything left open, or `core` itself."""
    if named.final:
        return core
    questions = [asked for asked in history if not asked.told]
    if named.pictures and questions and (not re.search(r"\w", core) or _REPEAT.match(core)):
        return questions[-1].question
    core = re.sub(r"\b(there|are|is)((?: \w+)*?) in (?:it|this one|that one)\b", _drop_in_it, core, count=1)
    whole = uncontracted(core)
    earlier = [
        asked if asked.told else replace(asked, said=spelled(asked.said), question=uncontracted(asked.question))
        for asked in history
    ]
    done = _filled(whole, earlier)
    return core if _bones(done) == _bones(whole) else done


def _filled(core: str, history: Sequence[Asked]) -> str:
    """`core` with what it left out, by the first rule that knows its form."""
    last = last_question(history)
    if last and _REPEAT.match(core):
        return last
    core = MEANT.sub("", core.rstrip(" ?.!,")) if last and MEANT.search(core.rstrip(" ?.!,")) else core
    mended = corrected(core, last) if last else None
    if mended:
        return mended
    core = fill_order(core, history)
    about = _first_topic(core) or (_late_topic(core, history) if history else None)
    if about:
        return about
    if history:
        for said in dict.fromkeys((core, without_courtesy(core))):
            found = completed(said, history)
            if found:
                return found
    short = without_courtesy(core)
    own = own_words(core) or own_words(short)
    if own:
        core = own
    elif not has_verb(re.sub(r"(?<!\bit)(?<!\bthey)\s+(?:is|are)[\s?.!]*$", "", short)):
        thing = fill_pronouns(short, history) if re.search(r"\b(?:it|them)\b", short, re.I) else short
        return (exchange(thing, last) if last else None) or existence(short) or core
    filled = fill_pronouns(fill_ones(core, history), history)
    return re.sub(r"(?<=\w) in it(?=[\s?.!]*$)", "", filled, flags=re.I)  # nothing else was named: it is the picture


def _first_topic(core: str) -> str | None:
    """Such as "the trees, how many?": a thing and what is asked of it, without a verb of its own."""
    match = _TOPIC_FIRST.match(core)
    thing = re.sub(r"['’]s?$", "", f"the {match['thing']}") if match else ""
    named = nouns(thing)
    if match is None or len(named) != 1 or named[0].start != len("the ") or named[0].end != len(thing) or has_verb(thing):
        return None
    return wh_ellipsis(match["ask"], [Asked(thing, thing, (1,))])


def _late_topic(core: str, history: Sequence[Asked]) -> str | None:
    topic = _TOPIC.match(core)
    return _about_topic(topic[1], topic[2], history) if topic else None


def _drop_in_it(match: re.Match[str]) -> str:
    verb, between = match[1], match[2]
    return f"{verb}{between}" if verb == "there" or between else f"{verb} there"


def _about_topic(topic: str, rest: str, history: Sequence[Asked]) -> str:
    """Such as "the ships, are they left of the docks?": pronouns of the rest stand for the topic first."""
    topic = fill_ones(topic, history)
    about = Asked(topic, topic, history[-1].pictures)
    short = re.fullmatch(r"(?:how many|what colou?r|where)[\s?.!]*", rest, re.I)
    if short:
        return wh_ellipsis(rest, [about]) or rest
    lead = re.match(r"^(?:the|those) ", topic, re.I)
    name = nouns(topic)
    if name and lead:
        first = re.compile(r"\b(?:it|they|that|those|them)\b(?! (?:\w+ )?" + re.escape(name[0].words) + ")", re.I)
        rest = first.sub(name[0].the(), rest, count=1)
    return fill_pronouns(rest, history)


def _names_a_picture(asked: Asked, history: Sequence[Asked]) -> bool:
    """Whether the last question was about a picture that its words chose."""
    before = history[-2].pictures if len(history) > 1 else (1,)
    return asked.pictures != before or bool(
        re.search(r"\b(?:picture|image|photo)\b|\bfirst|second|third|last\b", asked.said, re.I)
    )


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:]


def _bones(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()


__all__ = ["Asked", "Resolved", "resolve"]
