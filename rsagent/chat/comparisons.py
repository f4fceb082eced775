"""Follow-ups that say something of what was spoken of: "more than planes?", "all blue?", "top left?"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rsagent.chat.antecedents import Asked, by_role, topic_of
from rsagent.chat.exchange import ABOUT, bare_of, has_verb, last_question
from rsagent.chat.phrases import COLOURS, SIZES, STATES, Noun, nouns, pluralise, singularise

_NUMBER = r"(?:\d{1,3}|one|two|three|four|five|six|seven|eight|nine|ten|a dozen|a few)"
_THAN = re.compile(
    r"^(?:(?:is|are) (?:that|it|there|those|they|these) )?(?P<how>more|fewer|less|as many|just as many|"
    r"at least|exactly|only|many|lots|"
    rf"a lot|several)(?: of (?:them|those|these))?(?: (?:than|as) (?P<than>[^?.!]+?)| (?P<number>{_NUMBER}))?[\s?.!]*$",
    re.I,
)
_AS_MANY = re.compile(r"^(?:are there )?(?P<how>as many|equally many|more|fewer) (?P<thing>[^?.!,]+?)[\s?.!]*$", re.I)
_GREATER = re.compile(
    r"^(?P<how>(?:much |a lot )?(?:bigger|larger|smaller|taller|longer|shorter|wider|darker|brighter|"
    r"lighter|closer|higher|lower)) "
    r"(?P<than>(?:than|to) [^?.!]+?)[\s?.!]*$",
    re.I,
)
_WHICH = re.compile(
    r"^which(?: one)?(?: of (?:them|these|those|both))? (?:is|are) (?P<how>\w+er|the \w+est|more \w+)[\s?.!]*$", re.I
)
_ADJECTIVE = "|".join(sorted(COLOURS | SIZES | STATES))
_SHARE = re.compile(
    rf"^(?:(?P<verb>are|is) )?(?P<share>any|all|both|some|most|none|mostly|each|one)(?: (?P<of>of (?:them|"
    rf"those|these|it|they)))? "
    rf"(?P<what>(?:(?P<adjective>(?:{_ADJECTIVE})(?: (?:or|and) (?:{_ADJECTIVE}))?)|(?:in|on|at|near|above|"
    rf"below|next to|to the|the same|"
    rf"parked|left of|right of)\b[^?.!]*|(?P<free>[^?.!]+?)))[\s?.!]*$",
    re.I,
)
_CORNER = (
    r"(?:in|on|at|to|towards?) the (?:(?:top|bottom|upper|lower|left|right|cent(?:er|re)|"
    r"middle)(?:[ -](?:left|right|cent(?:er|re)))?)"
    r"(?: (?:corner|side|half|part|edge|hand side))?(?! of (?!the (?:picture|image|photo)))\b"
)
_IN_LAST = re.compile(_CORNER, re.I)
_PLACE = re.compile(
    rf"^(?:is it |are they )?(?P<full>{_CORNER})[\s?.!]*$|"
    r"^(?:the )?(?P<short>(?:(?:top|bottom|upper|lower|left|right|cent(?:er|re)|middle)(?:[ -](?:left|right|cent(?:er|re)))?)"
    r"(?: (?:corner|side|half|part|edge))?)[\s?.!]*$",
    re.I,
)


def comparison(core: str, history: Sequence[Asked]) -> str | None:
    """Such as "more than planes?", "are there as many cars?", "bigger than the house?", "more than three?"."""
    match = _THAN.match(core)
    if match:
        return _than(match, history)
    many = _AS_MANY.match(core)
    if many and not re.search(r"\b(?:than|as|of|or)\b", many["thing"], re.I) and not has_verb(many["thing"]):
        return _as_many(many["how"].lower(), bare_of(many["thing"]), history)
    greater = _GREATER.match(core)
    if greater:
        heads = {singularise(noun.head) for noun in nouns(greater["than"])}
        noun = _other_than(heads, history)
        return f"{_verb(noun)} {noun.the()} {greater['how'].lower()} {greater['than']}?" if noun else None
    which = _WHICH.match(core)
    pair = _pair(history) if which else []
    return f"Which is {which['how'].lower()}, {pair[0].the()} or {pair[1].the()}?" if which and len(pair) == 2 else None


def _than(match: re.Match[str], history: Sequence[Asked]) -> str | None:
    how, than, number = match["how"].lower(), match["than"], match["number"]
    amount = how in ("at least", "exactly", "only")
    if how == "only" and number and number.lower() in ("1", "one"):
        return None
    if amount != bool(number) or (not amount and bool(than) == (how in ("many", "lots", "a lot", "several"))):
        return None
    counted = than and re.fullmatch(_NUMBER, than, re.I)
    if than and not counted and re.match(rf"{_NUMBER} ", than, re.I):
        return None  # "are there more than two cars?" is complete
    heads = set[str]() if counted or not than else {singularise(bare_of(than))}
    noun = _other_than(heads, history)
    if noun is None:
        return None
    things = pluralise(noun.head)
    if number or counted:
        return f"Are there {how}{' than' if counted else ''} {(number or than).lower()} {things}?"
    if not than:
        return f"Are there {'many' if how in ('many', 'lots', 'a lot') else how} {things}?"
    how = "fewer" if how == "less" else how
    return f"Are there {how} {things} {'as' if how.endswith('as many') else 'than'} {bare_of(than)}?"


def _as_many(how: str, thing: str, history: Sequence[Asked]) -> str | None:
    """Such as "are there as many cars": as of what was counted before."""
    last = last_question(history)
    noun = _other_than({singularise(thing)}, history)
    named = nouns(f"the {thing}")
    if noun is None or not named or named[0].end != len(f"the {thing}") or not named[0].plural:
        return None
    if "many" not in how and not re.match(r"how many |are there (?:as many|more|fewer)", last, re.I):
        return None
    how = "as many" if "many" in how else how
    return f"Are there {how} {thing} {'as' if how == 'as many' else 'than'} {pluralise(noun.head)}?"


def _other_than(heads: set[str], history: Sequence[Asked]) -> Noun | None:
    """What was spoken of last, except for these."""
    return topic_of(history, without=heads | {pluralise(head) for head in heads})


def _pair(history: Sequence[Asked]) -> list[Noun]:
    """The two things that the last questions named; fewer where there are no two."""
    found: list[Noun] = []
    for asked in reversed([asked for asked in history if not asked.told][-3:]):
        for noun in by_role(asked.question):
            if all(singularise(noun.head) != singularise(other.head) for other in found):
                found.append(noun)
        if len(found) > 1:
            break
    return found[:2]


def _verb(noun: Noun) -> str:
    return "Are" if noun.plural else "Is"


def share(core: str, history: Sequence[Asked]) -> str | None:
    """Such as "all blue?", "any of them red?", "both on the left?": what part of the things is so."""
    match = _SHARE.match(core)
    if (
        match is None
        or (match["of"] or match["free"] if match["verb"] else match["free"] and not match["of"])
        or has_verb(match["what"])
    ):
        return None
    word, what = match["share"].lower(), match["what"]
    if not match["of"] and word in ("any", "some", "one", "each", "none") and not (match["verb"] and match["adjective"]):
        noun = topic_of(history)
        lone = word in ("any", "some") and match["adjective"] and noun is not None and " or " not in what
        return f"Are there any {what} {pluralise(noun.head)}?" if lone and noun else None
    noun = topic_of(history, plural=True)
    if noun is None:
        return None
    things = f"the {pluralise(noun.head)}"
    if word in ("all", "both", "mostly"):
        return f"Are {things} {word} {what}?"
    return f"{'Is' if word in ('one', 'each') else 'Are'} {word} of {things} {what}?"


def place(core: str, history: Sequence[Asked]) -> str | None:
    """Such as "and in the top left?": the last question at another place of the picture, or whether the thing is there."""
    match = _PLACE.match(ABOUT.sub("", core))
    if match is None:
        return None
    last = last_question(history)
    before = _IN_LAST.search(last)
    short = (match["short"] or "").lower()
    where = match["full"] or f"{'on' if short in ('left', 'right') or 'side' in short else 'in'} the {short}"
    if before:
        return f"{last[: before.start()]}{where}{last[before.end() :]}"
    if short in ("left", "right") or re.fullmatch(r"(?:to|on) the (?:left|right)(?: side)?", where, re.I):
        return None  # perhaps of something
    if re.match(r"how many .* are there[\s?.!]*$", last, re.I):
        return f"{last.rstrip(' ?.!')} {where}?"
    noun = topic_of(history)
    return f"{_verb(noun)} {noun.the()} {where}?" if noun else None
