"""Follow-ups that leave words out: "how many?", "what colour?", "to the left of it?", "all blue?", "more than planes?"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rsagent.chat.antecedents import Asked, newest_of, topic_of
from rsagent.chat.comparisons import comparison, place, share
from rsagent.chat.exchange import ABOUT, bare_of, exchange, has_verb, last_question
from rsagent.chat.phrases import COLOURS, SIDES, Noun, nouns, pluralise

_SIDE = "|".join(sorted(SIDES, key=len, reverse=True))
_SIDE_ALONE = re.compile(
    rf"^(?:is it |are they )?(?:(?P<full>(?:{_SIDE})(?: or (?:{_SIDE}))?)(?:\s+(?P<other>it|them|that|those|the [^,?!]+?))?"
    r"|(?:(?:to|on) )?(?:the )?(?P<short>(?:left|right)(?: or (?:left|right))?|(?:above|"
    r"below)(?: or (?:above|below))?))(?:\s+side)?[\s?.!]*$",
    re.I,
)
_RELATION = re.compile(rf"\b(?:{_SIDE})\b", re.I)
_ATTRIBUTE = re.compile(
    r"^(?:(?:what|how) about |what is |what are |which |and |)(?:(?:its|their|the)\s+)?"
    r"(colou?rs?|position|location|place|number|count|total|direction|orientation|size|shape)"
    r"(?: (?:of|do) (?:(?P<single>it|that(?: one)?|this(?: one)?)|them|they|those(?: ones)?|these|"
    r"(?P<of>the [^?.!,]+?)))?[\s?.!]*$",
    re.I,
)
_OF_THEM = r"(?: (?:of )?(?:them|those|these|it|they))?"
_BARE_WH = re.compile(
    rf"^(?P<colour>(?:(?:in|of|with) )?(?:what|which) colou?rs?(?: exactly)?)[\s?.!]*$|"
    rf"^(?P<where>(?:and )?where(?:abouts)?(?: exactly| roughly)?(?: exactly| located)?|(?:on|in|"
    rf"at) (?:which|what) (?:place|position|spot))"
    r"[\s?.!]*$|"
    rf"^(?P<many>(?:so )?how many(?: ones)?(?: exactly)?{_OF_THEM}(?: (?:are there|there|in total|"
    rf"altogether|in all|overall|exactly|roughly|here)){{0,2}}"
    rf"|what number|total|in total|what is the total)[\s?.!]*$|"
    r"^(?P<way>(?:in )?(?:which|what) (?:way|direction)|(?:from )?where to)[\s?.!]*$",
    re.I,
)
_MANY_AT = re.compile(
    rf"^how many((?: (?:in|on|at|near|close to|next to|around|between|with|{_SIDE})) [^?.!]+?|"
    rf" (?:{'|'.join(sorted(COLOURS))}))[\s?.!]*$",
    re.I,
)
_SIDE_OF = re.compile(
    r"^(?:(on|in|at) )?(?:which|what) (side|corner|part|half|edge)(?: of (?:it|the (?:picture|image|photo)))?[\s?.!]*$", re.I
)
_HOW_GREAT = re.compile(r"^how (big|large|small|long|wide|tall|high|far|old|full|busy|crowded|dense)[\s?.!]*$", re.I)
_ONLY_ONE = re.compile(
    r"^(?:is (?:it|there) |are there )?(?:(?:just|only) (?:the |this |that )?(?:a single |single )?(?:one|"
    r"1)|more than one|a single one|"
    r"several|just the one)[\s?.!]*$",
    re.I,
)


def side_ellipsis(core: str, history: Sequence[Asked]) -> str | None:
    """Such as "to the right of it?", "and below?": the last question with another side, and perhaps another thing."""
    about = ABOUT.sub("", core)
    match = _SIDE_ALONE.match(about)
    if not match:
        return None
    last = last_question(history)
    relation = _RELATION.search(last)
    if match["full"]:
        side = match["full"].lower()
    elif re.match("left|right", match["short"], re.I):
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
    if re.match(r"is it |are they ", about, re.I):
        subject = (topic_of(history, about[:1].lower() == "a") or subject).bent(about[:1].lower() == "a")
    verb = "Are" if subject.plural else "Is"
    if other.startswith("the "):
        return f"{verb} {subject.the()} {side} {other}?"
    if match["short"]:
        return f"{verb} {subject.the()} on the {match['short'].lower()}?" if side.endswith(" of") else None
    return f"What is {side} {subject.the()}?"


def wh_ellipsis(core: str, history: Sequence[Asked]) -> str | None:
    """Such as "how many?", "what colour?", "where?", "and its position?", "only one?": the thing is the last one spoken of."""
    asked = _BARE_WH.match(core)
    attribute = None if asked else _ATTRIBUTE.match(core)
    only = _ONLY_ONE.match(core)
    counted = re.match(r"^how many (?:of (?:them|those|these|it) )?(are|is|do|does|can|could|have)\b(.*)$", core, re.I)
    placed = _MANY_AT.match(core)
    if not (asked or attribute or only or counted or placed):
        return None
    recent = bool(counted and re.search(r"\bof (?:them|those|these)\b", core, re.I))
    named = nouns(attribute["of"]) if attribute and attribute["of"] else []
    if (
        attribute
        and attribute["of"]
        and (not named or re.match(r"what(?:'s| is| are) ", core, re.I) or has_verb(attribute["of"]))
    ):
        return None
    noun = named[0] if named else newest_of(history, plural=True) if recent else topic_of(history)
    if noun is None:
        return None
    if attribute and attribute["single"] and not named:
        noun = (topic_of(history, plural=False) or noun).bent(plural=False)
    if placed:
        where = placed[1].lower().strip()
        return f"How many {pluralise(noun.head)} are {where if where in COLOURS else f'there {where}'}?"
    if counted and not (asked or attribute or only):
        if re.match(r"\s*(?:there\s*)?[?.!]*$", counted[2]) and counted[1].lower() in ("are", "is"):
            return f"How many {pluralise(noun.head)} are there?"
        return f"How many {pluralise(noun.head)} {counted[1]}{counted[2]}"
    kind = (attribute[1].lower().rstrip("s") if attribute else "") or (asked.lastgroup if asked else "") or "many"
    return _asked_of(noun, kind, last_question(history))


def _asked_of(noun: Noun, kind: str, last: str) -> str:
    """The question for the colour, place, direction, size or number of a thing."""
    verb = "are" if noun.plural else "is"
    if kind in ("colour", "color"):
        return f"What color {verb} {noun.the()}?"
    if kind in ("where", "position", "location", "place"):
        return f"Where {verb} {noun.the()}?"
    if kind in ("way", "direction", "orientation"):
        return f"In which direction {'do' if noun.plural else 'does'} {noun.the()} run?"
    if kind in ("size", "shape"):
        return f"What is the {kind} of {noun.the()}?"
    return f"How many {_shade(noun, last)}{pluralise(noun.head)} are there?"


def _shade(noun: Noun, last: str) -> str:
    """The colour by which the last question picked some of the things: those are counted."""
    picked = re.match(r"^(?:are|is) (?:any|some|most|one) (?:of )?.*?\b(\w+)[\s?.!]*$", last, re.I)
    if picked and picked[1].lower() in COLOURS:
        return f"{picked[1].lower()} "
    there = re.match(r"^(?:are|is) there |^(?:can|do) you see ", last, re.I)
    first = noun.words.split()[0]
    return f"{first} " if there and first in COLOURS and noun.head != noun.words else ""


def part_ellipsis(core: str, history: Sequence[Asked]) -> str | None:
    """Such as "and of the houses?", "relative to the ships?": the last question with that part exchanged."""
    match = re.match(r"^(of|relative to|compared with|than|on|in|near|between) (the [^?.!,]+?)[\s?.!]*$", core, re.I)
    if not match or has_verb(match[2]):
        return None
    last, word, thing = last_question(history), match[1].lower(), match[2]
    places = list(re.finditer(rf"\b{word} (?:the|a|an) ", last, re.I))
    for found in reversed(places):
        noun = next((noun for noun in nouns(last) if noun.start == found.end()), None)
        if noun is not None:
            return f"{last[: found.end()]}{bare_of(thing)}{last[noun.end :]}"
    return exchange(thing, last) if word == "of" else None


def side_of_picture(core: str, history: Sequence[Asked]) -> str | None:
    """Such as "which side?", "how big?": what is asked of the thing spoken of last."""
    side, great = _SIDE_OF.match(core), _HOW_GREAT.match(core)
    noun = topic_of(history) if side or great else None
    if noun is None:
        return None
    verb = "are" if noun.plural else "is"
    if side:
        where = side[1] or ("on" if side[2].lower() in ("side", "edge") else "in")
        return f"{where.capitalize()} which {side[2].lower()} {verb} {noun.the()}?"
    return f"How {great[1].lower()} {verb} {noun.the()}?" if great else None


def completed(core: str, history: Sequence[Asked]) -> str | None:
    """The question that `core` leaves words out of, by the first rule that knows its form; None where none does."""
    rules = (comparison, place, share, side_ellipsis, wh_ellipsis, side_of_picture, part_ellipsis)
    return next((done for rule in rules if (done := rule(core, history))), None)
