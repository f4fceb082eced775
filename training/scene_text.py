"""Captions of a scene and its aspects: theme, objects, relations. Every statement is true by construction.

The questions (`questions`) and the check of a caption (`check_caption`) live in modules of their own and are given
here too.
"""

from __future__ import annotations

import numpy as np

from rsagent.training.scene_check import CaptionCheck, Statement, check_caption
from rsagent.training.scene_facts import by_colour, colour_of, lines_to_tell, main_side, pairs, place_of, sides
from rsagent.training.scene_model import KINDS, Scene
from rsagent.training.scene_questions import QUESTION_TYPES, Question, questions
from rsagent.training.scene_words import (
    DIRECTION_FORMS,
    NUMBERS,
    PLACES,
    RELATIONS,
    article,
    coloured,
    joined,
    name,
    pick,
    sentence,
)

_THEMES: dict[str, tuple[str, ...]] = {
    "airport": ("an airport", "part of an airport"),
    "harbor": ("a harbor", "a harbor at the edge of the water"),
    "parking lot": ("a parking lot", "a parking lot with marked spaces"),
    "residential area": ("a residential area", "a residential area with houses"),
    "farmland": ("farmland", "farmland with farm fields"),
    "forest": ("a forest", "a dense forest with many trees"),
    "river": ("a river", "a river and its banks"),
    "beach": ("a beach", "a beach by the sea", "a sandy beach"),
    "sports ground": ("a sports ground", "a sports ground for ball games"),
    "industrial area": ("an industrial area", "an industrial area with storage tanks"),
    "intersection": ("an intersection", "an intersection of two roads"),
    "park": ("a park", "a park with paths"),
    "desert": ("a desert", "a bare desert"),
}
_OPENINGS = (
    "this is {a}", "this aerial image shows {a}", "the image shows {a}", "here we see {a}",
    "the picture was taken over {a}", "it is an aerial view of {a}", "an aerial view of {a}",
)  # fmt: skip
_GREY_OPENINGS = (
    "this grayscale image shows {a}", "a grayscale aerial image of {a}", "the black and white picture shows {a}",
    "this is a grayscale view of {a}",
)  # fmt: skip
_SEASONS: dict[str, tuple[str, ...]] = {
    "summer": ("in summer", "in the green of summer"),
    "autumn": ("in autumn", "with the colors of autumn"),
    "winter": ("in winter", "covered with snow", "in winter snow"),
}
_SIDES = {"top": "at the top", "bottom": "at the bottom", "left": "on the left side", "right": "on the right side"}
_MANY = ("many", "a lot of", "many")


