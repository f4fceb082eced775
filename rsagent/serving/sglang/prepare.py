"""The folder that SGLang reads as its model: links to the LLM's weights and the tokenizer, and a configuration of its own.

The checkpoint's files are not changed. The folder lies in the user's cache, is named after what is in it, and appears whole
or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

from platformdirs import user_cache_path

from rsagent.errors import EngineError
from rsagent.serving.sglang import ARCHITECTURE
from rsagent.serving.sglang.checks import Servable
from rsagent.serving.sglang.llm_files import read_json


def cache_folder() -> Path:
    """Where prepared folders and the servers' logs are kept.

    Raises:
        EngineError: the user has no home folder.
    """
    try:
        return user_cache_path("rsagent", appauthor=False) / "sglang"
    except (RuntimeError, KeyError) as error:  # a user that the system does not know, as in a container
        raise EngineError("there is no home folder to prepare the checkpoint in: set XDG_CACHE_HOME to a folder") from error


def prepared_folder(servable: Servable, digest: str) -> Path:
    """Where `prepare` puts the folder; it need not be there yet."""
    place = hashlib.sha256(f"{digest} {servable.folder.resolve()} {servable.llm.folder.resolve()}".encode()).hexdigest()
    return cache_folder() / place[:24]


def prepare(servable: Servable, digest: str) -> Path:
    """Write the folder for a checkpoint of this digest, unless it is there; gives its path.

    Raises:
        EngineError: the machine failed: the disk is full, the cache cannot be written, or there is no home.
    """
    target = prepared_folder(servable, digest)
    config = json.dumps(_config(servable), indent=2, sort_keys=True) + "\n"
    links = _links(servable)
    try:
        if _is_there(target, config, links):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".prepare-", dir=target.parent))
        try:
            (partial / "config.json").write_text(config, "utf-8")
            for name, source in links.items():
                (partial / name).symlink_to(source)
            if target.exists():  # of an earlier version, or damaged
                shutil.rmtree(target)
            os.replace(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if _is_there(target, config, links):  # another process was quicker
            return target
        raise EngineError(f"cannot prepare {target} for SGLang: {error.strerror or error}") from error
    return target


def _is_there(target: Path, config: str, links: dict[str, Path]) -> bool:
    try:
        if (target / "config.json").read_text("utf-8") != config:
            return False
        return all((target / name).is_file() and (target / name).samefile(source) for name, source in links.items())
    except (OSError, ValueError):
        return False


def _config(servable: Servable) -> dict[str, Any]:
    """The LLM's configuration with the plugin's class in it, and an end of text as the local engine has it."""
    config = {**servable.llm.config, "architectures": [ARCHITECTURE]}
    if servable.llm.part:
        config["rsagent_part"] = servable.llm.part  # tells the plugin's class which tensors of the files are the LLM's
    config.pop("auto_map", None)  # names code that would come with the LLM
    for token in ("bos", "eos", "pad"):
        if (index := _token(servable.folder / "tokenizer", token)) is not None:
            config[f"{token}_token_id"] = index
    return config


def _token(tokenizer: Path, name: str) -> int | None:
    """The number of the tokenizer's token for the begin, end or padding of a text."""
    named: Any = read_json(tokenizer / "tokenizer_config.json").get(f"{name}_token")
    text = cast("dict[str, Any]", named).get("content") if isinstance(named, dict) else named
    words = read_json(tokenizer / "tokenizer.json", 200_000_000)
    for token in cast("list[dict[str, Any]]", words.get("added_tokens") or []):
        if token.get("content") == text:
            return int(token["id"])
    vocabulary: Any = cast("dict[str, Any]", words.get("model") or {}).get("vocab")
    return cast("dict[str, int]", vocabulary).get(str(text)) if isinstance(vocabulary, dict) else None


def _links(servable: Servable) -> dict[str, Path]:
    """File name -> what it links to. No generation_config.json: the engine says with each request how to decode."""
    names = [*servable.llm.folder.glob("*.safetensors"), *servable.llm.folder.glob("*.safetensors.index.json")]
    files = names + [file for file in (servable.folder / "tokenizer").iterdir() if file.is_file()]
    return {file.name: file.resolve() for file in sorted(files)}
