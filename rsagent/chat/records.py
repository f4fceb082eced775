"""What a conversation is made of: pictures, questions, and what was said about each picture. Text and numbers only."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field

from rsagent.errors import ImageError
from rsagent.graphs.text import clean
from rsagent.schemas import Answer, Caption, Model


class Picture(Model):
    """A picture of the conversation: the file and the digest it had when it was last looked at."""

    path: str = Field(description="absolute path")
    digest: str = Field(default="", description="sha256 of its contents; empty before it was read")
    name: str = Field(default="", description="file name, for people")


class Reply(Model):
    """What was said about one picture in one turn."""

    picture: int = Field(description="its number in the conversation, from 1")
    digest: str = ""
    text: str = ""
    expert: str = Field(default="", description="who answered; empty for a caption")
    said: dict[str, str] = Field(default_factory=dict, description="expert -> what it said, in the order shown")
    conflicts: list[str] = Field(default_factory=list, description="contradictions between experts, unresolved ones")
    missing: list[str] = Field(default_factory=list, description="experts that failed")
    earlier: str = Field(default="", description="what an earlier turn had established that this repeats or contradicts")
    contradicts: bool = Field(default=False, description="`earlier` says otherwise")
    tokens: int = 0
    seconds: float = 0.0


class Turn(Model):
    """One exchange: what was typed, what was asked of which pictures, and the replies."""

    number: int = Field(description="from 1")
    said: str = Field(description="as it was typed")
    question: str = Field(description="as it was asked; for a caption its style")
    task: Literal["answer", "caption"] = "answer"
    pictures: list[int] = Field(description="numbers of the pictures asked about")
    replies: list[Reply] = Field(default_factory=list[Reply])
    cut: bool = Field(default=False, description="stopped before it was done")
    engine: str = Field(default="", description="engine and checkpoint that answered")


class Fact(Model):
    """Something that a turn has established about a picture, such as (count, cars) = 3."""

    digest: str
    kind: str
    thing: str
    value: str
    turn: int


CHAT_TYPES: tuple[type[Model], ...] = (Picture, Reply, Turn, Fact)
"""Every model that a session's checkpoint holds; its serializer restores no other type."""


def check_file(path: str | os.PathLike[str]) -> str:
    """The absolute path of a file that is there.

    Raises:
        ImageError: it is not.
    """
    full = os.path.abspath(os.path.expanduser(path))
    if not os.path.isfile(full):
        what = "it is a folder; name a picture in it" if os.path.isdir(full) else "there is no such file"
        raise ImageError(f"cannot read '{clean(os.fspath(path))}': {what}")
    return full


def reply_of(number: int, outcome: Answer | Caption, tokens: int) -> Reply:
    """The reply that an answer or a caption amounts to."""
    from rsagent.graphs.compose import ASPECTS, latest

    open_conflicts = [conflict.what for conflict in outcome.conflicts if not conflict.resolved]
    if isinstance(outcome, Answer):
        said = {outcome.expert: outcome.text}
        said |= {report.expert: report.text for report in outcome.evidence if report.error is None and report.text}
        expert = outcome.expert
    else:
        said = {
            name: getattr(outcome, ASPECTS.get(name, ""), report.text)
            for name, report in latest(outcome.reports).items()
            if report.error is None
        }
        expert = ""
    return Reply(
        picture=number,
        digest=outcome.image.sha256,
        text=outcome.text,
        expert=expert,
        said=said,
        conflicts=open_conflicts,
        missing=outcome.missing,
        tokens=tokens,
        seconds=round(outcome.seconds, 4),
    )
