"""Which matcher scores which type of question, whatever the data set calls the type."""

from __future__ import annotations

from typing import Literal

Family = Literal["yes_no", "count", "color", "scene", "position", "relative", "area", "direction", "open"]
"""What a matcher understands of an answer."""

COUNT_TYPES = frozenset({"count", "quantity", "object quantity"})
"""The question types whose answers are numbers of things, as RSIVQA and RSVQA, RSIEval and VRSBench call them."""

_FAMILIES: dict[str, Family] = {
    "quantity": "count",
    "count": "count",
    "object quantity": "count",
    "color": "color",
    "object color": "color",
    "scene": "scene",
    "theme": "scene",
    "class": "scene",
    "rural_urban": "scene",
    "rural or urban": "scene",
    "scene type": "scene",
    "ab_position": "position",
    "location": "position",
    "object position": "position",
    "re_position": "relative",
    "area": "area",
    "road_ori": "direction",
    "object direction": "direction",
}
"""By type of RSIEval, RSIVQA, RSVQA and VRSBench; what asks for yes or no is told by its answer, the rest is open."""


def family_of(name: str, truth: str = "") -> Family:
    """The matcher for a question of type `name` whose true answer is `truth`.

    Where the truth is a bare yes or no that is what is asked, whatever the type: "Is this a beach?" is typed scene.
    """
    if truth.casefold().strip(" .") in ("yes", "no"):
        return "yes_no"
    return _FAMILIES.get(name.casefold().strip(), "open")
