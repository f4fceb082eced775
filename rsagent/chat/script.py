"""Scripted dialogues: turns with what they should be taken for and what should be answered, as a test of a checkpoint.

A file is YAML: `dialogues`, each with a `name`, `pictures` and `turns`; see docs/chat.md.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from rsagent.chat.conversation import Conversation
from rsagent.chat.records import Turn
from rsagent.chat.store import Store
from rsagent.errors import UserError
from rsagent.schemas import Model

if TYPE_CHECKING:
    from rsagent.agent import RSAgent
    from rsagent.engines.base import Rewriter

_MOST_BYTES = 4_000_000
_SCENE = re.compile(r"scene:(train|val|test|demo)/([0-9]{1,9})")


class ScriptTurn(Model):
    """One turn of a script; everything but `ask` is a check, left out where it is not given."""

    ask: str = Field(description="what is typed")
    full: list[str] = Field(default_factory=list, description="complete questions that count as right; empty: `ask` itself")
    picture: int | list[int] | None = Field(default=None, description="the picture or pictures that are meant, from 1")
    answer: str | list[str] | None = Field(default=None, description="the answer, or those that count as right")
    because: str = Field(default="", description="why, for people")


class ScriptDialogue(Model):
    """A conversation about pictures: paths relative to the script, or scene:SPLIT/SEED for a rendered one."""

    name: str
    pictures: list[str] = Field(min_length=1)
    turns: list[ScriptTurn] = Field(min_length=1)


class Script(Model):
    """A file of dialogues."""

    dialogues: list[ScriptDialogue] = Field(min_length=1)


class Checked(Model):
    """One turn of a script as it went."""

    dialogue: str
    ask: str
    question: str
    answers: list[str] = Field(default_factory=list[str])
    follow_up: bool = Field(description="the turn is not complete as it stands")
    understood: bool = Field(description="the question and the pictures are the right ones")
    right: bool | None = Field(default=None, description="the answer is right; None where none is given")
    error: str = ""


def load_script(path: Path) -> Script:
    """A script file.

    Raises:
        UserError: it cannot be read, or is none.
    """
    import yaml

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} is too large for a script ({_MOST_BYTES:,} bytes are the most)")
        data = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())[:200]}") from error
    try:
        return Script.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path} is no script: {where}: {first['msg']} (docs/chat.md shows the form)") from error


async def run_script(
    script: Script, agent: RSAgent, engine: str, folder: Path, scratch: Path, rewriter: Rewriter | None = None
) -> AsyncGenerator[Checked]:
    """Play the dialogues, each in a conversation of its own that is kept nowhere.

    Args:
        script: the dialogues.
        agent: who answers.
        engine: its name, for the record.
        folder: what the pictures' paths are relative to.
        scratch: where rendered scenes are put.
        rewriter: completes questions in place of the rules, where there is one.

    Raises:
        RSAgentError: a picture cannot be used, or the engine failed.
    """
    for dialogue in script.dialogues:
        store = Store.open(None)
        talk = Conversation(store)
        try:
            await talk.attach(agent, engine, rewriter)
            for name in dialogue.pictures:
                talk.add(picture_file(name, folder, scratch))
            talk.use(1)
            for turn in dialogue.turns:
                yield await _play(talk, dialogue.name, turn)
        finally:
            await talk.detach()
            store.close()


def picture_file(name: str, folder: Path, scratch: Path) -> Path:
    """The file of a picture that a script names; a rendered scene is drawn into `scratch`.

    Raises:
        UserError: no such scene.
    """
    if not name.startswith("scene:"):
        return folder / name
    scene = _SCENE.fullmatch(name)
    if scene is None:
        raise UserError(f"there is no scene {name!r}: write scene:SPLIT/SEED with train, val, test or demo")
    path = scratch / f"{scene[1]}-{scene[2]}.png"
    if not path.exists():
        from PIL import Image

        from rsagent.training.render import render
        from rsagent.training.scenes import scene_from_seed

        Image.fromarray(render(scene_from_seed(int(scene[2]), scene[1]))).save(path)
    return path


async def _play(talk: Conversation, dialogue: str, turn: ScriptTurn) -> Checked:
    try:
        asked = await talk.complete(turn.ask, talk.understand(turn.ask))
    except UserError as error:
        return Checked(
            dialogue=dialogue, ask=turn.ask, question="", follow_up=bool(turn.full), understood=False, error=str(error)
        )
    async for _ in talk.ask(turn.ask, asked):
        pass
    done: Turn = talk.turns[-1]
    wanted = [turn.picture] if isinstance(turn.picture, int) else turn.picture
    understood = same_question(asked.question, turn.full or [turn.ask]) and wanted in (None, list(asked.pictures))
    right = None
    if turn.answer is not None:
        known = [turn.answer] if isinstance(turn.answer, str) else turn.answer
        right = all(same_answer(reply.text, known) for reply in done.replies)
    return Checked(
        dialogue=dialogue,
        ask=turn.ask,
        question=asked.question,
        answers=[reply.text for reply in done.replies],
        follow_up=bool(turn.full),
        understood=understood,
        right=right,
    )


def same_question(question: str, wanted: list[str]) -> bool:
    """Whether `question` is one of `wanted`, but for case, punctuation and the spelling of colour."""
    return _bones(question) in map(_bones, wanted)


def same_answer(answer: str, wanted: list[str]) -> bool:
    """Whether `answer` is one of `wanted`, but for case and punctuation."""
    return _bones(answer) in map(_bones, wanted)


def _bones(text: str) -> str:
    return re.sub(r"[^\w']+", " ", text.casefold().replace("colour", "color").replace("’", "'")).strip()
