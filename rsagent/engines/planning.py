"""What is asked and which chat expert is asked it: by rule, or as a language model writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator

from rsagent.graphs.text import clean
from rsagent.schemas import Task

ELSEWHERE = 0.2
"""The gate of an expert that a rule does not choose for a question: below the threshold at which it is evidence."""

# The question types that train each expert (see docs): theme, object, relation. The first that matches counts.
_TYPES: tuple[tuple[str, str], ...] = (
    ("object", r"how (many|much)|number of|count|colou?r|how (large|big)|area (of|covered)|size"),
    ("relation", r"where|which (side|part|corner|direction)|position|left|right|above|below|top|bottom|north|south|east"
     r"|west|next to|near|between|around|along|closest|nearest|adjacent|surround"),
    ("theme", r"what (kind|type|sort)|(rural|urban|residential|scene|land ?use|season|resolution|place|region|area is)"
     r"|summer|winter|blurr|quality|theme"),
    ("object", r"is there|are there|any\b|what (objects?|vehicles?|buildings?|is|are)|does|do "),
)  # fmt: skip


class PlannedPrompt(BaseModel):
    """What one expert is asked."""

    model_config = ConfigDict(extra="forbid")
    expert: str
    prompt: str = Field(min_length=4, max_length=800, description="what this expert shall look at and answer")

    @field_validator("prompt")
    @classmethod
    def _on_one_line(cls, prompt: str) -> str:
        return clean(prompt)


class RoutingPlan(BaseModel):
    """The instruction router's plan: the experts, most important first, a prompt for each, and why."""

    model_config = ConfigDict(extra="forbid")
    experts: list[PlannedPrompt] = Field(min_length=1, max_length=8)
    reason: str = Field(max_length=600)

    @field_validator("experts")
    @classmethod
    def _each_once(cls, experts: list[Any]) -> list[Any]:
        names = [planned.expert for planned in experts]
        if len(set(names)) < len(names):
            raise ValueError("each expert may be planned once")
        return experts

    def prompts(self) -> dict[str, str]:
        """Expert -> its prompt, most important first."""
        return {planned.expert: planned.prompt for planned in self.experts}


class Rewritten(BaseModel):
    """The user's next question, complete."""

    model_config = ConfigDict(extra="forbid")
    question: str = Field(min_length=3, max_length=300)

    @field_validator("question")
    @classmethod
    def _on_one_line(cls, question: str) -> str:
        if not (question := clean(question)):
            raise ValueError("it is empty")
        return question


def plan_form(experts: Sequence[str], task: Task) -> type[RoutingPlan]:
    """RoutingPlan with `experts` as the only names; a caption must plan all of them."""
    make: Any = create_model  # a type that is made at run time is none for a type checker
    choice: Any = Literal
    named = make("PlannedPrompt", __base__=PlannedPrompt, expert=(choice[tuple(experts)], ...))
    least = len(experts) if task == "caption" else 1
    several: Any = list
    field = Field(min_length=least, max_length=len(experts))
    return make("RoutingPlan", __base__=RoutingPlan, experts=(several[named], field))


def rule_gates(question: str, experts: Sequence[str]) -> dict[str, float]:
    """The gate of each expert for a question, by the type of the question; all alike when none is recognised."""
    for expert, words in _TYPES:
        if expert in experts and re.search(rf"\b(?:{words})", question, re.IGNORECASE):
            return {name: 1.0 if name == expert else ELSEWHERE for name in experts}
    return dict.fromkeys(experts, 1.0)


def plan_gates(plan: Mapping[str, str], experts: Sequence[str]) -> dict[str, float]:
    """The gate of each expert from its rank in a plan: 1, 3/4, 1/2, ...; 0 when it is not planned."""
    ranks = {name: rank for rank, name in enumerate(plan)}
    return {name: max(0.3, 1.0 - 0.25 * ranks[name]) if name in ranks else 0.0 for name in experts}
