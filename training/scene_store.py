"""The words of the training scenes on disk, and their pictures drawn as fast as the cores allow.

Laying a scene out and drawing it takes about ten milliseconds, so pictures are drawn in helper processes while the image
encoder works; they are not kept, only their features are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rsagent.training.pictures import normalise
from rsagent.training.render import render
from rsagent.training.resume import whole_files
from rsagent.training.scene_questions import Question, questions
from rsagent.training.scene_text import aspects, caption
from rsagent.training.scenes import scene_from_seed

FIRST_SEED = 0
"""Training scenes are numbered from here, in the split "train"."""
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class SceneText:
    """What is said and asked of one training scene."""

    captions: list[str]
    aspects: list[dict[str, str]]
    questions: list[Question]


def scene_texts(count: int, folder: Path, progress: Callable[[int, int], None] | None = None) -> list[SceneText]:
    """The words of the first `count` training scenes; written once to `folder`."""
    target = folder / f"scenes-{count}.jsonl"
    if not target.exists():
        with whole_files(target) as (partial,), partial.open("w", encoding="utf-8") as out, _pool() as pool:
            chunks = list(range(0, count, _CHUNK))
            for index, texts in enumerate(pool.map(_texts, chunks, [count] * len(chunks))):
                out.writelines(json.dumps(asdict(text)) + "\n" for text in texts)
                if progress is not None:
                    progress(min(count, (index + 1) * _CHUNK), count)
    with target.open(encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    return [SceneText(s["captions"], s["aspects"], [Question(**q) for q in s["questions"]]) for s in found]


def scene_batches(count: int) -> Iterator[Tensor]:
    """The pictures of the first `count` training scenes in order, `(64, 3, 224, 224)` in [-1, 1] at a time."""
    starts = list(range(0, count, _CHUNK))
    with _pool() as pool:
        for first in range(0, len(starts), 16):  # a bounded look-ahead, or all pictures would wait in memory
            for pictures in pool.map(_pictures, starts[first : first + 16], [count] * 16):
                yield normalise(torch.from_numpy(pictures))


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max(1, min(8, (os.cpu_count() or 2))), mp_context=get_context("spawn"))


def _texts(start: int, count: int) -> list[SceneText]:
    found: list[SceneText] = []
    for seed in _seeds(start, count):
        scene, rng = scene_from_seed(seed, "train"), np.random.default_rng([7, seed])
        captions = [caption(scene, rng) for _ in range(3)]
        found.append(SceneText(captions, [aspects(scene, rng) for _ in range(2)], list(questions(scene, rng))))
    return found


def _pictures(start: int, count: int) -> np.ndarray:
    return np.stack([render(scene_from_seed(seed, "train")) for seed in _seeds(start, count)])


def _seeds(start: int, count: int) -> Sequence[int]:
    return range(FIRST_SEED + start, FIRST_SEED + min(start + _CHUNK, count))
