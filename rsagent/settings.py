"""What can be set, and where each value came from: flags > environment (RSAGENT_*) > rsagent.toml > defaults.

One configuration file is read: `rsagent.toml` in the current folder, else the one in the user's configuration folder.
Relative paths in it are relative to the current folder, like those of flags and variables.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_config_path
from pydantic import Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from rsagent.errors import SettingsError

FILE_NAME = "rsagent.toml"
PREFIX = "RSAGENT_"
NO_SETTINGS = frozenset({"RSAGENT_API_KEY", "RSAGENT_API_KEYS", "RSAGENT_DATA", "RSAGENT_HOME", "RSAGENT_SCRIPT"})
"""Variables with our prefix that are no setting: an upstream server's key, the keys of our own, the folder of published data,
where sessions and prepared base LLMs are kept, the scripted engine's script."""


class Settings(BaseSettings):
    """Every setting with its default. `Settings.load` makes one and notes where each value came from."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    checkpoint: str | None = Field(None, min_length=1, description="checkpoint folder, tiny or small; tiny when not given")
    engine: Literal["local", "sglang", "openai", "scripted"] = Field("local", description="where the experts run")
    url: str | None = Field(None, min_length=1, description="for engine sglang: its servers, with commas between them")
    sglang_python: str | None = Field(None, min_length=1, description="the Python that has SGLang, for experts serve")
    chat_url: str | None = Field(None, min_length=1, description="server of the engine `openai`, with /v1 at its end")
    chat_model: str | None = Field(None, min_length=1, description="model of the engine `openai`")
    chat_preset: str | None = Field(None, min_length=1, description="chat model and server with known settings")
    chat_experts: str | None = Field(None, min_length=1, description="model of each chat expert: object=base:object,...")
    chat_router: Literal["rules", "llm"] = Field("rules", description="who writes the chat experts' prompts")
    chat_composer: bool = Field(False, description="the chat model also composes, in the style `sentence`")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="what the networks run on")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="the networks' number type")
    style: str = Field("detailed", min_length=1, description="caption style; `detailed` joins what the experts say")
    best: bool = Field(False, description="beams in place of the default decoding: better, slower, nothing streams")
    max_tokens: int | None = Field(None, ge=1, le=1024, description="most tokens an expert writes; None: the engine's")
    prompts: Path | None = Field(None, description="folder whose default.yaml replaces the prompts of rsagent")
    root: Path | None = Field(None, description="folder below which the clients of our servers may name pictures")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of whatever is drawn at random")
    max_pixels: int = Field(64_000_000, ge=1, description="a picture of more pixels is refused, or read reduced")
    expert_timeout_s: float = Field(60.0, gt=0, description="seconds after which an expert counts as failed")

    _sources: dict[str, str] = PrivateAttr(default_factory=dict[str, str])

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what it is given: `load` reads the other sources, so that it knows which one had a say."""
        return (init_settings,)

    @classmethod
    def load(cls, **flags: Any) -> Settings:
        """Settings from `flags` (None means not given), the environment and the configuration file.

        Raises:
            SettingsError: a key or a value is wrong, or the file cannot be read; the message names key and place.
        """
        path = config_file()
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for place, found in (
            (str(path), _read(path) if path is not None else {}),
            (PREFIX, EnvSettingsSource(cls)()),
            ("--", {name: value for name, value in flags.items() if value is not None}),
        ):
            _check_keys(found, place)
            values |= found
            sources |= {name: _name(place, name) for name in found}
        try:
            settings = cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            raise SettingsError(f"{sources[key]}: {key} cannot be {values[key]!r}: {first['msg']}") from error
        settings._sources.update(sources)
        return settings

    def sources(self) -> dict[str, str]:
        """For each setting the place its value came from: a flag, a variable, a file, or "default"."""
        return {name: self._sources.get(name, "default") for name in type(self).model_fields}


def config_file() -> Path | None:
    """The configuration file that is read: ./rsagent.toml, else the user's one, else none."""
    if (path := Path(FILE_NAME)).is_file():
        return path
    try:
        path = user_config_path("rsagent", appauthor=False) / FILE_NAME
    except (RuntimeError, KeyError):  # a user that the system does not know, as in a container, has no home
        return None
    return path if path.is_file() else None


def unknown_variables() -> list[str]:
    """Variables that look like a setting and are none, most likely misspelt; they have no effect."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | NO_SETTINGS
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error


def _check_keys(found: Mapping[str, Any], place: str) -> None:
    for key in found:
        if key not in Settings.model_fields:
            close = difflib.get_close_matches(key, Settings.model_fields, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the settings are {', '.join(Settings.model_fields)}"
            raise SettingsError(f"{place}: unknown setting {key!r}: {hint}")


def _name(place: str, setting: str) -> str:
    """Where the value of `setting` came from, as people write it: --max-tokens, RSAGENT_MAX_TOKENS, a file."""
    if place == "--":
        return "--" + setting.replace("_", "-")
    return PREFIX + setting.upper() if place == PREFIX else place
