"""The database of sessions: damaged, newer, another program's, read-only, in use elsewhere."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from rsagent.chat.store import SCHEMA, Store, new_id, state_folder
from rsagent.errors import UserError


def test_a_new_store_is_private_and_empty(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "deep" / "home")
    assert store.list() == [] and store.notes == [] and store.path is not None
    assert store.path.stat().st_mode & 0o077 == 0
    with pytest.raises(UserError, match="no session yet"):
        store.find(None)
    store.close()


@pytest.mark.parametrize(
    "content", [b"not a database at all, whatever its name says" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_damaged_database_is_kept_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sessions.sqlite").write_bytes(content)
    store = Store.open(tmp_path)
    assert len(store.notes) == 1 and "kept as sessions-damaged-" in store.notes[0]
    aside = [path for path in tmp_path.iterdir() if "damaged" in path.name]
    assert [path.read_bytes() for path in aside] == [content]
    store.remember("a", "title", 1, "")
    store.close()
    again = Store.open(tmp_path)
    assert again.notes == [] and [session.id for session in again.list()] == ["a"]
    again.close()


def test_a_database_cut_in_half_is_kept_aside(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    for index in range(300):
        store.remember(f"session{index}", "t" * 50, 1, "")
    store.close()
    path = tmp_path / "sessions.sqlite"
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(half)
    again = Store.open(tmp_path)
    assert "kept as" in again.notes[0]
    again.close()


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    path = tmp_path / "sessions.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={SCHEMA + 1}")
    connection.close()
    before = path.read_bytes()
    store = Store.open(tmp_path)
    assert "newer rsagent" in store.notes[0] and store.path == tmp_path / f"sessions-v{SCHEMA}.sqlite"
    store.remember("a", "title", 1, "")
    store.close()
    assert path.read_bytes() == before


def test_another_programs_database_is_kept_aside(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "sessions.sqlite") as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    store = Store.open(tmp_path)
    assert "another program's" in store.notes[0]
    store.close()


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (None, tmp_path / "file" / "home"):
        store = Store.open(folder)
        assert store.path is None and len(store.notes) == 1 and "nothing of this conversation is kept" in store.notes[0]
        store.remember(new_id(), "works", 1, "")
        assert len(store.list()) == 1
        store.close()


def test_the_folder_is_where_rsagent_home_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSAGENT_HOME", str(tmp_path))
    assert state_folder() == tmp_path
    monkeypatch.delenv("RSAGENT_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert state_folder() == tmp_path / "state" / "rsagent"


def test_sessions_are_found_by_the_beginning_of_their_names(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    for name in ("20260101-aaaaaa", "20260101-bbbbbb", "20260102-cccccc"):
        store.remember(name, f"title of {name}", 1, "")
    assert store.find(None).id == "20260102-cccccc"
    assert store.find("20260102").id == "20260102-cccccc"
    with pytest.raises(UserError, match="2 sessions are called '20260101'"):
        store.find("20260101")
    with pytest.raises(UserError, match="no session is called 'x'"):
        store.find("x")
    store.remove("20260102-cccccc")
    assert len(store.list()) == 2
    store.close()


def test_a_session_is_held_by_one_process_until_it_ends(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rsagent.chat.store import Store\n"
        "store = Store.open(Path(sys.argv[1])); print(store.hold('a'), flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "True\n"
    store = Store.open(tmp_path)
    assert not store.hold("a") and store.hold("b")
    other.kill()
    other.wait()
    assert store.hold("a") and store.hold("a")
    store.close()
