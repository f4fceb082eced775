"""The words of the training scenes on disk, and their pictures drawn as fast as the cores allow.

Laying a scene out and drawing it takes about ten milliseconds, so pictures are drawn in helper processes while the image
encoder works; they are not kept, only their features are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsagent.training.pictures import normalise
from rsagent.training.render import render
from rsagent.training.resume import whole_files
from rsagent.training.scene_facts import points
from rsagent.training.scene_model import COLOURS, KINDS, Scene
from rsagent.training.scene_questions import Points, Question, questions
from rsagent.training.scene_text import aspects, caption
from rsagent.training.scenes import scene_from_seed

FIRST_SEED = 0
"""Training scenes are numbered from here, in the split "train"."""
_CHUNK = 64
_ROUNDS = 2  # of asking: about two dozen different questions a scene


Thing = tuple[int, int, float, float]
"""A countable thing: index into `KINDS`, index into `COLOURS` or -1, and where its centre lies, in shares of the picture."""


@dataclass(frozen=True, slots=True)
class SceneText:
    """What is said and asked of one training scene, and what stands where; `masses`: the kinds that nobody could count."""

    captions: list[str]
    aspects: list[dict[str, str]]
    questions: list[Question]
    things: tuple[Thing, ...]
    masses: tuple[int, ...]


def scene_texts(count: int, folder: Path, progress: Callable[[int, int], None] | None = None) -> list[SceneText]:
    """The words of the first `count` training scenes; written once to `folder`."""
    target = folder / f"scenes-{count}-{scene_key()}.jsonl"
    if not target.exists():
        with whole_files(target) as (partial,), partial.open("w", encoding="utf-8") as out, _pool() as pool:
            chunks = list(range(0, count, _CHUNK))
            for index, texts in enumerate(pool.map(_texts, chunks, [count] * len(chunks))):
                out.writelines(json.dumps(asdict(text)) + "\n" for text in texts)
                if progress is not None:
                    progress(min(count, (index + 1) * _CHUNK), count)
    with target.open(encoding="utf-8") as lines:
        return [_read(json.loads(line)) for line in lines]


def _read(record: dict[str, Any]) -> SceneText:
    asked = [
        Question(q["question"], q["answer"], q["type"], _points(q["subject"]), _points(q["other"])) for q in record["questions"]
    ]
    things = tuple((int(k), int(c), float(x), float(y)) for k, c, x, y in record["things"])
    return SceneText(record["captions"], record["aspects"], asked, things, tuple(record["masses"]))


def _points(found: list[list[float]] | None) -> Points | None:
    return None if found is None else tuple((x, y) for x, y in found)


def scene_batches(count: int) -> Iterator[Tensor]:
    """The pictures of the first `count` training scenes in order, `(64, 3, 224, 224)` in [-1, 1] at a time."""
    starts = list(range(0, count, _CHUNK))
    with _pool() as pool:
        for first in range(0, len(starts), 16):  # a bounded look-ahead, or all pictures would wait in memory
            for pictures in pool.map(_pictures, starts[first : first + 16], [count] * 16):
                yield normalise(torch.from_numpy(pictures))


def scene_key() -> str:
    """A digest of how the first training scene looks: another renderer or layout gives another key."""
    return hashlib.sha256(render(scene_from_seed(FIRST_SEED, "train")).tobytes()).hexdigest()[:16]


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max(1, min(8, (os.cpu_count() or 2))), mp_context=get_context("spawn"))


def _texts(start: int, count: int) -> list[SceneText]:
    found: list[SceneText] = []
    for seed in _seeds(start, count):
        scene, rng = scene_from_seed(seed, "train"), np.random.default_rng([7, seed])
        captions = [caption(scene, rng) for _ in range(3)]
        said = [aspects(scene, rng) for _ in range(2)]
        asked = {q.question: q for _ in range(_ROUNDS) for q in questions(scene, rng)}
        masses = tuple(KINDS.index(kind) for kind in KINDS if kind in scene.many)
        found.append(SceneText(captions, said, list(asked.values()), _things(scene), masses))
    return found


def _things(scene: Scene) -> tuple[Thing, ...]:
    seen = [thing for thing in scene.seen() if thing.kind not in scene.many]
    colours = [-1 if scene.greyscale or thing.colour is None else COLOURS.index(thing.colour) for thing in seen]
    kinds = [KINDS.index(thing.kind) for thing in seen]
    return tuple((k, c, x, y) for k, c, (x, y) in zip(kinds, colours, points(scene, seen), strict=True))


def _pictures(start: int, count: int) -> np.ndarray:
    return np.stack([render(scene_from_seed(seed, "train")) for seed in _seeds(start, count)])


def _seeds(start: int, count: int) -> Sequence[int]:
    return range(FIRST_SEED + start, FIRST_SEED + min(start + _CHUNK, count))
