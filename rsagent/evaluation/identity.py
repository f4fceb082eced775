"""How the words of a run come about: the settings that change them, which must be the same to go on with it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rsagent.schemas import ExpertPrompt

if TYPE_CHECKING:
    from rsagent.prompts import Prompts
    from rsagent.settings import Settings


def spoken_with(settings: Settings, prompts: Prompts, *, single: bool = False) -> dict[str, Any]:
    """Decoding in numbers, device, picture size, prompts, and the chat server's part where there is one.

    `max_tokens` is what an expert may write at most, given or not; a single LLM always has the engine's own number.
    """
    beams = _beams(settings)
    default = int(ExpertPrompt.model_fields["max_tokens"].default)
    chat = settings.engine == "openai"
    return {
        "decoding": "greedy" if beams == 1 else f"{beams} beams",
        "beams": beams,
        "max_tokens": default if single else settings.max_tokens or default,
        "device": settings.device,
        "dtype": settings.dtype,
        "max_pixels": settings.max_pixels,
        "seed": settings.seed,
        "prompts": sha256(prompts.model_dump_json(exclude_none=True).encode()).hexdigest()[:16],
        "chat_url": without_secrets(settings.chat_url) if chat and settings.chat_url else None,
        "chat_router": settings.chat_router if chat else None,
        "chat_composer": settings.chat_composer if chat else None,
    }


def without_secrets(url: str) -> str:
    """An address without user name, password, query and fragment: what may stand in a file that people pass on."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _beams(settings: Settings) -> int:
    """Only the engine local has beams."""
    if settings.engine != "local" or not settings.best:
        return 1
    from rsagent.engines.local import BEAMS

    return BEAMS
