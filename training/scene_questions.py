"""Questions about a scene with their short answers, in the ten types of RSIEval.

Answers are lower case from closed sets: yes/no, digits 0-12, colours, the nine cells, left/right/above/below, the four
directions, "grayscale"/"color", seasons, scene types. Each answer holds beyond doubt, and a kind is asked for about as
often where it is absent as where it is present, so that the question alone tells little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rsagent.training.scene_facts import (
    STUFF,
    area,
    colour_of,
    facts_for_reasoning,
    lines_to_tell,
    lone_coloured,
    lone_in,
    main_side,
    pairs,
    place_of,
    points,
    present,
    sides,
)
from rsagent.training.scene_model import KINDS, SCENES, Scene, SceneObject
from rsagent.training.scene_words import PLACES, RELATIONS, article, coloured, name, pick

QUESTION_TYPES: tuple[str, ...] = (
    "presence", "quantity", "color", "ab_position", "re_position", "area_comp", "road_ori", "image", "scene",
    "reasoning",
)  # fmt: skip

_PRESENT: dict[str, tuple[float, float]] = {
    "plane": (0.077, 0.923), "ship": (0.203, 0.797), "car": (0.692, 0.308), "house": (0.438, 0.46),
    "storage tank": (0.07, 0.93), "pool": (0.045, 0.955), "tree": (0.718, 0.282), "tennis court": (0.08, 0.92),
    "football field": (0.032, 0.968), "baseball field": (0.024, 0.976), "farm field": (0.079, 0.921),
    "umbrella": (0.084, 0.916), "dock": (0.063, 0.937), "bridge": (0.033, 0.967), "large building": (0.122, 0.455),
    "road": (0.338, 0.355), "runway": (0.056, 0.944), "river": (0.094, 0.75), "sea": (0.077, 0.767),
    "pond": (0.08, 0.669),
}  # fmt: skip
"""The shares of training scenes where each kind is there and is not (measured); asking is evened out with them."""
_CONCLUDED: dict[str, tuple[float, float]] = {
    "land": (0.056, 0.923), "swim": (0.045, 0.624), "sail": (0.25, 0.669), "tennis": (0.08, 0.92),
    "play": (0.09, 0.84), "live": (0.177, 0.46), "store": (0.07, 0.93), "sunbathe": (0.077, 0.75),
    "crops": (0.079, 0.921), "drive": (0.338, 0.075), "flights": (0.077, 0.923), "shade": (0.735, 0.265),
    "warm": (0.11, 0.258), "crossing": (0.033, 0.061),
}  # fmt: skip
_LIKELY: dict[str, tuple[str, ...]] = {
    "airport": ("car", "large building", "tree", "storage tank", "road"),
    "harbor": ("dock", "house", "large building", "car", "umbrella", "bridge"),
    "parking lot": ("tree", "large building", "house"),
    "residential area": ("pool", "car", "tree", "tennis court", "road", "pond"),
    "farmland": ("house", "tree", "car", "pond", "road", "storage tank"),
    "forest": ("road", "house", "car", "river", "bridge"),
    "river": ("bridge", "ship", "house", "car", "dock", "farm field"),
    "beach": ("umbrella", "ship", "tree", "house", "pool", "dock"),
    "sports ground": ("tennis court", "football field", "baseball field", "tree", "car", "road", "pool"),
    "industrial area": ("car", "large building", "tree", "road", "ship"),
    "intersection": ("tree", "car", "large building", "house", "pool"),
    "park": ("pond", "tennis court", "umbrella", "house", "bridge", "football field"),
    "desert": ("road", "car", "house", "tree", "storage tank"),
}

_PRESENCE = (
    "Is there {a}?", "Is there {a} in the image?", "Are there any {ks}?", "Can you see {a} in this picture?",
    "Does the image show any {ks}?", "Are any {ks} visible?", "Does this scene contain {a}?",
    "Is {a} present in the image?",
)  # fmt: skip
_QUANTITY = (
    "How many {ks} are there?", "How many {ks} are in the image?", "What is the number of {ks}?",
    "Count the {ks} in this picture.", "How many {ks} can you see?", "What number of {ks} does the image show?",
    "Can you count the {ks}?",
)  # fmt: skip
_COLOUR = (
    "What color {is} the {k}?", "What is the color of the {k}?", "Which color {does} the {k} have?",
    "The {k} in the image {is} of what color?", "Tell me the color of the {k}.",
    "What colour {is} the {k} in this image?", "In which color {is} the {k}?",
)  # fmt: skip
_PLACE = (
    "Where {is} the {k}?", "Where {is} the {k} in the image?", "In which part of the image {is} the {k}?",
    "What is the position of the {k} in the picture?", "Where can the {k} be found in the image?",
    "Which part of the picture {does} the {k} lie in?", "Where {is} the {k} located?",
)  # fmt: skip
_SIDE = (
    "Where {is} the {k} relative to the {o}?", "On which side of the {o} {is} the {k}?",
    "What is the position of the {k} relative to the {o}?", "Seen from the {o}, where {is} the {k}?",
    "Where {is} the {k} compared with the {o}?", "In which direction from the {o} {is} the {k}?",
)  # fmt: skip
_IS_SIDE = (
    "Is the {k} {side} the {o}?", "Are we right that the {k} can be found {side} the {o}?",
    "Does the {k} lie {side} the {o}?", "Can the {k} be seen {side} the {o}?",
    "Is it true that the {k} is {side} the {o}?", "In this image, is the {k} {side} the {o}?",
)  # fmt: skip
_ARE_SIDE = (
    "Are the {k} {side} the {o}?", "Do the {k} lie {side} the {o}?", "Can the {k} be seen {side} the {o}?",
    "Is it true that the {k} are {side} the {o}?", "In this image, are the {k} {side} the {o}?",
    "Are all the {k} {side} the {o}?",
)  # fmt: skip
_AREA = (
    "Is the area of the {k} larger than the area of the {o}?", "Does the {k} cover more of the image than the {o}?",
    "Does the {k} take up more space than the {o}?", "Is more of the image covered by the {k} than by the {o}?",
    "Is there more {k} than {o} by area?", "Comparing areas, is the {k} larger than the {o}?",
    "Does the {k} occupy a larger area than the {o}?",
)  # fmt: skip
_AREAS = tuple(
    t.replace("Does the", "Do the").replace("Comparing areas, is the {k} larger", "Do all the {k} together cover more")
    for t in _AREA if "Is there" not in t
)  # fmt: skip
_ROAD = (
    "What is the direction of the {k}?", "In which direction does the {k} run?", 
    "How does the {k} run through the image?", "What is the orientation of the {k}?", "Which way does the {k} go?", 
    "From where to where does the {k} run?", "How is the {k} oriented?",
)  # fmt: skip
_GREY = (
    "Is this a color image or a grayscale image?", "Is the picture in color or grayscale?",
    "Is this image color or grayscale?", "What type of image is it, color or grayscale?",
    "Was this taken in color or grayscale?", "Would you call this image grayscale or color?",
)  # fmt: skip
_IS_GREY = (
    "Is this a grayscale image?", "Is the image in grayscale?", "Is this picture black and white?",
    "Is it a black and white image?", "Does the image lack color?", "Is this a grayscale picture?",
)  # fmt: skip
_SEASON = (
    "What season is it?", "In which season was this picture taken?", "Which season does the image show?",
    "What time of year is it in this scene?", "Which season is it here?", "What season does this scene suggest?",
)  # fmt: skip
_CLOUD = (
    "Are there clouds in the image?", "Is part of the ground hidden by clouds?", "Can you see any clouds?",
    "Do clouds cover any of the scene?", "Is there a cloud in this picture?", "Is any cloud visible?",
)  # fmt: skip
_SCENE = (
    "What type of scene is this?", "What kind of place is shown?", "What is the theme of this image?",
    "What does this image mainly show?", "Which kind of scene does the picture show?", 
    "How would you classify this scene?", "What place is this?",
)  # fmt: skip
_IS_SCENE = (
    "Is this {a}?", "Does the image show {a}?", "Is {a} shown in this picture?", "Would you call this place {a}?",
    "Is the scene {a}?", "Was this picture taken over {a}?",
)  # fmt: skip
_REASON: dict[str, tuple[str, ...]] = {
    "land": ("Is this a good place to land a plane?", "Could a plane land here?",
             "Can aircraft touch down in this place?"),
    "swim": ("Could somebody swim in a pool here?", "Can residents take a swim in a pool?",
             "Is swimming in a pool possible?"),
    "sail": ("Could a ship travel through this place?", "Can people go by boat here?", "Is this a place for boats?"),
    "tennis": ("Can people play tennis here?", "Is this a place to play tennis?",
               "Could a tennis match be held here?"),
    "play": ("Can people do ball sports here?", "Is this a place for sports?", "Could a ball game be held here?"),
    "live": ("Do people live here?", "Is this likely a place where people live?", "Could families live here?"),
    "store": ("Could oil be stored here?", "Is this a place that can store liquids?",
              "Can fuel be kept in this place?"),
    "sunbathe": ("Is this a good place to sunbathe by the sea?", "Could tourists enjoy the seaside here?",
                 "Is this a place for a beach holiday?"),
    "crops": ("Are crops grown here?", "Is this land used for farming?", "Could a farmer work here?"),
    "drive": ("Can one drive through this place on a road?", "Could a car pass through on a road?",
              "Is this place reached by a road?"),
    "warm": ("Is it cold here?", "Would people need warm clothes here?", "Is the ground covered with snow?"),
    "flights": ("Can people start a flight here?", "Could this place serve air travel?",
                "Is this place used by aircraft?"),
    "shade": ("Could people rest in the shade here?", "Is there anything that gives shade like a tree or an umbrella?",
              "Can one sit under a tree or an umbrella?"),
    "crossing": ("Can the river be crossed without a boat?", "Can one walk across the river here?",
                 "Is it possible to get across the river on foot?"),
}  # fmt: skip


Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its short answer and its type (one of `QUESTION_TYPES`).

    `subject` and `other` are where the things lie that it is about and those it compares them with, as (x, y) shares of the
    picture in [0, 1); none at all where nothing is there, None where nobody could point at them.
    """

    question: str
    answer: str
    type: str
    subject: Points | None = None
    other: Points | None = None


def questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """About a dozen questions of all the types that the scene offers; no question twice."""
    asked: list[Question] = []
    for ask, times in (
        (_presence, 3), (_quantity, 2), (_colour, 2), (_place, 2), (_relation, 2), (_area_comparison, 1), (_line, 1),
        (_image, 1), (_scene, 1), (_reasoning, 1),
    ):  # fmt: skip
        for _ in range(times):
            question = ask(scene, rng)
            if question and all(question.question != other.question for other in asked):
                asked.append(question)
    return asked


def even_choice(values: Mapping[str, bool], rates: Mapping[str, tuple[float, float]], rng: np.random.Generator,
                favour: tuple[str, ...] = ()) -> str | None:  # fmt: skip
    """Toss a coin for yes or no, then choose a key with that value so that over all scenes each key comes out even.

    Args:
        values: what is true of this scene.
        rates: for each key, its shares of scenes with yes and with no.
        rng: the source of chance.
        favour: keys to be preferred.
    """
    wanted = bool(rng.random() < 0.5)
    keys = [key for key, value in values.items() if value == wanted]
    if not keys:
        return None
    weights = np.array([
        min(rates[k]) ** 0.7 / rates[k][0 if wanted else 1] * (2.5 if k in favour else 1) for k in keys
    ])  # fmt: skip
    return str(rng.choice(keys, p=weights / weights.sum()))


