"""Where conversations are kept: one SQLite database, LangGraph's tables for the turns and one of ours for the list.

Opening costs the standard library only; `rsagent.chat.conversation` brings LangGraph later. A database that is damaged is
moved aside, one of a newer rsagent is left alone; neither is ever written to.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsagent.errors import RSAgentError, UserError

if TYPE_CHECKING:
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    from rsagent.chat.records import Picture, Turn

SCHEMA = 1
"""Version of the database, in its user_version; a database of a later one is not touched."""
_APPLICATION = 0x72736167  # "rsag": the file is ours
_FILE = "sessions.sqlite"

_TABLES = f"""
PRAGMA application_id={_APPLICATION};
PRAGMA user_version={SCHEMA};
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    turns INTEGER NOT NULL DEFAULT 0,
    pictures TEXT NOT NULL DEFAULT ''
);
"""


@dataclass(frozen=True)
class Listed:
    """A session in the list: seconds since the epoch, number of turns, names of its pictures."""

    id: str
    title: str
    created: float
    updated: float
    turns: int
    pictures: str


@dataclass(frozen=True)
class Kept:
    """A checkpoint of a session: its id and what it holds."""

    checkpoint: str
    turn: Turn | None
    pictures: list[Picture]


def state_folder() -> Path | None:
    """Where rsagent keeps what it remembers: RSAGENT_HOME, else the platform's place; None where there is no home."""
    if chosen := os.environ.get("RSAGENT_HOME"):
        return Path(chosen).absolute()
    from platformdirs import user_state_path

    try:
        folder = user_state_path("rsagent", appauthor=False)
    except (RuntimeError, OSError, KeyError):
        return None
    return folder if folder.is_absolute() else None  # without a home it begins with "~"


