"""Which pictures a question names: "in the second picture", "in both", "picture 3", "the other one"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rsagent.errors import UserError

_ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5,
}  # fmt: skip
_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_PICTURE = r"(?:picture|image|photo|photograph)"
_NTH = "|".join(_ORDINALS)
_LEAD = r"(?:\s*,)?\s*\b(?:(?:in|of|on|for|from|about|at) )?"
_NAMED = re.compile(
    rf"{_LEAD}(?:the )?(?:(?P<nth>{_NTH}|last|other|next|previous) {_PICTURE}"
    rf"|{_PICTURE} (?:number |no\. ?|#)?(?P<number>\d{{1,3}}|one|two|three|four|five)\b)\s*,?",
    re.I,
)
_NTH_ONE = re.compile(rf"\s*\b(?:in|of|on|for|from) the (?P<nth>{_NTH}|last|other)(?: one)?(?=[\s?.!]*$)", re.I)
_NTH_ALONE = re.compile(rf"^(?:the )?(?P<nth>{_NTH}|last|other)(?: one)?[\s?.!]*$", re.I)
_ALL = re.compile(
    rf"{_LEAD}(?:both(?: of them)?(?: (?:the )?{_PICTURE}s)?(?=[\s?.!]*$)|"
    rf"(?:both|all|each|every)(?: of)?(?: the)? {_PICTURE}s?)",
    re.I,
)
_COMPARES = re.compile(
    rf"^(?:which|what)(?: one)?(?: of (?:the )?(?:two|three|{_PICTURE}s|them|these))?(?: {_PICTURE})? (?:has|shows|contains) "
    r"(?:more|fewer|less|the most|the fewest|most) (?P<thing>[^?.!]+)",
    re.I,
)


@dataclass(frozen=True)
class Reference:
    """A question without the words that choose pictures, and the pictures they choose; none when there are no such words."""

    text: str
    pictures: tuple[int, ...]
    compares: bool = False


def find_pictures(text: str, current: int, count: int, explicit_before: bool) -> Reference:
    """What pictures `text` names.

    Args:
        text: the question.
        current: the picture in use, from 1.
        count: how many there are.
        explicit_before: the turn before named a picture, so that "and the second?" means one, too.

    Raises:
        UserError: it names one that is not there.
    """
    everything = tuple(range(1, count + 1))
    comparing = _COMPARES.match(text)
    if comparing and count > 1:
        return Reference(f"How many {comparing['thing'].strip()} are there?", everything, compares=True)
    if count > 1 and (all_of := _ALL.search(text)):
        return Reference(_without(text, all_of), everything)
    found = _NAMED.search(text)
    if found is None and count > 1:
        found = _NTH_ONE.search(text) or (_NTH_ALONE.match(text) if explicit_before else None)
    if found is None:
        return Reference(text, ())
    word = found["nth"] or found["number"]
    return Reference(_without(text, found), (_number(word.lower(), current, count),))


def _number(word: str, current: int, count: int) -> int:
    if word == "last":
        number = count
    elif word in ("other", "next", "previous"):
        step = -1 if word == "previous" else 1
        number = (current - 1 + step) % count + 1
        if count == 1:
            raise UserError("there is only one picture: /image PATH adds another")
    else:
        number = _ORDINALS.get(word) or _NUMBERS.get(word) or int(word)
    if not 1 <= number <= count:
        there = "is only one picture" if count == 1 else f"are {count} pictures" if count else "is no picture"
        raise UserError(f"picture {number} is not there, there {there}: /images lists them, /image PATH adds one")
    return number


def _without(text: str, found: re.Match[str]) -> str:
    rest = f"{text[: found.start()]} {text[found.end() :]}"
    return re.sub(r"\s+([?.!,])", r"\1", " ".join(rest.split())).strip(" ,")
