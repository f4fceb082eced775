"""Where experts contradict each other, found by rule in their words. Pure functions, no network.

A small vocabulary of what aerial images show, in families ("vehicle": car, truck, ...), is enough to compare experts:

- the relation expert names a thing of which neither the object nor the theme expert names anything of its family (roads,
  water and the like excepted: the object expert names what can be counted);
- the object expert says that there is none ("no cars");
- two experts count the same thing differently (relations may speak of a part: "two" where there are five is none);
- an expert states another kind of scene than the theme expert, or the opposite one (urban, rural).

A word outside the vocabulary never makes a contradiction: a missed one costs little, a false one costs a further pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rsagent.schemas import Conflict, ExpertReport

# The first word of a family covers the others ("no vehicles" denies cars); plurals are understood.
_FAMILIES: tuple[tuple[str, ...], ...] = (
    ("plane", "airplane", "aeroplane", "aircraft", "jet"),
    ("vehicle", "car", "truck", "bus", "van", "lorry"),
    ("ship", "boat", "vessel", "yacht", "ferry", "sailboat"),
    ("building", "house", "home", "roof", "villa", "apartment", "warehouse", "factory", "workshop", "skyscraper")
    + ("terminal", "hangar", "church", "school", "stadium", "mobile home"),
    ("vegetation", "plant", "tree", "wood", "forest", "bush", "shrub", "palm", "grass", "lawn", "meadow", "grassland")
    + ("greenery", "orchard", "garden", "green belt"),
    ("road", "street", "highway", "freeway", "motorway", "path", "avenue", "driveway", "overpass", "viaduct")
    + ("intersection", "crossroad", "roundabout"),
    ("bridge",),
    ("water", "river", "lake", "pond", "sea", "ocean", "stream", "canal", "bay", "creek", "wave"),
    ("beach", "sand", "shore", "coast", "desert", "dune"),
    ("pool", "swimming pool"),
    ("court", "tennis court", "basketball court"),
    ("field", "farmland", "cropland", "crop", "football field", "soccer field", "baseball field", "baseball diamond")
    + ("playground", "ground track"),
    ("tank", "storage tank"),
    ("parking lot", "car park", "parking space"),
    ("runway", "taxiway", "airstrip", "tarmac"),
    ("railway", "railroad", "rail", "train"),
    ("mountain", "hill", "peak", "ridge", "rock", "cliff"),
    ("container",),
    ("crane",),
    ("dock", "pier", "wharf", "jetty", "harbor", "harbour", "port", "marina"),
    ("chimney",),
    ("windmill", "wind turbine"),
    ("solar panel",),
)
_SCENES: tuple[tuple[str, ...], ...] = (
    ("airport", "airfield"),
    ("beach", "coast", "shore"),
    ("farmland", "farm", "cropland", "field"),
    ("forest", "woodland"),
    ("harbor", "harbour", "port", "marina", "dock"),
    ("industrial area", "factory area"),
    ("parking lot", "car park"),
    ("residential area", "neighborhood", "neighbourhood", "suburb", "mobile home park"),
    ("desert",),
    ("mountain",),
    ("river",),
    ("lake", "pond"),
    ("meadow", "grassland"),
    ("golf course",),
    ("railway station", "train station"),
    ("stadium",),
)
_OPPOSITES = (("urban", "rural"), ("summer", "winter"))

# What runs through a picture or covers it: the relation expert speaks of it where the object expert lists things.
_BACKGROUND = frozenset(("road", "water", "beach", "runway", "railway", "mountain"))

_FAMILY = {word: family for family in _FAMILIES for word in family}
_SCENE = {word: scene for scene in _SCENES for word in scene}
_NUMBERS = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty".split()
    )
}
_AT_LEAST = {"many": 3, "numerous": 3, "several": 2, "multiple": 2, "various": 2}
# Words that end the search for a number before a noun: the number would belong to something else.
_STOPS = frozenset(
    "a an the its their this that these those and or nor of in on at by with to from near beside between around along "
    "is are was were has have some few".split()
)
_STATED = re.compile(r"\b(?:this|it|scene|image|picture|photo) (?:is|shows|depicts) (?:of )?(?:an? |the )?((?:\S+ ?){1,4})")


class Mention(NamedTuple):
    """How a text speaks of one thing: between `low` and `high` of it, `shown` as the text writes it."""

    low: float
    high: float
    shown: str


def find_conflicts(words: Mapping[str, str]) -> list[Conflict]:
    """Contradictions in a caption's aspects.

    Args:
        words: expert -> what it says; only `theme`, `object` and `relation` are compared, empty ones not at all.

    Returns:
        In each Conflict, `expert` is the one to ask again and `against` the one whose words speak against it.
    """
    theme, objects, relations = (words.get(name, "") for name in ("theme", "object", "relation"))
    found: list[Conflict] = []
    if relations and objects:
        found += _relations_against_objects(mentions(relations), mentions(objects), mentions(theme))
    if theme and objects:
        found += _theme_against_objects(mentions(theme), mentions(objects))
    for expert, said in (("object", objects), ("relation", relations)):
        if theme and said:
            found += _scene_conflicts(expert, said, theme)
    return found


def find_answer_conflicts(reports: Sequence[ExpertReport]) -> list[Conflict]:
    """Evidence that contradicts the answer: yes against no, or another number.

    Args:
        reports: reports without an error, the one that answers first.
    """
    if not reports:
        return []
    first, found = reports[0], list[Conflict]()
    for other in reports[1:]:
        mine, theirs = _verdict(first.text), _verdict(other.text)
        if mine is not None and theirs is not None and type(mine) is type(theirs) and mine != theirs:
            what = f"{first.expert} answers '{first.text}', {other.expert} '{other.text}'"
            found.append(Conflict(expert=other.expert, against=first.expert, what=what))
    return found


def mentions(text: str) -> dict[str, Mention]:
    """The things of the vocabulary that `text` names, each with how many of it there are said to be.

    "three white cars" gives {"car": (3, 3)}, "no ships" {"ship": (0, 0)}, "many trees" {"tree": (3, inf)}, "a road"
    {"road": (1, inf)}. A thing that is counted in different ways has at least the greatest number.
    """
    text = re.sub(r"\b(?:lots|plenty|dozens|a lot|a large number) of\b", "many", text.casefold())
    text = re.sub(r"\ba (?:pair|couple) of\b", "two", text)
    tokens = re.findall(r"\w+(?:-\w+)*|[.;]", text)
    found: dict[str, list[Mention]] = {}
    position, denied_until = 0, -1
    while position < len(tokens):
        word, length = _thing(tokens, position)
        if word is None:
            position += 1
            continue
        low, high = _count(tokens, position)
        if position and tokens[position - 1] in ("or", "nor") and denied_until == position - 1:
            low, high = 0, 0  # "no cars or trees"
        if high == 0:
            denied_until = position + length
        found.setdefault(word, []).append(Mention(low, high, " ".join(tokens[position : position + length])))
        position += length
    return {word: _merge(several) for word, several in found.items()}


def carry(before: Sequence[Conflict], found: Sequence[Conflict]) -> list[Conflict]:
    """The conflicts of a turn after a further look: those of `before` not found again are resolved, new ones added."""
    still = {_key(conflict) for conflict in found}
    known = {_key(conflict) for conflict in before}
    looked = [conflict.model_copy(update={"resolved": _key(conflict) not in still}) for conflict in before]
    return looked + [conflict for conflict in found if _key(conflict) not in known]


def _key(conflict: Conflict) -> tuple[str, str, str]:
    return conflict.expert, conflict.against, conflict.what


def _relations_against_objects(
    relations: Mapping[str, Mention], objects: Mapping[str, Mention], theme: Mapping[str, Mention]
) -> list[Conflict]:
    if not objects:  # the object expert said nothing that can be compared
        return []
    supported = {_FAMILY[word] for words in (objects, theme) for word in words}
    found: list[str] = []
    for word, named in relations.items():
        if named.high == 0:
            continue
        if _FAMILY[word] not in supported:
            if _FAMILY[word][0] not in _BACKGROUND:
                found.append(f"relations name {named.shown}, objects do not")
            continue
        stated, general = objects.get(word), objects.get(_FAMILY[word][0])
        if any(said is not None and said.high == 0 for said in (stated, general)):
            found.append(f"relations name {named.shown}, objects say there is none")
        elif stated is not None and named.low > stated.high:
            found.append(f"relations count {_amount(named)} {named.shown}, objects {_amount(stated)}")
    return [Conflict(expert="relation", against="object", what=what) for what in found]


def _theme_against_objects(theme: Mapping[str, Mention], objects: Mapping[str, Mention]) -> list[Conflict]:
    found: list[Conflict] = []
    for word, whole in theme.items():
        stated = objects.get(word)
        if stated is not None and (whole.low > stated.high or stated.low > whole.high):
            what = f"theme counts {_amount(whole)} {whole.shown}, objects {_amount(stated)}"
            found.append(Conflict(expert="theme", against="object", what=what))
    return found


def _scene_conflicts(expert: str, said: str, theme: str) -> list[Conflict]:
    """What `expert` states the whole image to be ("this is a harbor") against the scenes that the theme names."""
    plural = {"object": "objects", "relation": "relations"}[expert]
    found: list[str] = []
    themes = _scenes(theme)
    for stated in _STATED.findall(said.casefold()):
        for scene, shown in _scenes(stated).items():
            if themes and scene not in themes:
                found.append(f"{plural} say {shown}, theme says {' and '.join(themes.values())}")
    spoken, themed = set(_tokens(said)), set(_tokens(theme))
    for one, other in _OPPOSITES:
        for mine, theirs in ((one, other), (other, one)):
            if mine in spoken and theirs in themed and theirs not in spoken and mine not in themed:
                found.append(f"{plural} say {mine}, theme says {theirs}")
    return [Conflict(expert=expert, against="theme", what=what) for what in found]


def _scenes(text: str) -> dict[tuple[str, ...], str]:
    tokens = _tokens(text)
    found: dict[tuple[str, ...], str] = {}
    for position in range(len(tokens)):
        for length in (3, 2, 1):
            shown = " ".join(tokens[position : position + length])
            known = next((word for word in _singulars(shown) if word in _SCENE), None)
            if known is not None:
                found.setdefault(_SCENE[known], shown)
                break
    return found


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _thing(tokens: Sequence[str], position: int) -> tuple[str | None, int]:
    """The vocabulary's word that starts at `position`, two tokens before one, and how many tokens it has."""
    for length in (2, 1):
        for word in _singulars(" ".join(tokens[position : position + length])):
            if word in _FAMILY and position + length <= len(tokens):
                return word, length
    return None, 0


