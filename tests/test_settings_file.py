"""The user's rsagent.toml: one value changes, all else stays, and the file is never half-written."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from rsagent.errors import SettingsError
from rsagent.settings_file import record, recorded, user_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rsagent" / "rsagent.toml"


def test_the_file_is_the_one_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from rsagent.settings import config_file

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    record(user_file(), "checkpoint", "small")
    assert config_file() == user_file() == tmp_path / "config" / "rsagent" / "rsagent.toml"


def test_a_file_is_made(path: Path):
    assert recorded(path, "checkpoint") is None and not path.exists()
    record(path, "checkpoint", "small")
    assert path.read_text() == 'checkpoint = "small"\n' and recorded(path, "checkpoint") == "small"
    assert [file.name for file in path.parent.iterdir()] == ["rsagent.toml"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# mine\nseed = 4  # why\n", '# mine\nseed = 4  # why\ncheckpoint = "small"\n'),
        ("seed = 4", 'seed = 4\ncheckpoint = "small"\n'),
        ('seed = 4\r\nstyle = "ucm"\r\n', 'seed = 4\r\nstyle = "ucm"\r\ncheckpoint = "small"\r\n'),
        ('checkpoint = "tiny"  # the fast one\nseed = 4\n', 'checkpoint = "small"  # the fast one\nseed = 4\n'),
        ("seed = 4\n'checkpoint'='a\\b'\n", "seed = 4\n'checkpoint'=\"small\"\n"),
        ('# checkpoint = "tiny"\nseed = 4\n', '# checkpoint = "tiny"\nseed = 4\ncheckpoint = "small"\n'),
        ("seed = 4\n[later]\nseed = 5\n", 'seed = 4\ncheckpoint = "small"\n[later]\nseed = 5\n'),
        ('style = "é"\n', 'style = "é"\ncheckpoint = "small"\n'),
    ],
)
def test_all_else_stays(path: Path, before: str, after: str):
    path.parent.mkdir()
    path.write_bytes(before.encode())
    record(path, "checkpoint", "small")
    assert path.read_bytes().decode() == after
    assert tomllib.loads(after) == {**tomllib.loads(before), "checkpoint": "small"}


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("seed = = 4\n", "is not TOML"),
        ('checkpoint = """\ntiny"""\n', 'write checkpoint = "small" there yourself'),
        ('style = """\ncheckpoint = "no"\n"""\ncheckpoint = "tiny"\n', "there yourself"),
        ("checkpoint = 5\n", "there yourself"),
        ("\xff", "is not TOML"),
    ],
)
def test_what_cannot_be_changed_safely_is_left(path: Path, before: str, says: str):
    path.parent.mkdir()
    path.write_bytes(before.encode("latin-1"))
    with pytest.raises(SettingsError, match=says):
        record(path, "checkpoint", "small")
    assert path.read_bytes() == before.encode("latin-1")


def test_a_link_stays_one_and_rights_stay(path: Path, tmp_path: Path):
    path.parent.mkdir()
    (tmp_path / "dotfile").write_text("seed = 4\n")
    (tmp_path / "dotfile").chmod(0o600)
    path.symlink_to(tmp_path / "dotfile")
    record(path, "checkpoint", "small")
    assert path.is_symlink() and "small" in (tmp_path / "dotfile").read_text()
    assert os.stat(tmp_path / "dotfile").st_mode & 0o777 == 0o600


def test_a_place_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be"):
        record(tmp_path / "file" / "rsagent.toml", "checkpoint", "small")