class Store:
    """The sessions on this machine.

    Attributes:
        path: the database; None where nothing can be kept.
        address: its URI, also of the one in memory.
        notes: what the user should know of its opening, one line each.
    """

    def __init__(self, path: Path | None, notes: list[str]) -> None:
        """Use `Store.open`."""
        self.path, self.notes = path, notes
        self.address = path.as_uri() if path else f"file:rsagent-{secrets.token_hex(4)}?mode=memory&cache=shared"
        self._connection = _connect(self.address)
        if path is not None:
            os.chmod(path, 0o600)  # what people ask is nobody else's business
        self._locks: dict[str, int] = {}

    @classmethod
    def open(cls, folder: Path | None) -> Store:
        """The database in `folder`, made if it is not there; in memory where nothing can be written.

        Raises:
            UserError: another program holds the database and does not let go.
        """
        notes: list[str] = []
        if folder is None:
            return cls(None, ["there is no home folder, so nothing of this conversation is kept"])
        path = folder / _FILE
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fault, newer = _look_over(path)
            if newer:
                spare = folder / f"sessions-v{SCHEMA}.sqlite"
                notes.append(f"{path} is of a newer rsagent ({newer}): left as it is; this one uses {spare.name}")
                path, (fault, _) = spare, _look_over(spare)
            if fault:
                notes.append(f"{path} cannot be used ({fault}): it is kept as {_set_aside(path)}, and a new one begun")
            return cls(path, notes)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise UserError(
                    f"{path} is in use and does not answer: close the other program, or set RSAGENT_HOME"
                ) from error
            return cls(None, [f"{folder} cannot be written ({error}), so nothing of this conversation is kept"])
        except OSError as error:
            reason = error.strerror or str(error)
            return cls(None, [f"{folder} cannot be written ({reason}), so nothing of this conversation is kept"])

    def close(self) -> None:
        """Let go of the database and of sessions held. Idempotent."""
        self._connection.close()
        for handle in self._locks.values():
            os.close(handle)
        self._locks.clear()

    def list(self) -> list[Listed]:
        """All sessions, the newest first."""
        # A process that was killed in its first turn leaves an entry without turns, or one not counted yet.
        kept = "turns > 0" + (" OR id IN (SELECT thread_id FROM checkpoints)" if self._has("checkpoints") else "")
        rows = self._connection.execute(
            f"SELECT id, title, created, updated, turns, pictures FROM sessions WHERE {kept} ORDER BY updated DESC"
        )
        return [Listed(*row) for row in rows]

    def find(self, name: str | None) -> Listed:
        """The session whose id is or begins with `name`; the newest for None.

        Raises:
            UserError: there is none, or more than one.
        """
        there = self.list()
        if not there:
            raise UserError("there is no session yet: rsagent chat IMAGE begins one")
        if name is None:
            return there[0]
        found = [session for session in there if session.id == name] or [
            session for session in there if session.id.startswith(name)
        ]
        if len(found) != 1:
            what = "no session is" if not found else f"{len(found)} sessions are"
            raise UserError(f"{what} called {name!r}: rsagent sessions list shows them")
        return found[0]

    def remember(self, session: str, title: str, turns: int, pictures: str) -> None:
        """Put a session into the list, or bring its entry up to date; on disk when this returns."""
        now = time.time()
        with self._connection:
            self._connection.execute(
                "INSERT INTO sessions (id, title, created, updated, turns, pictures) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT(id) DO UPDATE SET title=excluded.title, updated=excluded.updated, turns=excluded.turns, "
                "pictures=excluded.pictures",
                (session, title, now, now, turns, pictures),
            )

    def remove(self, session: str) -> None:
        """Delete a session with all its turns."""
        with self._connection:
            for table in ("checkpoints", "writes"):
                if self._has(table):
                    self._connection.execute(f"DELETE FROM {table} WHERE thread_id=?", (session,))
            self._connection.execute("DELETE FROM sessions WHERE id=?", (session,))

    def forget(self, session: str, checkpoints: list[str]) -> None:
        """Delete some checkpoints of a session."""
        with self._connection:
            for table in ("checkpoints", "writes"):
                self._connection.executemany(
                    f"DELETE FROM {table} WHERE thread_id=? AND checkpoint_id=?", [(session, one) for one in checkpoints]
                )

    def read(self, session: str) -> list[Kept]:
        """The checkpoints of a session, oldest first; what cannot be read as one of ours is left out."""
        if not self._has("checkpoints"):
            return []
        from rsagent.chat.records import Picture, Turn

        serde, kept = serializer(), list[Kept]()
        rows = self._connection.execute(
            "SELECT checkpoint_id, type, checkpoint FROM checkpoints WHERE thread_id=? AND checkpoint_ns='' "
            "ORDER BY checkpoint_id",
            (session,),
        )
        for name, kind, blob in rows:
            values: dict[str, Any] = serde.loads_typed((kind, blob)).get("channel_values", {})
            turn = values.get("turn")
            pictures = [picture for picture in values.get("pictures", []) if isinstance(picture, Picture)]
            kept.append(Kept(name, turn if isinstance(turn, Turn) else None, pictures))
        return kept

    def parted(self, session: str, number: int) -> tuple[str | None, list[str]]:
        """The last checkpoint before turn `number`, and those of that turn and later ones."""
        kept = self.read(session)
        before = [one.checkpoint for one in kept if one.turn is None or one.turn.number < number]
        return before[-1] if before else None, [one.checkpoint for one in kept if one.turn and one.turn.number >= number]

    def hold(self, session: str) -> bool:
        """Keep a session for this process, until it ends in whatever way; False where another process holds it."""
        if self.path is None or session in self._locks:
            return True
        try:
            import fcntl
        except ImportError:  # no such locks on this platform
            return True
        folder = self.path.parent / "locks"
        folder.mkdir(exist_ok=True, mode=0o700)
        handle = os.open(folder / session, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._locks[session] = handle
        return True

    def release(self, session: str) -> None:
        """Let others use a session again."""
        handle = self._locks.pop(session, None)
        if handle is not None:
            os.close(handle)

    def _has(self, table: str) -> bool:
        return bool(self._connection.execute("SELECT 1 FROM sqlite_master WHERE name=?", (table,)).fetchone())


def new_id() -> str:
    """A name for a session: its day, and something to tell it from others."""
    return f"{time.strftime('%Y%m%d')}-{secrets.token_hex(3)}"


def serializer() -> JsonPlusSerializer:
    """How checkpoints become bytes: no pickle, and only this package's records come back as objects."""
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    from rsagent.chat.records import CHAT_TYPES

    return JsonPlusSerializer(allowed_msgpack_modules=CHAT_TYPES)


@contextmanager
def opened(folder: Path | None) -> Generator[Store]:
    """`Store.open`, closed in the end."""
    store = Store.open(folder)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def on_disk() -> Generator[None]:
    """Say in one line that the database failed, such as on a full disk."""
    try:
        yield
    except sqlite3.Error as error:
        raise RSAgentError(f"the database of the sessions failed ({error}): this turn may not be kept") from error


def _connect(address: str) -> sqlite3.Connection:
    """A connection that is on disk when a commit returns, and with the tables."""
    connection = sqlite3.connect(address, uri=True, timeout=5.0, check_same_thread=False)  # a stopped turn is kept in a thread
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(_TABLES)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _look_over(path: Path) -> tuple[str, str]:
    """What is wrong with a database ("" where nothing is), and its version where that is a newer one."""
    if not path.exists() or path.stat().st_size == 0:
        return "", ""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        ours = int(connection.execute("PRAGMA application_id").fetchone()[0]) == _APPLICATION
        if ours and version > SCHEMA:
            return "", f"schema {version}"
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found == "ok" and ours:
            connection.execute("SELECT id, title, created, updated, turns, pictures FROM sessions LIMIT 1")
            return "", ""
        return ("it is another program's database" if found == "ok" else "it is damaged"), ""
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "unable to open" in str(error):
            raise
        return f"{error}", ""
    except sqlite3.DatabaseError as error:
        return str(error), ""
    finally:
        connection.close()


def _set_aside(path: Path) -> str:
    """Rename a database with what belongs to it; gives its new name."""
    stem = f"{path.stem}-damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    name, number = f"{stem}.sqlite", 1
    while (path.parent / name).exists():
        name, number = f"{stem}-{number}.sqlite", number + 1
    os.replace(path, path.parent / name)
    for ending in ("-wal", "-shm"):
        if (beside := path.with_name(path.name + ending)).exists():
            os.replace(beside, path.parent / (name + ending))
    return name
