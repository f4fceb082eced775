"""What can be said about a scene beyond doubt: presence, colours, places, relations, areas.

Questions, captions and the check of captions all ask here, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rsagent.training.scene_model import CELLS, KINDS, Line, Scene, SceneObject, cell_of, visible_center

STUFF: tuple[str, ...] = ("road", "runway", "river", "sea", "pond")
"""What is there or not but is never counted."""
OPPOSITE: dict[str, str] = {"left": "right", "right": "left", "above": "below", "below": "above"}
_FIELDS = ("football field", "baseball field", "tennis court")
NEVER_ASKED_BESIDE: dict[str, tuple[str, ...]] = {"large building": ("house", "bridge"), "house": ("large building",)}
"""The absence of the first kind is not stated where one of the others is present: a person could see it otherwise."""


def present(scene: Scene, kind: str) -> bool | None:
    """Whether `kind` (of `KINDS` or `STUFF`) is there; None where a person could disagree."""
    if kind in STUFF:
        return _stuff(scene, kind)
    if kind in scene.many or scene.seen(kind):
        return True
    if any(o.kind == kind for o in scene.objects):
        return None
    if any(scene.seen(other) for other in NEVER_ASKED_BESIDE.get(kind, ())):
        return None
    return False


def _stuff(scene: Scene, name: str) -> bool | None:
    if name in ("road", "runway", "river"):
        if any(line.name == name for line in scene.lines):
            return True
        doubtful = {"road": ("parking lot", "airport", "harbor", "park"), "runway": (), "river": ("harbor", "beach")}
        return None if scene.kind in doubtful[name] else False
    if name == "sea":
        return True if scene.kind == "beach" else None if scene.kind in ("harbor", "river") else False
    share = scene.cover["water"]
    if scene.water_side or any(line.name == "river" for line in scene.lines):
        return None
    return True if share > 0.015 else False if share == 0 else None


def colour_of(scene: Scene, kind: str) -> str | None:
    """The colour that all things of `kind` share; None without one."""
    colours = {o.colour for o in scene.seen(kind)}
    only = colours.pop() if len(colours) == 1 else None
    return only


def by_colour(scene: Scene, kind: str) -> dict[str, int]:
    """How many things of `kind` have each colour; empty in a greyscale picture or where the kind has none."""
    tally: dict[str, int] = {}
    for thing in scene.seen(kind):
        if thing.colour:
            tally[thing.colour] = tally.get(thing.colour, 0) + 1
    return tally


def place_of(scene: Scene, kind: str) -> str | None:
    """The ninth of the picture that holds everything of `kind`, well clear of the next ninth; None otherwise."""
    if kind in scene.many:
        return None
    cells = {cell_of(visible_center(o, scene.size), scene.size, 0.045) for o in scene.seen(kind)}
    return cells.pop() if len(cells) == 1 else None


def lone_in(scene: Scene, kind: str) -> list[tuple[str, SceneObject]]:
    """The ninths in which exactly one thing of `kind` lies, with no other of the kind near the ninth's border."""
    things = [(o, visible_center(o, scene.size)) for o in scene.seen(kind)]
    found: list[tuple[str, SceneObject]] = []
    for thing, center in things:
        cell = cell_of(center, scene.size, 0.045)
        if cell and not any(o is not thing and cell in near_cells(c, scene.size, 0.06) for o, c in things):
            found.append((cell, thing))
    return found


def lone_coloured(scene: Scene, kind: str) -> list[tuple[str, SceneObject]]:
    """The things of `kind` that alone have their colour, among things of several colours, each with its ninth."""
    tally = by_colour(scene, kind)
    if len(tally) < 2 or kind in scene.many:
        return []
    alone = [o for o in scene.seen(kind) if o.colour and tally[o.colour] == 1]
    places = [(cell_of(visible_center(o, scene.size), scene.size, 0.045), o) for o in alone]
    return [(cell, thing) for cell, thing in places if cell]


def points(scene: Scene, things: Sequence[SceneObject]) -> tuple[tuple[float, float], ...]:
    """Where the visible centres of `things` lie, as (x, y) shares of the picture in [0, 1)."""
    centers = [visible_center(thing, scene.size) for thing in things]
    return tuple((_share(x, scene.size), _share(y, scene.size)) for x, y in centers)


def _share(value: float, size: int) -> float:
    return min(max(round(value / size, 3), 0.0), 0.999)


