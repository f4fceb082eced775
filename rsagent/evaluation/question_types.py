"""Types of questions: what each data set calls them, RSIEval's ten for all of them, and the matcher that scores each.

RSIEval's ten are the field's common tongue, so figures of different sets can be laid beside each other. Two of the types
have no true counterpart there and take the nearest: RSVQA's `comp` compares numbers where area_comp compares areas, and
its `area` is a quantity of square metres.
"""

from __future__ import annotations

from typing import Literal

Family = Literal["yes_no", "count", "color", "scene", "position", "relative", "area", "direction", "open"]
"""What a matcher understands of an answer."""

RSIEVAL_TYPES = (
    "presence", "quantity", "color", "ab_position", "re_position", "area_comp", "road_ori", "image", "scene", "reasoning",
)  # fmt: skip

_RSIEVAL: dict[str, str] = {
    # RSIVQA
    "theme": "scene",
    "count": "quantity",
    "location": "ab_position",
    # RSVQA
    "comp": "area_comp",
    "rural_urban": "scene",
    "area": "quantity",
    # VRSBench
    "object existence": "presence",
    "object quantity": "quantity",
    "object color": "color",
    "object position": "ab_position",
    "object direction": "road_ori",
    "object category": "reasoning",
    "object shape": "reasoning",
    "object size": "area_comp",
    "scene type": "scene",
    "rural or urban": "scene",
}
_FAMILIES: dict[str, Family] = {
    "presence": "yes_no",
    "quantity": "count",
    "color": "color",
    "ab_position": "position",
    "re_position": "relative",
    "area_comp": "yes_no",
    "road_ori": "direction",
    "scene": "scene",
}


def rsieval_type(name: str) -> str:
    """The type of RSIEval that stands for `name`, as any data set calls it; "reasoning" for one that nobody knows."""
    plain = name.casefold().strip()
    return plain if plain in RSIEVAL_TYPES else _RSIEVAL.get(plain, "reasoning")


def family_of(name: str, truth: str = "") -> Family:
    """The matcher for a question of type `name` whose true answer is `truth`.

    Where the truth is a bare yes or no that is what is asked, whatever the type: "Is this a beach?" is typed scene.
    """
    if truth.casefold().strip(" .") in ("yes", "no"):
        return "yes_no"
    if name.casefold().strip() == "area":
        return "area"
    family = _FAMILIES.get(rsieval_type(name), "open")
    return "open" if family == "yes_no" else family  # "which is larger?" is answered by a thing
