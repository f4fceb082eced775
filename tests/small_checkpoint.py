"""A checkpoint like `small`, tiny: its LLM lies outside, under a name that is looked for, in a package that is made here."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from rsagent.model.bases import Base
from rsagent.model.pretrained import load_llm
from tests.gguf_file import write_gguf

NAME = "nobody/base-of-the-tests"
MODULE = "rsagent_tests_base"


@dataclass(frozen=True)
class Small:
    """The checkpoint, its base LLM's description, and the base as a plain folder and as the folder of its package."""

    checkpoint: Path
    base: Base
    llm: Path
    package: Path


def make_small(tiny_checkpoint: Path, folder: Path) -> Small:
    """Take the LLM out of a checkpoint; gives both, and the LLM as GGUF in the folder `folder`/site/MODULE."""
    checkpoint, llm, package = folder / "small", folder / "llm", folder / "site" / MODULE
    shutil.copytree(tiny_checkpoint, checkpoint)
    shutil.move(checkpoint / "llm", llm)
    shutil.copytree(checkpoint / "tokenizer", llm, dirs_exist_ok=True)
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "llm": NAME}))
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('this package is looked into, not imported')\n")
    shutil.copy(llm / "tokenizer.json", package)
    shutil.copy(llm / "tokenizer_config.json", package)
    write_gguf(load_llm(str(llm), torch.float32), package / "base.gguf")
    digest = hashlib.sha256((package / "base.gguf").read_bytes()).hexdigest()
    sizes = json.loads((llm / "config.json").read_text())
    wanted = {size: sizes[size] for size in ("hidden_size", "num_hidden_layers", "vocab_size")}
    return Small(checkpoint, Base(NAME, "small", MODULE, "tests-base==1.0", "base.gguf", digest, wanted), llm, package)
