"""`rsagent data`: list, check, fetch-help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rsagent.evaluation.published.catalogue import CATALOGUE
from tests.cli.conftest import Cli
from tests.evaluation import layouts


def test_list_names_every_data_set_and_what_is_here(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = cli("data", "list")
    assert bare.exit_code == 0
    assert [line.partition(":")[0] for line in bare.stdout.splitlines()] == list(CATALOGUE)
    assert "found in" not in bare.stdout
    layouts.rsicd(place / "sets")
    monkeypatch.setenv("RSAGENT_DATA", str(place / "sets"))
    listed = {one["name"]: one for one in json.loads(cli("data", "list", "--json").stdout)}
    assert listed["rsicd"]["found"] == str(place / "sets" / "RSICD")
    assert listed["rsicd"]["splits"] == {"train": 8734, "val": 1094, "test": 1093}
    assert listed["aid"]["found"] is None
    assert "found in" in cli("data", "list").stdout
    missing = cli("data", "list", "--data", "nowhere")
    assert (missing.exit_code, missing.stdout) == (2, "")


def test_check_tells_by_its_exit_code(cli: Cli, place: Path) -> None:
    layouts.rsicap(place / "sets")
    checked = cli("data", "check", "sets/RSICap")
    assert checked.exit_code == 1
    assert checked.stdout.splitlines() == [
        "rsicap: sets/RSICap",
        "  1 images; items: train 1",
        "  wrong: part train: 1 of 2,585 images",
    ]
    (report,) = json.loads(cli("data", "check", "sets", "--json").stdout)["sets"]
    assert (report["name"], report["problems"]) == ("rsicap", ["part train: 1 of 2,585 images"])
    nothing = cli("data", "check", ".config")
    assert (nothing.exit_code, nothing.stdout) == (2, "")
    assert len(nothing.stderr.splitlines()) == 1
    assert "set RSAGENT_DATA" in cli("data", "check").stderr


def test_check_of_a_whole_copy_leaves_with_0(cli: Cli, place: Path) -> None:
    """A whole SIRI-WHU, of empty but different files, is quickly made."""
    for label in CATALOGUE["siri-whu"].classes:
        folder = place / "SIRI-WHU" / label
        folder.mkdir(parents=True)
        for number in range(200):
            (folder / f"{number + 1:04}.tif").write_text(f"{label} {number}")
    checked = cli("data", "check", "SIRI-WHU")
    assert checked.exit_code == 0
    assert "2,400 images" in checked.stdout and "; as published" in checked.stdout


def test_what_a_hostile_file_says_reaches_no_terminal(cli: Cli, place: Path) -> None:
    home = layouts.rsicd(place)
    layouts.write_json(home / "dataset_rsicd.json", {"images": [layouts.karpathy_row("\x1b[2J\n\u202egpj.1", "test")]})
    checked = cli("data", "check", "RSICD")
    assert checked.exit_code == 1
    assert not {"\x1b", "\u202e"} & set(checked.stdout)
    assert len(checked.stdout.splitlines()) < 12


@pytest.mark.parametrize("name", CATALOGUE)
def test_fetch_help_says_where_what_and_how(cli: Cli, name: str) -> None:
    entry = CATALOGUE[name]
    told = cli("data", "fetch-help", name)
    assert told.exit_code == 0
    for fact in (entry.home, entry.terms, *entry.archives, *entry.layout):
        assert " ".join(fact.split()) in told.stdout


def test_fetch_help_suggests_the_nearest_name(cli: Cli) -> None:
    told = cli("data", "fetch-help", "RSIC")
    assert told.exit_code == 2
    assert "did you mean rsic" in told.stderr
    assert json.loads(cli("data", "fetch-help", "eurosat", "--json").stdout)["classes"]["SeaLake"] == "sea or lake"
