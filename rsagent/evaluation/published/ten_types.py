"""RSIEval's ten types of question, and which of them each data set's own types are.

A type without a counterpart (an object's shape, its category, its size, the square metres that a kind of thing covers) is
in no row: tables by the ten leave it out.
"""

from __future__ import annotations

from collections.abc import Mapping

TEN_TYPES = {
    "presence": "presence",
    "quantity": "quantity",
    "color": "color",
    "ab_position": "absolute position",
    "re_position": "relative position",
    "area_comp": "area comparison",
    "road_ori": "road direction",
    "image": "image",
    "scene": "scene",
    "reasoning": "reasoning",
}
"""RSIEval's types as its file spells them, and in words."""

_RSVQA = {"presence": "presence", "count": "quantity", "comp": "area_comp", "rural_urban": "scene"}

ten_types: Mapping[str, Mapping[str, str]] = {
    "rsieval-vqa": {name: name for name in TEN_TYPES},
    # comp asks whether there are more of one thing than of another, which RSIEval files under area comparison as well
    "rsvqa-lr": _RSVQA,
    "rsvqa-hr": _RSVQA,
    "rsivqa": {
        "theme": "scene",
        "presence": "presence",
        "count": "quantity",
        "location": "ab_position",
        "color": "color",
    },
    "vrsbench-vqa": {
        "object existence": "presence",
        "object quantity": "quantity",
        "object color": "color",
        "object position": "ab_position",
        "object direction": "road_ori",
        "image": "image",
        "scene type": "scene",
        "rural or urban": "scene",
        "reasoning": "reasoning",
    },
}
"""Data set -> its own type -> RSIEval's."""


def ten_type(name: str, own: str) -> str | None:
    """RSIEval's type for a data set's own one, None where it has no counterpart."""
    return ten_types.get(name, {}).get(own)
