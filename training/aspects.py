"""Captions divided into the three aspects that the experts learn: theme, objects, relations.

The paper's authors divided theirs with a language model; here rules do it, so that it can be repeated and checked.
Noun phrases are found around the nouns of `rsagent.evaluation.nouns`; then

- the theme is the noun phrase that says what scene it is ("a dense residential area."),
- the objects are the things seen, with number and colour ("two planes and many green trees."),
- the relations are the clause that places or arranges things ("some cars are parked beside a road.").

What a caption does not offer is "": it is no training target, and nothing is invented to fill it.

Look at a sample of splits:  python -m rsagent.training.aspects DATA_FOLDER 40
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rsagent.evaluation import nouns
from rsagent.evaluation.wording import clean_caption
from rsagent.training.chance import Chance, choose

MAX_OBJECTS = 6
MAX_RELATION_WORDS = 32


@dataclass(frozen=True, slots=True)
class Aspects:
    """Three short texts, lower case, each ending with a full stop, or "" where the caption offers nothing."""

    theme: str
    objects: str
    relations: str


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """A thing or place in a sentence: `text` in its normal form, the singular `head`, and the word before it.

    `definite` tells a second mention ("the roads"), `start` and `end` count words.
    """

    text: str
    head: str
    plural: bool
    before: str
    start: int
    end: int
    definite: bool = False


def split_aspects(caption: str) -> Aspects:
    """The aspects of one caption; it is cleaned first."""
    return merge_aspects([caption], random.Random(0))


def merge_aspects(captions: Sequence[str], rng: Chance, label: str | None = None) -> Aspects:
    """The aspects of one image, from all its captions.

    The place that most captions name is the theme; `label`, the scene class, favours a place of that name and adds
    nothing that no caption says. An object is said the way most captions say it; `rng` chooses among the relation
    clauses, and what the chosen one names is among the objects.
    """
    sentences = [sentence for sentence in map(normalise, captions) if sentence]
    phrases = [noun_phrases(sentence) for sentence in sentences]
    theme = _vote_theme(phrases, _label_heads(label))
    clauses = [(relation_clause(s, p), p) for s, p in zip(sentences, phrases, strict=True)]
    offered = [(clause, named) for clause, named in clauses if clause]
    clause, named = choose(rng, offered) if offered else ("", [])
    objects = _merge_objects([named, *phrases], theme)
    return Aspects(_close(theme.text if theme else ""), _close(_enumerate(objects)), _close(clause))


# Order matters: leads go first, so that the subject is what the later patterns see.
_GRAMMAR = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^(?:there|here) (?:is|are|was|were|has|lies|exists?) ", ""),
        (r"^(?:here )?(?:we|you) can (?:clearly )?see (?:that )?", ""),
        (r"^(?:it|this|that) (?:is|was) ", ""),
        (r"^(?:they|these|those) (?:are|were) ", ""),
        (r"^this (?:image|picture|photo) (?:shows|is of) ", ""),
        (r"^a part of (?=an? )", ""),
        (r"\bthe the\b", "the"),
        (r"\bis surround by\b", "is surrounded by"),
        (r"\bare surround by\b", "are surrounded by"),
        (r"\bsome many\b", "many"),
        (r"\beach others\b", "each other"),
        (r"\banother (two|three|four|some|many) (?=[a-z]+s\b)", r"\1 other "),
        (r"\banother (two|three|four)\b", r"\1 others"),
        (r"\banother roads\b", "other roads"),
        (r"\bwith (an? (?:\w+ )?(?:road|trail|river|overpass)) goes?\b", r"with \1 going"),
        (r"\b(a (?:\w+ )?(?:road|overpass|freeway)|an overpass) go\b", r"\1 goes"),
        (r"\bwith ((?:(?!with)[a-z-]+ ){0,3}[a-z]+) surrounded(?=$| in\b| is\b| has\b| and\b)", r"surrounded by \1"),
        (r"\bwith ((?:(?!with)[a-z-]+ ){0,3}[a-z]+) surrounded (?=the\b)", r"with \1 around "),
    )
)


def normalise(caption: str) -> str:
    """The caption cleaned, without its lead ("there are") and its full stop, with a few slips of grammar mended."""
    text = clean_caption(caption).rstrip(".")
    for pattern, replacement in _GRAMMAR:
        text = pattern.sub(replacement, text)
    return text


def noun_phrases(sentence: str) -> list[NounPhrase]:
    """The known things and places of a normalised sentence, in order; what a sentence denies is left out."""
    words = sentence.replace(",", " ,").split()
    found: list[NounPhrase] = []
    i = 0
    while i < len(words):
        length, head = nouns.head_at(words, i)
        modifier = head == " ".join(words[i : i + length]) and nouns.head_at(words, i + length)[1] is not None
        if head is None or modifier:  # "forest" in "forest trees" is no thing of its own
            i += max(1, length)
            continue
        phrase = _phrase(words, i, length, head, found[-1].end if found else 0)
        if phrase is not None:
            found.append(phrase)
        i += length
    return _attach_attributes(found, words)


def _phrase(words: Sequence[str], at: int, length: int, head: str, floor: int) -> NounPhrase | None:
    """The noun phrase whose head stands at `at`, or None when it is denied ("no cars") or repeated ("another")."""
    start = at
    while start > floor:
        word = words[start - 1]
        if word == "of" and start - 2 >= floor and words[start - 2] in nouns.QUANTITIES:
            start -= 2
            continue
        if word == "and" and start - 2 >= floor and words[start - 2] in _COLOURS and words[start] in _COLOURS:
            start -= 2
            continue
        if word in nouns.DETERMINERS:
            start -= 1
            if word in ("a", "an", "the") or start == floor or words[start - 1] not in nouns.DETERMINERS:
                break
            continue
        if _breaks(word) and words[start] != "shaped":
            break
        start -= 1
    before = words[start - 1] if start else ""
    if before == "of" and start > 1 and words[start - 2] in ("side", "sides", "bank", "banks"):
        before = "sides"
    inner = list(words[start:at])
    if before in ("no", "without", "not") or (inner and inner[0] in ("no", "another", "other")):
        return None
    form = " ".join(words[at : at + length])
    plural = form == nouns.PLURAL[head] and form != head or form in ("people", "aircraft")
    if not plural and inner and inner[0] in nouns.PLURAL_WORDS and "of" not in inner and head not in nouns.MASS:
        form, plural = nouns.PLURAL[head], True  # "several boat"
    text = _normal_form(inner, form, head, plural)
    definite = bool(inner) and inner[0] in ("the", "this", "that", "these", "those")
    return NounPhrase(text, head, plural, before, start, at + length, definite)


_COLOURS = frozenset(
    """white black grey gray red green blue yellow orange brown purple pink khaki silver dark light beige golden
    cyan""".split()
)


def _breaks(word: str) -> bool:
    if word in nouns.BREAKS:
        return True
    if word in nouns.PARTICIPLES_AS_ADJECTIVES or word in _COLOURS:
        return False
    return word.endswith(("ly", "ed", "ing"))


def _normal_form(inner: list[str], form: str, head: str, plural: bool) -> str:
    """First mention: "the" gives way to "a" or nothing, and a bare singular gets its article."""
    while inner and inner[0] in (
        "the",
        "this",
        "that",
        "these",
        "those",
        "each",
        "every",
        "its",
        "their",
        "both",
        "all",
    ):
        inner = inner[1:]
    text = " ".join([*inner, form])
    if inner and inner[0] in ("a", "an"):
        rest = " ".join([*inner[1:], form])
        return f"{_article(rest)} {rest}"
    if "of" in inner and inner[inner.index("of") - 1] in nouns.ONE_QUANTITY and inner[0] not in nouns.DETERMINERS:
        return f"{_article(text)} {text}"
    counted = plural or head in nouns.MASS or (inner and inner[0] in nouns.DETERMINERS) or "of" in inner
    if counted:
        return text
    return f"{_article(text)} {text}"


def _article(text: str) -> str:
    vowel = text[:1] in "aeiou" and not text.startswith(("u-", "u ", "uni", "eu", "one"))
    vowel = vowel or text.startswith(("s ", "s-", "l ", "l-", "x ", "hour"))
    return "an" if vowel else "a"


def _attach_attributes(found: list[NounPhrase], words: Sequence[str]) -> list[NounPhrase]:
    """Join "many buildings" and "grey roofs" where "with" stands between them; a lone roof is no object."""
    joined: list[NounPhrase] = []
    for phrase in found:
        if phrase.head not in nouns.ATTRIBUTES:
            joined.append(phrase)
        elif joined and phrase.before == "with" and joined[-1].end == phrase.start - 1:
            last = joined[-1]
            text = f"{last.text} with {phrase.text}"
            joined[-1] = NounPhrase(text, last.head, last.plural, last.before, last.start, phrase.end)
    return joined


_VAGUE = frozenset({"area", "region", "zone", "land"})


def _theme_score(phrase: NounPhrase) -> float:
    """How well a phrase says what the scene is: the place's rank, more if it leads or things are in it."""
    rank = nouns.RANK.get(phrase.head, 0)
    if not rank or (phrase.head in _VAGUE and phrase.definite):
        return 0.0
    if phrase.before in ("in", "at", "inside", "around", "sides", "banks"):
        return rank + 3.0
    if phrase.start == 0:
        return rank + (1.0 if phrase.plural else 2.0)
    if phrase.before in ("and", ","):
        return rank - 2.0
    return rank + (1.0 if phrase.before in ("of", "through", "on") else 0.0)


