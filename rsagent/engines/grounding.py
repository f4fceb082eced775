"""Whether a caption that a language model composed says only what the experts reported."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rsagent.engines.grounded_pairs import Facts

_FREE = frozenset(
    # what holds a sentence together, and what every caption of an aerial image may say
    "a an and are as at be been being both but by can each for from has have her here his how in into is it its more most"
    " of on onto or other others over some such than that the their them then there these they this those through to"
    " together under up upon very was were what when where which while who whose with within without you your"
    " aerial image images picture photo photograph view views scene scenes show shows showing shown depict depicts"
    " depicting feature features featuring contain contains containing include includes including located situated lie"
    " lies lying stand stands see seen seem visible appear appears overall consist consists also one several area areas"
    " surrounding background accompanied alongside".split()
)
_NUMBERS = {
    word: str(number)
    for number, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())
}
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_DENIED = re.compile(r"\b(?:no|without|not any|neither|nor)\s+(?:\w+\s+)?(\w+)", re.IGNORECASE)


def ungrounded(caption: str, reports: str) -> list[str]:
    """What `caption` says and no report does.

    That is: words that carry meaning; things that the reports deny; a number or a colour of another thing ("three cars" where
    three boats are reported); a thing on the side of another ("cars left of boats" where boats lie left of cars).

    Word forms count alike (plane, planes; surround, surrounded), numbers in words and digits too. Strict on purpose: a
    synonym is refused, as is "right of" for "left of" the other way round; the composer is asked to keep to the experts' words.
    """
    known = {_stem(word) for word in _words(reports)}
    strange = [word for word in _words(caption) if word not in _FREE and _stem(word) not in known]
    denied = {_stem(word) for word in _denied(reports)} - {_stem(word) for word in _affirmed(reports)}
    claimed = [word for word in _affirmed(caption) if _stem(word) in denied]
    return list(dict.fromkeys([*strange, *(f"{word} (denied)" for word in claimed), *_mixed_up(caption, reports, strange)]))


def _mixed_up(caption: str, reports: str, strange: Sequence[str]) -> list[str]:
    """Numbers, colours and sides that the reports tell of other things; what is strange anyway is not repeated."""
    said, known = (Facts(_tokens(text), _FREE, _stem) for text in (caption, reports))
    wrong = [pair for pair in said.demanded if (_stem(pair[0]), _stem(pair[1])) not in known.qualities]
    told = {tuple(map(_stem, place)) for place in known.places}
    places = [place for place in said.places if tuple(map(_stem, place)) not in told]
    return [" ".join(words) for words in (*wrong, *places) if not set(words).intersection(strange)]


def _tokens(text: str) -> list[str]:
    """Words as `_words` has them, and the punctuation between them."""
    return [word for part in re.findall(r"[^\W_]+(?:'[^\W_]+)?|[.,;:!?]", text) for word in (_words(part) or [part])]


def _words(text: str) -> list[str]:
    found: list[str] = [str(word).casefold().removesuffix("'s") for word in _WORD.findall(text)]
    return [_NUMBERS.get(word, word) for word in found]


def _denied(text: str) -> list[str]:
    return [word.casefold() for found in _DENIED.finditer(text) for word in found[0].split()[1:] if word.lower() not in _FREE]


def _affirmed(text: str) -> list[str]:
    return _words(_DENIED.sub(" ", text))


def _stem(word: str) -> str:
    """A crude stem: what plural, participle and -ly forms of a word share."""
    for ending in ("ings", "ing", "edly", "ed", "ies", "es", "s", "ly", "y", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word
