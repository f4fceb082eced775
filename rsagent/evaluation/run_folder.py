"""The folder of one run: its configuration and where it came from, what was said, and the tables of it.

    run.json            configuration, starts (time, revision, versions), whether it is complete
    prompts.json        the words that the model was given
    predictions.jsonl   what the model said, a line an item, as it came
    blind.jsonl         what it said of another image (questions and classes)
    tables.json         the figures, written in the end

A run goes on where it stopped when the same command is given again, and with no other configuration.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from rsagent.errors import RSAgentError, UserError
from rsagent.evaluation.provenance import provenance
from rsagent.evaluation.run import Predictions
from rsagent.evaluation.table import Table, from_json, to_json

VERSION = 1
_MANIFEST, _TABLES, _PROMPTS, _LOCK = "run.json", "tables.json", "prompts.json", ".lock"
_UNSAID = "not given"
SAME = ("dataset", "split", "limit", "items")
"""What the configurations of runs must share for them to be compared."""


@dataclass
class RunFolder:
    """One run on disk.

    `config` is what must be the same to go on; `starts` says when and with what it ran; `note` is what a reader of its
    figures must know of the set.
    """

    path: Path
    config: dict[str, Any]
    items: int
    starts: list[dict[str, Any]] = field(default_factory=lambda: list[dict[str, Any]]())
    complete: bool = False
    note: str = ""

    @classmethod
    def begin(cls, path: Path, config: Mapping[str, Any], items: int) -> RunFolder:
        """Make the folder, or go on with the run that it holds; this start is noted in it.

        Raises:
            UserError: it holds a run of another configuration, something else, cannot be made, or another process holds it.
        """
        run = cls(path, dict(config), items)
        manifest = path / _MANIFEST
        if not manifest.exists() and path.is_dir() and any(entry.name != _LOCK for entry in path.iterdir()):
            raise UserError(f"{path} holds something else than a run: give another --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path}: cannot be made ({error.strerror}); give another --out") from error
        with run.alone():  # a run that is going on is left as it is
            if manifest.exists():
                old = cls.read(path)
                _check_same(path, old.config, run.config)
                run.starts = old.starts
            run.starts.append(provenance())
            run.save()
        return run

    @classmethod
    def read(cls, path: Path) -> RunFolder:
        """Read the run that lies in `path`.

        Raises:
            UserError: there is none, or it is damaged or of another version.
        """
        file = path / _MANIFEST
        try:
            found: Any = json.loads(file.read_text("utf-8"))
            if found["version"] != VERSION:
                raise UserError(f"{file}: is of version {found['version']}, this rsagent reads {VERSION}: run it anew")
            return cls(
                path, dict(found["config"]), int(found["items"]), list(found["starts"]), bool(found["complete"]),
                str(found.get("note", "")),
            )  # fmt: skip
        except FileNotFoundError:
            raise UserError(f"{path}: no run lies there ({_MANIFEST} is missing); name a folder of `rsagent eval`") from None
        except OSError as error:
            raise UserError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}: is damaged; move the folder away and run it anew") from error

    @property
    def name(self) -> str:
        """What tables call the run: the folder's name."""
        return self.path.name

    def predictions(self, name: str = "predictions") -> Predictions:
        """What was said so far."""
        return Predictions(self.path / f"{name}.jsonl")

    def save(self) -> None:
        """Write the configuration, whole or not at all."""
        data = {
            "version": VERSION,
            "config": self.config,
            "items": self.items,
            "complete": self.complete,
            "note": self.note,
            "starts": self.starts,
        }
        write_whole(self.path / _MANIFEST, json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    def keep_prompts(self, text: str) -> None:
        """Keep the words that the model is given; the configuration holds their digest, so they are the same at each start."""
        write_whole(self.path / _PROMPTS, text + "\n")

    def finish(self, tables: Sequence[Table], complete: bool) -> None:
        """Keep the tables, and whether all items have been answered."""
        write_whole(self.path / _TABLES, to_json(tables))
        self.complete = complete
        self.save()

    def tables(self) -> list[Table]:
        """The tables that `finish` kept.

        Raises:
            UserError: there are none yet, or they are damaged.
        """
        file = self.path / _TABLES
        try:
            return from_json(file.read_text("utf-8"))
        except FileNotFoundError:
            raise UserError(f"{self.path}: is not finished; give its command again") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}: cannot be read ({error}); remove it and give the run's command again") from error

    @contextmanager
    def alone(self) -> Generator[None]:
        """Hold the folder: two processes that write to one file would spoil it. Where locks are not to be had, do without.

        Raises:
            UserError: another process holds it.
        """
        try:
            import fcntl
        except ImportError:  # no such locks on Windows
            yield
            return
        try:
            lock = (self.path / _LOCK).open("a")
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror}); give another --out") from error
        with lock as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"{self.path}: another process works on this run; wait for it or give another --out") from None
            yield


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name, then give it its own.

    Raises:
        RSAgentError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, "utf-8")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RSAgentError(f"{path}: cannot be written ({error.strerror})") from error


def _check_same(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            was, is_now = _word(old.get(name)), _word(new.get(name))
            raise UserError(f"{path} holds a run with {name} {was}, this one has {is_now}: give another --out")


def _word(value: object) -> str:
    return _UNSAID if value is None else str(cast(Any, value))[:60]
