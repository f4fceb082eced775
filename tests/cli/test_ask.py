from __future__ import annotations

import json

import pytest


def test_piped_the_answer_is_all_of_stdout(cli, script, picture):
    script(
        answers={"theme": "rural", "object": "3", "relation": "left"},
        gate={"theme": 0.1, "object": 0.9, "relation": 0},
    )
    result = cli("ask", picture, "How many houses are there?")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "3\n", "")


def test_json_names_the_expert_and_the_evidence(cli, script, picture):
    script(answers={"theme": "no", "object": "yes", "relation": "left"}, gate={"theme": 0.5, "object": 0.9, "relation": 0})
    record = json.loads(cli("ask", "--json", picture, "Is there a house?").stdout)
    assert (record["text"], record["expert"], record["path"]) == ("yes", "object", "field.png")
    assert [report["expert"] for report in record["evidence"]] == ["theme"]


@pytest.mark.parametrize("question", ["", "  \t ", "x" * 100_000, "\x00\x1b[2J"])
def test_a_question_that_cannot_be_asked_is_one_line(cli, picture, question):
    result = cli("ask", picture, question)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert "question" in result.stderr


@pytest.mark.parametrize(
    "question", ["How\x00 many?", "🏠 wie viele?", "\u202eكم عدد البيوت؟", "\x1b[31mred?\x1b[0m", "{expert} {0}?"]
)
def test_an_odd_question_is_answered(cli, picture, question):
    result = cli("ask", "--json", picture, question)
    assert result.exit_code == 0
    assert all(mark.isprintable() or mark == "\n" for mark in result.output)


def test_a_failed_expert_makes_the_answer_partial(cli, script, picture):
    script(answers={"theme": "no", "object": "yes"}, failures={"theme": "away"})
    result = cli("ask", picture, "Is there a house?")
    assert (result.exit_code, result.stdout) == (1, "yes\n")
    assert "no answer from theme" in result.stderr


def test_a_missing_picture_is_the_users_fault(cli, place):
    result = cli("ask", "gone.png", "Is there a house?")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no such file" in result.stderr
