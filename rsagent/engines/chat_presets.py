"""The chat models that are most often deployed as experts: what they are called, and in what size they like a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rsagent.errors import SettingsError


@dataclass(frozen=True)
class ChatPreset:
    """One model on one server.

    Attributes:
        model: what the server calls it when it was started as docs/embedding.md says.
        url: where such a server listens by default, with /v1 at its end.
        adapter: the name of an adapter in a request, in which {model} and {adapter} are filled in.
        max_side: pixels of a picture's longer side; a multiple of what the model turns into one token, so that it does not
            resize the picture once more.
    """

    model: str
    url: str
    adapter: str
    max_side: int

    def adapter_name(self, adapter: str, model: str) -> str:
        """What a request for `adapter` of `model` names."""
        return self.adapter.format(model=model, adapter=adapter)


_SGLANG = ("http://127.0.0.1:30000/v1", "{model}:{adapter}")
_VLLM = ("http://127.0.0.1:8000/v1", "{adapter}")
_QWEN25, _QWEN3 = "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen3-VL-8B-Instruct"

PRESETS: Mapping[str, ChatPreset] = {
    "qwen2.5-vl-sglang": ChatPreset(_QWEN25, *_SGLANG, max_side=1008),  # 28 pixels a token
    "qwen2.5-vl-vllm": ChatPreset(_QWEN25, *_VLLM, max_side=1008),
    "qwen3-vl-sglang": ChatPreset(_QWEN3, *_SGLANG, max_side=1024),  # 32 pixels a token
    "qwen3-vl-vllm": ChatPreset(_QWEN3, *_VLLM, max_side=1024),
}


def preset(name: str) -> ChatPreset:
    """The preset of that name.

    Raises:
        SettingsError: there is none.
    """
    if name not in PRESETS:
        raise SettingsError(f"unknown chat preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def read_experts(text: str, known: Sequence[str], model: str, chosen: ChatPreset | None) -> dict[str, str]:
    """Expert -> model name of a text such as "object=base:object,theme=base:scenes".

    With a preset "object" alone is enough: the adapter of that name, as the preset's server names it.

    Raises:
        SettingsError: an expert is unknown or named twice, or has no model.
    """
    experts: dict[str, str] = {}
    for part in text.split(","):
        expert, equals, named = (piece.strip() for piece in part.partition("="))
        if expert not in known:
            raise SettingsError(f"chat experts: unknown expert {expert!r}: choose among {', '.join(known)}")
        if expert in experts:
            raise SettingsError(f"chat experts: {expert!r} is named twice")
        if not equals and chosen is not None:
            named = chosen.adapter_name(expert, model)
        if not named:
            raise SettingsError(f"chat experts: {expert!r} has no model: write {expert}=MODEL, or choose a preset")
        experts[expert] = named
    return experts
