"""What commands say of an SGLang server that is there: here one that speaks the same HTTP and fails on demand."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.background import Background


@pytest.fixture
def served(cli: Any, background: Background, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `rsagent` with the checkpoint and the address of the server in force."""
    monkeypatch.setenv("RSAGENT_CHECKPOINT", str(tiny_checkpoint))
    monkeypatch.setenv("RSAGENT_URL", background.server.url)
    monkeypatch.setenv("RSAGENT_ENGINE", "sglang")
    return cli


def test_status_says_what_the_server_does_now(served: Any):
    outcome = served("experts", "status")
    assert outcome.exit_code == 0
    assert "  now: 3 requests running, 2 waiting; 70 of 900 tokens in use; 25% of the prompts" in outcome.stdout
    assert "4 of 6 adapters' places taken" in outcome.stdout
    [state] = json.loads(served("experts", "status", "--json").stdout)
    assert state["load"]["running"] == 3 and state["load"]["cache_hit_rate"] == 0.25


def test_a_name_that_the_checkpoint_uses_is_not_loaded_over(served: Any, background: Background, tiny_checkpoint: Path):
    outcome = served("experts", "load", "theme", tiny_checkpoint / "experts" / "object")
    assert outcome.exit_code == 2 and "'theme' is an expert of the checkpoint" in outcome.stderr
    assert served("experts", "load", "harbours", tiny_checkpoint / "experts" / "object").exit_code == 0
    assert background.server.loaded == ["harbours"]


def test_no_adapter_is_loaded_into_a_server_of_another_checkpoint(served: Any, background: Background, tiny_checkpoint: Path):
    background.server.model["weight_version"] = "0" * 64
    for path in (tiny_checkpoint / "experts" / "object", "/on/the/server"):
        outcome = served("experts", "load", "harbours", path)
        assert outcome.exit_code == 2 and "serves another checkpoint" in outcome.stderr
        assert "set RSAGENT_CHECKPOINT" in outcome.stderr
    assert not background.server.loaded


def test_a_server_that_hangs_is_named_to_who_asked(served: Any, background: Background, picture: Path, monkeypatch: Any):
    monkeypatch.setenv("RSAGENT_EXPERT_TIMEOUT_S", "5")
    background.server.hung = True
    outcome = served("caption", picture)
    assert outcome.exit_code == 1 and f"{background.server.url} has the request but said nothing for 4.5 s" in outcome.stderr


def test_a_server_that_is_killed_is_named_to_who_asked(served: Any, background: Background, picture: Path, monkeypatch: Any):
    async def die(_body: dict[str, Any], _index: int) -> None:
        await background.server.stop()
        await asyncio.Event().wait()

    monkeypatch.setenv("RSAGENT_EXPERT_TIMEOUT_S", "5")
    background.server.does = die
    outcome = served("caption", picture)
    assert outcome.exit_code == 1 and f"away for 4.5 s: {background.server.url}" in outcome.stderr, outcome.stderr
    assert "not done within" not in outcome.stderr
