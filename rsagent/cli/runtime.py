"""From settings and pictures named on the command line to an agent that runs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rsagent.errors import ImageError, SettingsError

if TYPE_CHECKING:
    from rsagent.agent import RSAgent
    from rsagent.engines.base import Engine
    from rsagent.prompts import Prompts
    from rsagent.settings import Settings

T = TypeVar("T")

STDIN = "-"
_MOST_BYTES = 2**30  # of a picture from stdin, which has no size to check beforehand

SCRIPT = {
    "theme": "This is a scripted scene.",
    "object": "There are two houses.",
    "relation": "The houses are side by side.",
}
"""What the experts of the scripted engine say when RSAGENT_SCRIPT names no file."""


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end; Ctrl-C cancels it and is raised again."""
    return asyncio.run(work)


@asynccontextmanager
async def open_agent(settings: Settings, bands: Sequence[int] | None) -> AsyncGenerator[tuple[RSAgent, Engine]]:
    """The agent that `settings` describe and its engine, loaded; closed in the end.

    Raises:
        UserError: the prompts, the checkpoint or the script cannot be used.
        EngineError: the engine cannot start.
    """
    from rsagent.agent import RSAgent

    prompts = prompts_for(settings)
    prompts.caption_instruction(settings.style)  # an unknown style is refused before anything is loaded
    engine = await asyncio.to_thread(load_engine, settings, prompts, bands)
    async with RSAgent(
        engine, prompts=prompts, max_tokens=settings.max_tokens, expert_timeout_s=settings.expert_timeout_s
    ) as agent:
        yield agent, engine


def prompts_for(settings: Settings) -> Prompts:
    """The words that `settings` choose: a chat model reads others than a trained expert.

    Raises:
        SettingsError: the prompts cannot be used.
    """
    from rsagent.prompts import load_prompts

    return load_prompts(settings.prompts, "chat" if settings.engine == "openai" else "default")


def engine_label(settings: Settings) -> str:
    """What answers, such as "local embedded 1a2b3c4d": two that may answer differently have different labels."""
    if settings.engine == "openai":
        return " ".join(filter(None, ("openai", settings.chat_preset, settings.chat_model, settings.chat_experts)))
    if settings.engine == "scripted":
        return f"scripted {settings.checkpoint or 'embedded'}"
    from rsagent.model.checkpoint import checkpoint_digest
    from rsagent.model.shipped import DEFAULT, checkpoint_folder

    digest = checkpoint_digest(checkpoint_folder(settings.checkpoint))
    named = "embedded" if settings.checkpoint in (None, DEFAULT) else settings.checkpoint
    return f"{settings.engine} {named} {digest[:8]}"


def read_source(name: str) -> str | bytes:
    """A picture that an argument names: its path, or the bytes on stdin for "-".

    Raises:
        ImageError: stdin is a terminal, or holds too much.
    """
    if name != STDIN:
        return name
    if sys.stdin.isatty():
        raise ImageError("cannot read '-': no picture is piped in; try: rsagent caption - < photo.tif")
    data = sys.stdin.buffer.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ImageError("cannot read '-': more than 1 GiB is piped in; save the picture to a file and name that")
    return data


def check_picture(source: str | bytes, settings: Settings, bands: Sequence[int] | None) -> None:
    """Refuse a picture that cannot be used now, not after the networks are loaded.

    Raises:
        ImageError: it cannot be used.
    """
    from rsagent.imagery import load_image

    load_image(source, bands=bands, max_pixels=settings.max_pixels)


def load_engine(settings: Settings, prompts: Prompts, bands: Sequence[int] | None) -> Engine:
    """The engine that `settings` name.

    Raises:
        UserError: the checkpoint or the script cannot be used.
        EngineError: the engine cannot start.
    """
    if settings.engine == "scripted":
        from rsagent.engines.scripted import ScriptedEngine

        return ScriptedEngine(**_script(), prompts=prompts, bands=bands, max_pixels=settings.max_pixels)
    if settings.engine == "openai":
        return _chat_engine(settings, prompts, bands)
    if settings.engine == "sglang":
        return _sglang(settings, prompts, bands)
    from rsagent.engines.local import LocalEngine
    from rsagent.model.shipped import checkpoint_folder

    return LocalEngine.load(
        checkpoint_folder(settings.checkpoint),
        device=settings.device,
        dtype=settings.dtype,
        seed=settings.seed,
        best=settings.best,
        prompts=prompts,
        bands=bands,
        max_pixels=settings.max_pixels,
    )


def _chat_engine(settings: Settings, prompts: Prompts, bands: Sequence[int] | None) -> Engine:
    from rsagent.engines.chat import MAX_SIDE, ChatEngine
    from rsagent.engines.chat_presets import preset, read_experts

    chosen = preset(settings.chat_preset) if settings.chat_preset else None
    url, model = settings.chat_url or (chosen and chosen.url), settings.chat_model or (chosen and chosen.model)
    if not url or not model:
        raise SettingsError(
            "the engine openai needs a server and a model: --chat-url and --chat-model, RSAGENT_CHAT_URL and ..._MODEL, "
            "or --chat-preset"
        )
    experts = read_experts(settings.chat_experts, tuple(prompts.experts), model, chosen) if settings.chat_experts else {}
    return ChatEngine(
        url,
        model,
        experts=experts,
        router=settings.chat_router,
        composer=settings.chat_composer,
        prompts=prompts,
        bands=bands,
        max_pixels=settings.max_pixels,
        timeout_s=settings.expert_timeout_s,
        max_side=chosen.max_side if chosen else MAX_SIDE,
    )


def _sglang(settings: Settings, prompts: Prompts, bands: Sequence[int] | None) -> Engine:
    if settings.best:
        raise SettingsError("--best decodes with beams, which only the engine 'local' does: leave one of the two out")
    from rsagent.engines.sglang import OF_THE_TIME, SGLangEngine

    limit_s = OF_THE_TIME * settings.expert_timeout_s
    return SGLangEngine.load(
        settings.url or "http://127.0.0.1:30000",
        settings.checkpoint,
        device=settings.device,
        dtype=settings.dtype,
        seed=settings.seed,
        prompts=prompts,
        bands=bands,
        max_pixels=settings.max_pixels,
        timeout_s=limit_s,
        patience_s=limit_s,
    )


def _script() -> dict[str, Any]:
    """What the scripted engine does: ScriptedEngine's arguments from the JSON file in RSAGENT_SCRIPT."""
    path = os.environ.get("RSAGENT_SCRIPT")
    if not path:
        return {"answers": SCRIPT}
    try:
        script = json.loads(Path(path).read_text("utf-8"))
        return {"answers": script.pop("answers", SCRIPT), **script}
    except (OSError, ValueError, AttributeError) as error:
        raise SettingsError(f"RSAGENT_SCRIPT: {path} cannot be read: {error}") from error
