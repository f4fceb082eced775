"""Pictures that others name to a graph: only those that its SourcePolicy allows, also when one is read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from PIL import Image

from rsagent.engines.scripted import ScriptedEngine
from rsagent.errors import EngineError, ImageError, UserError
from rsagent.graphs import CHECKPOINT_TYPES, create_graph
from rsagent.sources import SourcePolicy

SAID = {"theme": "an airport"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a picture, beside another picture that is not in it."""
    (tmp_path / "root").mkdir()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "root" / "a.png")
    Image.new("RGB", (8, 8), (4, 5, 6)).save(tmp_path / "outside.png")
    (tmp_path / "root" / "link.png").symlink_to(tmp_path / "outside.png")
    return tmp_path / "root"


async def test_a_picture_below_the_root_is_read_by_either_name(root: Path) -> None:
    graph = create_graph(ScriptedEngine(SAID), sources=SourcePolicy(root=root))
    for name in ("a.png", str(root / "a.png")):
        assert (await graph.ainvoke({"image": name}))["caption"].theme == "An airport."


@pytest.mark.parametrize("name", ["/etc/hostname", "../outside.png", "link.png", "", "~/a.png", "a.png/../../outside.png"])
async def test_another_one_is_refused(root: Path, name: str) -> None:
    engine = ScriptedEngine(SAID)
    with pytest.raises(ImageError):
        await create_graph(engine, sources=SourcePolicy(root=root)).ainvoke({"image": name})
    assert not engine.calls


async def test_without_a_root_and_without_urls_nothing_is_read(root: Path) -> None:
    graph = create_graph(ScriptedEngine(SAID), sources=SourcePolicy())
    for name in (str(root / "a.png"), "http://127.0.0.1/a.png", "file:///etc/hostname"):
        with pytest.raises(ImageError, match="not read here|not fetched here"):
            await graph.ainvoke({"image": name})


async def test_a_remote_callers_json_is_no_path(root: Path) -> None:
    given: Any = {"image": {"sha256": "0" * 64, "name": "a.png"}}
    with pytest.raises(UserError, match="'image' is no text"):
        await create_graph(ScriptedEngine(SAID), sources=SourcePolicy(root=root)).ainvoke(given)


async def test_a_path_that_is_put_into_the_state_is_checked_when_the_picture_is_read_again(root: Path) -> None:
    engine = ScriptedEngine(SAID)
    saver = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=CHECKPOINT_TYPES))
    graph = create_graph(engine, sources=SourcePolicy(root=root), checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"image": "a.png"}, config)
    await engine.close()  # the pixels are gone
    assert (await graph.ainvoke({"question": "what is it?"}, config))["answer"].text == "an airport"
    await engine.close()
    await graph.aupdate_state(config, {"path": "/etc/hostname"}, as_node="composer")
    with pytest.raises(EngineError, match="outside the root folder"):
        await graph.ainvoke({"question": "what is it?"}, config)
