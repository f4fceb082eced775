"""Fixed sets of rendered scenes, and writing them as pictures with a file of texts and truth.

python -m rsagent.training.scene_sets scenes-test --split test
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rsagent.errors import UserError
from rsagent.training.render import render
from rsagent.training.scene_model import KINDS, Scene
from rsagent.training.scene_text import aspects, caption, questions
from rsagent.training.scenes import SPLITS, scene_from_seed


@dataclass(frozen=True, slots=True)
class SceneSplit:
    """A fixed set: `count` scenes of the split `name` from `seed` on. A change to the scenes is a new `version`."""

    name: str
    version: int
    count: int
    seed: int

    def seeds(self) -> range:
        """The scenes' seeds."""
        return range(self.seed, self.seed + self.count)


TEST_SET = SceneSplit("test", version=1, count=600, seed=1_000_000)
VAL_SET = SceneSplit("val", version=1, count=300, seed=2_000_000)


def scene_record(seed: int, split: str, scene: Scene | None = None, captions: int = 5) -> dict[str, Any]:
    """The texts and the truth of one scene, ready for JSON; the same for ever for the same seed and split.

    Returns:
        "seed", "scene", "season", "greyscale", "captions", "aspects", "questions" (question, answer, type), and
        "truth" (counts by kind with -1 for masses, objects with colour and box in pixels, lines, water_side).
    """
    scene = scene_from_seed(seed, split) if scene is None else scene
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SPLITS[split], 1)))
    return {
        "seed": seed,
        "scene": scene.kind,
        "season": scene.season,
        "greyscale": scene.greyscale,
        "captions": [caption(scene, rng) for _ in range(captions)],
        "aspects": aspects(scene, rng),
        "questions": [{"question": q.question, "answer": q.answer, "type": q.type} for q in questions(scene, rng)],
        "truth": {
            "counts": {kind: scene.count(kind) for kind in KINDS if scene.count(kind)},
            "objects": [{"kind": o.kind, "colour": o.colour, "box": [round(v, 1) for v in o.box]} for o in scene.seen()],
            "lines": [{"name": line.name, "direction": line.direction} for line in scene.lines],
            "water_side": scene.water_side,
        },
    }


def write_scenes(folder: Path, split: str, count: int, seed: int, progress: Callable[[int, int], None] | None = None) -> Path:
    """Write `count` scenes as `folder/000000.png` … and `folder/scenes.jsonl`, all or nothing.

    Args:
        folder: must not exist yet.
        split: train, val or test.
        count: how many scenes.
        seed: the first scene's seed.
        progress: called with (scenes written, count).

    Raises:
        UserError: the folder exists, its parent cannot be written, or the split is unknown.
    """
    if split not in SPLITS:
        raise UserError(f"split {split!r}: unknown; take one of {', '.join(SPLITS)}")
    if folder.exists():
        raise UserError(f"{folder}: exists already; name a new folder or remove it first")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        partial.mkdir(parents=True)
        with (partial / "scenes.jsonl").open("w", encoding="utf-8") as file:
            for index in range(count):
                scene = scene_from_seed(seed + index, split)
                name = f"{index:06d}.png"
                Image.fromarray(render(scene)).save(partial / name)
                record = {"file": name, **scene_record(seed + index, split, scene)}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
                if progress is not None:
                    progress(index + 1, count)
        os.replace(partial, folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def main() -> None:
    """Write one of the fixed sets to a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="which fixed set")
    chosen = parser.parse_args()
    fixed = TEST_SET if chosen.split == "test" else VAL_SET
    try:
        write_scenes(chosen.folder, fixed.name, fixed.count, fixed.seed)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
