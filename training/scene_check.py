"""Checking a free caption against a scene: which statements can be checked, and which of them are false.

The reading is shallow and tolerant of paraphrase: words for kinds, numbers, colours, places, sides, directions,
seasons and types of scene are looked up; whatever is not understood is no statement. No caption can make it fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from rsagent.training.scene_facts import near_cells, present
from rsagent.training.scene_lexicon import (
    ADJECTIVES,
    AMOUNTS,
    COLOUR_WORDS,
    LEXICON,
    NUMBER_WORDS,
    PLACE_PHRASE,
    REACH,
    SIDE_PHRASES,
    WAY_PHRASES,
)
from rsagent.training.scene_model import KINDS, SCENES, Scene, SceneObject, visible_center

LONGEST = 4000
"""Characters of a caption that are read; the rest is ignored."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One checkable statement: its type (presence, count, color, position, ...), what it says, whether it holds."""

    type: str
    text: str
    true: bool


@dataclass(frozen=True, slots=True)
class CaptionCheck:
    """What a caption says of a scene: its statements (each once), those that are false, and the kinds of object.

    `objects_there` are the kinds that the picture shows, `objects_named` those that the caption says are there.
    """

    statements: tuple[Statement, ...]
    false_statements: tuple[Statement, ...]
    objects_there: frozenset[str]
    objects_named: frozenset[str]


@dataclass(slots=True)
class _Mention:
    """A noun found in a sentence, with what stands before it; `start` and `end` are token positions."""

    names: tuple[str, ...]
    sort: str
    start: int
    end: int
    plural: bool
    head: int = 0
    number: int | None = None
    amount: str | None = None
    colours: list[str] = field(default_factory=lambda: list[str]())
    negated: bool = False
    places: list[str] = field(default_factory=lambda: list[str]())


def check_caption(text: str, scene: Scene) -> CaptionCheck:
    """Check what `text` says against the truth of `scene`. Never raises, whatever the text."""
    found: dict[tuple[str, str], Statement] = {}
    named: set[str] = set()
    for part in re.split(r"[.!?;\n]+", text[:LONGEST].lower()):
        tokens = re.findall(r"[a-z]+|[0-9]{1,3}|,", part.replace("-", " "))
        for statement in _read(tokens, scene, named):
            found.setdefault((statement.type, statement.text), statement)
    statements = tuple(found.values())
    there = frozenset(k for k in KINDS if k in scene.many or scene.count(k) > 0)
    return CaptionCheck(statements, tuple(s for s in statements if not s.true), there, frozenset(named))


def _read(tokens: list[str], scene: Scene, named: set[str]) -> Iterator[Statement]:
    """The statements of one sentence; the kinds that it says are there are added to `named`."""
    mentions = _mentions(tokens)
    _bind_places(tokens, mentions)
    for mention in mentions:
        if mention.sort == "kind" and not mention.negated:
            named.update(_kinds_meant(mention, scene))
        yield from _about(mention, scene)
        yield from _colour_after(tokens, mention, scene)
    for a, b in zip(mentions, mentions[1:], strict=False):
        yield from _side(tokens, a, b, scene)
    yield from _ways(tokens, mentions, scene)
    yield from _whole(" ".join(tokens), scene)


# finding nouns --------------------------------------------------------------------------------------------------


def _mentions(tokens: list[str]) -> list[_Mention]:
    found: list[_Mention] = []
    at = 0
    while at < len(tokens):
        for length in range(min(REACH, len(tokens) - at), 0, -1):
            entry = LEXICON.get(tuple(tokens[at : at + length]))
            if entry:
                mention = _Mention(entry[0], entry[1], at, at + length, entry[2])
                _look_back(tokens, mention, found[-1] if found else None)
                found.append(mention)
                at += length - 1
                break
        at += 1
    return found


def _look_back(tokens: list[str], mention: _Mention, before: _Mention | None) -> None:
    """Read the words before a noun: colours, number, "no"; a "no" reaches over a list joined by "or" and commas."""
    at, least = mention.start - 1, before.end if before else 0
    while at >= least:
        word = tokens[at]
        if word in COLOUR_WORDS:
            mention.colours.append(COLOUR_WORDS[word])
        elif word in NUMBER_WORDS or word.isdigit():
            mention.number = NUMBER_WORDS.get(word, int(word) if word.isdigit() else 0)
            at -= 1
            break
        elif word in AMOUNTS:
            mention.amount = word
        elif word == "lot" or word == "lots":
            mention.amount = "many"
        elif word in ("no", "without"):
            mention.negated = True
            break
        elif word == "and" and mention.colours and at > least and tokens[at - 1] in COLOUR_WORDS:
            pass
        elif word == "of" and tokens[max(at - 1, 0)] in ("lot", "lots", "couple", "dozens"):
            pass
        elif word not in ADJECTIVES and word not in ("a", "an", "the", "any", "all", "both"):
            break
        if word in ("large", "big") and "large building" in mention.names:
            mention.names = ("large building",)
        at -= 1
    mention.head = at + 1
    gap = tokens[least : mention.head]
    if before and before.negated and all(word in ("or", "nor", "and", ",", "any") for word in gap):
        mention.negated = True