def _where(scene: Scene, kind: str) -> Points | None:
    """Where everything of `kind` lies; None for a mass, and for what is never counted."""
    return points(scene, scene.seen(kind)) if kind in KINDS and kind not in scene.many else None


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _presence(scene: Scene, rng: np.random.Generator) -> Question | None:
    values = {k: p for k in (*KINDS, *STUFF) if (p := present(scene, k)) is not None}
    kind = even_choice(values, _PRESENT, rng, _LIKELY[scene.kind])
    if kind is None:
        return None
    template = pick(rng, _PRESENCE)
    if kind == "sea":
        template = pick(rng, ("Is there {a}?", "Can you see {a} in this picture?", "Is {a} present in the image?"))
    noun = name(rng, kind, False)
    one = "the sea" if kind == "sea" else article(noun)
    many = name(rng, kind, True)
    return Question(template.format(a=one, ks=many), _yes(values[kind]), "presence", _where(scene, kind))


def _quantity(scene: Scene, rng: np.random.Generator) -> Question | None:
    if rng.random() < 0.09:
        absent = [k for k in KINDS if present(scene, k) is False]
        kind = str(rng.choice([k for k in absent if k in _LIKELY[scene.kind]] or absent))
    else:
        there = [k for k in KINDS if scene.count(k) > 0 and present(scene, k)]
        if not there:
            return None
        weights = np.array([(0.4, 0.7, 1.0, 1.5, 2.0, 2.5)[min(scene.count(k), 6) - 1] for k in there])
        kind = str(rng.choice(there, p=weights / weights.sum()))
    text = pick(rng, _QUANTITY).format(ks=name(rng, kind, True))
    return Question(text, str(scene.count(kind)), "quantity", _where(scene, kind))


