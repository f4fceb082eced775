"""The last question asked of something else: "and the ships?", "the red one", "not the cars, the trees"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rsagent.chat.antecedents import Asked, by_role
from rsagent.chat.phrases import COLOURS, SIZES, STATES, Noun, nouns, pluralise, singularise, with_article

ABOUT = re.compile(
    r"^(?:(?:what|how) about|what of|(?:do )?(?:the )?same (?:question |thing )?(?:for|with|of|about)|"
    r"ditto for|i (?:mean|meant|said)|"
    r"not .+?, but|the ones? (?:with|of))\s+",
    re.I,
)
_INSTEAD = (
    re.compile(
        r"^(?:i (?:mean|meant|said) )?not (?P<old>[^,;.?!]+?)(?:\s*[,;.]\s*(?:but )?| but )(?:i (?:mean|"
        r"meant) )?(?P<new>[^,?!]+)$",
        re.I,
    ),
    re.compile(r"^(?:i (?:mean|meant|said) )?(?P<new>[^,?!]+?),? (?:and )?not (?P<old>[^,?!]+)$", re.I),
    re.compile(r"^(?P<new>[^,?!]+?) (?:instead of|rather than) (?P<old>[^,?!]+)$", re.I),
    re.compile(r"^(?:instead of|rather than) (?P<old>[^,?!]+), (?P<new>[^,?!]+)$", re.I),
    re.compile(r"^(?:i (?:mean|meant|said) (?:the )?)?(?P<old>\w[^,?!]*?) (?:->|→|=>) (?P<new>[^,?!]+)$", re.I),
)
MEANT = re.compile(r"[\s,]+(?:i|is what i) (?:mean|meant|said)$|[\s,]+that is$", re.I)
_PLACED = re.compile(r"^ (?:in|on|at|near|next to|close to|above|below|beside|behind|under|to the) [^?.!]*", re.I)
_ONES = re.compile(
    r"^(?:(?:the|that|those|these|this|any|all|your) )?(?P<which>(?:[\w-]+ ){0,3}?)(?P<one>ones?|others|rest)\b(?P<tail>.*)$",
    re.I,
)


def corrected(core: str, last: str) -> str | None:
    """The last question put right: "not the cars, the trees", "trees, not cars", "trees instead of cars"."""
    said = core.strip(" ?.!,")
    for form in _INSTEAD:
        match = form.match(said)
        if match and not has_verb(match["old"]) and not has_verb(match["new"]):
            old, new = bare_of(match["old"]), MEANT.sub("", match["new"])
            wrong = next((noun for noun in nouns(last) if singularise(noun.head) == singularise(old)), None)
            if wrong is None:
                return exchange(new, last)
            first = _subject(last)
            put = bare_of(new)
            put = pluralise(put) if re.search(r"\b(?:many|any|more|fewer) $", last[: wrong.start], re.I) else put
            changed = f"{last[: wrong.start]}{put}{last[wrong.end :]}"
            named = nouns(f"the {put}")
            return _agree(changed, wrong, named[0]) if named and first == wrong else changed
    return None


def _another_one(thing: str, last: str, slot: Noun) -> str | None:
    """Such as "the other one", "the one further left", "the others": of the same kind, at a place of its own."""
    match = _ONES.match(thing)
    if match is None:
        return None
    word, tail, which = match["one"].lower(), match["tail"], match["which"].lower().strip()
    if word in ("others", "rest"):
        which = f"{which} other".strip()
    if (
        re.match(r"(?:which|what|how|that|only|just|at)\b", which)
        or not (which or tail)
        or (not tail and all(part in COLOURS or part in SIZES for part in which.split()))
    ):
        return None
    kind = singularise(slot.head) if word == "one" else pluralise(slot.head)
    phrase = f"{which} {kind}".strip()
    before, after = last[: slot.start], _PLACED.sub("", last[slot.end :])
    if re.search(r"\bhow many $|\bany $", before, re.I):
        phrase = pluralise(phrase)
    now = Noun(phrase, phrase.endswith(pluralise(slot.head)), 0, 0)
    before = re.sub(r"\b(?:an?|any|all the) $", "the ", before, flags=re.I) if word == "one" else before
    return _agree(f"{before}{phrase}{tail}{after}", slot, now)


def _another_colour(bare: str, last: str, slot: Noun | None) -> str | None:
    """Such as "and green?" after "How many tanks are white?", "red or blue?" after "What color are the cars?"."""
    words = bare.split()
    colours = [word for word in words if word in COLOURS | SIZES | STATES]
    if not colours or any(word not in colours and word not in ("or", "and") for word in words):
        return None
    said = re.search(r"\b(\w+)([\s?.!]*)$", last)
    if said and said[1].lower() in COLOURS | SIZES | STATES:
        return f"{last[: said.start()]}{bare}{said[2]}"
    open_question = re.match(r"^(?:what|which) colou?r\b", last, re.I)
    stated = any(word in STATES for word in words)
    counted = slot and re.search(r"\b(?:many|any|an?) $", last[: slot.start], re.I)
    if slot and (stated or len(words) > 1 or (open_question and not counted)):
        return f"{'Are' if slot.plural else 'Is'} {slot.the()} {bare}?"
    return None


def exchange(core: str, last: str) -> str | None:
    """The last question about another thing: "and the ships?", "houses?", "I meant the red one."."""
    thing = ABOUT.sub("", core).strip(" ?.!,")
    thing = re.sub(r"\s+(?:is|are)$", "", MEANT.sub("", thing), flags=re.I)
    thing = re.sub(r"^(?:(?:and|of|for|with|only|just|or|also) )+", "", thing, flags=re.I)
    thing = re.sub(r"(?<=\w)['’]s?$", "", thing)
    article = re.match(r"(?:the|those|these) ", thing, re.I)
    coloured = None if article else _another_colour(thing.casefold(), last, _subject(last))
    if coloured:
        return coloured
    slot = _subject(last)
    if slot is None or not thing:
        return None
    if re.match(r"(?:an?|any) ", thing, re.I):  # "and a garden?" after "Does the house have a pool?"
        slot = next((noun for noun in nouns(last) if re.search(r"\b(?:an?|any) $", last[: noun.start], re.I)), slot)
    one = _another_one(thing, last, slot)
    if one:
        return one
    single = re.match(r"an? ", thing, re.I)
    bare = bare_of(thing)
    words = bare.split()
    if words[-1] in ("one", "ones"):
        words = words[:-1]
    if words and all(word in COLOURS or word in SIZES for word in words):
        kind = slot.head if words[0] in COLOURS else _sizeless(slot.words)
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
    if one and named[0].plural and re.search(r"\b(?:see|have|show|contain|find|spot) an? $", before, re.I):
        return f"{before[: one.start()]}any {bare}{last[slot.end :]}"
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


def _sizeless(words: str) -> str:
    return " ".join(word for word in words.split() if word not in SIZES) or words


def has_verb(text: str) -> bool:
    """Whether `text` has a verb of its own, so that it is more than the name of a thing."""
    return bool(_VERB.search(text))


def last_question(history: Sequence[Asked]) -> str:
    """The last question; "" where there is none."""
    return next((asked.question for asked in reversed(history) if not asked.told), "")


def bare_of(thing: str) -> str:
    """A thing without its article."""
    return re.sub(r"^(?:the|a|an|any|some|those|these|that) ", "", thing.strip(" ?.!,"), flags=re.I).casefold()