def _bind_places(tokens: list[str], mentions: list[_Mention]) -> None:
    """Give each phrase of place to the noun that it speaks of."""
    text = " ".join(tokens)
    starts: dict[int, int] = {}
    position = 0
    for index, token in enumerate(tokens):
        starts[position] = index
        position += len(token) + 1
    for match in PLACE_PHRASE.finditer(text):
        first = starts.get(match.start(), 0)
        last = first + len(match.group().split())
        place = _cell_named(match)
        after = tokens[last:]
        if after[:1] == ["of"]:
            after = after[3:] if len(after) > 2 and after[1] in ("the", "this") else after[2:]
        following = [m for m in mentions if m.start >= last]
        if following and [w for w in after if w != ","][:1] in (["there"], ["we"], ["one"], ["you"]):
            following[0].places.append(place)
            continue
        preceding = [m for m in mentions if m.end <= first and first - m.end <= 6]
        if preceding:
            preceding[-1].places.append(place)


def _cell_named(match: re.Match[str]) -> str:
    """The name of the ninth, or of the side where only one word is given."""
    plain = {"upper": "top", "lower": "bottom", "centre": "center", "middle": "center"}
    if match["one"]:
        return plain.get(match["one"], match["one"])
    row, column = (plain.get(word, word) for word in (match["row"], match["column"]))
    if row == column:
        return row
    return column if row == "center" else row if column == "center" else f"{row} {column}"


# judging --------------------------------------------------------------------------------------------------------


def _kinds_meant(mention: _Mention, scene: Scene) -> list[str]:
    """The kinds a noun stands for: of a word for two kinds, those that are there, else the first."""
    there = [k for k in mention.names if scene.count(k) != 0]
    return there or list(mention.names[:1])


def _matching(mention: _Mention, scene: Scene) -> list[SceneObject]:
    things = [o for kind in mention.names for o in scene.seen(kind)]
    if mention.colours and not scene.greyscale:
        things = [o for o in things if o.colour is None or o.colour in mention.colours]
    return things


def _about(mention: _Mention, scene: Scene) -> Iterator[Statement]:
    """Presence, colour, number and place of one noun."""
    noun = " or ".join(mention.names)
    if mention.sort == "scene":
        yield Statement("scene", f"{'not ' * mention.negated}{noun}", _is_scene(noun, scene) != mention.negated)
        return
    if mention.sort == "stuff":
        yield from _about_stuff(mention, noun, scene)
        return
    mass = any(kind in scene.many for kind in mention.names)
    there = mass or any(scene.seen(kind) for kind in mention.names)
    if mention.negated:
        yield Statement("presence", f"no {noun}", not there)
        return
    yield Statement("presence", noun, there)
    if not there:
        return
    things = _matching(mention, scene)
    if mention.colours and not scene.greyscale and any(o.colour for k in mention.names for o in scene.seen(k)):
        for colour in mention.colours:
            yield Statement("color", f"{colour} {noun}", any(o.colour == colour for o in things))
    label = " ".join([*mention.colours, noun])
    if mention.number is not None:
        held = not mass and mention.number in _counts(mention, things, scene.size)
        yield Statement("count", f"{mention.number} {label}", held)
    elif mention.amount:
        yield Statement("count", f"{mention.amount} {label}", mass or len(things) >= AMOUNTS[mention.amount])
    for place in mention.places if not mass else ():
        hits = sum(_lies(o, place, scene.size, 0.1) for o in things)
        enough = 0.6 * len(things) if mention.plural and mention.number is None else mention.number or 1
        yield Statement("position", f"{label} {place}", 0 < hits >= min(enough, len(things) * 0.6))


def _about_stuff(mention: _Mention, noun: str, scene: Scene) -> Iterator[Statement]:
    there = scene.cover["water"] > 0.005 if noun == "water" else present(scene, noun)
    if there is not None:
        yield Statement("presence", f"{'no ' * mention.negated}{noun}", there != mention.negated)
    lines = [line for line in scene.lines if line.name == noun]
    if lines and mention.number is not None and not mention.negated:
        yield Statement("count", f"{mention.number} {noun}", mention.number == len(lines))
    if noun in ("sea", "water") and scene.water_side:
        for place in mention.places:
            yield Statement("position", f"{noun} {place}", scene.water_side in place.split())