def _subject(scene: Scene, kind: str, rng: np.random.Generator) -> tuple[str, dict[str, str]]:
    """The noun for all of a kind, and the verbs that agree with it."""
    plural = scene.count(kind) != 1
    return name(rng, kind, plural), {"is": "are" if plural else "is", "does": "do" if plural else "does"}


def _colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    options: list[tuple[str, str, str, list[SceneObject]]] = []
    for kind in KINDS:
        if kind in scene.many or not scene.seen(kind):
            continue
        colour = colour_of(scene, kind)
        if colour:
            options.append((kind, "", colour, scene.seen(kind)))
        else:
            options += [(kind, f" {PLACES[cell][0]}", o.colour, [o]) for cell, o in lone_in(scene, kind) if o.colour]
    if not options:
        return None
    weights = np.array([0.35 if colour == "white" else 1.0 for _, _, colour, _ in options])
    kind, where, colour, things = options[int(rng.choice(len(options), p=weights / weights.sum()))]
    plural = len(things) != 1
    noun = name(rng, kind, plural) + where
    verbs = {"is": "are" if plural else "is", "does": "do" if plural else "does"}
    template = pick(rng, [t for t in _COLOUR if not (where and "in the image" in t)])
    return Question(template.format(k=noun, **verbs), colour, "color", points(scene, things))


def _place(scene: Scene, rng: np.random.Generator) -> Question | None:
    options = [(kind, cell) for kind in KINDS if (cell := place_of(scene, kind))]
    if scene.water_side and rng.random() < 0.3:
        noun = "sea" if scene.kind == "beach" else "water"
        return Question(pick(rng, _PLACE).format(k=noun, **{"is": "is", "does": "does"}), scene.water_side, "ab_position")
    alone = [(kind, o, cell) for kind in KINDS for cell, o in lone_coloured(scene, kind)]
    if alone and rng.random() < 0.5:
        kind, thing, cell = alone[int(rng.integers(len(alone)))]
        noun = coloured(str(thing.colour), name(rng, kind, False))
        text = pick(rng, _PLACE).format(k=noun, **{"is": "is", "does": "does"})
        return Question(text, cell, "ab_position", points(scene, [thing]))
    if not options:
        return None
    kind, cell = options[int(rng.integers(len(options)))]
    noun, verbs = _subject(scene, kind, rng)
    return Question(pick(rng, _PLACE).format(k=noun, **verbs), cell, "ab_position", _where(scene, kind))


def _relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    order = pairs(scene)
    rng.shuffle(order)
    four = bool(rng.random() < 0.5)
    for a, b in order[:12]:
        noun, verbs = _subject(scene, a, rng)
        other = _subject(scene, b, rng)[0]
        where = (_where(scene, a), _where(scene, b))
        if four:
            side = main_side(scene, a, b)
            if side:
                return Question(pick(rng, _SIDE).format(k=noun, o=other, **verbs), side, "re_position", *where)
            continue
        known = sides(scene, a, b)
        if known:
            side = pick(rng, list(known))
            form = RELATIONS[side][int(rng.integers(len(RELATIONS[side])))]
            templates = _ARE_SIDE if scene.count(a) != 1 else _IS_SIDE
            text = pick(rng, templates).format(k=noun, o=other, side=form)
            return Question(text, _yes(known[side]), "re_position", *where)
    return None


