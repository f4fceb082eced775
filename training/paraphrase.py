"""Questions put in many ways, and questions that follow from labels and captions.

Data sets ask each kind of question in one or two forms; people ask in any. `rephrase` gives a published question
another form with the same answer. `derived_questions` asks what a scene class or a complete list of things answers
beyond doubt, `caption_questions` what an image's captions answer without contradiction. Yes and no are balanced
for each thing, so that the question alone does not tell the answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rsagent.evaluation import nouns
from rsagent.evaluation.published.records import CaptionedImage, LabelledImage, QuestionItem
from rsagent.training import question_forms as forms
from rsagent.training.aspects import NounPhrase, normalise, noun_phrases
from rsagent.training.chance import Chance, choose, coin
from rsagent.training.scene_classes import MAY_CONTAIN, SCENE_CLASSES, SceneClass


class Asked(NamedTuple):
    """A question, its answer and its type (a key of `QUESTION_EXPERT`)."""

    question: str
    answer: str
    type: str


_MASS = frozenset(
    "water sand grass vegetation bare-soil pavement chaparral farmland snow parking land crops sea the-sea".split()
)
# UC Merced's multi-labels: the share of images with each, and how the thing is asked for.
_MULTILABELS: dict[str, tuple[float, tuple[str, ...]]] = {
    "airplane": (0.048, ("an airplane", "airplanes", "a plane", "planes")),
    "bare-soil": (0.342, ("bare soil",)),
    "buildings": (0.329, ("a building", "buildings")),
    "cars": (0.422, ("a car", "cars")),
    "chaparral": (0.055, ("chaparral",)),
    "court": (0.050, ("a sports court", "sports courts")),
    "dock": (0.048, ("a dock", "docks")),
    "field": (0.049, ("farmland", "a crop field")),
    "grass": (0.464, ("grass",)),
    "mobile-home": (0.049, ("mobile homes", "a mobile home")),
    "pavement": (0.619, ("pavement",)),
    "sand": (0.140, ("sand",)),
    "sea": (0.048, ("the sea",)),
    "ship": (0.049, ("a boat", "boats", "ships")),
    "tanks": (0.048, ("storage tanks", "a storage tank", "tanks")),
    "trees": (0.480, ("trees", "a tree")),
    "water": (0.097, ("water",)),
}
# While the first is there, the second may be said to be there, so its absence is not asked about.
_DOUBTFUL: dict[str, tuple[str, ...]] = {
    "mobile-home": ("buildings",), "sea": ("water",), "water": ("sea",), "sand": ("bare-soil",),
    "bare-soil": ("sand",),
    "grass": ("chaparral",), "chaparral": ("trees", "grass"), "trees": ("chaparral",), "field": ("bare-soil",),
    "ship": ("dock", "water", "sea"), "dock": ("water", "sea"), "buildings": ("mobile-home", "tanks"),
}  # fmt: skip

_PARTS = tuple(
    (re.compile(pattern, re.I), kind)
    for pattern, kind in (
        (r"^does this picture contain (?:an? )?(?P<a>.+?)\?$", "presence"),
        (r"^how many +(?P<a>\S.*?) in the picture\?$", "count"),
        (r"^what is the location of the +(?P<a>\S.*?) in this picture\?$", "location"),
        (r"^what is the (?P<a>theme) of this picture\?$", "theme"),
        (r"^is it a (?P<a>rural or an urban area)\??$", "rural_urban"),
        (r"^is there an? (?P<a>.+?)(?: in the image)?\?$", "presence"),
        (r"^is an? (?P<a>.+?) present(?: in the image)?\?$", "presence"),
        (r"^how many (?P<a>.+?) are there(?: in the image)?\?$", "count"),
        (r"^what is the (?:number|amount) of (?P<a>.+?)(?: in the image)?\?$", "count"),
    )
)


def rephrase(item: QuestionItem, rng: Chance, keep: float = 0.3) -> Asked:
    """Another form of a published RSIVQA or RSVQA question with the same answer.

    With probability `keep` (0-1), and for wordings that are not known, the question stays as it is.
    """
    same = Asked(item.question, item.answer, item.type)
    if coin(rng, keep):
        return same
    for pattern, kind in _PARTS:
        found = pattern.match(item.question.strip())
        if found and kind == item.type and not item.faulty:
            noun = found["a"].strip().lower()
            return _rephrased(kind, noun, item, rng)
    return same


def derived_questions(image: LabelledImage, rng: Chance) -> list[Asked]:
    """Two to six questions that the image's class and its complete list of things (`labels`) answer.

    The place, whether it is a certain place, city or countryside where that is plain, and whether things
    are there. A label without an entry in `SCENE_CLASSES` gives no question.
    """
    scene = SCENE_CLASSES.get(image.label)
    if scene is None:
        return []
    asked = [Asked(_form(choose(rng, forms.SCENE), rng), scene.name, "scene"), _is_scene(scene, rng)]
    if scene.setting:
        question, urban, rural = choose(rng, forms.SETTING)
        asked.append(Asked(_form(question, rng), urban if scene.setting == "urban" else rural, "scene"))
    if image.labels:
        asked += _listed_presence(image.labels, rng) + _listed_presence(image.labels, rng)
    asked += _class_presence(scene, rng)
    return list({one.question.lower(): one for one in asked}.values())


def caption_questions(image: CaptionedImage, rng: Chance) -> list[Asked]:
    """Questions about what the captions agree on: things that are there or surely not, exact numbers, colours.

    A number or colour on which two mentions differ is not asked.
    """
    by_head: dict[str, list[NounPhrase]] = {}
    for caption in image.captions:
        for phrase in noun_phrases(normalise(caption)):
            if phrase.head not in nouns.NO_OBJECTS and phrase.head not in nouns.ATTRIBUTES:
                by_head.setdefault(phrase.head, []).append(phrase)
    asked = _named_presence(frozenset(by_head), SCENE_CLASSES.get(image.label or ""), rng)
    for head, found in by_head.items():
        asked += _count_question(head, found, rng) + _colour_question(head, found, rng)
    return asked


def in_digits(answer: str) -> str:
    """A number word as digits ("twenty-two" gives "22"), as the rendered scenes write counts; others as they are."""
    words = answer.strip().lower().replace("-", " ").split()
    values = [_NUMBER_WORDS.get(word) for word in words]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return answer
    if len(known) == 1:
        return str(known[0])
    tens, ones = known[0], known[1]
    return str(tens + ones) if len(known) == 2 and tens >= 20 and 0 < ones < 10 else answer


_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_NUMBER_WORDS = {word: value for value, word in enumerate(_SMALL)} | {
    word: 10 * value for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}


def _rephrased(kind: str, noun: str, item: QuestionItem, rng: Chance) -> Asked:
    if kind == "rural_urban":
        question, urban, rural = choose(rng, forms.SETTING)
        return Asked(_form(question, rng), urban if item.answer == "urban" else rural, item.type)
    if kind == "theme":
        return Asked(_form(choose(rng, forms.SCENE), rng), item.answer, item.type)
    if kind == "presence":
        thing = noun if noun.endswith("s") and not noun.endswith("ss") else f"{_article(noun)} {noun}"
        if noun in _MASS:
            thing = noun
        return Asked(_form(_presence_form(thing, rng), rng), item.answer, item.type)
    template = choose(rng, forms.COUNT if kind == "count" else forms.LOCATION)
    many = noun if kind == "location" else _plural(noun)
    be = "are" if many.endswith("s") and not many.endswith("ss") else "is"
    return Asked(_form(template.replace("{be}", be).replace("{a}", many), rng), item.answer, item.type)


def _plural(noun: str) -> str:
    return nouns.PLURAL.get(noun, noun if noun.endswith("s") else f"{noun}s")


def _article(noun: str) -> str:
    return "an" if noun[:1] in "aeiou" else "a"


def _presence_form(thing: str, rng: Chance) -> str:
    """A presence question for "a car", "cars", "water" or "the sea"."""
    if thing.startswith(("a ", "an ", "the ")):
        templates: Sequence[str] = forms.PRESENCE
    elif thing.endswith("s") and thing != "grass":
        templates = forms.PRESENCE_MANY
    else:
        templates = forms.PRESENCE_MASS
    return choose(rng, templates).replace("{a}", thing)


def _presence(thing: str, there: bool, rng: Chance) -> Asked:
    return Asked(_form(_presence_form(thing, rng), rng), "yes" if there else "no", "presence")


def _is_scene(scene: SceneClass, rng: Chance) -> Asked:
    """Whether it is a certain place: itself, or one of another family that it can hardly be taken for."""
    true = coin(rng)
    name = scene.name
    if not true:
        excluded = MAY_CONTAIN[scene.family] | {scene.family}
        name = choose(rng, [other for other, family in _NEGATIVES if family not in excluded])
    place = _as_place(name)
    templates = forms.IS_SCENE if place.startswith(("a ", "an ", "the ")) else forms.SCENE_OF_MANY
    return Asked(_form(choose(rng, templates).replace("{a}", place), rng), "yes" if true else "no", "scene")


# Places that nobody would ask for unless they are there are not asked for.
_NEGATIVES = sorted(
    {
        (scene.name, scene.family)
        for label, scene in SCENE_CLASSES.items()
        if label not in ("AnnualCrop", "PermanentCrop", "HerbaceousVegetation", "SeaLake")
    }
)


def _as_place(name: str) -> str:
    if name.endswith(" residential"):
        name += " area"
    if name.endswith("s") or name in ("farmland", "bareland", "pasture", "chaparral", "herbaceous vegetation"):
        return name
    return "the sea or a lake" if name == "sea or lake" else f"{_article(name)} {name}"


def _listed_presence(labels: Sequence[str], rng: Chance) -> list[Asked]:
    """Yes and no in equal shares, and each thing about as often with either answer over the whole data set."""
    there = coin(rng)
    doubtful = {other for label in labels for other in _DOUBTFUL.get(label, ())}
    things = [n for n in _MULTILABELS if (n in labels) == there and (there or n not in doubtful)]
    if not things:
        return []
    shares = [_MULTILABELS[thing][0] for thing in things]
    weights = [min(share, 1 - share) / (share if there else 1 - share) for share in shares]
    thing = choose(rng, things, weights)
    return [_presence(choose(rng, _MULTILABELS[thing][1]), there, rng)]


def _class_presence(scene: SceneClass, rng: Chance) -> list[Asked]:
    """Things that the class surely shows or lacks, each as often with yes as with no where classes are even."""
    asked: list[Asked] = []
    for thing, there in [*((thing, True) for thing in scene.shows), *((thing, False) for thing in scene.lacks)]:
        yes, no = _SHOWN[thing], _LACKED[thing]
        if yes and no and coin(rng, min(yes, no) / (yes if there else no)):
            asked.append(_presence(thing, there, rng))
    return asked[:2]


_SHOWN = Counter(thing for scene in SCENE_CLASSES.values() for thing in scene.shows)
_LACKED = Counter(thing for scene in SCENE_CLASSES.values() for thing in scene.lacks)

# Things that captions name: the shares of RSICD's training images that name one and whose class lacks it, the nouns.
_NAMED: dict[str, tuple[float, float, frozenset[str]]] = {
    "airplanes": (0.038, 0.926, frozenset({"airplane", "plane", "aircraft", "aeroplane"})),
    "ships": (0.044, 0.378, frozenset({"boat", "ship", "yacht"})),
    "tennis courts": (0.023, 0.215, frozenset({"tennis court", "tennis field"})),
    "storage tanks": (0.037, 0.393, frozenset({"storage tank", "tank", "oil tank"})),
    "trains": (0.002, 0.215, frozenset({"train"})),
    "parking lots": (0.081, 0.082, frozenset({"parking lot"})),
    "a stadium": (0.029, 0.426, frozenset({"stadium"})),
    "a runway": (0.010, 0.862, frozenset({"runway", "airstrip"})),
    "a harbor": (0.038, 0.208, frozenset({"harbor", "port", "harbour", "dock", "wharf", "pier"})),
    "mountains": (0.037, 0.477, frozenset({"mountain", "hill"})),
    "waves": (0.018, 0.700, frozenset({"wave"})),
    "a forest": (0.046, 0.130, frozenset({"forest", "wood", "rainforest"})),
    "buildings": (0.502, 0.027, frozenset({"building", "house", "villa"})),
}


def _named_presence(heads: frozenset[str], scene: SceneClass | None, rng: Chance) -> list[Asked]:
    """What the captions name is there; what they do not name and the class lacks is not; yes as often as no."""
    asked: list[Asked] = []
    for thing, (named, lacked, words) in _NAMED.items():
        there = bool(heads & words)
        if (there or (scene is not None and thing in scene.lacks)) and coin(
            rng, min(named, lacked) / (named if there else lacked)
        ):
            asked.append(_presence(thing, there, rng))
    return asked


def _count_question(head: str, found: Sequence[NounPhrase], rng: Chance) -> list[Asked]:
    numbers = {word for phrase in found for word in phrase.text.split()[:1]}
    if len(numbers) != 1 or not numbers <= set(_SMALL[2:]):
        return []
    question = choose(rng, forms.COUNT).replace("{a}", nouns.PLURAL[head])
    return [Asked(_form(question, rng), in_digits(numbers.pop()), "quantity")]


_ALWAYS_GREEN = frozenset({"tree", "plant", "grass", "meadow", "lawn", "turf"})  # the answer is known without looking
_COLOURS = frozenset("white black grey gray red green blue yellow orange brown purple pink khaki silver".split())


def _colour_question(head: str, found: Sequence[NounPhrase], rng: Chance) -> list[Asked]:
    said = [[word for word in phrase.text.split(" with ")[0].split() if word in _COLOURS] for phrase in found]
    colours = {colour for colour_words in said for colour in colour_words}
    if len(colours) != 1 or any(len(colour_words) > 1 for colour_words in said):
        return []
    plural = found[0].plural
    if any(phrase.plural != plural for phrase in found) or (head in _ALWAYS_GREEN and not coin(rng, 0.1)):
        return []
    name = nouns.PLURAL[head] if plural else head
    question = choose(rng, forms.COLOUR).replace("{be}", "are" if plural else "is").replace("{do}", "do" if plural else "does")
    return [Asked(_form(question.replace("{a}", name), rng), colours.pop().replace("gray", "grey"), "color")]


def _form(question: str, rng: Chance) -> str:
    """The question as people type it: now and then without its capital or its mark, or with a lead."""
    if question.endswith("?") and coin(rng, 0.03):
        question = f"Please tell me: {question}"
    if coin(rng, 0.12):
        question = question[0].lower() + question[1:]
    return question.rstrip("?.") if coin(rng, 0.08) else question