def _counts(mention: _Mention, things: list[SceneObject], size: int) -> set[int]:
    """The numbers that may be said: all of them, or with a place those that lie there."""
    allowed = {len(things)}
    for place in mention.places:
        sure = sum(_lies(o, place, size, -0.04) for o in things)
        allowed.update(range(sure, sum(_lies(o, place, size, 0.06) for o in things) + 1))
    return allowed - {0}


def _lies(thing: SceneObject, place: str, size: int, margin: float) -> bool:
    """Whether a thing lies in a ninth, or on a side of the picture, give or take `margin` (share of size)."""
    x, y = (v / size for v in visible_center(thing, size))
    sides = {
        "left": x < 0.42 + margin,
        "right": x > 0.58 - margin,
        "top": y < 0.42 + margin,
        "bottom": y > 0.58 - margin,
    }
    if place in sides:
        return sides[place]
    return place in near_cells((x * size, y * size), size, max(margin, 0.0))


def _is_scene(name: str, scene: Scene) -> bool:
    also = {
        "forest": "tree" in scene.many,
        "farmland": scene.count("farm field") > 0,
        "residential area": scene.count("house") >= 3,
        "harbor": bool(scene.seen("dock")),
    }
    return name in SCENES and (scene.kind == name or also.get(name, False))


def _colour_after(tokens: list[str], mention: _Mention, scene: Scene) -> Iterator[Statement]:
    """The colour said after the noun, as in: the cars are red."""
    rest = tokens[mention.end : mention.end + 4]
    if mention.sort != "kind" or mention.negated or scene.greyscale or rest[:1] not in (["is"], ["are"]):
        return
    words = [w for w in rest[1:] if w not in ("all", "painted", "mostly", "in")]
    if not words or words[0] not in COLOUR_WORDS or len(tokens) > mention.end + 5:
        return
    colour, noun = COLOUR_WORDS[words[0]], " or ".join(mention.names)
    colours = {o.colour for kind in mention.names for o in scene.seen(kind)} - {None}
    if colours:
        yield Statement("color", f"{colour} {noun}", colour in colours)


def _side(tokens: list[str], a: _Mention, b: _Mention, scene: Scene) -> Iterator[Statement]:
    """The side on which one noun lies of the next."""
    between = " ".join(tokens[a.end : b.head])
    if a.sort != "kind" or b.sort != "kind" or a.negated or b.negated or len(between) > 80 or "not" in between.split():
        return
    for side, pattern in SIDE_PHRASES:
        if not pattern.search(between):
            continue
        first, second = _matching(a, scene), _matching(b, scene)
        text = f"{' or '.join(a.names)} {side} {' or '.join(b.names)}"
        yield Statement("relation", text, bool(first and second) and _is_on(side, first, second, scene.size))
        return


def _is_on(side: str, first: list[SceneObject], second: list[SceneObject], size: int) -> bool:
    axis = 0 if side in ("left", "right") else 1
    mean = [sum(visible_center(o, size)[axis] for o in group) / len(group) for group in (first, second)]
    gap = (mean[1] - mean[0]) / size
    return gap > 0.03 if side in ("left", "above") else gap < -0.03


def _ways(tokens: list[str], mentions: list[_Mention], scene: Scene) -> Iterator[Statement]:
    """Directions of roads, runways and rivers."""
    lines = [m for m in mentions if m.names[0] in ("road", "runway", "river") and not m.negated]
    for index, mention in enumerate(lines):
        end = lines[index + 1].head if index + 1 < len(lines) else len(tokens)
        rest = " ".join(tokens[mention.end : end])
        for directions, pattern in WAY_PHRASES:
            if pattern.search(rest):
                true = any(line.name == mention.names[0] and line.direction in directions for line in scene.lines)
                yield Statement("direction", f"{mention.names[0]} {' or '.join(sorted(directions))}", true)
                break


def _whole(text: str, scene: Scene) -> Iterator[Statement]:
    """Season, greyscale and clouds."""
    seasons = (("summer", r"\bsummer\b"), ("autumn", r"\b(?:autumn|fall)\b"), ("winter", r"\b(?:winter|snow|snowy)\b"))
    for season, words in seasons:
        if scene.season and re.search(words, text):
            yield Statement("season", season, season == scene.season)
    if re.search(r"\b(?:gr[ae]yscale|black and white (?:\w+ )?(?:image|picture|photo|view))\b", text):
        yield Statement("image", "grayscale", scene.greyscale)
    if re.search(r"\bclouds?\b", text):
        absent = re.search(r"\bno clouds?\b|\bwithout (?:any )?clouds?\b", text) is not None
        yield Statement("presence", f"{'no ' * absent}clouds", bool(scene.clouds) != absent)
