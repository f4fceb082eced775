"""One value written into the user's rsagent.toml; everything else in that file stays as it is, comments included."""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from rsagent.errors import SettingsError
from rsagent.settings import FILE_NAME

_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)


def user_file() -> Path:
    """The user's own configuration file, whether it is there or not.

    Raises:
        SettingsError: the user has no home folder.
    """
    try:
        return user_config_path("rsagent", appauthor=False) / FILE_NAME
    except (RuntimeError, KeyError) as error:  # a user that the system does not know, as in a container
        raise SettingsError(f"there is no home folder for {FILE_NAME}: set XDG_CONFIG_HOME to a folder") from error


def recorded(path: Path, key: str) -> Any:
    """What the file says of `key`; None if it says nothing or is not there.

    Raises:
        SettingsError: it cannot be read, or is not TOML.
    """
    return _parse(path, _read(path)).get(key)


def record(path: Path, key: str, value: str) -> None:
    """Set a key of the file, which is made if it is not there; it changes as a whole or not at all.

    Raises:
        SettingsError: it is not TOML, cannot be written, or has the key in a form that cannot be changed in place.
    """
    text = _read(path)
    before = _parse(path, text)
    line = f'{key} = "{value}"'
    new = _changed(text, key, value) if key in before else _added(text, line)
    try:
        right = tomllib.loads(new) == {**before, key: value}
    except tomllib.TOMLDecodeError:
        right = False
    if not right:  # such as a value over several lines
        raise SettingsError(f"{path} cannot be changed by a program: write {line} there yourself")
    _replace(path, new)


def _changed(text: str, key: str, value: str) -> str:
    """The text with the value of its line `key = ...` replaced; what stands behind it on the line stays."""
    name = re.escape(key)
    line = re.compile(
        rf"""^([ \t]*(?:{name}|"{name}"|'{name}')[ \t]*=[ \t]*)("(?:[^"\\\r\n]|\\.)*"|'[^'\r\n]*')""", re.MULTILINE
    )
    return line.sub(lambda found: f'{found[1]}"{value}"', text, count=1)


def _added(text: str, line: str) -> str:
    """The text with a line more, before the first table: behind its header the key would be that table's."""
    end = "\r\n" if "\r\n" in text else "\n"
    table = _TABLE.search(text)
    head, rest = (text[: table.start()], text[table.start() :]) if table else (text, "")
    if head and not head.endswith("\n"):
        head += end
    return f"{head}{line}{end}{rest}"


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", newline="") as stream:  # line ends stay what they are
            return stream.read()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error


def _replace(path: Path, text: str) -> None:
    """Write the file under another name, then give it its own; a link stays one, and rights stay as they were."""
    try:
        place = path.resolve()
        place.parent.mkdir(parents=True, exist_ok=True)
        mode = place.stat().st_mode & 0o777 if place.exists() else 0o644
        number, name = tempfile.mkstemp(prefix=f".{place.name}-", dir=place.parent)
        try:
            with os.fdopen(number, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
            os.chmod(name, mode)
            os.replace(name, place)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror or error}") from error
