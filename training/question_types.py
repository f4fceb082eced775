"""Which expert answers which type of question: what the gate learns, and which expert a question trains."""

from __future__ import annotations

QUESTION_EXPERT: dict[str, str] = {
    # theme: what the picture as a whole is
    "scene": "theme",
    "image": "theme",
    "theme": "theme",
    "rural_urban": "theme",
    # object: things, their number, colour and extent
    "presence": "object",
    "quantity": "object",
    "count": "object",
    "color": "object",
    "area": "object",
    "area_comp": "object",
    "comp": "object",
    # relation: where things are, and what follows from it
    "ab_position": "relation",
    "location": "relation",
    "re_position": "relation",
    "road_ori": "relation",
    "reasoning": "relation",
}
"""Expert by question type: RSIEval's ten types, and those of RSIVQA (theme, presence, count, location) and RSVQA."""
EXPERTS = ("theme", "object", "relation")


def expert_of(question_type: str, experts: tuple[str, ...] = EXPERTS) -> str:
    """The expert that a question type trains, among the `experts` there are; the last one where its own is missing.

    Raises KeyError for an unknown type.
    """
    expert = QUESTION_EXPERT[question_type]
    if "position" in experts and question_type in ("ab_position", "location"):  # with four, places have an expert of their own
        return "position"
    return expert if expert in experts else experts[-1]
