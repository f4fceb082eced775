"""Which number and colour belongs to which thing, and which thing lies on which side of which, as far as rules can tell.

A bag of words does not tell "three boats and two red cars" from "two boats and three red cars". What is found here is
compared by form: words as they stand, made alike by the caller's stem.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

COLOURS = frozenset(
    "red white blue green grey gray black yellow brown orange purple pink dark light beige silver golden".split()
)
_SIDES = frozenset("left right above below north south east west".split())
_BE = frozenset(("is", "are", "was", "were"))
_FILLERS = frozenset(("side", "part", "edge", "end", "corner"))
# "building", "parking" and "crossing" are things
_PARTICIPLE = re.compile(r"(?:\w{3,}ed|lying|standing|floating|sitting|facing|moving|running|flying|leading)$")

Stem = Callable[[str], str]


class Facts:
    """What a text says of things.

    Attributes:
        qualities: (number or colour, word of the noun phrase that it stands before or is said of), stems.
        demanded: for each number and colour, all the words that must stand with it, as they are written.
        places: (thing, side, thing), as it is written.
    """

    def __init__(self, tokens: Sequence[str], free: frozenset[str], stem: Stem) -> None:
        """Read a text.

        Args:
            tokens: its words in small letters, numbers as digits, and its punctuation.
            free: words that are no things.
            stem: makes the forms of a word alike.
        """
        self._tokens, self._free = tokens, free
        self.qualities: set[tuple[str, str]] = set()
        self.demanded: list[tuple[str, str]] = []
        self.places: list[tuple[str, str, str]] = []
        for place, token in enumerate(tokens):
            if token in COLOURS or token.isdecimal():
                phrase = list(self._phrase(place)) or self._said_of(place)
                self.qualities.update((stem(token), stem(word)) for word in phrase)
                self.demanded += [(token, word) for word in _things(phrase)]
            elif token in _SIDES and (between := self._between(place)) is not None:
                self.places.append((between[0], token, between[1]))

    def _is_thing(self, token: str) -> bool:
        if token in self._free or token in _SIDES or token in COLOURS or token in _FILLERS:
            return False
        return not token.isdecimal() and token[0].isalpha()

    def _phrase(self, place: int) -> Iterator[str]:
        """The words of the noun phrase before which the number or colour at `place` stands."""
        following = list(self._tokens[place + 1 :])
        while len(following) > 1 and following[0] == "and" and following[1] in COLOURS:
            following = following[2:]
        for token in following:
            if self._is_thing(token):
                yield token
            elif token not in COLOURS:
                return

    def _said_of(self, place: int) -> list[str]:
        """The thing of "the cars are red", "cars: 2" and "cars (2)"."""
        before = place - 1
        while before >= 0 and (self._tokens[before] in COLOURS or self._tokens[before] in (*_BE, "and", ":")):
            before -= 1
        return [self._tokens[before]] if before >= 0 and self._is_thing(self._tokens[before]) else []

    def _between(self, place: int) -> tuple[str, str] | None:
        """The things before and behind the side at `place`; None when one of them is not named."""
        one = ""
        for token in reversed(self._tokens[:place]):
            if token in (".", ";", "!", "?"):
                break
            if self._is_thing(token) and not _PARTICIPLE.match(token):
                one = token
                break
        phrase: list[str] = []
        for token in self._tokens[place + 1 :]:
            if self._is_thing(token):
                phrase.append(token)
            elif token not in COLOURS and (phrase or not (token in self._free or token in _FILLERS or token.isdecimal())):
                break
        things = _things(phrase)
        return (one, things[-1]) if one and things else None


def _things(phrase: Sequence[str]) -> list[str]:
    """A phrase without what is said behind the noun: "boats moored" gives "boats"."""
    kept = list(phrase)
    while len(kept) > 1 and _PARTICIPLE.match(kept[-1]):
        kept.pop()
    return kept
