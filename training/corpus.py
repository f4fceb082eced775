"""What the language side is trained on: for each picture, its captions, aspects and questions, sampled into rows.

A row is one pass through the VLM encoder: a picture, an instruction, the prompt the LLM reads and one or more targets behind
it. Which rows a sample gives depends on the stage; every sample is a pure function of (seed, index).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from rsagent.evaluation.published.karpathy import read_rsicd, read_ucm_captions, read_ucm_multilabels
from rsagent.evaluation.published.records import CaptionedImage, QuestionItem, as_labelled, holdout
from rsagent.evaluation.published.rsgpt import read_rsicap
from rsagent.evaluation.published.rsivqa import read_rsivqa_ucm
from rsagent.evaluation.wording import clean_caption
from rsagent.graphs.compose import in_paper_order
from rsagent.prompts import Prompts
from rsagent.schemas import Task
from rsagent.training.aspect_files import aspect_file, read_aspects
from rsagent.training.aspects import merge_aspects
from rsagent.training.consensus import consensus_weights
from rsagent.training.expert_sets import aspects_by_expert
from rsagent.training.paraphrase import caption_questions, derived_questions, in_digits, rephrase
from rsagent.training.question_types import expert_of
from rsagent.training.scene_questions import Points, Question
from rsagent.training.scene_store import SceneText, Thing

Stage = Literal["base", "stage1", "stage2", "composer", "critical"]
AspectTexts = dict[str, str]
_COUNTS = ("count", "quantity")
_PLACES = ("ab_position", "re_position")


@dataclass(frozen=True, slots=True)
class Row:
    """One pass through the VLM encoder and the LLM.

    Attributes:
        image: index of the picture's features.
        instruction: what the Q-Former and the router read.
        prompt: what the LLM reads after F_VLM and the soft prompt.
        targets: texts the LLM learns to write, each on its own behind the same prefix; none: only the read-out learns.
        adapter: "single", an expert, or "composer".
        needed: for the gate, which experts the instruction needs; empty where the gate learns nothing.
        answer: the short answer, for the auxiliary read-out of the Q-Former; "" for captions.
        subject, other: where the things lie that a question is about and those it compares them with; None: nobody knows.
        things, masses: under a caption's instruction, what stands where in a rendered scene; None for real pictures.
        hidden: whether the LLM reads the soft prompt without F_VLM, so that the router has to write what it saw.
    """

    image: int
    instruction: str
    prompt: str
    targets: tuple[str, ...]
    adapter: str
    task: Task
    needed: tuple[str, ...] = ()
    answer: str = ""
    subject: Points | None = None
    other: Points | None = None
    things: tuple[Thing, ...] | None = None
    masses: tuple[int, ...] = ()
    hidden: bool = False


@dataclass
class Picture:
    """One training picture: `images` are the rows of its views in the feature store, the plain view first.

    `published` are the questions that people asked of it, drawn as often as all the derived ones together. `things` and
    `masses` say what stands where in a rendered scene. `reports` are what the experts said of a view, for the composer.
    """

    style: str
    images: tuple[int, ...]
    captions: list[str]
    weights: list[float]
    aspects: list[AspectTexts]
    questions: list[Question] = field(default_factory=list)
    published: list[Question] = field(default_factory=list)
    things: tuple[Thing, ...] | None = None
    masses: tuple[int, ...] = ()
    reports: list[tuple[int, AspectTexts]] = field(default_factory=list)


@dataclass
class Corpus:
    """Real pictures and rendered scenes with their words; `experts` in the paper's order.

    Of a rendered scene the LLM answers `told` questions, and in `base` the Q-Former's heads learn from `looks` more. Where
    answers are learnt, `asked_share` of the real pictures are such that people asked something about. From `hidden_share` of
    the experts' rows F_VLM is hidden.
    """

    pictures: dict[str, list[Picture]]
    prompts: Prompts
    experts: tuple[str, ...]
    scene_share: float
    seed: int
    told: int = 3
    looks: int = 0
    asked_share: float = 0.15
    hidden_share: float = 0.0

    def sample(self, index: int, stage: Stage) -> list[Row]:
        """The rows of the `index`-th sample of a stage."""
        rng = random.Random(f"{self.seed} {stage} {index}")
        if stage == "critical":  # its targets are the references, all of them
            picture = self.draw_picture(rng)
            return [replace(self._composer_row(picture, rng), targets=tuple(picture.captions))]
        if stage == "composer":
            return [self._composer_row(self.draw_picture(rng), rng)]
        picture = self.draw_picture(rng, answers=True)
        if stage == "stage2":  # of some pictures an expert has nothing to say and was asked nothing
            rows = list(self._moe_rows(picture, rng)) or [self._whole_row(picture, rng)]
            return [replace(row, hidden=rng.random() < self.hidden_share) for row in rows]
        return list(self._single_rows(picture, rng, stage)) or [self._caption_row(picture, rng, stage)]

    def without(self, rows: set[int]) -> Corpus:
        """The corpus less the pictures whose plain view is one of `rows`: their files could not be read."""
        if not rows:
            return self
        kept = {style: [p for p in pictures if p.images[0] not in rows] for style, pictures in self.pictures.items()}
        return replace(self, pictures=kept)

    @cached_property
    def asked(self) -> list[Picture]:
        """The real pictures that people asked something about: few, and all that is known of how people count and place."""
        return [picture for pictures in self.pictures.values() for picture in pictures if picture.published]

    def draw_picture(self, rng: random.Random, *, answers: bool = False) -> Picture:
        """A scene with the chance `scene_share`, else a real picture; for `answers` rather one that people asked about."""
        styles = [style for style in self.pictures if style != "scenes" and self.pictures[style]]
        if not styles or (self.pictures.get("scenes") and rng.random() < self.scene_share):
            return rng.choice(self.pictures["scenes"])
        if answers and self.asked and rng.random() < self.asked_share:
            return rng.choice(self.asked)
        # a small data set is seen more often than its size says, a large one less
        style = rng.choices(styles, [len(self.pictures[style]) ** 0.6 for style in styles])[0]
        return rng.choice(self.pictures[style])

    def _single_rows(self, picture: Picture, rng: random.Random, stage: Stage) -> Iterator[Row]:
        """Base and stage I: one LLM learns captions and answers; the base also learns what aspects are."""
        rendered = picture.style == "scenes"
        if not rendered or rng.random() < 0.4:
            yield self._caption_row(picture, rng, stage)
        if stage == "base" and rng.random() < 0.5:
            yield from self._aspect_row(picture, rng.choice(self.experts), rng, "single")
        told, looks = (self.told, self.looks) if rendered else (2, self.looks // 4)  # of a real picture little is known
        asked = _draw_questions(*_pools(picture), told + (looks if stage == "base" else 0), rng)
        for index, one in enumerate(asked):
            prompt = self.prompts.single_text("answer", one.question)
            row = _answer_row(picture, one, prompt, "single", rng)
            yield row if index < told else replace(row, targets=())  # the Q-Former's pass alone, a third of a row's cost

    def _caption_row(self, picture: Picture, rng: random.Random, stage: Stage) -> Row:
        instruction = self.prompts.caption_instruction(picture.style)
        prompt = self.prompts.single_text("caption", instruction)
        captions = tuple(_draw(picture, rng, 2 if picture.style == "scenes" else 3, sharp=stage == "stage1"))
        image = rng.choice(picture.images)
        return Row(image, instruction, prompt, captions, "single", "caption", things=picture.things, masses=picture.masses)

    def _moe_rows(self, picture: Picture, rng: random.Random) -> Iterator[Row]:
        """Stage II: one expert an image, on its own aspect and its own questions."""
        expert = rng.choice(self.experts)
        yield from self._aspect_row(picture, expert, rng, expert)
        first, others = ([one for one in pool if expert_of(one.type, self.experts) == expert] for pool in _pools(picture))
        for one in _draw_questions(first, others, self.told if picture.style == "scenes" else 2, rng):
            prompt = self.prompts.expert_text(expert, "answer", one.question)
            yield replace(_answer_row(picture, one, prompt, expert, rng), needed=(expert,))

    def _whole_row(self, picture: Picture, rng: random.Random) -> Row:
        """The first expert on its aspect, or on a caption where the picture has no aspect at all: a batch is never empty."""
        return next(self._aspect_row(picture, self.experts[0], rng, self.experts[0]), None) or replace(
            self._caption_row(picture, rng, "stage2"), adapter=self.experts[0]
        )

    def _aspect_row(self, picture: Picture, expert: str, rng: random.Random, adapter: str) -> Iterator[Row]:
        text = rng.choice(picture.aspects)[expert]
        if text:  # an aspect that the picture does not offer is no target
            style = rng.choice(("detailed", picture.style))
            instruction = self.prompts.caption_instruction(style)
            prompt = self.prompts.expert_text(expert, "caption", instruction)
            needed = self._offered(picture) if adapter != "single" else ()
            image = rng.choice(picture.images)
            yield Row(
                image, instruction, prompt, (text,), adapter, "caption",
                needed=needed, things=picture.things, masses=picture.masses,
            )  # fmt: skip

    def _composer_row(self, picture: Picture, rng: random.Random) -> Row:
        """The composer reads what the experts said of a view of this picture, at times without one of them."""
        image, said = rng.choice(picture.reports)
        instruction = self.prompts.caption_instruction(picture.style)
        reports = {field: "" if rng.random() < 0.1 else text for field, text in in_paper_order(said).items()}
        prompt = self.prompts.composer_text(instruction, **reports)
        return Row(image, instruction, prompt, tuple(_draw(picture, rng, 2, sharp=True)), "composer", "caption")

    def _offered(self, picture: Picture) -> tuple[str, ...]:
        """The experts that have something to say of a picture; the gate learns them, so that nothing is invented."""
        return tuple(expert for expert in self.experts if any(aspects[expert] for aspects in picture.aspects))


def read_corpus(
    root: Path,
    prompts: Prompts,
    experts: Sequence[str],
    scenes: Sequence[SceneText],
    *,
    views: int,
    scene_share: float,
    seed: int,
    only: str | None = None,
) -> tuple[Corpus, list[Path]]:
    """The training corpus, and the files whose features it expects, `views` rows each, before those of the scenes.

    `only` keeps one caption data set: "ucm" or "rsicd", to see how one carries over to the other, or "rsicap".

    Raises:
        UserError: a data set is missing or damaged.
    """
    files: list[Path] = []
    pictures: dict[str, list[Picture]] = {}
    for style, items in training_images(root, only).items():
        start = len(files)
        files.extend(item.path for item in items)
        if only in (None, style):
            pictures[style] = _pictures(root, style, items, start, views, seed, experts)
    base = len(files) * views
    if not scenes:
        return Corpus(pictures, prompts, tuple(experts), 0.0, seed), files
    pictures["scenes"] = [
        Picture("scenes", (base + i,), list(s.captions), [1.0] * len(s.captions),
                [aspects_by_expert(a, s.captions[0], experts) for a in s.aspects], s.questions,
                things=s.things, masses=s.masses)
        for i, s in enumerate(scenes)
    ]  # fmt: skip
    return Corpus(pictures, prompts, tuple(experts), scene_share, seed), files


def training_images(root: Path, only: str | None = None) -> dict[str, list[CaptionedImage]]:
    """The captioned training images by style, less the slice that choices are made on; RSICap only where it is asked for."""
    read = {"rsicap": read_rsicap(root)} if only == "rsicap" else {"ucm": read_ucm_captions(root), "rsicd": read_rsicd(root)}
    return {
        style: holdout([item for item in items if item.split == "train"], share=0.04, seed=0)[0]
        for style, items in read.items()
    }


def held_out_images(root: Path) -> dict[str, list[CaptionedImage]]:
    """The slice of the captioned training images that choices are made on."""
    read = {"ucm": read_ucm_captions(root), "rsicd": read_rsicd(root)}
    return {
        style: holdout([item for item in items if item.split == "train"], share=0.04, seed=0)[1]
        for style, items in read.items()
    }


def answer_vocabulary(corpus: Corpus, most: int = 400) -> list[str]:
    """The most frequent short answers, for the auxiliary read-out."""
    asked = (one for pictures in corpus.pictures.values() for p in pictures for one in (*p.questions, *p.published))
    counts = Counter(one.answer for one in asked)
    return [answer for answer, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most]]


def corpus_texts(corpus: Corpus) -> Iterator[str]:
    """Everything the tokenizer should know."""
    for pictures in corpus.pictures.values():
        for picture in pictures:
            yield from picture.captions
            for aspects in picture.aspects:
                yield from aspects.values()
            for one in (*picture.questions, *picture.published):
                yield f"{one.question} {one.answer}"


def _pictures(
    root: Path, style: str, items: Sequence[CaptionedImage], start: int, views: int, seed: int, experts: Sequence[str]
) -> list[Picture]:
    captions = [[clean_caption(caption) for caption in item.captions] for item in items]
    weights = consensus_weights(captions, temperature=0.5)
    tags = read_ucm_multilabels(root) if style == "ucm" else {}
    labelled = {item.path: item for item in as_labelled(items, tags)}
    asked: dict[Path, list[QuestionItem]] = {}
    if style == "ucm":
        # those that name nothing too: they are asked in the reported parts as well, and have their own usual answers
        for item in read_rsivqa_ucm(root, drop_faulty=False):
            if item.split == "train":
                asked.setdefault(item.path, []).append(item)
    divided = read_aspects(aspect_file(root, style))
    pictures: list[Picture] = []
    for index, item in enumerate(items):
        rng = random.Random(f"{seed} {item.path.name}")
        published = [Question(one.question, in_digits(one.answer), one.type) for one in asked.get(item.path, [])]
        others = [rephrase(one, rng) for one in asked.get(item.path, [])]
        if item.path in labelled:
            others += derived_questions(labelled[item.path], rng)
        others += caption_questions(item, rng)
        questions = [Question(question, in_digits(answer), kind) for question, answer, kind in others]
        variants = [merge_aspects(captions[index], rng, item.label) for _ in range(3)]
        said = [{"theme": a.theme, "object": a.objects, "relation": a.relations} for a in variants]
        if item.path.name in divided:  # what a model or a person divided stands instead of the rules
            said = [divided[item.path.name].said()]
        aspects = [aspects_by_expert(one, captions[index][0], experts) for one in said]
        rows = tuple((start + index) * views + view for view in range(views))
        pictures.append(Picture(style, rows, captions[index], weights[index], aspects, questions, published))
    return pictures


def _draw(picture: Picture, rng: random.Random, count: int, *, sharp: bool) -> list[str]:
    """Up to `count` different captions; `sharp` prefers those closest to the picture's other captions."""
    distinct: dict[str, float] = {}
    for caption, weight in zip(picture.captions, picture.weights, strict=True):
        distinct[caption] = distinct.get(caption, 0.0) + (weight if sharp else 1.0)
    drawn: list[str] = []
    while distinct and len(drawn) < count:
        choice = rng.choices(list(distinct), list(distinct.values()))[0]
        drawn.append(choice)
        del distinct[choice]
    return drawn