def _singulars(word: str) -> list[str]:
    """`word` and what it may be the plural of."""
    forms = [word]
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    if word.endswith("ves"):
        forms.append(word[:-3] + "f")
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("s"):
        forms.append(word[:-1])
    return forms


def _count(tokens: Sequence[str], position: int) -> tuple[float, float]:
    """How many of the thing at `position` there are, by the number at most three words before it."""
    for token in reversed(tokens[max(0, position - 3) : position]):
        if token in ("no", "without", "any") and _negated(tokens, position, token):
            return 0, 0
        if token in _STOPS or token in (".", ";") or _thing([token], 0)[0] is not None:
            break
        if token.isdecimal() and len(token) <= 6:
            return int(token), int(token)
        if token in _NUMBERS:
            return _NUMBERS[token], _NUMBERS[token]
        if token in _AT_LEAST:
            return _AT_LEAST[token], math.inf
    return 1, math.inf


def _negated(tokens: Sequence[str], position: int, token: str) -> bool:
    before = tokens[max(0, position - 5) : position]
    return token != "any" or any(word in ("not", "without", "aren", "never") for word in before)


def _merge(several: Sequence[Mention]) -> Mention:
    counts = {(mention.low, mention.high) for mention in several if (mention.low, mention.high) != (1, math.inf)}
    if len(counts) > 1 or (counts == {(0, 0)} and len(several) > 1 and any(mention.low for mention in several)):
        return Mention(max(mention.low for mention in several), math.inf, several[0].shown)
    low, high = counts.pop() if counts else (1, math.inf)
    return Mention(low, high, several[0].shown)


def _amount(mention: Mention) -> str:
    if mention.low == mention.high:
        return "no" if mention.low == 0 else f"{mention.low:g}"
    return f"{mention.low:g} or more"


def _verdict(answer: str) -> bool | int | None:
    """Yes or no, or a number, when that is what the answer is."""
    token = answer.strip(" .!").casefold()
    if token in ("yes", "no"):
        return token == "yes"
    if token in _NUMBERS:
        return _NUMBERS[token]
    return int(token) if token.isdecimal() and len(token) <= 6 else None
