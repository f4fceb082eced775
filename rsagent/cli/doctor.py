"""`rsagent doctor`: what is installed, found and missing, and the line that mends it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import typer

from rsagent import __version__
from rsagent.cli import options
from rsagent.cli.console import result, result_json, say
from rsagent.errors import RSAgentError

NEEDED = ("torch", "transformers", "peft", "safetensors", "tokenizers", "langgraph", "numpy", "pillow")
EXTRAS = {
    "geo": ("rasterio", "GeoTIFF and rasters of many bands"),
    "preview": ("textual-image", "small pictures in the terminal"),
    "small": ("gguf", "the base LLM of the checkpoint small, from its package"),
    "train": ("accelerate", "training"),
    "eval": ("pycocoevalcap", "caption metrics"),
    "sglang": ("httpx", "experts on an SGLang server"),
    "openai": ("instructor", "chat models as experts"),
    "structured": ("xgrammar", "experts that answer in the form of a JSON schema"),
    "serve": ("fastapi", "rsagent as a server"),
    "mcp": ("mcp", "rsagent as an MCP tool"),
    "studio": ("langgraph-cli", "the graph in langgraph dev"),
}


@dataclass(frozen=True)
class Check:
    """One line of the report. `state` is ok, missing (it matters) or optional (it does not, unless you want it)."""

    name: str
    state: str
    found: str
    mend: str = ""


def doctor(as_json: options.Json = False) -> None:
    """Check the installation. Says what is there, what is missing (exit code 1 if it is needed), and what mends it."""
    checks = [*_programs(), *_extras(), *_devices(), *_own()]
    if as_json:
        result_json([asdict(check) for check in checks])
    else:
        for check in checks:
            result([f"[{check.state}] {check.name}: {check.found}", *([f"  {check.mend}"] if check.mend else [])])
    missing = [check.name for check in checks if check.state == "missing"]
    if missing:
        say(f"missing: {', '.join(missing)}")
    raise typer.Exit(1 if missing else 0)


def _programs() -> Iterator[Check]:
    yield Check("rsagent", "ok", f"{__version__} in {Path(__file__).resolve().parent.parent}")
    old = sys.version_info < (3, 11)
    yield Check("python", "missing" if old else "ok", platform.python_version(), "install Python 3.11" if old else "")
    for name in NEEDED:
        version = _version(name)
        mend = "" if version else "pip install rsagent"
        yield Check(name, "ok" if version else "missing", version or "not installed", mend)


def _extras() -> Iterator[Check]:
    for extra, (package, purpose) in EXTRAS.items():
        version = _version(package)
        mend = "" if version else f"pip install 'rsagent[{extra}]'"
        yield Check(f"extra {extra}", "ok" if version else "optional", f"{package} {version or '-'}: {purpose}", mend)


def _devices() -> Iterator[Check]:
    if find_spec("torch") is None:
        return
    import torch

    yield Check("cpu", "ok", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads for torch")
    if torch.cuda.is_available():
        yield Check("cuda", "ok", torch.cuda.get_device_name(0))
    elif torch.backends.mps.is_available():
        yield Check("mps", "ok", "Apple GPU")
    else:
        yield Check("gpu", "optional", "none that torch can use; the embedded checkpoint needs none")


def _own() -> Iterator[Check]:
    """The parts of rsagent that are files: settings, prompts, checkpoint, data."""
    from rsagent.model.checkpoint import read_config
    from rsagent.model.shipped import checkpoint_folder
    from rsagent.prompts import load_prompts
    from rsagent.settings import FILE_NAME, Settings, config_file

    try:
        settings = Settings.load()
        yield Check("settings", "ok", str(config_file() or f"defaults and variables; no {FILE_NAME}"))
        styles = ", ".join(load_prompts(settings.prompts).styles)
        yield Check("prompts", "ok", f"{settings.prompts or 'those of rsagent'}; styles: {styles}")
    except RSAgentError as error:
        yield Check("settings", "missing", str(error), "mend that line, then: rsagent config show")
        return
    try:
        folder = checkpoint_folder(settings.checkpoint)
        yield Check("checkpoint", "ok", f"{read_config(folder).name} in {folder}")
    except RSAgentError as error:
        mend = "give --checkpoint FOLDER" if settings.checkpoint else "pip install --force-reinstall --no-deps rsagent"
        yield Check("checkpoint", "missing", str(error), mend)
    yield from _bases(settings.checkpoint)
    data = os.environ.get("RSAGENT_DATA")
    found = f"{data}{'' if Path(data).is_dir() else ' is no folder'}" if data else "RSAGENT_DATA is not set"
    there = bool(data) and Path(str(data)).is_dir()
    mend = "" if there else "export RSAGENT_DATA=FOLDER: only training, evaluation and some tests need it"
    yield Check("data", "ok" if there else "optional", found, mend)


def _bases(chosen: str | None) -> Iterator[Check]:
    """The base LLMs of shipped checkpoints; one that is missing matters where its checkpoint is in force."""
    from rsagent.cli.model_get import base_state
    from rsagent.model.bases import BASES

    for name, base in BASES.items():
        state = base_state(name)
        absent = "missing" if chosen == base.checkpoint else "optional"
        mend = "" if state["there"] else base.mend
        yield Check(f"base LLM of {base.checkpoint}", "ok" if state["there"] else absent, f"{name}: {state['found']}", mend)


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
