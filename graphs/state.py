"""The graph's state: text, numbers, small models and image digests. Never pixels, tensors or numpy scalars.

What a caller gives is read by the first node alone and then forgotten (`EphemeralValue`), so that on a thread of
several turns the last turn's question is not asked again. What a turn builds up is emptied when the next one begins.
"""

from __future__ import annotations

import operator
from typing import Annotated, Literal, NotRequired

from langgraph.channels import EphemeralValue
from pydantic import Field
from typing_extensions import TypedDict

from rsagent.schemas import (
    Answer,
    Caption,
    Conflict,
    ExpertPrompt,
    ExpertReport,
    ImageFacts,
    Model,
    Task,
)


class Turn(Model):
    """What is asked of the image in this turn, checked."""

    task: Task
    instruction: str = Field(description="what the VLM encoder reads: the question, or the instruction of the style")
    style: str = Field(default="", description="caption style; empty for an answer")
    writes: bool = Field(default=False, description="the composer adapter writes the caption, no rule")
    experts: list[str] = Field(default_factory=list, description="only these; empty means all")
    max_tokens: int | None = Field(default=None, description="tokens an expert may write; None: as the graph has it")
    began: float = Field(description="seconds since the epoch")
    router: ExpertReport | None = Field(default=None, description="how the router's call went; None before it")


class GraphInput(TypedDict, total=False):
    """What a caller gives. On a later turn of a thread `image` may be left out: the last one is meant."""

    image: Annotated[str, EphemeralValue]
    """Path of the picture."""
    task: Annotated[Task, EphemeralValue]
    """"caption" or "answer"; left out, a question asks for an answer and no question for a caption."""
    question: Annotated[str, EphemeralValue]
    style: Annotated[str, EphemeralValue]
    """Caption style; "detailed" when left out."""
    experts: Annotated[list[str], EphemeralValue]
    """Only these experts; all when left out or empty."""
    max_tokens: Annotated[int | None, EphemeralValue]
    """Tokens that an expert may write in this turn; as the graph has it when left out."""


class GraphOutput(TypedDict):
    """What a turn gives: one of the two, the other is None."""

    caption: Caption | None
    answer: Answer | None


class _Given(TypedDict, total=False):
    """The input as the first node sees it."""

    image: Annotated[str | ImageFacts, EphemeralValue]
    """Facts stand for a picture that is no file and that the caller has prepared with the engine; the input's schema
    does not show them, because whoever fills in a schema has a path."""
    task: Annotated[Task, EphemeralValue]
    question: Annotated[str, EphemeralValue]
    style: Annotated[str, EphemeralValue]
    experts: Annotated[list[str], EphemeralValue]
    max_tokens: Annotated[int | None, EphemeralValue]


class GraphState(_Given):
    """The state between nodes: what the turn builds up, from the first node on."""

    path: str
    """Absolute path of the picture, for an engine that has lost the pixels; "" when it is no file."""
    facts: ImageFacts
    turn: Turn
    prompts: list[ExpertPrompt]
    """What the experts of this turn were asked, in the order in which they count."""
    reports: Annotated[list[ExpertReport], operator.add]
    """What they said, in the order of `prompts`, those asked again at the end."""
    conflicts: list[Conflict]
    caption: Caption | None
    answer: Answer | None


class ExpertCall(TypedDict):
    """What `Send` carries to one expert."""

    prompt: ExpertPrompt
    path: str


class Event(TypedDict):
    """What happens during a turn, as a custom stream event.

    route: `expert` is asked `text`. token: `expert` (or `composer`) says the piece `text`. report: `expert` has said
    `text`, or failed for the reason `error`. conflict: `expert` contradicts another, `text` says how; tokens of the
    same expert that follow are its second try. composed: the caption or the answer is `text`.
    """

    type: Literal["route", "token", "report", "conflict", "composed"]
    expert: str
    text: str
    error: NotRequired[str]


CHECKPOINT_TYPES: tuple[type[Model], ...] = (Answer, Caption, Conflict, ExpertPrompt, ExpertReport, ImageFacts, Turn)
"""Every model that a checkpoint can hold: `JsonPlusSerializer(allowed_msgpack_modules=CHECKPOINT_TYPES)`."""
