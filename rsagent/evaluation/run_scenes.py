"""Rendered scenes, the fixed test set: questions by type, and captions checked statement by statement.

Everything about a scene is known, so a caption's statements can be told true from false, as no reference can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from rsagent.evaluation.caption_floors import Seen, caption_floors
from rsagent.evaluation.floors import QuestionPrior
from rsagent.evaluation.intervals import Figure, bootstrap
from rsagent.evaluation.readout import Encoder, fit_readout, pooled_features
from rsagent.evaluation.run import Picture, Progress, Question, Run, caption_all
from rsagent.evaluation.run_questions import MODEL, OVER, QuestionSet, question_table
from rsagent.evaluation.table import Asked, Column, Row, Table
from rsagent.model.checkpoint import read_config

if TYPE_CHECKING:
    from rsagent.agent import RSAgent
    from rsagent.engines.base import Engine
    from rsagent.training.scene_check import CaptionCheck
    from rsagent.training.scene_model import Scene

PRIOR_SCENES = 3000
"""Training scenes whose questions teach the blind prior: about 45,000 questions."""
NEIGHBOUR_SCENES = 1500
"""Training scenes that are drawn for the nearest neighbour and the class read-out."""
_HELD = 0.2

QUESTIONS_ASKED: Mapping[str, Mapping[str, Asked]] = {
    "scene": {MODEL: Asked(0.95, 0.99)},
    "presence": {MODEL: Asked(0.93, 0.97)},
    "color": {MODEL: Asked(0.85, 0.95)},
    "road_ori": {MODEL: Asked(0.92, 0.97)},
    "ab_position": {MODEL: Asked(0.70, 0.92)},
    "re_position": {MODEL: Asked(0.60, 0.88)},
    "quantity": {MODEL: Asked(0.65, 0.88)},
    "area_comp": {OVER: Asked(0.03, 0.10)},
}
STATEMENTS, FALSE, NAMED = "statements a caption", "of them false", "objects named of those there"
CAPTIONS_ASKED: Mapping[str, Asked] = {
    STATEMENTS: Asked(3.0, 4.0),
    FALSE: Asked(0.25, 0.08, at_most=True),
    NAMED: Asked(0.60, 0.80),
}


@dataclass(frozen=True)
class SceneSet:
    """The reported scenes: seeds, scenes, pictures by name, and what is asked about each."""

    split: str
    seeds: Sequence[int]
    scenes: Sequence[Scene]
    pictures: Mapping[str, Picture]


def read_scenes(split: str, seeds: Sequence[int]) -> SceneSet:
    """Lay out the scenes; a picture is drawn when somebody asks for it."""
    from rsagent.training.scenes import scene_from_seed

    progress = Progress(f"scenes-{split}", len(seeds))
    scenes = [scene_from_seed(seed, split) for seed in progress.over(seeds)]
    pictures: dict[str, Picture] = {str(seed): partial(draw_scene, split, seed) for seed in seeds}
    return SceneSet(split, seeds, scenes, pictures)


async def run_scenes(run: Run, encoder: Encoder, agent: RSAgent, single: Engine | None) -> list[Table]:
    """The tables of the rendered scenes' test set: questions, then captions."""
    from rsagent.training.scene_sets import TEST_SET

    chosen = read_scenes(TEST_SET.name, run.some(TEST_SET.seeds()))
    name = f"scenes-{TEST_SET.name}-v{TEST_SET.version}"
    questions = _question_set(name, chosen)
    return [
        await question_table(run, questions, chosen.pictures, agent, single),
        await _caption_table(run, name, chosen, encoder, agent),
    ]


def _question_set(name: str, chosen: SceneSet) -> QuestionSet:
    from rsagent.training.scene_sets import scene_record

    questions: list[Question] = []
    types: list[str] = []
    truths: list[str] = []
    images: list[str] = []
    for seed, scene in zip(chosen.seeds, chosen.scenes, strict=True):
        for place, asked in enumerate(scene_record(seed, chosen.split, scene)["questions"]):
            questions.append(Question(f"{seed}#{place}", chosen.pictures[str(seed)], asked["question"]))
            types.append(asked["type"])
            truths.append(asked["answer"])
            images.append(str(seed))
    progress = Progress("scenes: questions of the prior", PRIOR_SCENES)
    prior = QuestionPrior.fit(
        (asked["question"], asked["type"], asked["answer"])
        for seed in progress.over(range(PRIOR_SCENES))
        for asked in scene_record(seed, "train", captions=0)["questions"]
    )
    title = f"Questions on the {len(chosen.scenes)} rendered scenes of {name}, strict match"
    return QuestionSet(name, title, questions, types, truths, images, prior, QUESTIONS_ASKED)


