"""Going on with a stage that was interrupted: which of the checkpoints that `transformers.Trainer` left is whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from rsagent.errors import UserError


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
