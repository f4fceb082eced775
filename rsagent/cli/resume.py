"""The file of `--resume`: JSON lines of pictures that were described before, to which the new ones are added."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from rsagent.errors import RSAgentError, UserError

_BEGINNING = b'{"path": '
"""How each of our lines begins; a file with other lines is somebody's else and left alone."""


@dataclass
class ResumeFile:
    """A file of JSON lines. `held` are the paths it has; `keep` is how many bytes of it are whole lines."""

    path: Path
    held: set[str] = field(default_factory=set[str])
    keep: int = 0

    @classmethod
    def open(cls, path: Path) -> ResumeFile:
        """Read `path`, which need not exist. A last line that a kill cut short does not count.

        Raises:
            UserError: it cannot be read, or is not a file of `rsagent caption --jsonl`.
        """
        resume = cls(path)
        try:
            with path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    resume._take(line, number)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise UserError(f"--resume: {path} cannot be read: {error.strerror}") from error
        return resume

    def add(self, line: str) -> None:
        """Write one record at the end, unless stdout goes to this very file and so has it already.

        Raises:
            RSAgentError: it cannot be written.
        """
        try:
            self._mend()
            if not self._is_stdout():
                with self.path.open("ab", buffering=0) as file:
                    file.write(line.encode("utf-8") + b"\n")
        except OSError as error:
            raise RSAgentError(f"--resume: {self.path} cannot be written: {error.strerror}") from error

    def _mend(self) -> None:
        """Before the first line is added: cut off one that was cut short, and end the last whole one."""
        if self.keep < 0 or not self.path.exists():
            return
        with self.path.open("r+b") as file:
            file.truncate(self.keep)
            file.seek(max(0, self.keep - 1))
            if self.keep and file.read(1) != b"\n":
                file.write(b"\n")
        self.keep = -1

    def _take(self, line: bytes, number: int) -> None:
        whole = line.endswith(b"\n")
        with suppress(ValueError):
            record: Any = json.loads(line)
            if isinstance(record, dict) and isinstance(path := cast("dict[str, Any]", record).get("path"), str):
                self.held.add(path)
                self.keep += len(line)
                return
        if whole or not (line.startswith(_BEGINNING) or _BEGINNING.startswith(line)):
            raise UserError(f"--resume: line {number} of {self.path} is not from `rsagent caption --jsonl`; name another")

    def _is_stdout(self) -> bool:
        try:
            return os.path.samestat(os.fstat(sys.stdout.fileno()), self.path.stat())
        except (OSError, ValueError):  # stdout is no file, or this one does not exist yet
            return False
