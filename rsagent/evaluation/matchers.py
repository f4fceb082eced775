"""Whether two answers say the same: strict and lenient, a matcher for each family of questions.

*Strict* is the figure that is reported: the answers are equal once the way they are written is set aside (case, punctuation,
articles, number words, and of an area its unit). *Lenient* asks for the same meaning by rules that know the family: a synonym,
another wording of the same place, a number within 10 %. It is shown beside the strict one, never instead. Whatever is strictly
right is leniently right, no empty answer is right, and no rule is a substring test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rsagent.evaluation.answers import normalise_answer, numbers_in, same_answer
from rsagent.evaluation.places import cells_in, sides_in, ways_in
from rsagent.evaluation.question_types import Family

LENIENCE = 0.10
"""How far off a leniently right number may be, as a share of the true one."""


@dataclass(frozen=True, slots=True)
class Match:
    """How an answer compares with the true one."""

    strict: bool
    lenient: bool


def match(prediction: str, truth: str | Sequence[str], family: Family) -> Match:
    """Compare an answer with the true one; with several that are all accepted, with each of them."""
    if not isinstance(truth, str):
        found = [match(prediction, one, family) for one in truth]
        return Match(any(one.strict for one in found), any(one.lenient for one in found))
    same = same_answer(prediction, truth)
    if same or not normalise_answer(prediction) or not normalise_answer(truth):
        return Match(same, same)
    if family == "area" and _area(prediction) is not None and _area(prediction) == _area(truth):
        return Match(True, True)
    return Match(False, _LENIENT[family](prediction, truth))


_YES = frozenset("yes yeah yep true correct indeed certainly definitely".split())
_NO = frozenset("no nope false incorrect none not never neither nothing without absent cannot".split())
_THERE_IS = re.compile(
    r"^(?:there|it|they|this|that|we|i|image|picture) (?:(?:is|are|does|do|has|have)(?:nt)?|cant?|shows?|contains?)\b"
)


def _polarity(text: str) -> bool | None:
    """True for yes, False for no, None where an answer says neither or both."""
    words = normalise_answer(text).split()
    if words[0] in _YES or words[0] in _NO:
        other = _NO if words[0] in _YES else _YES
        rest = set(words[1:])
        return None if rest & other and rest <= other | {"or", "and"} else words[0] in _YES
    if _THERE_IS.search(" ".join(words)):
        return not (_NO | _NEGATED) & set(words)
    return None


_NEGATED = frozenset("isnt arent dont doesnt hasnt havent cant".split())


def _yes_no(said: str, true: str) -> bool:
    return _polarity(said) is not None and _polarity(said) == _polarity(true)


_BOUND = re.compile(r"\b(more than|less than|fewer than|at least|at most|over|under|up to|no more than)\b")
_BETWEEN = re.compile(r"\bbetween (\d+(?:\.\d+)?) and (\d+(?:\.\d+)?)$")
_ABOVE = re.compile(r"\b(?:more than|over|above) (\d+(?:\.\d+)?)$")
_NUMBER_NAMES = {"none": 0, "no": 0, "nothing": 0, "single": 1, "couple": 2, "pair": 2, "dozen": 12}
_PLAIN_UNIT = re.compile(r"(?<=\d) ?m2\b|(?<=\d) (square (metres?|meters?))\b")


def _number(text: str) -> float | None:
    """The one number that an answer tells; None where it tells none, several or only a bound."""
    plain = normalise_answer(text)
    numbers = numbers_in(text)
    if _BOUND.search(plain) or len(numbers) > 1 or (numbers and "dozen" in plain):
        return None
    if numbers:
        return numbers[0]
    named = [_NUMBER_NAMES[word] for word in plain.split() if word in _NUMBER_NAMES]
    return float(named[0]) if len(named) == 1 else None


def close_count(prediction: str, truth: str | Sequence[str]) -> bool:
    """The lenient match of a count: at most 10 % of the true number off.

    Where the published truth is a range ("between 1 and 10", "more than 1000"), a number inside it.
    """
    if not isinstance(truth, str):
        return any(close_count(prediction, one) for one in truth)
    said, true = _number(prediction), _number(truth)
    if said is not None and (ends := _range(truth)) is not None:
        return ends[0] <= said <= ends[1]
    if said is None or true is None:
        return same_answer(prediction, truth)
    return _close(said, true)


def _close(said: float, true: float) -> bool:
    return abs(said - true) <= LENIENCE * abs(true) + 1e-9


def _range(text: str) -> tuple[float, float] | None:
    plain = _PLAIN_UNIT.sub("", normalise_answer(text))
    if found := _BETWEEN.search(plain):
        return float(found[1]), float(found[2])
    if found := _ABOVE.search(plain):
        return float(found[1]) + 1e-9, float("inf")
    return None


_COLOURS: Mapping[str, str] = {
    word: colour
    for colour, words in {
        "white": "white whitish", "black": "black", "grey": "grey gray greyish grayish silver silvery",
        "red": "red reddish crimson maroon", "green": "green greenish", "blue": "blue bluish navy cyan turquoise azure",
        "yellow": "yellow yellowish golden gold", "orange": "orange", "purple": "purple violet magenta", "pink": "pink",
        "brown": "brown brownish", "beige": "beige tan khaki cream sandy",
        "colour": "color colour colored coloured colourful colorful",
        "panchromatic": "panchromatic grayscale greyscale monochrome",
    }.items()
    for word in words.split()
}  # fmt: skip
_HALF = 0.5


def colours_in(text: str) -> frozenset[str]:
    """The colours that an answer names, shades set aside: light grey is grey."""
    found = {_COLOURS[word] for word in normalise_answer(text).split() if word in _COLOURS}
    return frozenset(found - {"colour"} or found)


def _color(said: str, true: str) -> bool:
    """At least half of the colours that either names are named by both: neither a guess at all colours nor a slip is right."""
    ours, theirs = colours_in(said), colours_in(true)
    return bool(ours and theirs) and len(ours & theirs) / len(ours | theirs) >= _HALF


_SCENES: Mapping[str, str] = {
    name.strip(): names.split(",")[0].strip()
    for names in (
        "airport, airfield, aerodrome, airplane, plane, runway",
        "harbor, harbour, port, marina, dock, wharf, seaport",
        "intersection, crossroads, crossroad, crossing, junction, road intersection",
        "overpass, viaduct, flyover",
        "farmland, farm, agricultural, agriculture, cropland, field, farm field, rectangular farmland, circular farmland",
        "forest, woods, wood, woodland",
        "parking lot, parking, car park, parkinglot",
        "residential, housing, neighborhood, neighbourhood, urban residential",
        "mobile home park, mobile home, mobilehomepark, trailer park",
        "storage tank, oil tank, tank, storagetank",
        "industrial, factory, industrial building, plant",
        "commercial, business, shopping, downtown, central business",
        "beach, coast, seashore, seaside",
        "sports ground, playground, stadium, sports field, playfield, ground track field, athletic field",
        "baseball field, baseball diamond, baseballdiamond, baseballfield",
        "tennis court, tenniscourt",
        "golf course, golfcourse",
        "railway station, train station, railwaystation, railway",
        "river, stream",
        "lake, pond, sea lake, sealake",
        "grassland, grass, meadow, pasture, herbaceous vegetation",
        "mountain, mountainous, hill",
        "bare land, bareland, wasteland, wilderness",
        "desert, sand, dune",
        "school, campus",
        "square, plaza",
        "freeway, highway, motorway",
        "urban, city, town",
        "rural, countryside, village",
    )
    for name in names.split(",")
}
_DENSITIES = {"dense": "dense", "medium": "medium", "sparse": "sparse", "high": "dense", "low": "sparse"}
_GENERIC = frozenset("area areas zone district region place scene land density building buildings site".split())
_SCENE_LEAD = re.compile(
    r"^(?:(?:it|this|that|there|theme|main theme|image|picture|photo|scene)"
    r"(?: (?:of|in) (?:this )?(?:image|picture|photo|scene))?"
    r" (?:is|are|shows?|seems to be|depicts?|looks like) )?(?:(?:picture|photo|image|view|scene|part|kind) of )?"
)
_SCENE_TAIL = re.compile(r" (?:with|and|near|next to|beside|surrounded|where|in|on|along|which|that|by|at)\b.*$")


def scene_name(text: str) -> tuple[str, str]:
    """What an answer calls the scene, by the first name of its synonyms, and how dense it says that it is ("" if untold)."""
    plain = _SCENE_TAIL.sub("", _SCENE_LEAD.sub("", normalise_answer(text)))
    words = [word for word in plain.split() if word not in _GENERIC] or plain.split()
    if plain in _SCENES:
        return _SCENES[plain], ""
    density = next((_DENSITIES[word] for word in words if word in _DENSITIES), "")
    name = " ".join(word for word in words if word not in _DENSITIES) or plain
    for form in (name, _singular(name)):
        if form in _SCENES:
            return _SCENES[form], density
    if name.startswith("dense") or name.endswith("residential"):  # "denseresidential", as folders are called
        head = name.removesuffix("residential").removesuffix("buildings")
        if head in _DENSITIES:
            return "residential", _DENSITIES[head]
    return _singular(name), density


def _scene(said: str, true: str) -> bool:
    (ours, our_density), (theirs, their_density) = scene_name(said), scene_name(true)
    return ours == theirs and (not our_density or not their_density or our_density == their_density)


def _singular(text: str) -> str:
    """A phrase with its last word in the singular."""
    head, _, last = text.rpartition(" ")
    if last.endswith("ies") and len(last) > 4:
        last = last[:-3] + "y"
    elif last.endswith(("ches", "shes", "xes", "sses", "uses")):
        last = last[:-2]
    elif len(last) > 3 and last.endswith("s") and not last.endswith(("ss", "us", "is", "woods")):
        last = last[:-1]
    return f"{head} {last}".strip()


def _with_commas(text: str) -> str:
    return ", ".join(part for chunk in text.split(",") if (part := normalise_answer(chunk)))


def _position(said: str, true: str) -> bool:
    ours, theirs = cells_in(_with_commas(said)), cells_in(_with_commas(true))
    if ours is None or theirs is None:
        return _relative(said, true) if ours is None and theirs is None else False
    return ours == theirs


_SIDE_WORDS = frozenset(
    """left right west east north south above below over under underneath beneath top bottom upper lower up down western eastern
    northern southern atop next beside besides adjacent near nearby close alongside along side sides neighboring by around
    surround surrounds surrounded surrounding between among inside within middle center centre opposite across parallel hand to
    of on at in from is are it its they them and located lies lie stands stand part parts corner corners higher than image
    picture one other each there placed positioned situated direction northeast northwest southeast southwest""".split()
)


def _relative(said: str, true: str) -> bool:
    """The same sides; and, where both say of what, the same thing among what they name."""
    ours, theirs = sides_in(normalise_answer(said)), sides_in(normalise_answer(true))
    if ours is None or ours != theirs:
        return False
    named = [{_singular(word) for word in normalise_answer(text).split()} - _SIDE_WORDS for text in (said, true)]
    return not named[0] or not named[1] or bool(named[0] & named[1])


_AREA = re.compile(
    r"^(?:about |around |approximately |roughly |nearly |almost )?(\d+(?:\.\d+)?) ?"
    r"(m2|m 2|sqm|sq m|square met(?:re|er)s?|km2|sq km|square kilomet(?:re|er)s?|ha|hectares?)?$"
)


def _area(text: str) -> float | None:
    """Square metres; None where an answer is no one area. A number without a unit is square metres, as questions ask."""
    found = _AREA.search(normalise_answer(text.replace("²", "2")))
    if found is None:
        return None
    unit = found[2] or "m2"
    scale = 1e6 if unit.startswith(("km", "sq km", "square k")) else 1e4 if unit.startswith("h") else 1.0
    return float(found[1]) * scale


def _area_close(said: str, true: str) -> bool:
    ours, theirs, ends = _area(said), _area(true), _range(true)
    if ours is not None and ends is not None:
        return ends[0] <= ours <= ends[1]
    return ours is not None and theirs is not None and _close(ours, theirs)


def _direction(said: str, true: str) -> bool:
    ours, theirs = ways_in(normalise_answer(said)), ways_in(normalise_answer(true))
    return ours is not None and ours == theirs


_STOP = frozenset(
    """is are was were be it its this that there they of in on at to and or with for by as some any very most mostly image
    picture scene photo""".split()
)


def _open(said: str, true: str) -> bool:
    """Yes and no agree, else numbers do, else the same words but for small words, number and order."""
    polarity = _polarity(said), _polarity(true)
    if None not in polarity and normalise_answer(true).split()[0] in _YES | _NO:
        return polarity[0] == polarity[1]
    ours, theirs = ({_singular(word) for word in normalise_answer(text).split() if word not in _STOP} for text in (said, true))
    return bool(ours) and ours == theirs


_LENIENT: Mapping[Family, Callable[[str, str], bool]] = {
    "yes_no": _yes_no,
    "count": close_count,
    "color": _color,
    "scene": _scene,
    "position": _position,
    "relative": _relative,
    "area": _area_close,
    "direction": _direction,
    "open": _open,
}
