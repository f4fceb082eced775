"""The words for what scenes hold: names with their synonyms, number words, and joining of lists."""

from __future__ import annotations

import numpy as np

NUMBERS: tuple[str, ...] = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "plane": (("plane", "planes"), ("airplane", "airplanes"), ("aircraft", "aircraft")),
    "ship": (("ship", "ships"), ("boat", "boats")),
    "car": (("car", "cars"), ("vehicle", "vehicles")),
    "house": (("house", "houses"), ("house", "houses"), ("small house", "small houses")),
    "storage tank": (("storage tank", "storage tanks"), ("tank", "tanks")),
    "pool": (("pool", "pools"), ("swimming pool", "swimming pools")),
    "tree": (("tree", "trees"),),
    "tennis court": (("tennis court", "tennis courts"),),
    "football field": (("football field", "football fields"), ("soccer field", "soccer fields")),
    "baseball field": (("baseball field", "baseball fields"), ("baseball diamond", "baseball diamonds")),
    "farm field": (("farm field", "farm fields"), ("crop field", "crop fields")),
    "umbrella": (("umbrella", "umbrellas"), ("parasol", "parasols")),
    "dock": (("dock", "docks"), ("pier", "piers"), ("jetty", "jetties")),
    "bridge": (("bridge", "bridges"),),
    "large building": (("large building", "large buildings"), ("big building", "big buildings")),
    "road": (("road", "roads"),),
    "runway": (("runway", "runways"),),
    "river": (("river", "rivers"),),
    "sea": (("sea", "sea"),),
    "pond": (("pond", "ponds"),),
}
"""Singular and plural of each kind, the usual word first."""
PLACES: dict[str, tuple[str, ...]] = {
    "top left": ("in the top left", "in the top left corner", "in the upper left part", "at the top left"),
    "top": ("at the top", "in the top center", "at the top of the image", "in the upper middle part"),
    "top right": ("in the top right", "in the top right corner", "in the upper right part", "at the top right"),
    "left": ("on the left", "on the left side", "in the center left part", "at the left edge of the middle"),
    "center": ("in the center", "in the middle", "in the center of the image", "near the middle of the image"),
    "right": ("on the right", "on the right side", "in the center right part", "at the right edge of the middle"),
    "bottom left": ("in the bottom left", "in the bottom left corner", "in the lower left part"),
    "bottom": ("at the bottom", "in the bottom center", "at the bottom of the image", "in the lower middle part"),
    "bottom right": ("in the bottom right", "in the bottom right corner", "in the lower right part"),
}
RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("to the left of", "left of", "on the left of"),
    "right": ("to the right of", "right of", "on the right of"),
    "above": ("above", "above", "higher in the image than"),
    "below": ("below", "below", "lower in the image than"),
}
DIRECTION_FORMS: dict[str, tuple[str, ...]] = {
    "from left to right": ("from left to right", "horizontally", "from the left to the right"),
    "from top to bottom": ("from top to bottom", "vertically", "from the top to the bottom"),
    "from top left to bottom right": ("from top left to bottom right", "from the top left to the bottom right"),
    "from bottom left to top right": ("from bottom left to top right", "from the bottom left to the top right"),
}


def pick(rng: np.random.Generator, options: tuple[str, ...] | list[str]) -> str:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def name(rng: np.random.Generator, kind: str, plural: bool, plain: float = 0.6) -> str:
    """A word for `kind`: with the chance `plain` its usual one, else any."""
    forms = NAMES[kind]
    chosen = forms[0] if rng.random() < plain else forms[int(rng.integers(len(forms)))]
    return chosen[int(plural)]


def coloured(colour: str, noun: str) -> str:
    """The noun with its colour: "red car", but "large red building"; the size of a house is left out."""
    noun = noun.removeprefix("small ")
    size, _, rest = noun.partition(" ")
    return f"{size} {colour} {rest}" if size in ("large", "big") else f"{colour} {noun}"


def article(noun: str) -> str:
    """The noun with "a" or "an" before it."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def joined(parts: list[str]) -> str:
    """The parts as one list: a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."
