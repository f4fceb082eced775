"""Every word sent to a model, as YAML package data, and the few functions that fill it in.

User text is substituted, never interpreted: no format strings, no template engine.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from rsagent.errors import SettingsError
from rsagent.schemas import OBJECTS_SCHEMA, Task

_FIELD = re.compile(r"\{(instruction|theme|objects|relations|against)\}")


class ExpertWords(BaseModel):
    """What one expert reads: for an aspect of a caption, for a question, and when asked again.

    With `json_schema`, which is a JSON schema or "objects" for the list of name, count and where, what it says for a caption
    has that form.
    """

    model_config = ConfigDict(extra="forbid")
    caption: str
    answer: str
    again: str
    json_schema: Literal["objects"] | dict[str, Any] | None = None


class SingleWords(BaseModel):
    """What the single LLM of stage I reads."""

    model_config = ConfigDict(extra="forbid")
    caption: str
    answer: str


class Prompts(BaseModel):
    """The prompts of one folder. The order of `experts` is the order of the aspects in a composed caption."""

    model_config = ConfigDict(extra="forbid")
    styles: dict[str, str]
    single: SingleWords
    experts: dict[str, ExpertWords]
    composer: str
    router: str = ""  # read by a language model that plans, where one does
    follow_up: str = ""  # read by one that completes the questions of a conversation, where one does

    def caption_instruction(self, style: str) -> str:
        """The instruction that asks for a caption in `style`.

        Raises:
            SettingsError: no such style.
        """
        if style not in self.styles:
            raise SettingsError(f"unknown style '{style}': choose one of {', '.join(self.styles)}")
        return self.styles[style]

    def single_text(self, task: Task, instruction: str) -> str:
        """What the single LLM of stage I (and of the base) reads."""
        return fill(self.single.caption if task == "caption" else self.single.answer, instruction=instruction)

    def expert_text(self, expert: str, task: Task, instruction: str, *, against: str | None = None) -> str:
        """What `expert` reads; with `against` (another expert's words) it is asked again.

        Raises:
            SettingsError: no prompt for such an expert.
        """
        if expert not in self.experts:
            raise SettingsError(f"no prompt for expert '{expert}': the prompts name {', '.join(self.experts)}")
        words = self.experts[expert]
        if against is not None:
            return fill(words.again, instruction=instruction, against=against)
        return fill(words.caption if task == "caption" else words.answer, instruction=instruction)

    def caption_schema(self, expert: str) -> str | None:
        """The JSON schema, as text, that binds what `expert` says for a caption; None where nothing does."""
        words = self.experts.get(expert)
        if words is None or words.json_schema is None:
            return None
        return OBJECTS_SCHEMA if words.json_schema == "objects" else json.dumps(words.json_schema)

    def composer_text(self, instruction: str, *, theme: str, objects: str, relations: str) -> str:
        """What the composer adapter reads: the instruction of the style and the experts' reports (empty ones allowed)."""
        return fill(self.composer, instruction=instruction, theme=theme, objects=objects, relations=relations)


def fill(template: str, **values: str) -> str:
    """Put `values` into the known `{fields}` of `template` in one pass, so that braces inside a value stay as they are."""
    return re.sub(r"\s+", " ", _FIELD.sub(lambda found: values.get(found[1], ""), template)).strip()


def prompts_of(engine: object) -> Prompts:
    """The prompts that an engine was made with (a chat model reads others than a trained expert), else the default."""
    own = getattr(engine, "prompts", None)
    return own if isinstance(own, Prompts) else load_prompts()


@lru_cache(maxsize=8)
def load_prompts(folder: Path | None = None, name: str = "default") -> Prompts:
    """Read `default.yaml` (or another `name`) from `folder`, or the prompts that come with rsagent.

    Raises:
        SettingsError: the file is missing, is not YAML, or lacks or adds a key; the message names it.
    """
    try:
        text = (files("rsagent.prompts") if folder is None else folder).joinpath(f"{name}.yaml").read_text("utf-8")
        return Prompts.model_validate(yaml.safe_load(text))
    except OSError as error:
        raise SettingsError(f"cannot read the prompts {folder}/{name}.yaml: {error.strerror}") from error
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        raise SettingsError(f"the prompts {folder}/{name}.yaml are not usable: {str(error).splitlines()[0]}") from error
