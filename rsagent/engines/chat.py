"""The `openai` engine: chat vision-language models behind any OpenAI-compatible server as experts.

Each expert is a model name of its own (an adapter: `base:adapter` on SGLang, `adapter` on vLLM) or the same model with a
prompt of its own; the picture goes along as `image_url`. The instruction router is a rule, or a language model that writes
a RoutingPlan; the composer may be one too, and is held to what the experts reported.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rsagent.engines.chat_client import NO_KEY, ChatClient
from rsagent.engines.grounding import ungrounded
from rsagent.engines.planning import Rewritten, plan_form, plan_gates, rule_gates
from rsagent.errors import EngineError, ImageLost, SettingsError
from rsagent.imagery import MAX_PIXELS, ImageSource, LoadedImage, load_image
from rsagent.prompts import Prompts, load_prompts
from rsagent.schemas import ExpertPrompt, ExpertTrace, ImageFacts, RouterTrace, Task

EXPERTS = ("theme", "object", "relation")
SENTENCE = "sentence"
"""The style that the composing language model writes."""

MAX_SIDE = 1024
"""Pixels of the longer side of a picture as it is sent, unless the caller says otherwise."""
_IMAGES = 64
_TOKENS = 160
_PLAN_TOKENS = 800


class ChatEngine:
    """An Engine over an OpenAI-compatible server; see `rsagent.engines.base.Engine`."""

    name = "openai"

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        experts: Mapping[str, str] | None = None,
        router: Literal["rules", "llm"] = "rules",
        composer: bool = False,
        prompts: Prompts | None = None,
        bands: Sequence[int] | None = None,
        max_pixels: int = MAX_PIXELS,
        max_side: int = MAX_SIDE,
        timeout_s: float = 60.0,
        max_retries: int = 2,
        http_client: Any = None,
    ) -> None:
        """Choose server and models; nothing is called yet.

        Args:
            base_url: of the server, with /v1 at its end.
            model: the model of every expert that `experts` does not name, and of router and composer.
            api_key: OPENAI_API_KEY when None; servers without keys take anything.
            experts: expert -> model name, such as {"object": "base:object"}.
            router: "rules", or "llm" for prompts that `model` writes for this very image; rules are its fallback.
            composer: offer the style "sentence", which `model` writes from the reports.
            prompts: those of rsagent/prompts/chat.yaml when None.
            bands: bands of a picture to show, as `load_image` takes them.
            max_pixels: pictures of more pixels are refused or read reduced.
            max_side: pixels of the longer side that is sent, at least 28; larger pictures are made smaller.
            timeout_s: seconds a call may take.
            max_retries: how often a call that failed in transport is repeated.
            http_client: an httpx client of your own.

        Raises:
            SettingsError: an option cannot be used.
            MissingExtra: the extra `openai` is not installed.
        """
        if not base_url.startswith(("http://", "https://")):
            raise SettingsError(f"base_url {base_url!r}: give the server's http(s) address with /v1 at its end")
        if not model:
            raise SettingsError("no model is named: give the name that the server's /v1/models lists")
        if max_side < 28 or not 0 <= max_retries <= 5 or timeout_s <= 0:
            raise SettingsError("max_side must be at least 28, max_retries 0 to 5, timeout_s above 0")
        self.prompts = prompts or load_prompts(name="chat")
        self.experts = tuple(name for name in self.prompts.experts if name in (*EXPERTS, *(experts or ())))
        for name in experts or ():
            if name not in self.prompts.experts:
                raise SettingsError(f"no prompt for expert {name!r}: the prompts name {', '.join(self.prompts.experts)}")
        self.styles: tuple[str, ...] = (SENTENCE,) if composer else ()
        self._models = {name: (experts or {}).get(name, model) for name in self.experts}
        self._model, self._router = model, router
        self._reading: dict[str, Any] = {"bands": bands, "max_pixels": max_pixels}
        self._max_side = max_side
        self._images: OrderedDict[str, tuple[ImageFacts, str]] = OrderedDict()
        key = api_key or os.environ.get("OPENAI_API_KEY") or NO_KEY
        self._client = ChatClient(base_url, key, timeout_s=timeout_s, max_retries=max_retries, http_client=http_client)

    async def prepare(self, image: ImageSource) -> ImageFacts:
        """Read the picture and keep it in the form in which it is sent.

        Raises:
            ImageError: the picture cannot be used.
        """
        loaded = await asyncio.to_thread(load_image, image, **self._reading)
        digest = loaded.facts.sha256
        if digest not in self._images:
            self._images[digest] = (loaded.facts, await asyncio.to_thread(_data_uri, loaded, self._max_side))
        self._images.move_to_end(digest)
        while len(self._images) > _IMAGES:
            self._images.popitem(last=False)
        return loaded.facts

    async def route(
        self, digest: str, instruction: str, task: Task, *, style: str = "", experts: Sequence[str] = ()
    ) -> list[ExpertPrompt]:
        """One prompt an expert: written by the model where it is the router, otherwise (and as its fallback) by rule.

        Raises:
            ImageLost: the image is no longer at hand.
        """
        del style
        self._seen(digest)
        wanted = [name for name in self.experts if not experts or name in experts]
        texts: dict[str, str] = {}
        trouble: str | None = None
        gates = dict.fromkeys(wanted, 1.0) if task == "caption" else rule_gates(instruction, wanted)
        if self._router == "llm":
            try:
                texts = await self._plan(digest, instruction, task, wanted)
                gates = dict.fromkeys(wanted, 1.0) if task == "caption" else plan_gates(texts, wanted)
            except ImageLost:
                raise
            except EngineError as error:
                trouble = str(error)
        written = [
            ExpertPrompt(
                expert=name,
                text=texts.get(name) or self.prompts.expert_text(name, task, instruction),
                digest=digest,
                instruction=instruction,
                task=task,
                checkpoint=self._models[name],
                gate=gates[name],
                max_tokens=_TOKENS,
                router_error=trouble,
            )
            for name in wanted
        ]
        return written if task == "caption" else sorted(written, key=lambda prompt: -prompt.gate)

    async def generate(self, prompt: ExpertPrompt) -> AsyncGenerator[str, None]:
        """Stream an expert's words; closing the generator closes the connection.

        Raises:
            ImageLost: the image is no longer at hand.
            EngineError: unknown expert, or the server failed.
        """
        if prompt.expert == "composer" and self.styles:
            yield await self._compose(prompt)
            return
        if prompt.expert not in self._models:
            raise EngineError(f"there is no expert '{prompt.expert}': {', '.join(self._models)}")
        words = self._client.stream(
            model=self._models[prompt.expert],
            messages=[_user(prompt.text, self._seen(prompt.digest)[1])],
            max_tokens=prompt.max_tokens,
            temperature=0.0,
        )
        try:
            async for piece in words:
                yield piece
        finally:
            await words.aclose()

    async def explain(self, digest: str, instruction: str, task: Task, *, style: str = "") -> RouterTrace:
        """The prompts and the gate; a chat model has no soft prompt, and its attention is not known."""
        prompts = await self.route(digest, instruction, task, style=style)
        return RouterTrace(
            image=self._seen(digest)[0],
            instruction=instruction,
            gate={prompt.expert: prompt.gate for prompt in prompts},
            experts=[ExpertTrace(prompt=prompt, nearest_words=[], attention=[[1.0]]) for prompt in prompts],
        )

    async def rewrite(self, said: str, before: Sequence[tuple[str, str]]) -> str:
        """A question of a conversation, completed by the model; see `rsagent.engines.base.Rewriter`.

        Raises:
            EngineError: the call failed, or what came is no question.
        """
        turns = [f"User: {question}\nAnswer: {answer}" for question, answer in before]
        rewritten = await self._client.structured(
            Rewritten,
            model=self._model,
            messages=[
                {"role": "system", "content": self.prompts.follow_up},
                {"role": "user", "content": "\n".join([*turns, f"The user says next: {said}"])},
            ],
            max_tokens=_TOKENS,
            temperature=0.0,
        )
        return rewritten.question

    async def close(self) -> None:
        """Close the connections and forget the pictures. Idempotent."""
        self._images.clear()
        await self._client.close()

    def _seen(self, digest: str) -> tuple[ImageFacts, str]:
        if digest not in self._images:
            raise ImageLost(f"the picture {digest[:12]} is no longer in memory: prepare it again")
        return self._images[digest]

    async def _plan(self, digest: str, instruction: str, task: Task, experts: Sequence[str]) -> dict[str, str]:
        """Expert -> prompt, most important first, as the model plans it.

        Raises:
            EngineError: the call failed, or what came breaks the schema every time.
        """
        doing = "Describe the image." if task == "caption" else "Answer the user's question."
        plan = await self._client.structured(
            plan_form(experts, task),
            model=self._model,
            messages=[
                {"role": "system", "content": f"{self.prompts.router} Experts to choose from: {', '.join(experts)}."},
                _user(f"Task: {doing} The user says: {instruction}", self._seen(digest)[1]),
            ],
            max_tokens=_PLAN_TOKENS,
            temperature=0.0,
        )
        return plan.prompts()

    async def _compose(self, prompt: ExpertPrompt) -> str:
        """The sentence that the model writes from the reports in `prompt`; asked again where it adds to them.

        Raises:
            EngineError: the call failed, or the sentence says every time what no expert reported.
        """

        class Composed(BaseModel):
            """The caption."""

            model_config = ConfigDict(extra="forbid")
            caption: str = Field(min_length=3, max_length=1_000, description="one sentence from the reports' words alone")

            @field_validator("caption")
            @classmethod
            def _grounded(cls, caption: str) -> str:
                if added := ungrounded(caption, prompt.text):
                    raise ValueError(f"no expert reported this, leave it out: {', '.join(added[:10])}")
                return caption

        composed = await self._client.structured(
            Composed,
            model=self._model,
            messages=[{"role": "user", "content": prompt.text}],
            max_tokens=prompt.max_tokens,
            temperature=0.0,
        )
        return composed.caption


def _user(text: str, picture: str) -> dict[str, Any]:
    """A message of the user with the picture before the words, as most chat templates are trained."""
    return {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": text}],
    }


def _data_uri(loaded: LoadedImage, max_side: int) -> str:
    """The picture as a PNG in a `data:` URI, made smaller where it is too large."""
    from PIL import Image

    picture = Image.fromarray(loaded.rgb)
    picture.thumbnail((max_side, max_side))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