def _label_heads(label: str | None) -> frozenset[str]:
    return frozenset(name.strip() for name in nouns.LABEL_HEADS.get(label or "", label or "").split(";"))


def _vote_theme(phrases: Sequence[Sequence[NounPhrase]], favoured: frozenset[str]) -> NounPhrase | None:
    """The best place of each caption is its vote; the place with the most weight wins, worded as in most captions."""
    votes: Counter[str] = Counter()
    wordings: Counter[str] = Counter()
    example: dict[str, NounPhrase] = {}
    for found in phrases:
        best = max(found, key=_theme_score, default=None)
        for phrase in found:
            score = _theme_score(phrase) * (3.0 if phrase.head in favoured else 1.0)
            if score:
                text = _theme_text(phrase)
                votes[phrase.head] += int(10 * score) if phrase is best else int(2 * score)
                wordings[text] += 3 if phrase is best else 2
                example.setdefault(text, phrase)
    if not votes:
        return None
    head = max(votes, key=lambda name: (votes[name], nouns.RANK[name]))
    texts = [text for text, phrase in example.items() if phrase.head == head]
    text = max(texts, key=lambda t: (wordings[t], len(t)))
    return replace(example[text], text=text)


def _theme_text(phrase: NounPhrase) -> str:
    """As a theme, things that make a scene by their kind lose number and colour: "storage tanks", "a house"."""
    if nouns.RANK.get(phrase.head, 0) > 5:
        return phrase.text
    return nouns.PLURAL[phrase.head] if phrase.plural else f"{_article(phrase.head)} {phrase.head}"


