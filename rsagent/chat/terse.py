"""Questions that are brief but name all they need: "how many cars?", "any ships on it?", "where the house", "season?"."""

from __future__ import annotations

import re

from rsagent.chat.exchange import ABOUT, bare_of, has_verb
from rsagent.chat.phrases import is_plural, nouns, pluralise, with_article

_PLACE = (
    r"(?:in|on|at|near|next to|close to|above|below|under|behind|beside|between|around|along|inside|within|to the|left|right)"
)
_MANY = re.compile(r"^(?:(?:on|in|at|for) )?(?:how many|(?:the )?(?:number|count|amount) of)(?: the)? ([^?]+?)[?.!]*$", re.I)
_WHOLE = re.compile(
    r"^(?:(?:what|which)(?: about)? |how about )?(?:the )?(?P<what>season|weather|time of (?:the )?(?:year|day)|"
    r"(?:(?:type|kind|sort) of )(?:place|scene|area|image|picture|photo))(?: like)?[\s?.!]*$",
    re.I,
)
_NO_NAME = re.compile(
    r"\b(?:else|(?:any|every|some|no)thing|thanks|cheers|bye|goodbye|hello|sorry|help|please|congrats|lol|okay)\b", re.I
)
_COMPARED = re.compile(
    r"^(?P<how>more|fewer|less|as many)(?: of the)? (?P<one>[^?.!,]+?),? (?P<word>than|as|or)(?: more| the| of the)? "
    r"(?P<other>[^?.!,]+?)[\s?.!]*$",
    re.I,
)


def own_words(core: str) -> str | None:
    """The complete form of a question that lacks only what always stands there; None where it is no such question."""
    many = _MANY.match(core)
    if (
        many
        and not has_verb(many[1])
        and not re.match(rf"(?:of|are|is|do|can|there|exactly|in total|{_PLACE})\b", many[1], re.I)
    ):
        return _count(many[1])
    reverse = re.match(r"^of the ([^,]+), how many[\s?.!]*$", core, re.I)
    if reverse:
        return f"How many {reverse[1]} are there?"
    share = re.match(r"^how many of the ([^?]+?)[?.!]*$", core, re.I)
    if share and not has_verb(share[1]):
        return f"How many {pluralise(share[1])} are there?"
    if re.match(r"^(?:any|none|not (?:any|one)|not a single one)(?: at all)?[\s?.!]*$", core, re.I):
        return "Are there any?"
    if re.match(r"^(?:any|no|some) \w", core, re.I) and not has_verb(core):
        if re.match(r"\w+ of ", core):
            return f"Are {core[0].lower()}{core[1:]}"
        return _any(re.sub(r"^\w+ ", "", core))
    where = re.match(r"^(the .+?|it|they|that|those) (is|are) where[\s?.!]*$", core, re.I)
    if where:
        return f"Where {where[2].lower()} {where[1].lower()}?"
    return _without_verb(core)


def _count(things: str) -> str:
    things = re.sub(r"(?<=\w) here$", "", things, flags=re.I)
    seen = re.match(r"^(.+?) (visible|shown|present|seen)( .*)?$", things, re.I)
    if seen:
        return f"How many {seen[1]} are {seen[2]}{seen[3] or ''}?"
    placed = re.match(rf"^(\w+(?: \w+){{0,2}}?) ({_PLACE}\b.*)$", things, re.I)
    return f"How many {placed[1]} are there {placed[2]}?" if placed else f"How many {things} are there?"


def _any(rest: str) -> str:
    named = nouns(f"any {rest}")
    lone = bool(named) and named[0].start == len("any ") and pluralise(named[0].words) != named[0].words
    return f"{'Is' if lone else 'Are'} there any {rest}"


def _without_verb(core: str) -> str | None:
    """Such as "where the house", "what colour the cars?", "season?", "more trees than fields?"."""
    asked = re.match(r"^(where|(?:what|which) colou?r) (?:of )?((?:the|those|these|that) [^?.!,]+?)[\s?.!]*$", core, re.I)
    if asked and not has_verb(asked[2]):
        named = nouns(asked[2])
        if named:
            return f"{asked[1].capitalize()} {'are' if named[0].plural else 'is'} {asked[2]}?"
    compared = _COMPARED.match(core)
    if compared and not has_verb(core) and not re.match(r"(?:than|as)\b", compared["one"], re.I):
        word = compared["word"].lower()
        how = "fewer" if compared["how"].lower() == "less" else compared["how"].lower()
        return f"Are there {how} {compared['one']} {'than' if word == 'or' else word} {compared['other']}?"
    whole = _WHOLE.match(core)
    if whole:
        what = whole["what"].lower()
        if what == "weather":
            return "What is the weather like?"
        return f"What {what} is {'this' if ' of ' in what and 'time' not in what else 'it'}?"
    return None


def existence(core: str) -> str | None:
    """Whether a thing is there, where nothing but the thing was typed: "planes?", "a lake"."""
    thing = ABOUT.sub("", core).strip(" ?.!,")
    named = nouns(thing, bare=True)
    if has_verb(thing) or _NO_NAME.search(thing) or not named or named[0].end != len(thing):
        return None
    article = re.match(r"(an?|any|some) ", thing, re.I)
    name = bare_of(thing)
    if named[0].start != len(thing) - len(name) or not (article or named[0].start == 0):
        return None
    if is_plural(name):
        return f"Are there any {name}?"
    short = len(name.split()) < 3 and "?" in core
    return f"Is there {with_article(name)}?" if article or short else None