def _area_comparison(scene: Scene, rng: np.random.Generator) -> Question | None:
    options: list[tuple[str, str, bool, float]] = []
    wet, land = scene.cover["water"], "sand" if scene.kind == "beach" else "land"
    if scene.water_side and abs(2 * wet - 1) > 0.08:
        options.append(("water", land, wet > 0.5, 2.0))
    here = [k for k in KINDS if scene.count(k) > 0 and k not in ("dock", "bridge")]
    for i, a in enumerate(here):
        for b in here[i + 1 :]:
            first, second = area(scene, a), area(scene, b)
            if max(first, second) < 1.6 * min(first, second):
                continue
            usual = {"large building": 5, "football field": 6, "farm field": 6, "baseball field": 5, "house": 3}
            surprise = (usual.get(a, 1) > usual.get(b, 1)) != (first > second)
            options.append((a, b, first > second, 4.0 if surprise else 1.0))
    if not options:
        return None
    weights = np.array([o[3] for o in options])
    a, b, larger, _ = options[int(rng.choice(len(options), p=weights / weights.sum()))]
    if rng.random() < 0.5:
        a, b, larger = b, a, not larger
    if a in KINDS:
        plural = scene.count(a) != 1
        text = pick(rng, _AREAS if plural else [t for t in _AREA if "Is there" not in t])
        text = text.format(k=_subject(scene, a, rng)[0], o=_subject(scene, b, rng)[0])
        return Question(text, _yes(larger), "area_comp", _where(scene, a), _where(scene, b))
    return Question(pick(rng, _AREA).format(k=a, o=b), _yes(larger), "area_comp")


def _line(scene: Scene, rng: np.random.Generator) -> Question | None:
    lines = lines_to_tell(scene)
    if not lines:
        return None
    line = lines[int(rng.integers(len(lines)))]
    return Question(pick(rng, _ROAD).format(k=line.name), line.direction, "road_ori")


def _image(scene: Scene, rng: np.random.Generator) -> Question | None:
    toss = rng.random()
    if scene.greyscale or toss < 0.16:
        if rng.random() < 0.5:
            return Question(pick(rng, _GREY), "grayscale" if scene.greyscale else "color", "image")
        return Question(pick(rng, _IS_GREY), _yes(scene.greyscale), "image")
    if scene.clouds or toss < 0.26:
        return Question(pick(rng, _CLOUD), _yes(bool(scene.clouds)), "image")
    if scene.season and (scene.season != "summer" or rng.random() < 0.5):
        return Question(pick(rng, _SEASON), scene.season, "image")
    return None


def _scene(scene: Scene, rng: np.random.Generator) -> Question | None:
    if rng.random() < 0.6:
        return Question(pick(rng, _SCENE), scene.kind, "scene")
    right = bool(rng.random() < 0.5)
    asked = scene.kind
    if not right:
        others = [s for s in SCENES if s not in (scene.kind, *_ALSO.get(scene.kind, ()))]
        asked = str(rng.choice(others))
    noun = asked if asked == "farmland" else article(asked)
    return Question(pick(rng, _IS_SCENE).format(a=noun), _yes(right), "scene")


_ALSO: dict[str, tuple[str, ...]] = {
    "harbor": ("beach", "river"), "park": ("sports ground", "forest"), "forest": ("river", "park"),
    "sports ground": ("park",), "river": ("residential area", "farmland", "harbor", "park"), "beach": ("desert",),
    "intersection": ("residential area",), "desert": ("residential area", "beach"), "residential area": ("park",),
    "farmland": ("residential area",),
}  # fmt: skip
"""Other types that somebody might also call a scene: never asked with the answer no."""


def _reasoning(scene: Scene, rng: np.random.Generator) -> Question | None:
    facts = facts_for_reasoning(scene)
    key = even_choice(facts, _CONCLUDED, rng)
    return Question(pick(rng, _REASON[key]), _yes(facts[key]), "reasoning") if key else None
