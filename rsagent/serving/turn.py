"""From a chat to one turn of the agent: which picture is meant, whether it is described or asked about, and by whom.

The last picture of the user stays in view until another comes; the last message of the user says what is wanted. The
experts answer one question about one picture, so one that builds on earlier ones ("and what colour are they?") is completed
from these by rule, as in a conversation at the terminal.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsagent.chat.antecedents import Asked
from rsagent.chat.resolve import Resolved, resolve
from rsagent.chat.which import find_pictures
from rsagent.errors import ImageError, UserError
from rsagent.graphs.text import clean, clean_question
from rsagent.serving.protocol import ChatRequest, ImagePart, Message, RequestError
from rsagent.sources import SourcePolicy, read_source

if TYPE_CHECKING:
    from rsagent.engines.base import Engine

_REMEMBERED = 40
"""Earlier messages that a question may build on."""
_LONGEST = 300
"""Characters of a message that builds on others, or is built on."""

NAME = "rsagent"
"""The model that asks all experts; `rsagent:theme` asks one, `rsagent:ucm` captions in a style."""

# "Describe the image.", "Caption this in one sentence", "What do you see?", "What is in this picture?"
_DESCRIBE = re.compile(
    r"(please |can you |could you )*(describe|caption|summari[sz]e|give (me )?a (description|caption)|write a caption)\b"
    r"|what (do|can) you see( here| in (the|this) \w+)?\W*$"
    r"|what('s| is)( shown| visible)? (in|on) (the|this) (image|picture|photo|scene)\W*$",
    re.IGNORECASE,
)
# "Describe the colour of the roof": a question in disguise
_PARTICULAR = re.compile(r"\b(colou?r|number|position|location|size|shape|direction|area) of\b", re.IGNORECASE)


@dataclass(frozen=True)
class Turn:
    """What one request asks of the agent.

    Attributes:
        picture: as the client gave it; not read yet.
        picture_param: the request's field that holds the picture, for errors.
        question: None for a caption.
        question_param: the request's field that holds the words.
        style: caption style.
        experts: only these; empty means all.
    """

    picture: str
    picture_param: str
    question: str | None
    question_param: str
    style: str
    experts: tuple[str, ...]


def model_names(engine: Engine) -> list[str]:
    """Every model name that is served with this engine."""
    return [NAME, *(f"{NAME}:{name}" for name in (*engine.experts, *engine.styles) if name)]


def read_turn(request: ChatRequest, engine: Engine, *, style: str, max_turns: int, max_images: int) -> Turn:
    """What `request` asks for.

    Args:
        request: checked for its form.
        engine: whose experts and styles the model names name.
        style: caption style of the model without a style in its name.
        max_turns: messages a request may hold.
        max_images: pictures a request may hold.

    Raises:
        RequestError: 400, naming the field.
    """
    style, experts, described = _model(request.model, engine, style)
    if len(request.messages) > max_turns:
        raise _refused(f"{len(request.messages):,} messages: send at most {max_turns:,}", "messages")
    last = max((index for index, message in enumerate(request.messages) if message.role == "user"), default=None)
    if last is None:
        raise _refused("there is no message of the user: add one with a picture", "messages")
    pictures = [
        (message.content[part].image_url.url, f"messages.{index}.content.{part}.image_url")  # type: ignore[union-attr, index]
        for index, message in enumerate(request.messages)
        for part in _image_parts(message)
    ]
    if len(pictures) > max_images:
        raise _refused(f"{len(pictures):,} pictures: send at most {max_images:,}", "messages")
    if len(_image_parts(request.messages[last])) > 1:
        message = "more than one picture in a message: send each in a message of its own"
        raise _refused(message, f"messages.{last}.content")
    words, param = _words(request.messages[last]), f"messages.{last}.content"
    if not words and not _image_parts(request.messages[last]):
        raise _refused("it is empty: send a picture, a question, or both", param)
    if not pictures:
        raise _refused("there is no picture: add an image_url part with a data: URI", param)
    question: str | None = None
    meant: tuple[int, ...] = (len(pictures),)
    if not described and words and _describes(words):
        meant = _named(words, len(pictures), param)
    elif not described and words:
        asked = _complete(_question(words, param), request.messages[:last], len(pictures), param)
        question, meant = asked.question, asked.pictures
    if len(meant) != 1:
        told = f"one picture a question, and this means {len(meant)}: ask about each by itself, as in 'the first picture'"
        raise _refused(told, param, code="several_pictures")
    picture, picture_param = pictures[meant[0] - 1]
    return Turn(picture, picture_param, question, param, style, experts)


def read_picture(turn: Turn, policy: SourcePolicy) -> bytes:
    """The bytes of the turn's picture. Blocks; run it in a thread.

    Raises:
        RequestError: 400, naming the field.
    """
    try:
        return read_source(turn.picture, policy)
    except ImageError as error:
        raise _refused(str(error), turn.picture_param, code="invalid_image") from error


def _model(name: str, engine: Engine, style: str) -> tuple[str, tuple[str, ...], bool]:
    """The style and the experts that a model name stands for, and whether it always describes."""
    base, _, part = name.partition(":")
    if base == NAME and part in engine.experts:
        return style, (part,), False
    if base == NAME and part and part in engine.styles:
        return part, (), True
    if name == NAME:
        return style, (), False
    message = f"there is no such model: choose one of {', '.join(model_names(engine))}"
    raise _refused(message, "model", code="model_not_found")


def _complete(words: str, before: Sequence[Message], pictures: int, param: str) -> Resolved:
    """The question that `words` ask after the messages `before`, and which of the `pictures` it means."""
    history: list[Asked] = []
    seen, described = 0, False
    for place, message in enumerate(before):
        seen += len(_image_parts(message))
        said = clean(_words(message)[: _LONGEST + 1])
        if not said or len(said) > _LONGEST or place < len(before) - _REMEMBERED:
            continue
        if message.role == "assistant" and described:
            history.append(Asked("", said, (max(seen, 1),), told=True))
        if message.role == "user" and not (described := _describes(said)):
            with suppress(UserError):  # it named a picture that was not there, and so was refused
                asked = resolve(said, history, max(seen, 1), max(seen, 1))
                history.append(Asked(said, asked.question, asked.pictures))
    if (not history and pictures == 1) or len(words) > _LONGEST:
        return Resolved(words, (pictures,), rewritten=False)
    with _counting(param):
        return resolve(words, history, pictures, pictures)


def _named(words: str, pictures: int, param: str) -> tuple[int, ...]:
    """The pictures that a request for a description means: those that it names, else the last."""
    if pictures == 1 or len(words) > _LONGEST:
        return (pictures,)
    with _counting(param):
        return find_pictures(words, pictures, pictures, explicit_before=False).pictures or (pictures,)


@contextmanager
def _counting(param: str) -> Generator[None]:
    """Refuse a picture that is named and not there."""
    try:
        yield
    except UserError as error:
        told = str(error).partition(":")[0]  # what follows are commands of a terminal
        raise _refused(f"{told}: it counts pictures from 1", param) from error


def _describes(words: str) -> bool:
    return bool(_DESCRIBE.match(words)) and not _PARTICULAR.search(words)


def _image_parts(message: Message) -> list[int]:
    if message.role != "user" or not isinstance(message.content, list):
        return []
    return [index for index, part in enumerate(message.content) if isinstance(part, ImagePart)]


def _words(message: Message) -> str:
    if isinstance(message.content, list):
        return " ".join(part.text for part in message.content if not isinstance(part, ImagePart)).strip()
    return (message.content or "").strip()


def _question(words: str, param: str) -> str:
    try:
        return clean_question(words)
    except UserError as error:
        raise _refused(str(error), param) from error


def _refused(message: str, param: str, code: str = "invalid_value") -> RequestError:
    return RequestError(400, f"{param}: {message}", param=param, code=code)