def aspects(scene: Scene, rng: np.random.Generator) -> dict[str, str]:
    """What the three experts should say: "theme", "object" and "relation" ("" where the scene offers none)."""
    return {"theme": _theme(scene, rng), "object": _objects(scene, rng), "relation": _relations(scene, rng)}


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption of one or several sentences."""
    toss = rng.random()
    if toss < 0.2:
        return _short(scene, rng)
    parts = aspects(scene, rng)
    chosen = ("theme", "object") if toss < 0.4 else ("theme", "object", "relation")
    return " ".join(parts[part] for part in chosen if parts[part])


def _theme(scene: Scene, rng: np.random.Generator) -> str:
    words = pick(rng, _THEMES[scene.kind])
    text = pick(rng, _GREY_OPENINGS if scene.greyscale else _OPENINGS).format(a=words)
    if scene.season and rng.random() < 0.75:
        text += f" {pick(rng, _SEASONS[scene.season])}"
    if scene.clouds and rng.random() < 0.6:
        text += " with clouds above"
    return sentence(text)


def _number(rng: np.random.Generator, count: int) -> str:
    return str(count) if rng.random() < 0.15 else NUMBERS[count] if count < len(NUMBERS) else str(count)


def _phrase(scene: Scene, kind: str, rng: np.random.Generator, count: bool = True) -> str:
    """All things of a kind: "three white planes", "a red car and two blue cars"."""
    if kind in scene.many:
        return f"{pick(rng, _MANY)} {name(rng, kind, True)}"
    n = scene.count(kind)
    tally = by_colour(scene, kind)
    if len(tally) > 1 and rng.random() < 0.6:
        return joined([_counted(rng, kind, k, colour) for colour, k in tally.items()])
    colour = colour_of(scene, kind) if rng.random() < 0.75 else None
    if not count and n > 1:
        return coloured(colour, name(rng, kind, True)) if colour else name(rng, kind, True)
    return _counted(rng, kind, n, colour)


def _counted(rng: np.random.Generator, kind: str, n: int, colour: str | None) -> str:
    noun = name(rng, kind, n != 1)
    if colour:
        noun = coloured(colour, noun)
    if n == 1:
        return article(noun) if rng.random() < 0.6 else f"one {noun}"
    return f"{_number(rng, n)} {noun}"


def _there(scene: Scene) -> list[str]:
    return [k for k in KINDS if k in scene.many or scene.count(k) > 0]


def _objects(scene: Scene, rng: np.random.Generator) -> str:
    """The sentences of the object expert: what is there, how many, in which colour, where."""
    kinds = _there(scene)
    if not kinds:
        return pick(rng, ("There are no cars or houses in the image.", "There are no planes, ships or cars in the scene."))
    rng.shuffle(kinds)
    placed = {k: cell for k in kinds if (cell := place_of(scene, k)) and rng.random() < 0.6}
    plain = [k for k in kinds if k not in placed]
    sentences: list[str] = []
    if plain:
        listed = joined([_phrase(scene, k, rng) for k in plain])
        one = len(plain) == 1 and scene.count(plain[0]) == 1
        form = pick(
            rng,
            (
                "there {is} {l}",
                "there {is} {l} in the image",
                "one can see {l}",
                "we can see {l}",
                "the scene contains {l}",
            ),
        )
        sentences.append(sentence(form.format(l=listed, **{"is": "is" if one else "are"})))
    for kind, cell in list(placed.items())[:3]:
        phrase = _phrase(scene, kind, rng)
        verb = "is" if scene.count(kind) == 1 else "are"
        form = pick(rng, ("there {is} {l} {p}", "{l} {is} {p}", "{p} there {is} {l}", "{l} {is} visible {p}"))
        sentences.append(sentence(form.format(l=phrase, p=pick(rng, PLACES[cell]), **{"is": verb})))
    return " ".join(sentences)


def _definite(scene: Scene, kind: str, rng: np.random.Generator) -> str:
    colour = colour_of(scene, kind)
    noun = name(rng, kind, scene.count(kind) != 1)
    return f"the {coloured(colour, noun)}" if colour and rng.random() < 0.4 else f"the {noun}"


def _relations(scene: Scene, rng: np.random.Generator) -> str:
    """The sentences of the relation expert: directions of lines, sides, bridges, water."""
    sentences: list[str] = []
    for line in lines_to_tell(scene):
        way = pick(rng, DIRECTION_FORMS[line.direction])
        form = pick(rng, ("the {l} runs {w}", "the {l} goes {w} through the image", "a {l} crosses the picture {w}"))
        sentences.append(sentence(form.format(l=line.name, w=way)))
    if scene.kind == "intersection":
        sentences.append(pick(rng, ("Two roads cross each other.", "Two roads meet at the crossing.")))
    if scene.water_side:
        water = "sea" if scene.kind == "beach" else "water"
        form = pick(rng, ("the {w} is {p} of the image", "the {w} lies {p} of the picture"))
        place = {
            "top": "at the top",
            "bottom": "at the bottom",
            "left": "on the left side",
            "right": "on the right side",
        }
        sentences.append(sentence(form.format(w=water, p=place[scene.water_side])))
    if scene.seen("bridge") and scene.line("river"):
        verb = "crosses" if scene.count("bridge") == 1 else "cross"
        sentences.append(sentence(f"the {name(rng, 'bridge', verb == 'cross')} {verb} the river"))
    order = pairs(scene)
    rng.shuffle(order)
    most = len(sentences) + 2
    for a, b in order:
        if len(sentences) >= most:
            break
        side = main_side(scene, a, b) or next((s for s, true in sides(scene, a, b).items() if true), None)
        if side is None or any(a in s and b in s for s in sentences):
            continue
        verb = pick(rng, ("is", "lies") if scene.count(a) == 1 else ("are", "lie"))
        sentences.append(sentence(f"{_definite(scene, a, rng)} {verb} {pick(rng, RELATIONS[side])} {_definite(scene, b, rng)}"))
    rng.shuffle(sentences)
    return " ".join(sentences[: 1 + int(rng.integers(3))])


def _short(scene: Scene, rng: np.random.Generator) -> str:
    """One sentence that names the scene and one or two of its kinds of object."""
    kinds = _there(scene)
    words = _THEMES[scene.kind][0]
    if not kinds:
        return sentence(pick(rng, ("this is {a} without any cars", "{a} with no houses")).format(a=words))
    rng.shuffle(kinds)
    listed = joined([_phrase(scene, k, rng) for k in kinds[: 1 + int(rng.integers(2))]])
    form = pick(rng, ("{a} with {l}", "there are {l} in {a}", "{l} in {a}", "{l} can be seen in this picture of {a}"))
    return sentence(form.format(a=words, l=listed))


__all__ = [
    "QUESTION_TYPES", "CaptionCheck", "Question", "Statement", "aspects", "caption", "check_caption", "questions",
]  # fmt: skip