async def _caption_table(run: Run, name: str, chosen: SceneSet, encoder: Encoder, agent: RSAgent) -> Table:
    way = "write" if "scenes" in read_config(run.checkpoint).composer_styles else "join"
    pictures = chosen.pictures
    said = {
        f"rs-moe, {way} (scenes)": await caption_all(agent, run, f"captions-{name}-scenes", pictures, "scenes"),
        "rs-moe, join (detailed)": await caption_all(agent, run, f"captions-{name}-detailed", pictures, "detailed"),
    }
    said |= _floor_rows(run, name, chosen, encoder, next(iter(said.values())))
    rows = [
        Row(row, checked_figures(list(captions.values()), chosen.scenes, run.seed), _asked(run) if place == 0 else {})
        for place, (row, captions) in enumerate(said.items())
    ]
    columns = [Column(STATEMENTS, digits=2), Column(FALSE, percent=True), Column(NAMED, percent=True)]
    return Table(f"Captions of the {len(chosen.scenes)} rendered scenes of {name}, checked", columns, rows)


def _floor_rows(run: Run, name: str, chosen: SceneSet, encoder: Encoder, said: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Row name -> scene -> caption, for what does not look, or looks only for a type of scene or a neighbour."""
    from rsagent.training.scene_sets import scene_record

    train = read_scenes("train", range(NEIGHBOUR_SCENES))
    records = zip(train.seeds, train.scenes, strict=True)
    captions = [scene_record(seed, "train", scene)["captions"] for seed, scene in records]
    there = pooled_features(run, "scenes-train", train.pictures, encoder)
    limit = "" if run.limit is None else f"-{run.limit}"
    here = pooled_features(run, f"{name}{limit}", chosen.pictures, encoder)
    kinds = [scene.kind for scene in train.scenes]
    readout = fit_readout(there, kinds, [place < _HELD * len(kinds) for place in range(len(kinds))])
    true = [scene.kind for scene in chosen.scenes]
    seen = Seen(there, here, readout)
    return caption_floors(list(chosen.pictures), true, said, list(zip(kinds, captions, strict=True)), seen, run.seed)


def checked_figures(captions: Sequence[str], scenes: Sequence[Scene], seed: int) -> dict[str, Figure]:
    """Checkable statements a caption, the share of them that is false, the share of the kinds there that are named.

    The shares are of all statements and of all kinds, over the whole set; n is the number of captions.
    """
    from rsagent.training.scene_check import check_caption

    checks = [check_caption(text, scene) for text, scene in zip(captions, scenes, strict=True)]
    counts = np.array([_counts(check) for check in checks], dtype=np.float64)

    def figure(share: Callable[[np.ndarray], float]) -> Figure:
        ends = bootstrap(lambda rows: share(counts[rows].sum(axis=0)), len(checks), seed=seed)
        return Figure(share(counts.sum(axis=0)), len(checks), *ends)

    return {
        STATEMENTS: figure(lambda total: _ratio(total[0], total[4])),
        FALSE: figure(lambda total: _ratio(total[1], total[0])),
        NAMED: figure(lambda total: _ratio(total[2], total[3])),
    }


def _counts(check: CaptionCheck) -> tuple[int, int, int, int, int]:
    named = len(check.objects_named & check.objects_there)
    return len(check.statements), len(check.false_statements), named, len(check.objects_there), 1


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _asked(run: Run) -> Mapping[str, Asked]:
    return CAPTIONS_ASKED if run.limit is None else {}


@lru_cache(maxsize=64)  # a dozen questions are asked about a picture
def draw_scene(split: str, seed: int) -> np.ndarray:
    """The picture of a scene, RGB uint8 (height, width, 3)."""
    from rsagent.training.render import render
    from rsagent.training.scenes import scene_from_seed

    return render(scene_from_seed(seed, split))
