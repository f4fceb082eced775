"""What crosses a border: between router, experts, composer, engines and the people who call them.

Everything here is text, numbers and image digests, so it can be put into a graph's state, a checkpoint database or JSON.
Pixels and tensors stay in the engine, keyed by digest.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Task = Literal["caption", "answer"]
"""What an instruction asks for: a description of the image, or the answer to a question."""


class Model(BaseModel):
    """Base of the project's data: unknown fields are an error, so a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid")


class ImageFacts(Model):
    """What is known of a picture before any network has seen it."""

    sha256: str = Field(description="digest of the file's bytes and of the way it was read (bands)")
    name: str = Field(description="file name, for people")
    width: int
    height: int
    bands: int = Field(description="bands in the file, alpha included")
    dtype: str = Field(description="sample type in the file: uint8, uint16, float32, ...")
    format: str = Field(description="PNG, JPEG, TIFF, GTiff, ...")
    crs: str | None = Field(default=None, description="coordinate reference system, such as EPSG:32632")
    gsd_m: float | None = Field(default=None, description="ground sample distance in metres a pixel")
    notes: list[str] = Field(default_factory=list, description="what was done to read it: stretch, first frame, ...")


class ExpertPrompt(Model):
    """What the instruction router hands to one expert.

    The soft prompt vectors are not carried: (`digest`, `instruction`, `expert`, `checkpoint`) is a handle from which an
    engine computes them again, so that a resumed run does not dangle.
    """

    expert: str
    text: str = Field(description="the readable prompt, from prompts/")
    digest: str = Field(description="sha256 of the image")
    instruction: str = Field(description="what the user asked; the VLM encoder reads it")
    task: Task
    checkpoint: str = Field(default="", description="digest of the checkpoint whose router wrote this")
    gate: float = Field(default=1.0, ge=0.0, le=1.0, description="the router's weight for this expert")
    max_tokens: int = Field(default=64, ge=1)
    attempt: int = Field(default=0, ge=0, description="how often this expert was asked before in this turn")
    router_error: str | None = Field(default=None, description="why the rules wrote this in the router's place")
    json_schema: str | None = Field(default=None, description="JSON schema that the expert's words must meet, as text")


class CountedObject(Model):
    """One kind of thing in an image, as the object expert lists it when `OBJECTS_SCHEMA` binds it."""

    name: str = Field(max_length=24)
    count: int = Field(ge=0, le=999)
    where: str = Field(max_length=24)


OBJECTS = TypeAdapter(Annotated[list[CountedObject], Field(max_length=8)])
"""Reads what the object expert wrote under `OBJECTS_SCHEMA`: `OBJECTS.validate_json(text)`."""

OBJECTS_SCHEMA = json.dumps(OBJECTS.json_schema())
"""JSON schema of `[{"name", "count", "where"}, ...]`, for `ExpertPrompt.json_schema`; give it some 200 tokens."""


class ExpertReport(Model):
    """What one expert said, or why it could not."""

    expert: str
    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    gate: float = 1.0
    error: str | None = None
    attempt: int = 0
    retries: int = Field(default=0, description="calls that the engine had to repeat")


class Conflict(Model):
    """Two experts that contradict each other: `expert` says something that `against` denies."""

    expert: str
    against: str
    what: str = Field(description="in words, such as 'relations name cars, objects do not'")
    resolved: bool = False


class Caption(Model):
    """A composed description. An aspect that the picture does not offer, or whose expert failed, is empty."""

    theme: str = ""
    objects: str = ""
    relations: str = ""
    text: str
    style: str
    partial: bool = Field(default=False, description="an expert failed; `missing` says which")
    missing: list[str] = Field(default_factory=list)
    conflicts: list[Conflict] = Field(default_factory=list[Conflict])
    reports: list[ExpertReport] = Field(default_factory=list[ExpertReport])
    image: ImageFacts
    seconds: float = 0.0

    def to_markdown(self) -> str:
        """The caption, its aspects and what is wrong with it, as Markdown."""
        from rsagent.rendering import caption_markdown

        return caption_markdown(self)

    def _repr_html_(self) -> str:
        from rsagent.rendering import caption_html

        return caption_html(self)


class Answer(Model):
    """The answer to a question, from the expert the gate put first; the others that passed the threshold are evidence."""

    question: str
    text: str
    expert: str
    evidence: list[ExpertReport] = Field(default_factory=list[ExpertReport])
    partial: bool = False
    missing: list[str] = Field(default_factory=list)
    conflicts: list[Conflict] = Field(default_factory=list[Conflict])
    image: ImageFacts
    seconds: float = 0.0

    def to_markdown(self) -> str:
        """The question, its answer and the evidence, as Markdown."""
        from rsagent.rendering import answer_markdown

        return answer_markdown(self)

    def _repr_html_(self) -> str:
        from rsagent.rendering import answer_html

        return answer_html(self)


class ExpertTrace(Model):
    """How the router prompted one expert."""

    prompt: ExpertPrompt
    nearest_words: list[str] = Field(description="for each soft prompt vector, the LLM token nearest to it by cosine")
    attention: list[list[float]] = Field(description="(rows, columns), sums to 1: where in the image the prompt attends")


class RouterTrace(Model):
    """What the router did with one image and one instruction, for people to look at."""

    image: ImageFacts
    instruction: str
    gate: dict[str, float]
    experts: list[ExpertTrace]
