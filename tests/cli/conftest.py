from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from rsagent.cli.main import app

if TYPE_CHECKING:
    from tests.cli.background import Background

Cli = Callable[..., Result]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; no setting of the machine reaches it, and the experts are scripted."""
    for name in list(os.environ):
        if name.startswith("RSAGENT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RSAGENT_ENGINE", "scripted")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(place: Path) -> Cli:
    """Run `rsagent` with the given arguments, in this process."""

    def run(*arguments: object, **options: Any) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False, **options)

    return run


@pytest.fixture
def script(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say what the scripted engine does: answers, delays, failures, ..."""

    def write(**does: Any) -> None:
        (place / "script.json").write_text(json.dumps(does))
        monkeypatch.setenv("RSAGENT_SCRIPT", str(place / "script.json"))

    return write


@pytest.fixture
def picture(place: Path) -> Path:
    """One picture, 40 pixels wide and 30 high."""
    Image.new("RGB", (40, 30), (60, 120, 60)).save(place / "field.png")
    return Path("field.png")


@pytest.fixture
def folder(place: Path) -> Path:
    """A folder `pictures` with a.png, b.png and c.png, all different."""
    (place / "pictures").mkdir()
    for index, name in enumerate("abc"):
        Image.new("RGB", (20, 20), (index, 0, 0)).save(place / "pictures" / f"{name}.png")
    return Path("pictures")


@pytest.fixture
def background(tiny_checkpoint: Path) -> Iterator[Background]:
    """A server that says it serves `tiny_checkpoint`."""
    from rsagent.model.checkpoint import checkpoint_digest
    from tests.cli.background import Background

    background = Background(checkpoint_digest(tiny_checkpoint))
    yield background
    background.close()
