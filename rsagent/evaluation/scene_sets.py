"""The rendered scenes' fixed sets as sets to evaluate: captions that are checked statement by statement, and questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rsagent.errors import UserError
from rsagent.evaluation.run import Progress
from rsagent.evaluation.run_scenes import NEIGHBOUR_SCENES, PRIOR_SCENES, checked_figures, draw_scene

if TYPE_CHECKING:
    from rsagent.evaluation.intervals import Figure
    from rsagent.evaluation.sets import EvaluationSet, Item
    from rsagent.training.scene_model import Scene


def open_scenes(name: str, split: str, limit: int | None) -> EvaluationSet:
    """The fixed set `split` (val or test); the training part is drawn from the split "train".

    Raises:
        UserError: no such split.
    """
    from rsagent.evaluation.sets import SCENES, EvaluationSet, limited
    from rsagent.training.scene_sets import TEST_SET, VAL_SET

    fixed = {one.name: one for one in (TEST_SET, VAL_SET)}.get(split)
    if fixed is None:
        raise UserError(f"{name} has no part {split[:60]!r}: choose from val, test")
    seeds = list(fixed.seeds())
    if limit is not None and limit < len(seeds):
        seeds = [seeds[place * len(seeds) // limit] for place in range(limit)]
    captions = SCENES[name] == "caption"
    scenes: list[Scene] = []
    items: list[Item] = []
    for scene, some in _read(split, seeds, captions):
        scenes.append(scene)
        items += some
    known = range(NEIGHBOUR_SCENES if captions else PRIOR_SCENES)
    progress = Progress(f"{name}: scenes of the floors", len(known))
    train = [item for _, some in progress.over(_read("train", known, captions)) for item in some]
    note = f"Set {fixed.name}, version {fixed.version}; everything about a scene is known."
    note = " ".join([note, *limited(len(seeds), len(list(fixed.seeds())))])

    def check(texts: Sequence[str], seed: int) -> dict[str, Figure]:
        return checked_figures(texts, scenes, seed)

    return EvaluationSet(
        name, split, "caption" if captions else "answer", "scenes", items, train, {}, note, check if captions else None
    )


def _read(split: str, seeds: Sequence[int], captions: bool) -> Iterator[tuple[Scene, list[Item]]]:
    from rsagent.evaluation.sets import Item
    from rsagent.training.scene_sets import scene_record
    from rsagent.training.scenes import scene_from_seed

    for seed in seeds:
        scene = scene_from_seed(seed, split)
        record = scene_record(seed, split, scene, captions=5 if captions else 0)
        picture = partial(draw_scene, split, seed)
        if captions:
            yield scene, [Item(str(seed), str(seed), picture, tuple(record["captions"]), label=scene.kind)]
        else:
            yield (
                scene,
                [
                    Item(f"{seed}#{place}", str(seed), picture, (asked["answer"],), asked["type"], asked["question"])
                    for place, asked in enumerate(record["questions"])
                ],
            )