def _merge_objects(phrases: Sequence[Sequence[NounPhrase]], theme: NounPhrase | None) -> list[str]:
    """One wording a head, the most frequent and then the most telling, heads in the order of first mention.

    Two words for one thing (`nouns.SYNONYMS`) are kept apart only where one caption names both.
    """
    wordings: dict[str, Counter[str]] = {}
    for found in phrases:
        here: set[str] = {theme.head} if theme else set()
        for phrase in found:
            if not _is_object(phrase, theme) or _said_before(phrase, here, wordings, found):
                continue
            here.add(phrase.head)
            wordings.setdefault(phrase.head, Counter())[phrase.text] += 1
    return [max(texts, key=lambda t: (texts[t], _telling(t))) for texts in wordings.values()][:MAX_OBJECTS]


def _is_object(phrase: NounPhrase, theme: NounPhrase | None) -> bool:
    """Whether a phrase is a thing seen: no vague word, nor the place itself unless small or one of several."""
    if phrase.head in nouns.NO_OBJECTS:
        return False
    rank = nouns.RANK.get(phrase.head, 0)
    return theme is None or phrase.head != theme.head or rank <= 5 or (phrase.plural and rank <= 8)


def _said_before(phrase: NounPhrase, here: set[str], wordings: dict[str, Counter[str]], found: Sequence[NounPhrase]) -> bool:
    """Whether another word for it is listed: from this caption for "the roads", else from another caption."""
    group = nouns.SYNONYMS.get(phrase.head)
    if group is None or phrase.head in wordings:
        return False
    if phrase.definite and any(nouns.SYNONYMS.get(head) == group for head in here - {phrase.head}):
        return True
    named = {other.head for other in found}
    return any(nouns.SYNONYMS.get(head) == group and head not in named for head in wordings)


