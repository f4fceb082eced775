"""Which pictures a question names: "in the second picture", "in both", "picture 3", "the other one"; and which it compares."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rsagent.chat.phrases import is_plural
from rsagent.errors import UserError

_ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5,
}  # fmt: skip
_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_PICTURE = r"(?:picture|image|photo|photograph|shot)"
_NTH = "|".join(_ORDINALS)
_LEAD = r"(?:\s*,)?\s*\b(?:(?:in|of|on|for|from|about|at) )?"
_NAMED = re.compile(
    rf"{_LEAD}(?P<ref>(?:the )?(?:(?P<nth>{_NTH}|last|other|next|previous) {_PICTURE}s?\b"
    rf"|{_PICTURE} (?:number |no\. ?|#)?(?P<number>\d{{1,3}}|one|two|three|four|five)\b))\s*,?",
    re.I,
)
_ORDER = rf"(?P<nth>{_NTH}|last|other|next|previous)"
_NTH_ONE = re.compile(
    rf"\s*\b(?:in|of|on|for|from|at) (?:the )?(?:{_ORDER}(?: one)?|(?:#|no\.? |number )?(?P<number>\d{{1,2}}))(?=[\s?.!]*$)",
    re.I,
)
_ABOUT = (
    r"(?:(?:what|how) (?:about|of) |(?:(?:do )?the )?same (?:question |thing )?(?:for|with|in|on|of) |i (?:mean|meant|said) |"
    r"not (?:this|that)(?: one)?,? (?:but )?)?"
)
_NTH_ALONE = re.compile(
    rf"^{_ABOUT}(?:in |on |for |of |with |about )?(?:the |that )?{_ORDER}(?: one)?(?: i (?:mean|meant))?[\s?.!]*$", re.I
)
_NUMBER_ALONE = re.compile(rf"^{_ABOUT}(?:#|no\.? |number )?(?P<number>\d{{1,2}}|(?<=number )(?:one|two|three))[\s?.!]*$", re.I)
_THIS_ALONE = re.compile(rf"^{_ABOUT}(?:in |on |for )?(?P<this>this|the current)(?: one| {_PICTURE})[\s?.!]*$", re.I)
# "Back to the first one. Any cars?", "the second: how many?"
_NTH_FIRST = re.compile(rf"^(?P<lead>in |on |for |about |from |at )?(?:the )?{_ORDER}(?: one)?\s*[.,:;–-]+\s*(?=\w)", re.I)
_BACK = re.compile(
    r"^(?:(?:let's |lets |let us )?(?:go|switch|return|turn|move|look)(?:ing)? )?(?:back to|over to|on to|to|at)\s+"
    rf"(?=(?:the )?(?:{_NTH}|last|other|next|previous)\b|(?:the )?{_PICTURE} )",
    re.I,
)
_ALL = re.compile(
    rf"{_LEAD}(?:both(?: of them)?(?: (?:the )?{_PICTURE}s)?(?=[\s?.!]*$)|"
    rf"(?:both|all|each|every)(?: of)?(?: the)?(?: two| three| four)? {_PICTURE}s?\b|"
    rf"(?<=in |on )(?:all|each|every one|either)(?: one| (?:of )?(?:them|the two|the three|two|three|four))?(?=[\s?.!]*$))",
    re.I,
)
_COMPARES = re.compile(
    rf"^(?:which|what)(?: one)?(?: of (?:the )?(?:two|three|{_PICTURE}s|them|these))?(?: {_PICTURE})? (?:has|shows|contains) "
    r"(?:more|fewer|less|the most|the fewest|most) (?P<thing>[^?.!]+)",
    re.I,
)
_CHOOSES = re.compile(rf"^(?:in |on )?which (?:(?:one )?of (?:the |these )?(?:two |three )?{_PICTURE}s|{_PICTURE})\b", re.I)
_LISTED = re.compile(
    rf"{_LEAD}(?P<ref>(?:the )?{_PICTURE}s? (?:numbers? |#)?"
    r"(?P<list>\d{1,3}(?:(?:, ?(?:and )?| and | or | ?& ?)#?\d{1,3})+))\b",
    re.I,
)
# "The second", "this one": pictures where another one is named, too.
_SHORT = re.compile(
    rf"{_LEAD}(?P<ref>the (?P<nth>{_NTH}|last|other)(?: one)?)"
    rf"(?=\s*[?.!,]|\s*$|(?P<on> (?:and|or|than|with|to|from|{_NTH})\b))|\b(?P<this>this|the current) (?:{_PICTURE}|one)\b",
    re.I,
)
_SEVERAL = re.compile(
    rf"(?:\b(?:the|these|those|my|all|both|other|two|three|four|five) )*\b{_PICTURE}s\b|\b(?:the|these) two(?=[\s?.!,]*$)"
    r"|(?<=compare )(?:them|both|these|all)(?=[\s?.!]*$)",
    re.I,
)
_UNLIKE = re.compile(r"\b(?:compar(?:e|ed|ing|ison)|contrast|differ(?:s|ent|ences?)?|chang(?:e|es|ed)|in common)\b", re.I)
_AGAINST = re.compile(
    r"\b(?:(?P<than>than)|or|from|to|with|since|against|and|between|changed|different)(?: (?:in|on|of|at|for))? ?$", re.I
)
_MORE = re.compile(
    r"^(?:are there|do(?:es)? @ (?:have|show|contain)) (?:more|fewer|less) "
    r"(?P<thing>(?!than\b|@)[^\s?.!,]+(?: (?!than\b|in\b|on\b|@)[^\s?.!,]+){0,3})(?: (?:in|on))?(?: @)? than\b[^.!?]*@",
    re.I,
)
_COMPARING_WORDS = frozenset(
    "@ what how many which where name list tell show find me can could you is are do does did has have there any anything "
    "something s it them the a main most biggest in on of to from and or with by since between against each other".split()
)
_WHOLE = "What does the image mainly show?"


@dataclass(frozen=True)
class Reference:
    """A question without the words that choose pictures, and the pictures they choose; none when there are no such words.

    With `compares` the pictures were held against each other, and `text` is what to ask of each of them; with `final` it is
    to stay as it is.
    """

    text: str
    pictures: tuple[int, ...]
    compares: bool = False
    final: bool = False


@dataclass(frozen=True)
class _Span:
    """Where a text names pictures: with and without the preposition before them."""

    start: int
    bare: int
    end: int
    pictures: tuple[int, ...]


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
    text = _BACK.sub("", text, count=1) if count > 1 else text
    comparing = _COMPARES.match(text)
    if comparing and count > 1:
        return Reference(f"How many {comparing['thing'].strip()} are there?", everything, compares=True)
    spans = _spans(text, current, count)
    if count > 1 and (compared := _compared(text, spans, current, everything)):
        return compared
    if count > 1 and (all_of := _ALL.search(text)):
        rest = _without(text, all_of.start(), all_of.end())
        return Reference(re.sub(r"^do(?:es)? (?=(?:show|have|contain)\b)", "Does the image ", rest, flags=re.I), everything)
    if spans:
        for span in reversed(spans):  # all name the same picture
            text = _without(text, span.start, span.end)
        return Reference(text.lstrip(" .:;-"), spans[0].pictures)
    found = _short_of(text, explicit_before) if count > 1 else None
    if found is None:
        return Reference(text, ())
    words = found.groupdict()
    chosen = current if words.get("this") else _number((words.get("nth") or words["number"]).lower(), current, count)
    return Reference(_without(text, found.start(), found.end()), (chosen,))


def _short_of(text: str, explicit_before: bool) -> re.Match[str] | None:
    """Where several pictures are talked about: "in the second", "what about the first one?", "this one?", "in 2".

    What may be a thing as well ("the other one") is a picture only after a question that named one.
    """
    for form in (_NTH_ALONE, _NTH_FIRST):
        found = form.match(text)
        if found:
            sure = found["nth"].lower() not in ("last", "other") or explicit_before or found.groupdict().get("lead")
            return found if sure else _NTH_ONE.search(text)
    return (
        _THIS_ALONE.match(text)
        or _NTH_ONE.search(text)
        or (_NUMBER_ALONE.match(text) if explicit_before or "#" in text else None)
    )


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


def _without(text: str, start: int, end: int) -> str:
    rest = f"{text[:start]} {text[end:]}"
    return re.sub(r"\s+([?.!,])", r"\1", " ".join(rest.split())).strip(" ,")


def _spans(text: str, current: int, count: int) -> list[_Span]:
    """All places where `text` names pictures by number or order, from left to right; short forms only beside another one."""
    found: list[_Span] = []

    def add(match: re.Match[str], words: list[str]) -> None:
        numbers = tuple(_number(word.lower(), current, count) for word in words)
        if not any(one.start < match.end() and match.start() < one.end for one in found):
            found.append(_Span(match.start(), _bare(match), match.end(), numbers))

    for match in _LISTED.finditer(text):
        add(match, re.findall(r"\d+", match["list"]))
    for match in _NAMED.finditer(text):
        add(match, [match["nth"] or match["number"]])
    short = [match for match in _SHORT.finditer(text) if match["this"] or match["on"] or _AGAINST.search(text, 0, _bare(match))]
    if count > 1 and (
        found or _SEVERAL.search(text) or _UNLIKE.search(text) or sum(match["this"] is None for match in short) > 1
    ):
        for match in short:
            add(match, [match["nth"] or str(current)])
    return sorted(found, key=lambda span: span.start)


def _bare(match: re.Match[str]) -> int:
    """Where a match begins without its preposition."""
    return match.start("ref") if match["ref"] else match.start()


def _compared(text: str, spans: list[_Span], current: int, everything: tuple[int, ...]) -> Reference | None:
    """The pictures that `text` holds against each other and what to ask of each; None where it compares none."""
    named = {number for span in spans for number in span.pictures}
    unlike = bool(_UNLIKE.search(text))
    if len(named) == 1:
        against = _AGAINST.search(text, 0, spans[0].bare)
        if not against or not (unlike or against["than"]):
            return None
        named.add(current)
        if len(named) == 1:  # the current one is named: the other one is meant, where there is but one other
            named.update(everything if len(everything) == 2 else ())
    elif not named:
        several = _SEVERAL.search(text)
        against = _AGAINST.search(text, 0, several.start()) if several else None
        if (several and (unlike or (against and against["than"]))) or _CHOOSES.match(text):
            named.update(everything)
    if len(named) < 2:
        return None
    question, final = _of_each(text, spans, unlike)
    return Reference(question, tuple(sorted(named)), compares=True, final=final)


def _of_each(text: str, spans: list[_Span], unlike: bool) -> tuple[str, bool]:
    """What to ask of each picture in place of a comparison, and whether that is to stay as it is."""
    skeleton = text
    for span in reversed(spans):
        skeleton = f"{skeleton[: span.start]} @ {skeleton[span.end :]}"
    skeleton = " ".join(_SEVERAL.sub(" @ ", skeleton).split())
    more = _MORE.match(skeleton)
    if more and (is_plural(more["thing"]) or more["thing"].lower().startswith("of ")):
        return f"How many {more['thing']} are there?", False
    if unlike and set(re.findall(r"[a-z]+|@", _UNLIKE.sub("@", skeleton.lower()))) <= _COMPARING_WORDS:
        return _WHOLE, True
    gaps = [text[one.end : other.start] for one, other in zip(spans, spans[1:], strict=False)]
    listed = all(re.fullmatch(r"\s*(?:,|,?\s*\band\b|&)?\s*", gap, re.I) for gap in gaps)
    if spans and listed and not unlike and spans[0].bare > spans[0].start + 1:
        return _without(text, spans[0].start, spans[-1].end), False
    return text, True
