"""The checkpoints that rsagent carries, by name, and the one place where a checkpoint's name becomes a folder."""

from __future__ import annotations

import os
from pathlib import Path

from rsagent.errors import CheckpointError
from rsagent.model.checkpoint import EMBEDDED

DEFAULT = "tiny"
"""What speaks where nothing is chosen; it brings its own LLM."""

SHIPPED: dict[str, Path] = {"tiny": EMBEDDED, "small": EMBEDDED.parent / "small"}
"""Name -> folder. `small` holds no LLM: its base is found at first use, see `rsagent.model.bases`."""

BETTER_THAN_TINY: bool = False
"""Whether `small` answers better than `tiny` by the stored results; then `rsagent model get small` makes it the default."""


def checkpoint_folder(name: str | os.PathLike[str] | None) -> Path:
    """The folder of a checkpoint: of a shipped one by its name, the default's for None, else `name` itself is the folder.

    A folder of the same name as a shipped checkpoint is written with a slash: ./small.

    Raises:
        CheckpointError: a shipped name whose folder this installation lacks.
    """
    if name is None:
        return SHIPPED[DEFAULT]
    if not isinstance(name, str) or name not in SHIPPED:
        return Path(name)
    folder = SHIPPED[name]
    if not folder.is_dir():
        raise CheckpointError(f"this rsagent carries no checkpoint '{name}': update it, or choose tiny or a folder")
    return folder