def _pools(picture: Picture) -> tuple[list[Question], list[Question]]:
    """The questions that half of the draws are from, and the others: what people asked, or where things stand in a scene.

    "Where" is slow to learn, and there are fewer such questions than others.
    """
    if picture.style != "scenes":
        return picture.published, picture.questions
    placed = [one for one in picture.questions if one.type in _PLACES]
    return placed, [one for one in picture.questions if one.type not in _PLACES]


def _draw_questions(first: Sequence[Question], others: Sequence[Question], count: int, rng: random.Random) -> list[Question]:
    """Up to `count` different questions, half of them from `first` where it has any."""
    first = rng.sample(first, min((count + 1) // 2, len(first)))
    rest = rng.sample(others, min(count - len(first), len(others)))
    drawn = [*first, *rest]
    rng.shuffle(drawn)
    return drawn


def _answer_row(picture: Picture, asked: Question, prompt: str, adapter: str, rng: random.Random) -> Row:
    return Row(
        _view(picture, asked.type, rng), asked.question, prompt, (asked.answer,), adapter, "answer",
        answer=asked.answer, subject=asked.subject, other=asked.other,
    )  # fmt: skip


def _view(picture: Picture, kind: str, rng: random.Random) -> int:
    """Augmented views are turned, mirrored and cropped, so a question about places or numbers sees the plain one."""
    return picture.images[0] if kind in _COUNTS or expert_of(kind) == "relation" else rng.choice(picture.images)