def near_cells(center: tuple[float, float], size: int, margin: float = 0.06) -> set[str]:
    """The ninths that a tolerant person may name for a point: its own, and those within `margin` (share of size)."""
    axes: list[set[int]] = []
    for value in center:
        share = value / size
        axes.append({0 if s < 1 / 3 else 1 if s < 2 / 3 else 2 for s in (share - margin, share, share + margin)})
    return {CELLS[row * 3 + column] for column in axes[0] for row in axes[1]}


def middle(scene: Scene, kind: str) -> tuple[float, float]:
    """The mean visible centre of all things of `kind`, in pixels."""
    centers = np.array([visible_center(o, scene.size) for o in scene.seen(kind)])
    x, y = centers.mean(axis=0)
    return float(x), float(y)


def sides(scene: Scene, a: str, b: str) -> dict[str, bool]:
    """On which sides of everything of kind `b` everything of kind `a` lies, beyond doubt.

    The keys are among left, right, above, below: True for where it is, False for the opposite side; a side that a
    person could see either way is missing.
    """
    found: dict[str, bool] = {}
    (ax, ay), (bx, by) = middle(scene, a), middle(scene, b)
    boxes_a, boxes_b = (np.array([o.box for o in scene.seen(kind)]) for kind in (a, b))
    clear = 0.02 * scene.size
    for low, high, axis, gap, other in (
        ("left", "right", 0, bx - ax, by - ay),
        ("above", "below", 1, by - ay, bx - ax),
    ):
        if abs(gap) < 0.6 * abs(other):
            continue
        if boxes_a[:, axis + 2].max() + clear < boxes_b[:, axis].min():
            found[low], found[high] = True, False
        elif boxes_b[:, axis + 2].max() + clear < boxes_a[:, axis].min():
            found[low], found[high] = False, True
    return found


def main_side(scene: Scene, a: str, b: str) -> str | None:
    """The one side of `b` on which `a` lies where only one of the four can be meant; None otherwise."""
    (ax, ay), (bx, by) = middle(scene, a), middle(scene, b)
    across, down = abs(ax - bx), abs(ay - by)
    if max(across, down) < 1.7 * min(across, down):
        return None
    wanted = ("left", "right") if across > down else ("above", "below")
    return next((side for side, true in sides(scene, a, b).items() if true and side in wanted), None)


def pairs(scene: Scene, most: int = 4) -> list[tuple[str, str]]:
    """The ordered pairs of different kinds with at most `most` things each, for relations."""
    few = [k for k in KINDS if 1 <= scene.count(k) <= most]
    return [(a, b) for a in few for b in few if a != b]


def area(scene: Scene, kind: str) -> float:
    """The share of the picture (0-1) that the visible things of `kind` cover."""
    rounded = 0.7 if kind in ("storage tank", "tree", "umbrella") else 0.3 if kind == "plane" else 0.95
    return sum(o.length * o.width * o.visible * rounded for o in scene.seen(kind)) / scene.size**2


def lines_to_tell(scene: Scene) -> list[Line]:
    """The lines whose direction can be asked by name: the only road, the only runway, the only river."""
    return [line for line in scene.lines if scene.line(line.name) is line]


def facts_for_reasoning(scene: Scene) -> dict[str, bool]:
    """Simple conclusions by name; one that cannot be drawn beyond doubt is missing."""
    wet = scene.water_side is not None or any(line.name == "river" for line in scene.lines)
    kinds = {k: present(scene, k) for k in (*KINDS, *STUFF)}
    facts: dict[str, bool | None] = {
        "land": True if kinds["runway"] else None if scene.kind == "airport" else False,
        "swim": True if kinds["pool"] else None if wet or kinds["pond"] is not False else False,
        "sail": True if wet else False if kinds["pond"] is False else None,
        "tennis": kinds["tennis court"],
        "play": True if any(kinds[k] for k in _FIELDS) else False if scene.kind != "park" else None,
        "live": True if scene.count("house") >= 3 else kinds["house"] if not kinds["house"] else None,
        "store": kinds["storage tank"],
        "sunbathe": True if scene.kind == "beach" else False if not wet else None,
        "crops": True if scene.count("farm field") > 0 else kinds["farm field"],
        "drive": True if any(line.name == "road" for line in scene.lines) else None,
        "warm": {"winter": True, "summer": False}.get(scene.season or ""),
        "flights": True if kinds["plane"] and kinds["runway"] else kinds["plane"],
        "shade": True if kinds["tree"] or kinds["umbrella"] else False if kinds["tree"] is False else None,
        "crossing": kinds["bridge"] if kinds["river"] else None,
    }
    if scene.kind == "desert" and kinds["road"] is False:
        facts["drive"] = False
    if scene.kind == "forest" and not scene.lines:
        facts["drive"] = False
    return {name: value for name, value in facts.items() if value is not None}
