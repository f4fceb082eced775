"""Runs that are interrupted: large files appear whole or not at all, and only a whole checkpoint is resumed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rsagent.errors import UserError


@contextmanager
def whole_files(*targets: Path) -> Generator[list[Path], None, None]:
    """Names to write to, one a target: afterwards they are renamed to the targets, or deleted when something failed."""
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
    partial = [target.with_suffix(f".{os.getpid()}.part") for target in targets]
    try:
        yield partial
        for part, target in zip(partial, targets, strict=True):
            os.replace(part, target)
    finally:
        for part in partial:
            part.unlink(missing_ok=True)


def checkpoint_to_resume(folder: Path, *, resume: bool) -> str | None:
    """The newest whole checkpoint in `folder`, or None where there is none; cut-short ones are deleted.

    Raises:
        UserError: there is one, and `resume` is false.
    """
    whole: list[Path] = []
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=_step):
        if _is_whole(checkpoint):
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    if whole and not resume:
        raise UserError(f"{folder} holds an interrupted run: add --resume to go on with it, or give another --out")
    return str(whole[-1]) if whole else None


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.removeprefix("checkpoint-")
    return int(number) if number.isdecimal() else -1


def _is_whole(checkpoint: Path) -> bool:
    """The Trainer writes its own state last, so a kill while it saved leaves a folder without one, or with half of one."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return True
