"""From what somebody types in a conversation to a complete question: pronouns, words left out, other pictures.

Pure functions on text, no network. What is complete stays as it is; what cannot be completed is asked as it was typed.
The complete question is shown to the user, so a wrong guess is seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rsagent.chat.antecedents import Asked, by_role, fill_ones, fill_pronouns, newest_of, topic_of
from rsagent.chat.phrases import COLOURS, SIDES, SIZES, Noun, nouns, pluralise, singularise, with_article
from rsagent.chat.typed import spelled, uncontracted, without_courtesy, without_fillers
from rsagent.chat.which import Reference, find_pictures


@dataclass(frozen=True)
class Resolved:
    """What to ask, of which pictures (from 1), and whether that differs from what was typed beyond its first words."""

    question: str
    pictures: tuple[int, ...]
    rewritten: bool
    compares: bool = False


_ABOUT = re.compile(
    r"^(?:what about|how about|same (?:question |thing )?(?:for|with)|the same (?:question )?(?:for|with)|i mean|i meant|"
    r"not .+?, but|what of|the ones? (?:with|of))\s+",
    re.I,
)
_TOPIC = re.compile(
    r"^(?:back to |as for |regarding |about |what about |how about )?(the [^,:?]+|those [^,:?]+)\s*[,:]\s+(.+)$|"
    r"^([a-z ]{3,30}), (how many|what colou?r|where)[\s?.!]*$",
    re.I,
)
_REPEAT = re.compile(
    r"^(?:are you (?:really )?(?:sure|certain)|really|sure|is that (?:right|true|correct)|again|once more|repeat|"
    r"(?:the )?same(?: question| thing)?|(?:what|how)(?: about)?|i mean(?:t)?)[\s?.!]*$",
    re.I,
)
_SIDE = "|".join(SIDES)
_SIDE_ALONE = re.compile(
    rf"^(?:is it |are they )?(?:(?P<full>{_SIDE})(?:\s+(?P<other>it|them|that|those|the .+?))?"
    r"|(?:(?:to|on) )?(?:the )?(?P<short>left|right|above|below))(?:\s+side)?[\s?.!]*$",
    re.I,
)
_RELATION = re.compile(rf"\b(?:{_SIDE})\b", re.I)
_ATTRIBUTE = re.compile(
    r"^(?:(?:what|how) about |what(?:'s| is| are) |which |)(?:(?:its|their|the)\s+)?"
    r"(colou?rs?|position|location|place|number|count|direction|orientation)"
    r"(?: (?:of|do) (?:it|them|they|that|those|(?P<of>the [^?.!,]+?)))?[\s?.!]*$",
    re.I,
)
_BARE_WH = re.compile(
    r"^(?P<colour>(?:what|which|in (?:what|which)) colou?r)s?[\s?.!]*$|^(?P<where>where(?:abouts)?(?: exactly)?)[\s?.!]*$|"
    r"^(?P<many>how many|what number)(?: of (?:them|those|these))?[\s?.!]*$|"
    r"^(?P<way>(?:in )?(?:which|what) (?:way|direction))[\s?.!]*$",
    re.I,
)
_ONLY_ONE = re.compile(r"^(?:is (?:it|there) )?(?:just|only) (?:the |this |that )?one[\s?.!]*$|^more than one[\s?.!]*$", re.I)


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
    core = without_fillers(typed)
    named = find_pictures(core, current, count, explicit_before=bool(history) and _names_a_picture(history[-1], history))
    core = named.text
    pictures = named.pictures or (current,)
    question = _complete(core, history, named)
    if question == without_fillers(typed):
        question = core
    question = _sentence(question if re.search(r"\w", question) else without_fillers(typed))  # only a picture was named
    return Resolved(question, pictures, _bones(question) != _bones(without_fillers(typed)), named.compares)


def _complete(core: str, history: Sequence[Asked], named: Reference) -> str:
    """The question without anything left open, or `core` itself."""
    if named.final:
        return core
    questions = [asked for asked in history if not asked.told]
    if named.pictures and questions and (not re.search(r"\w", core) or _REPEAT.match(core)):
        return questions[-1].question
    core = re.sub(r"\b(there|are|is)((?: \w+)*?) in (?:it|this one|that one)\b", _drop_in_it, core, count=1)
    if not history:
        return _own_words(core) or core
    last = questions[-1].question if questions else ""
    if last and _REPEAT.match(core):
        return last
    topic = _TOPIC.match(core)
    if topic:
        return _about_topic(topic[1] or f"the {topic[3]}", topic[2] or topic[4], history)
    for rule in (_side_ellipsis, _wh_ellipsis, _part_ellipsis):
        found = rule(core, history)
        if found:
            return found
    own = _own_words(core)
    if own:
        core = own
    elif not _has_verb(re.sub(r"\s+(?:is|are)[\s?.!]*$", "", core)):
        return (_exchange(core, last) if last else None) or core
    return fill_pronouns(fill_ones(core, history), history)


def _drop_in_it(match: re.Match[str]) -> str:
    verb, between = match[1], match[2]
    return f"{verb}{between}" if verb == "there" or between else f"{verb} there"


def _own_words(core: str) -> str | None:
    """A question that lacks only what always stands there: "how many cars?", "any ships on it?"."""
    many = re.match(r"^(?:(?:on|in|at|for) )?how many ([^?]+?)[?.!]*$", core, re.I)
    if many and not _has_verb(many[1]) and not re.match(r"(?:of|are|is|do|can|there)\b", many[1], re.I):
        return f"How many {many[1]} are there?"
    reverse = re.match(r"^of the ([^,]+), how many[\s?.!]*$", core, re.I)
    if reverse:
        return f"How many {reverse[1]} are there?"
    share = re.match(r"^how many of the ([^?]+?)[?.!]*$", core, re.I)
    if share and not _has_verb(share[1]):
        return f"How many {pluralise(share[1])} are there?"
    if re.match(r"^any[\s?.!]*$", core, re.I):
        return "Are there any?"
    if re.match(r"^(?:any|no) \w", core, re.I) and not _has_verb(core):
        return f"Are there {core[0].lower()}{core[1:]}".replace("Are there no ", "Are there any ")
    where = re.match(r"^(the .+?|it|they|that|those) (is|are) where[\s?.!]*$", core, re.I)
    if where:
        return f"Where {where[2].lower()} {where[1].lower()}?"
    return None


def _about_topic(topic: str, rest: str, history: Sequence[Asked]) -> str:
    """Such as "the ships, are they left of the docks?": pronouns of the rest stand for the topic first."""
    topic = fill_ones(topic, history)
    about = Asked(topic, topic, history[-1].pictures)
    short = re.fullmatch(r"(?:how many|what colou?r|where)[\s?.!]*", rest, re.I)
    if short:
        return _wh_ellipsis(rest, [about]) or rest
    lead = re.match(r"^(?:the|those) ", topic, re.I)
    name = nouns(topic)
    if name and lead:
        first = re.compile(r"\b(?:it|they|that|those|them)\b(?! (?:\w+ )?" + re.escape(name[0].words) + ")", re.I)
        rest = first.sub(name[0].the(), rest, count=1)
    return fill_pronouns(rest, history)


def _side_ellipsis(core: str, history: Sequence[Asked]) -> str | None:
    """Such as "to the right of it?", "and below?": the last question with another side, and perhaps another thing."""
    about = _ABOUT.sub("", core)
    match = _SIDE_ALONE.match(about)
    if not match:
        return None
    last = _last(history)
    relation = _RELATION.search(last)
    if match["full"]:
        side = match["full"].lower()
    elif match["short"].lower() in ("left", "right"):
        short = match["short"].lower()
        side = (
            re.sub(r"\b(?:left|right)\b", short, relation[0])
            if relation and re.search("left|right", relation[0])
            else f"to the {short} of"
        )
    else:
        side = match["short"].lower()
    other = (match["other"] or "").lower()
    if relation:
        after = last[relation.end() :]
        if other.startswith("the "):
            after = f" {other}?"
        return f"{last[: relation.start()]}{side}{after}"
    subject = topic_of(history)
    if subject is None:
        return None
    verb = "Are" if subject.plural else "Is"
    if other.startswith("the "):
        return f"{verb} {subject.the()} {side} {other}?"
    if match["short"]:
        return f"{verb} {subject.the()} on the {match['short'].lower()}?" if side.endswith(" of") else None
    return f"What is {side} {subject.the()}?"


def _wh_ellipsis(core: str, history: Sequence[Asked]) -> str | None:
    """Such as "how many?", "what colour?", "where?", "and its position?", "only one?": the thing is the last one spoken of."""
    asked = _BARE_WH.match(core)
    attribute = None if asked else _ATTRIBUTE.match(core)
    only = _ONLY_ONE.match(core)
    counted = re.match(r"^how many (?:of (?:them|those|these|it) )?(are|is|do|does|can|could|have)\b(.*)$", core, re.I)
    if not (asked or attribute or only or counted):
        return None
    recent = bool(counted and re.search(r"\bof (?:them|those|these)\b", core, re.I))
    named = nouns(attribute["of"]) if attribute and attribute["of"] else []
    if attribute and attribute["of"] and (not named or re.match(r"what(?:'s| is| are) ", core, re.I)):
        return None
    noun = named[0] if named else newest_of(history, plural=True) if recent else topic_of(history)
    if noun is None:
        return None
    kind = (attribute[1].lower().rstrip("s") if attribute else "") or (asked.lastgroup if asked else "") or "many"
    verb = "are" if noun.plural else "is"
    if counted and not (asked or attribute or only):
        if re.match(r"\s*(?:there\s*)?[?.!]*$", counted[2]) and counted[1].lower() in ("are", "is"):
            return f"How many {pluralise(noun.head)} are there?"
        return f"How many {pluralise(noun.head)} {counted[1]}{counted[2]}"
    if kind in ("colour", "color"):
        return f"What color {verb} {noun.the()}?"
    if kind in ("where", "position", "location", "place"):
        return f"Where {verb} {noun.the()}?"
    if kind in ("way", "direction", "orientation"):
        return f"In which direction {'do' if noun.plural else 'does'} {noun.the()} run?"
    return f"How many {pluralise(noun.head)} are there?"


def _part_ellipsis(core: str, history: Sequence[Asked]) -> str | None:
    """Such as "and of the houses?", "relative to the ships?": the last question with that part exchanged."""
    match = re.match(r"^(of|relative to|compared with|than|on|in|near|between) (the [^?.!,]+?)[\s?.!]*$", core, re.I)
    if not match or _has_verb(match[2]):
        return None
    last, word, thing = _last(history), match[1].lower(), match[2]
    places = list(re.finditer(rf"\b{word} (?:the|a|an) ", last, re.I))
    for place in reversed(places):
        noun = next((noun for noun in nouns(last) if noun.start == place.end()), None)
        if noun is not None:
            return f"{last[: place.end()]}{_bare(thing)}{last[noun.end :]}"
    return _exchange(thing, last) if word == "of" else None


def _exchange(core: str, last: str) -> str | None:
    """The last question about another thing: "and the ships?", "houses?", "I meant the red one."."""
    thing = _ABOUT.sub("", core).strip(" ?.!,")
    thing = re.sub(r"\s+(?:is|are)$", "", thing, flags=re.I)
    thing = re.sub(r"^(?:and|of)\s+", "", thing, flags=re.I)
    slot = _subject(last)
    if slot is None or not thing:
        return None
    single = re.match(r"an? ", thing, re.I)
    bare = _bare(thing)
    words = bare.split()
    if words[-1] in ("one", "ones"):
        words = words[:-1]
    if words and all(word in COLOURS or word in SIZES for word in words):
        kind = slot.head if words[0] in COLOURS else slot.words
        bare = f"{' '.join(words)} {kind}"
    named = nouns(f"the {bare}")
    rest = f"the {bare}"[named[0].end :] if named else ""
    if not named or named[0].start != len("the ") or not re.match(r"(?: (?:in|on|at|of|near|to|with)\b.*)?$", rest):
        return None
    before = last[: slot.start]
    if single and re.match(r"are there (?:any )?$", before, re.I):
        return f"Is there {with_article(bare)}{last[slot.end :]}"
    if re.search(r"\bhow many $", before, re.I) or re.search(r"\b(?:any|are there) $", before, re.I):
        return f"{before}{pluralise(bare)}{last[slot.end :]}"
    one = re.search(r"\b(an?) $", before, re.I)
    if one:
        return f"{before[: one.start()]}{with_article(singularise(bare))}{last[slot.end :]}"
    return _agree(f"{before}{bare}{last[slot.end :]}", slot, named[0])


def _agree(question: str, before: Noun, now: Noun) -> str:
    """`question` with the verb of its subject in the subject's number."""
    if before.plural == now.plural:
        return question
    pairs = (("is", "are"), ("does", "do"), ("has", "have"))
    for one, many in pairs:
        old, new = (one, many) if now.plural else (many, one)
        changed = re.sub(
            rf"\b{old}\b",
            lambda found, new=new: new.capitalize() if found[0][0].isupper() else new,
            question,
            count=1,
            flags=re.I,
        )
        if changed != question:
            return changed
    return question


def _subject(question: str) -> Noun | None:
    found = by_role(question)
    return found[0] if found else None


_VERB = re.compile(
    r"\b(?:is|are|was|were|do|does|did|can|could|would|will|has|have|what's|where's|count|describe|show|tell|there's)\b", re.I
)


def _has_verb(text: str) -> bool:
    return bool(_VERB.search(text))


def _last(history: Sequence[Asked]) -> str:
    """The last question; "" where there is none."""
    return next((asked.question for asked in reversed(history) if not asked.told), "")


def _names_a_picture(asked: Asked, history: Sequence[Asked]) -> bool:
    """Whether the last question was about a picture that its words chose."""
    before = history[-2].pictures if len(history) > 1 else (1,)
    return asked.pictures != before or bool(
        re.search(r"\b(?:picture|image|photo)\b|\bfirst|second|third|last\b", asked.said, re.I)
    )


def _bare(thing: str) -> str:
    return re.sub(r"^(?:the|a|an|any|some|those|these|that) ", "", thing.strip(" ?.!,"), flags=re.I).casefold()


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:]


def _bones(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()


__all__ = ["Asked", "Resolved", "resolve"]
