"""The programs in examples/: short, and run here against the shipped checkpoint's stand-in, `slow` ones against itself."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from PIL import Image

from rsagent import RSAgent
from rsagent.engines.base import Engine
from rsagent.engines.scripted import ScriptedEngine

EXAMPLES = Path(__file__).parent.parent / "examples"
SAID = {"theme": "a port", "object": "many boats", "relation": "the boats lie along the quay"}


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["scripted", pytest.param("shipped", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "scripted":
        return ScriptedEngine(SAID)
    from rsagent.engines.local import LocalEngine

    return LocalEngine.load()


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (64, 48), (30, 120, 40)).save(tmp_path / "field.png")
    return str(tmp_path / "field.png")


def test_there_are_five_and_each_is_short() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    assert len(lengths) == 5 and max(lengths.values()) <= 40, lengths


def test_parent_graph(engine: Engine, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asyncio.run(example("parent_graph").main(picture, engine)).startswith("north: ")
    assert "report   theme" in capsys.readouterr().out


class Caller(GenericFakeChatModel):
    """A model that calls the tool and then repeats what the tool said."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        if messages[-1].type == "tool":
            self.messages = iter([AIMessage(f"It says: {messages[-1].content}")])
        return super()._generate(messages, *args, **kwargs)


def test_agent_with_tool(engine: Engine, picture: str) -> None:
    call = {"name": "look_at_aerial_image", "args": {"image": picture, "question": "what is it?"}, "id": "1"}
    model = Caller(messages=iter([AIMessage("", tool_calls=[call])]))
    said = asyncio.run(example("agent_with_tool").main(model, picture, "Could I moor here?", RSAgent(engine)))
    assert said.startswith("It says: ") and len(said) > len("It says: ")


def test_notebook(engine: Engine, picture: str) -> None:
    caption, answer = example("notebook").main(picture, RSAgent(engine))
    assert "<div>" in caption._repr_html_() and answer.text


def test_batch_folder(engine: Engine, picture: str) -> None:
    (Path(picture).parent / "broken.png").write_bytes(b"no picture")
    out = io.StringIO()
    failed = asyncio.run(example("batch_folder").main(str(Path(picture).parent), out, RSAgent(engine)))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert failed == 1 and {"error" in line for line in lines} == {True, False}


def test_own_expert(engine: Engine, picture: str) -> None:
    agent = RSAgent(example("own_expert").WithGreenness(engine))
    caption = asyncio.run(agent.caption(picture))
    assert "100% of the picture is green" in caption.text
