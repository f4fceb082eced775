"""`rsagent sessions`: list, show, rm, export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


@pytest.fixture
def session(cli: Cli, picture: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A session of two turns."""
    monkeypatch.setenv("RSAGENT_HOME", str(place / "home"))
    cli("chat", picture, input="Is there a pond?\nand where is it?\n")
    return cli("sessions", "list").stdout.split()[0]


def test_list_and_show(cli: Cli, session: str, picture: Path) -> None:
    listed = json.loads(cli("sessions", "list", "--json").stdout)
    assert [(one["id"], one["turns"], one["pictures"]) for one in listed] == [(session, 2, "field.png")]
    assert cli("sessions", "show", session).stdout.splitlines() == [
        "Is there a pond? (field.png)",
        f"  1 {picture.absolute()}",
        "> Is there a pond?",
        "  This is a scripted scene.",
        "> and where is it?",
        "  This is a scripted scene.",
    ]
    shown = json.loads(cli("sessions", "show", session[:12], "--json").stdout)
    assert shown["turns"][1]["question"] == "Where is the pond?"
    assert len(shown["pictures"][0]["digest"]) == 64


def test_export_and_rm(cli: Cli, session: str, place: Path) -> None:
    assert cli("sessions", "export", session, "talk.md").exit_code == 0
    assert (place / "talk.md").read_text().startswith("# Is there a pond? (field.png)\n")
    refused = cli("sessions", "export", session, "talk.pdf")
    assert refused.exit_code == 2 and "ends in .md, .json, .html" in refused.stderr
    assert cli("sessions", "rm", session).exit_code == 0
    assert cli("sessions", "list").stdout == ""
    gone = cli("sessions", "show", session)
    assert (gone.exit_code, gone.stdout) == (2, "") and len(gone.stderr.splitlines()) == 1


def test_hostile_titles_stay_words(cli: Cli, session: str) -> None:
    cli("chat", "--session", session, input="/save \x1b]0;owned\x07 [red]x[/red] \u202eabc\n")
    shown = cli("sessions", "list").stdout
    assert "\x1b" not in shown and "\u202e" not in shown and "[red]x[/red]" in shown
