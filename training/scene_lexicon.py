"""The words and phrases by which a caption is read: nouns, amounts, colours, places, sides and directions."""

from __future__ import annotations

import re

from rsagent.training.scene_model import COLOURS, DIRECTIONS
from rsagent.training.scene_words import NUMBERS

_KIND_WORDS: dict[str, tuple[str, ...]] = {
    "plane": ("plane", "airplane", "aeroplane", "aircraft", "aircrafts", "jet"),
    "ship": ("ship", "boat", "vessel", "yacht", "sailboat"),
    "car": ("car", "vehicle", "automobile"),
    "house": ("house", "home", "cottage"),
    "storage tank": ("storage tank", "oil tank", "fuel tank", "tank"),
    "pool": ("pool", "swimming pool"),
    "tree": ("tree", "palm tree", "palm"),
    "tennis court": ("tennis court",),
    "football field": ("football field", "soccer field", "football pitch", "soccer pitch"),
    "baseball field": ("baseball field", "baseball diamond"),
    "farm field": ("farm field", "crop field", "agricultural field"),
    "umbrella": ("umbrella", "beach umbrella", "parasol", "sunshade"),
    "dock": ("dock", "pier", "jetty", "wharf"),
    "bridge": ("bridge",),
    "large building": ("large building", "big building", "terminal", "terminal building", "warehouse", "hangar"),
}
_STUFF_WORDS: dict[str, tuple[str, ...]] = {
    "road": ("road", "street", "highway"),
    "runway": ("runway", "airstrip"),
    "river": ("river",),
    "sea": ("sea", "ocean"),
    "pond": ("pond",),
    "water": ("water",),
}
_SCENE_WORDS: dict[str, tuple[str, ...]] = {
    "airport": ("airport", "airfield"),
    "harbor": ("harbor", "harbour", "port", "marina"),
    "parking lot": ("parking lot", "car park", "parking area"),
    "residential area": ("residential area", "residential district", "neighborhood", "neighbourhood"),
    "farmland": ("farmland", "farm land"),
    "forest": ("forest", "woodland", "woods"),
    "beach": ("beach",),
    "sports ground": ("sports ground", "sports field", "sports area"),
    "industrial area": ("industrial area", "industrial site", "industrial zone"),
    "intersection": ("intersection", "crossroads"),
    "park": ("park",),
    "desert": ("desert",),
}
ADJECTIVES = frozenset(
    "small large big tall long parked moored several-colored wooden round single separate green-leaved dense wide "
    "narrow paved straight colored coloured dark light bright old new other different similar bare sandy".split()
)
COLOUR_WORDS = {**{c: c for c in COLOURS}, "gray": "grey", "golden": "yellow", "silver": "grey"}
NUMBER_WORDS: dict[str, int] = {word: n for n, word in enumerate(NUMBERS) if n}
AMOUNTS: dict[str, int] = {"many": 4, "numerous": 4, "dozens": 8, "several": 2, "couple": 2, "some": 1, "few": 1}
"""Vague amounts and the least count for which they are let pass."""
_PICTURE = r"(?:image|picture|scene|photo|view|frame|middle|map)"
PLACE_PHRASE = re.compile(
    r"\b(?:in|at|on|near|along|towards?) (?:the )?"
    r"(?:(?P<row>top|upper|bottom|lower|center|centre|middle) (?:hand )?(?P<column>left|right|center|centre|middle)"
    r"|(?P<one>top|upper|bottom|lower|left|right|center|centre|middle))\b"
    r"(?: hand)?(?: (?:corner|part|side|edge|half|area|section|middle))?"
    rf"(?= of (?:the |this )?{_PICTURE}\b|(?! of\b))"
)
SIDE_PHRASES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("left", re.compile(r"\b(?:(?:to|on|at) the left(?: side| hand side)? of|left of|west of)$")),
    ("right", re.compile(r"\b(?:(?:to|on|at) the right(?: side| hand side)? of|right of|east of)$")),
    ("above", re.compile(r"\b(?:above|higher in the (?:image|picture) than|higher than|north of)$")),
    ("below", re.compile(r"\b(?:below|lower in the (?:image|picture) than|lower than|south of)$")),
)
_CORNER = r"(?:the )?(?:{0}) (?:{1})(?: corner)?"
_TL, _BR = _CORNER.format("top|upper", "left"), _CORNER.format("bottom|lower", "right")
_BL, _TR = _CORNER.format("bottom|lower", "left"), _CORNER.format("top|upper", "right")
WAY_PHRASES: tuple[tuple[frozenset[str], re.Pattern[str]], ...] = (
    (frozenset(DIRECTIONS[2:3]), re.compile(rf"\bfrom (?:{_TL} to {_BR}|{_BR} to {_TL})\b")),
    (frozenset(DIRECTIONS[3:4]), re.compile(rf"\bfrom (?:{_BL} to {_TR}|{_TR} to {_BL})\b")),
    (frozenset(DIRECTIONS[2:]), re.compile(r"\bdiagonally\b")),
    (frozenset(DIRECTIONS[:1]), re.compile(
        r"\b(?:horizontally|from (?:the )?(?:left to (?:the )?right|right to (?:the )?left))\b")),
    (frozenset(DIRECTIONS[1:2]), re.compile(
        r"\b(?:vertically|from (?:the )?(?:top to (?:the )?bottom|bottom to (?:the )?top))\b(?! (?:left|right))")),
)  # fmt: skip


def _plural(word: str) -> str:
    if word.endswith(("ty", "ry")):
        return word[:-1] + "ies"
    if word.endswith("wharf"):
        return word[:-1] + "ves"
    return word + ("es" if word.endswith(("ch", "s")) else "s")


def _lexicon() -> dict[tuple[str, ...], tuple[tuple[str, ...], str, bool]]:
    table: dict[tuple[str, ...], tuple[tuple[str, ...], str, bool]] = {}
    for sort, words in (("kind", _KIND_WORDS), ("stuff", _STUFF_WORDS), ("scene", _SCENE_WORDS)):
        for name, forms in words.items():
            for form in forms:
                table[tuple(_plural(form).split())] = ((name,), sort, True)
                table[tuple(form.split())] = ((name,), sort, False)
    table[("building",)] = (("large building", "house"), "kind", False)
    table[("buildings",)] = (("large building", "house"), "kind", True)
    return table


LEXICON = _lexicon()
REACH = max(len(key) for key in LEXICON)
