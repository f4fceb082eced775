"""The engine `openai` as settings and flags describe it: server, model, adapters, presets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rsagent.cli.runtime import load_engine, prompts_for
from rsagent.engines.chat import ChatEngine
from rsagent.engines.chat_presets import PRESETS
from rsagent.errors import SettingsError
from rsagent.settings import Settings


async def asked_of(**flags: str) -> dict[str, str]:
    """The model that each expert's calls name."""
    pytest.importorskip("openai")
    settings = Settings.load(engine="openai", **flags)
    engine = load_engine(settings, prompts_for(settings), None)
    assert isinstance(engine, ChatEngine)
    facts = await engine.prepare("field.png")
    prompts = await engine.route(facts.sha256, "Describe it.", "caption")
    await engine.close()
    return {prompt.expert: prompt.checkpoint for prompt in prompts}


SERVER = {"chat_url": "http://127.0.0.1:1/v1", "chat_model": "base"}


async def test_experts_are_models_of_their_own(picture, monkeypatch):
    named = {"theme": "base", "object": "base:object", "relation": "base:near"}
    assert await asked_of(**SERVER, chat_experts="object=base:object, relation=base:near") == named
    monkeypatch.setenv("RSAGENT_CHAT_EXPERTS", "object=base:object,relation=base:near")
    assert await asked_of(**SERVER) == named
    Path("rsagent.toml").write_text('chat_experts = "theme=scenes"\n')
    monkeypatch.delenv("RSAGENT_CHAT_EXPERTS")
    assert (await asked_of(**SERVER))["theme"] == "scenes"


async def test_a_preset_names_server_model_and_adapters(picture):
    qwen = "Qwen/Qwen2.5-VL-7B-Instruct"
    assert set((await asked_of(chat_preset="qwen2.5-vl-sglang")).values()) == {qwen}
    sglang = await asked_of(chat_preset="qwen2.5-vl-sglang", chat_experts="object,theme=other")
    assert sglang == {"theme": "other", "object": f"{qwen}:object", "relation": qwen}
    assert (await asked_of(chat_preset="qwen3-vl-vllm", chat_experts="object"))["object"] == "object"
    own = await asked_of(chat_preset="qwen3-vl-sglang", chat_model="mine", chat_experts="object")
    assert own == {"theme": "mine", "object": "mine:object", "relation": "mine"}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({}, "--chat-preset"),
        ({"chat_preset": "gpt"}, "choose one of qwen2.5-vl-sglang"),
        ({**SERVER, "chat_experts": "colour=x"}, "unknown expert 'colour'"),
        ({**SERVER, "chat_experts": "object=a,object=b"}, "named twice"),
        ({**SERVER, "chat_experts": "object"}, "write object=MODEL"),
        ({**SERVER, "chat_experts": "object="}, "has no model"),
        ({**SERVER, "chat_experts": ","}, "unknown expert ''"),
    ],
)
async def test_what_cannot_be_is_one_line(picture, flags, says):
    with pytest.raises(SettingsError, match=says) as told:
        await asked_of(**flags)
    assert "\n" not in str(told.value)


def test_flags_reach_the_engine(picture, cli):
    refused = cli("caption", picture, "--engine", "openai", "--chat-preset", "qwen3-vl-vllm", "--chat-experts", "colour=x")
    assert refused.exit_code == 2 and "unknown expert 'colour'" in refused.stderr


def test_every_preset_has_a_documented_launch_line():
    page = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text("utf-8")
    for name, preset in PRESETS.items():
        launch = "vllm serve" if name.endswith("vllm") else "sglang.launch_server --model-path"
        port = re.search(r":(\d+)/", preset.url)
        assert re.search(rf"`{re.escape(name)}`.*`[^`]*{re.escape(f'{launch} {preset.model}')} --port {port[1]}", page), name
        assert preset.max_side % 28 == 0 or preset.max_side % 32 == 0