def _telling(text: str) -> tuple[bool, bool, int]:
    words = text.split()
    return words[0] in nouns.NUMBERS, words[0] in nouns.PLURAL_WORDS or words[0] in ("a", "an", "one"), len(words)


_RELATION = re.compile(
    r"\b(near|next to|besides?|between|around|surround(?:s|ed|ing)?|semi-?surrounded|along|alongside|across|through"
    r"|over|above|under|behind|in front of|in the (?:middle|center) of"
    r"|(?:both|two|one|each|the other|other) (?:side|bank)s?"
    r"|opposite|adjacent|separate[sd]?|divide[sd]?|connect(?:s|ed)?|corners?|edges?|among|closed? to|parallel"
    r"|on|vertical(?:ly)?|diagonal(?:ly)?|outside|inside|northeast|northwest|southeast|southwest)\b"
)
_ARRANGEMENT = re.compile(
    r"\b(arranged|neatly|orderly|in (?:[a-z]+ )?(?:lines|rows|blocks)|scattered(?:ly)?|haphazardly|irregularly"
    r"|compactly|densely|dispersedly|side by side|together|each other)\b"
)
_DENIAL = re.compile(r"\b(no|not|nothing|without|none|never|only a few positions)\b")


def relation_clause(sentence: str, phrases: Sequence[NounPhrase]) -> str:
    """The normalised sentence where it relates two things or says how things are arranged, else ""."""
    if _DENIAL.search(sentence) or len(sentence.split()) > MAX_RELATION_WORDS:
        return ""
    related = len(phrases) >= 2 and _RELATION.search(sentence)
    arranged = len(phrases) >= 1 and _ARRANGEMENT.search(sentence)
    return sentence if related or arranged else ""


def _enumerate(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def _close(text: str) -> str:
    return f"{text}." if text else ""


def main(arguments: Sequence[str]) -> None:
    """Print a random sample of training captions and their aspects."""
    from rsagent.evaluation.published.karpathy import read_rsicd, read_ucm_captions

    root, count = arguments[0], int(arguments[1])
    rng = random.Random(int(arguments[2]) if len(arguments) > 2 else 0)
    for images in (read_ucm_captions(root), read_rsicd(root)):
        for image in rng.sample([image for image in images if image.split == "train"], count):
            caption = rng.choice(image.captions)
            for name, aspects in (
                (caption, split_aspects(caption)),
                ("ALL " + str(image.label), merge_aspects(image.captions, rng, image.label)),
            ):
                print(f"{name}\n    T {aspects.theme}\n    O {aspects.objects}\n    R {aspects.relations}")


if __name__ == "__main__":
    main(sys.argv[1:])
