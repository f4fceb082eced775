"""Rendered scenes: thirteen kinds of simple aerial picture laid out from a random generator, with their whole truth.

`make_scene` lays a scene out, `rsagent.training.render.render` draws it, `annotate` gives its dense truth.
"""

from __future__ import annotations

import numpy as np

from rsagent.training.scene_builder import Builder
from rsagent.training.scene_layouts import LAYOUTS
from rsagent.training.scene_model import (
    CELLS,
    COLOURS,
    DIRECTIONS,
    KINDS,
    LINES,
    SCENES,
    SEASONS,
    Scene,
    SceneObject,
    annotate,
    cell_of,
)  # fmt: skip

SPLITS: dict[str, int] = {"train": 1, "val": 2, "test": 3, "demo": 4}
"""The splits draw from different streams of random numbers, so no seed gives one scene in two splits."""


def scene_from_seed(seed: int, split: str = "train", size: int = 224) -> Scene:
    """The scene number `seed` (0 or more) of a split; the same for ever for the same three arguments."""
    stream = np.random.SeedSequence(seed, spawn_key=(SPLITS[split],))
    return make_scene(np.random.default_rng(stream), size)


def make_scene(rng: np.random.Generator, size: int = 224, kind: str | None = None) -> Scene:
    """Lay out one scene of a random type (or of type `kind`), `size` pixels square (112 or more)."""
    name = str(rng.choice(SCENES)) if kind is None else kind
    while True:
        board = Builder(rng, size, name)
        LAYOUTS[name](board)
        scene = board.finish()
        if _typical(scene):
            return scene


def _typical(scene: Scene) -> bool:
    """Whether enough of what makes the scene's type can be seen to name it."""
    signs = {
        "airport": ("plane", 1), "harbor": ("ship", 1), "residential area": ("house", 3),
        "farmland": ("farm field", 2), "industrial area": ("storage tank", 1), "park": ("tree", 3),
    }  # fmt: skip
    if scene.kind == "sports ground":
        return any(scene.seen(kind) for kind in ("football field", "baseball field", "tennis court"))
    if scene.kind in signs:
        kind, least = signs[scene.kind]
        return len(scene.seen(kind)) >= least or (scene.kind == "harbor" and bool(scene.seen("dock")))
    return True


__all__ = [
    "CELLS", "COLOURS", "DIRECTIONS", "KINDS", "LINES", "SCENES", "SEASONS", "SPLITS", "Scene", "SceneObject",
    "annotate", "cell_of", "make_scene", "scene_from_seed",
]  # fmt: skip
