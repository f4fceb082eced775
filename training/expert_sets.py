"""Which experts there are for one to four of them, and which words each learns (RS-MoE, section V-A1).

One expert is a conventional single LLM; with two, one tells the theme and one everything specific; three are the paper's own
choice; with four the absolute positions have an expert of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rsagent.training.question_types import EXPERTS

EXPERT_SETS: dict[int, tuple[str, ...]] = {
    1: ("whole",),
    2: ("theme", "specific"),
    3: EXPERTS,
    4: ("theme", "object", "position", "relation"),
}
_PLACED = re.compile(
    r"\b(?:in|at|on|to|near|along|across|through) the (?:very )?"
    r"(?:(?:upper|lower|top|bottom|middle|left|right|far)[ -]?)*"
    r"(?:middle|cent(?:er|re)|left|right|top|bottom|corners?|edges?|upper|lower)\b"
)


def is_expert_set(experts: Sequence[str]) -> bool:
    """Whether `experts` is one of the paper's sets, or some of its three experts in their order."""
    some = [name for name in EXPERTS if name in experts]
    return bool(experts) and (tuple(experts) in EXPERT_SETS.values() or list(experts) == some)


def aspects_by_expert(aspects: Mapping[str, str], caption: str, experts: Sequence[str]) -> dict[str, str]:
    """What each of `experts` learns to say of a picture.

    Args:
        aspects: "theme", "object" and "relation", each "" where the captions offer nothing.
        caption: a whole caption of the picture, for the only one of a single expert.
        experts: one of the sets that `is_expert_set` accepts.

    Returns:
        By expert one text, or "".
    """
    said = dict(aspects)
    if "position" in experts:
        said["position"], said["relation"] = _divide(aspects["relation"])
    said["specific"] = f"{aspects['object']} {aspects['relation']}".strip()
    said["whole"] = caption
    return {name: said[name] for name in experts}


def is_placed(sentence: str) -> bool:
    """Whether a sentence says where in the picture something stands: "in the top left", "in the middle"."""
    return _PLACED.search(sentence.lower()) is not None


def _divide(relations: str) -> tuple[str, str]:
    """The sentences that name a place in the picture, and the others."""
    sentences = re.split(r"(?<=[.!?])\s+", relations.strip())
    absolute = [sentence for sentence in sentences if is_placed(sentence)]
    return " ".join(absolute), " ".join(sentence for sentence in sentences if not is_placed(sentence))
