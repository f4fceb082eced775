"""`rsagent eval`: its spellings, its errors, and a run from the command line."""

import json

import pytest

import rsagent.evaluation.sets as sets
from rsagent.evaluation.report import page_name
from tests.evaluation.toys import question_set


@pytest.fixture
def toy(monkeypatch):
    """The data set `toy`, beside the published ones."""
    monkeypatch.setattr(sets, "open_set", lambda name, root, split, limit=None: question_set(limit or 4))


def test_a_data_set_is_evaluated_compared_and_reported(cli, toy, place):
    done = cli("eval", "toy", "--out", "runs/eval/a")
    assert done.exit_code == 0
    assert "micro average" in done.stdout
    assert "the run lies in runs/eval/a" in done.stderr
    again = cli("eval", "run", "toy", "--out", "runs/eval/a")
    assert again.exit_code == 0
    assert "12 of 12 are there already" in again.stderr
    assert cli("eval", "toy", "--out", "runs/eval/b").exit_code == 0
    compared = cli("eval", "compare", "runs/eval/a", "runs/eval/b")
    assert compared.exit_code == 0
    assert "no difference beyond the interval" in compared.stdout
    assert (place / "runs/eval/a/comparison.html").stat().st_size > 1000
    reported = cli("eval", "report")
    assert reported.exit_code == 0
    assert reported.stdout == "docs/results/toy-test.md\n"


def test_figures_as_json_and_provenance_in_the_folder(cli, toy, place):
    done = cli("eval", "toy", "--json", "--out", "r")
    tables = json.loads(done.stdout)
    assert tables[0]["rows"][0]["figures"]["strict"]["n"] == 12
    manifest = json.loads((place / "r/run.json").read_text())
    assert {"dataset", "split", "items", "engine", "prompts", "seed", "decoding"} <= set(manifest["config"])
    assert {"time", "revision", "packages", "python"} <= set(manifest["starts"][0])


def test_another_configuration_is_one_line(cli, toy):
    assert cli("eval", "toy", "--out", "r").exit_code == 0
    done = cli("eval", "toy", "--out", "r", "--seed", "5")
    assert done.exit_code == 2
    assert done.stderr.strip().endswith("r holds a run with seed 0, this one has 5: give another --out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rsicdd",), "did you mean rsicd?"),
        (("ucm-captions", "--split", "tset", "--data", "."), "has no part 'tset'"),
        (("ucm-captions", "--data", "."), "no ucm-captions there"),
        (("ucm-captions",), "no data folder"),
        (("compare", "a"), "two runs or more"),
        (("compare", "a", "b"), "no run lies there"),
        (("report",), "there are no runs"),
        (("scenes-captions", "--split", "train"), "has no part 'train'"),
        (("ucm-captions", "--router", "zero"), "only the engine local"),
        (("ucm-captions", "--single"), "one LLM on the engine local"),
    ],
)
def test_mistakes_are_one_line(cli, arguments, message):
    done = cli("eval", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_names_the_ways(cli):
    done = cli("eval", "--help")
    assert all(name in done.stdout for name in ("run", "compare", "report", "trial"))


def test_the_record_holds_what_changes_the_words(cli, toy, place):
    assert cli("eval", "toy", "--out", "r").exit_code == 0
    config = json.loads((place / "r/run.json").read_text())["config"]
    assert (config["beams"], config["max_tokens"], config["device"], config["max_pixels"]) == (1, 64, "auto", 64_000_000)
    assert "object" in (place / "r/prompts.json").read_text()
    done = cli("eval", "toy", "--out", "r", "--max-tokens", "20")
    assert done.exit_code == 2
    assert "holds a run with max_tokens 64, this one has 20" in done.stderr


def test_a_chat_server_is_part_of_the_record_without_its_secrets():
    from rsagent.evaluation.identity import spoken_with
    from rsagent.prompts import load_prompts
    from rsagent.settings import Settings

    settings = Settings(engine="openai", chat_url="https://me:secret@host:8000/v1?key=1", chat_model="m", chat_composer=True)
    record = spoken_with(settings, load_prompts())
    assert (record["chat_url"], record["chat_router"], record["chat_composer"]) == ("https://host:8000/v1", "rules", True)
    local = spoken_with(Settings(best=True), load_prompts())
    assert (local["chat_url"], local["decoding"], local["beams"]) == (None, "3 beams", 3)
    assert spoken_with(Settings(max_tokens=9), load_prompts(), single=True)["max_tokens"] == 64


def test_the_router_is_put_on_trial_and_nothing_is_asked_twice(cli, toy, place, tiny_checkpoint, monkeypatch):
    monkeypatch.setattr(sets, "open_set", lambda name, root, split, limit=None: question_set(2))
    monkeypatch.setenv("RSAGENT_MAX_TOKENS", "3")
    asked = ("eval", "trial", "toy", "--model", tiny_checkpoint, "--arms", "shuffled,zero", "--seeds", "2")
    done = cli(*asked, "--json")
    assert done.exit_code == 0, done.stderr
    (table,) = json.loads(done.stdout)
    assert [row["name"] for row in table["rows"]][0] == "shuffled: all, strict"
    assert {"zero: all, strict", "zero: count, strict"} <= {row["name"] for row in table["rows"]}
    assert len(list((place / "runs/eval").glob("toy-test-*"))) == 4
    named = place / "docs/results" / page_name("router", "toy", "test", tiny_checkpoint.name)
    page = named.read_text()
    assert "| shuffled: all, strict (" in page
    again = cli(*asked)
    assert again.stderr.count("is there already") == 4
    assert named.read_text() == page


def test_an_unknown_arm_is_one_line(cli, toy):
    done = cli("eval", "trial", "toy", "--arms", "zero,fancy")
    assert done.exit_code == 2
    assert "--arms: there is no arm 'fancy': choose from shuffled" in done.stderr
