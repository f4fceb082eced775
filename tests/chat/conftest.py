from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rsagent.agent import RSAgent
from rsagent.chat.conversation import Conversation
from rsagent.chat.records import Turn
from rsagent.chat.store import Store
from rsagent.engines.scripted import ScriptedEngine


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store on disk."""
    kept = Store.open(tmp_path / "home")
    yield kept
    kept.close()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Five small pictures, all different."""
    paths = [tmp_path / f"picture{index}.png" for index in range(1, 6)]
    for index, path in enumerate(paths):
        Image.new("RGB", (24, 20), (40 * index, 90, 60)).save(path)
    return paths


Talk = Callable[..., Awaitable[tuple[Conversation, ScriptedEngine]]]


@pytest.fixture
async def talk(store: Store) -> AsyncIterator[Talk]:
    """Begin (or, with `session`, resume) a conversation with scripted experts."""
    opened: list[Conversation] = []

    async def begin(answers: Any = None, *, session: str | None = None, **scripted: Any) -> Any:
        said = {"theme": "a field", "object": "3", "relation": "left"} if answers is None else answers
        engine = ScriptedEngine(said, gate={"object": 0.9, "theme": 0.1, "relation": 0.1}, **scripted)
        conversation = Conversation(store, session)
        await conversation.attach(RSAgent(engine), "scripted test")
        opened.append(conversation)
        return conversation, engine

    yield begin
    for conversation in opened:
        await conversation.detach()


async def ask(conversation: Conversation, text: str) -> Turn:
    """Ask and wait for the turn."""
    async for _ in conversation.ask(text, conversation.understand(text)):
        pass
    return conversation.turns[-1]
