"""Noun phrases of questions, found and bent by rule: what a question speaks of, in the singular and the plural."""

from __future__ import annotations

import re
from dataclasses import dataclass

COLOURS = frozenset(
    "red white blue green grey gray black yellow brown orange purple pink dark light bright beige silver golden".split()
)
SIZES = frozenset("large larger largest big bigger biggest small smaller smallest tall long little".split())
STATES = frozenset("parked moving empty full occupied moored docked flooded damaged frozen visible round square".split())
"""What may be said of a thing, besides its colour and size."""
SIDES = (
    "on top of", "to the left of", "to the right of", "on the left of", "on the right of", "left of", "right of",
    "north of", "south of", "east of", "west of", "next to", "close to", "higher than", "lower than",
    "above", "below", "beside", "near", "behind", "under", "over",
)  # fmt: skip
"""How one thing lies to another; longer ones first where one holds another."""

# Words that are no thing of the picture, though a question may put an article before them.
_NO_THING = frozenset(
    "image picture photo photograph scene frame view color colour position location place direction orientation side part "
    "area number amount count left right top bottom upper lower center centre middle corner edge kind type theme season "
    "time way year one ones two other first second third fourth fifth last same question answer ground half rest whole "
    "space lot most more all both each thing things something anything nothing everything turn".split()
)
_STOPS = frozenset(
    "is are was were be been am do does did can could would should will may might must has have had in on at of to from "
    "for with by than and or but not no there here that this these those it they them its their he she you i we me who what "
    "which where when why how above below beside between behind under over near next through across around along against "
    "left right relative compared located visible found seen shown present than run runs running go goes going lie lies "
    "lead leads cross crosses flow flows cover covers take takes occupy show shows see have take travel pass play live land "
    "grow parked moored too also then as well please now exactly really still all both each only just any some than "
    "larger smaller bigger taller longer north south east west out up down into onto contain contains if so about "
    "describe ignore tell say look compare explain list name give find more fewer less "
    "what's where's there's how's it's that's who's".split()
)
_DETERMINERS = frozenset("the a an any some many few several these those that this no every".split()) | frozenset(
    "two three four five six seven eight nine ten".split()
)
_IRREGULAR = {"person": "people", "man": "men", "child": "children", "leaf": "leaves", "wharf": "wharves"}
_UNCHANGED = frozenset("aircraft sheep farmland water grass sand snow vegetation sea traffic greenery".split())
_SINGULAR_ENDING = ("ss", "us", "is")


@dataclass(frozen=True)
class Noun:
    """A noun phrase without its article: `words` such as "large building", and how it stood in the question."""

    words: str
    plural: bool
    start: int
    end: int

    @property
    def head(self) -> str:
        """The noun itself with what names its kind, without a colour or "other": "red car" gives "car"."""
        kept = [word for word in self.words.split() if word not in COLOURS and word != "other"]
        return " ".join(kept) or self.words

    def the(self, plural: bool | None = None) -> str:
        """The phrase with "the", in the number given, or as it stood. Another number drops the colour."""
        if plural is None or plural == self.plural:
            return f"the {self.words}"
        return f"the {pluralise(self.head) if plural else singularise(self.words)}"

    def bent(self, plural: bool) -> Noun:
        """The phrase in the number given."""
        return self if plural == self.plural else Noun(self.the(plural).removeprefix("the "), plural, self.start, self.end)


def nouns(question: str, bare: bool = False) -> list[Noun]:
    """The things that a question speaks of, in order: runs of words after an article, "how many" and the like.

    With `bare` the first words may also be one: "red cars?".
    """
    found: list[Noun] = []
    tokens = [
        (match.group().casefold(), match.start(), match.end()) for match in re.finditer(r"[^\W_]+(?:['’-]\w+)*", question)
    ]
    position = 0
    while position < len(tokens):
        word = tokens[position][0]
        opens = word in _DETERMINERS or word.isdigit() or (word == "many" and position and tokens[position - 1][0] == "how")
        opens = opens or (word == "of" and position and tokens[position - 1][0] in ("number", "count"))
        opens = opens or (word == "there" and position and tokens[position - 1][0] in ("are", "is"))
        opens = opens or (word in ("color", "colour") and position and tokens[position - 1][0] in ("what", "which"))
        opens = opens or word in ("more", "fewer", "than") or (word == "as" and "as many" in question[: tokens[position][1]])
        if bare and not opens and position == 0 and word not in _STOPS:
            position -= 1  # the run begins with this word
        elif not opens:
            position += 1
            continue
        run: list[tuple[str, int, int]] = []
        while position + 1 < len(tokens) and len(run) < 4:
            token = tokens[position + 1]
            if (
                token[0] in _STOPS
                or token[0] in _DETERMINERS
                or token[0].isdigit()
                or (run and "," in question[run[-1][2] : token[1]])
            ):
                break
            if token[0] in COLOURS and any(word not in COLOURS | SIZES for word, _, _ in run):
                break  # "are the cars red": what is said of them
            owner = re.fullmatch(r"(\w+)['’]s", token[0])
            run.append((owner[1], token[1], token[2] - 2) if owner else token)
            position += 1
            if owner:
                break  # "the house's colour": the house
        position += 1
        noun = _noun(run)
        if noun is not None:
            found.append(noun)
    return found


def _noun(run: list[tuple[str, int, int]]) -> Noun | None:
    """The noun phrase of a run of words, unless it names no thing of a picture."""
    if not run or run[-1][0] in _NO_THING or all(word in _NO_THING or word in COLOURS or word in SIZES for word, _, _ in run):
        return None
    words = " ".join(word for word, _, _ in run)
    return Noun(words, is_plural(words), run[0][1], run[-1][2])


def may_begin(word: str) -> bool:
    """Whether a noun phrase may go on with `word` after its article."""
    return word not in _STOPS and word not in _NO_THING and word not in _DETERMINERS


def is_plural(words: str) -> bool:
    """Whether a noun phrase is in the plural, by its last word."""
    last = words.rsplit(" ", 1)[-1]
    return last in _IRREGULAR.values() or (last.endswith("s") and not last.endswith(_SINGULAR_ENDING))


def pluralise(words: str) -> str:
    """A noun phrase in the plural."""
    first, space, last = words.rpartition(" ")
    if is_plural(words) or last in _UNCHANGED:
        return words
    if last in _IRREGULAR:
        return f"{first}{space}{_IRREGULAR[last]}"
    if re.search(r"[^aeiou]y$", last):
        return f"{first}{space}{last[:-1]}ies"
    return f"{words}es" if re.search(r"(?:s|x|z|ch|sh)$", last) else f"{words}s"


def singularise(words: str) -> str:
    """A noun phrase in the singular."""
    first, space, last = words.rpartition(" ")
    if not is_plural(words):
        return words
    for one, many in _IRREGULAR.items():
        if last == many:
            return f"{first}{space}{one}"
    if last.endswith("ies") and len(last) > 4:
        return f"{first}{space}{last[:-3]}y"
    short = last[:-2] if re.search(r"(?:ches|shes|xes|sses|buses)$", last) else last[:-1]
    return f"{first}{space}{short}"


def with_article(words: str) -> str:
    """A singular noun phrase with "a" or "an"."""
    return f"{'an' if words[:1] in 'aeiou' else 'a'} {words}"
