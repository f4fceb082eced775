"""Driving a model over many images: what is kept, what is asked again, how the tables come out."""

import json
from functools import partial

import numpy as np
import pytest

from rsagent import RSAgent
from rsagent.engines.scripted import ScriptedEngine
from rsagent.errors import UserError
from rsagent.evaluation.floors import QuestionPrior
from rsagent.evaluation.run import Predictions, Question, Run, answer_all, caption_all, single_answers
from rsagent.evaluation.run_questions import MODEL, OVER, PRIOR, QuestionSet, question_table
from rsagent.evaluation.table import Asked

SAID = {"theme": "an airport", "object": "two planes", "relation": "the planes are near a road"}


def grey(level: int) -> np.ndarray:
    return np.full((24, 24, 3), level, dtype=np.uint8)


def broken() -> bytes:
    return b"no picture"


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "checkpoint", tmp_path)


async def test_captions_are_kept_and_not_asked_for_twice(run, tmp_path):
    pictures = {f"{level}.png": partial(grey, level) for level in range(5)}
    engine = ScriptedEngine(SAID)
    agent = RSAgent(engine)
    said = await caption_all(agent, run, "set", pictures, "detailed")
    assert list(said) == list(pictures)
    assert set(said.values()) == {"An airport. Two planes. The planes are near a road."}
    asked = len(engine.calls)
    assert await caption_all(agent, run, "set", pictures, "detailed") == said
    assert len(engine.calls) == asked
    records = [json.loads(line) for line in (tmp_path / "set.jsonl").read_text().splitlines()]
    assert {record["objects"] for record in records} == {"Two planes."}


async def test_a_picture_that_fails_scores_nothing_is_named_and_tried_again(run, capsys):
    pictures = {"good.png": partial(grey, 9), "bad.png": broken}
    engine = ScriptedEngine(SAID)
    said = await caption_all(RSAgent(engine), run, "set", pictures, "detailed")
    assert said["bad.png"] == ""
    assert said["good.png"]
    assert "set: 1 got nothing and score nothing, first bad.png" in capsys.readouterr().err
    again = await caption_all(RSAgent(engine), run, "set", {**pictures, "bad.png": partial(grey, 3)}, "detailed")
    assert again["bad.png"] == said["good.png"]


async def test_answers_come_in_the_order_of_the_questions(run):
    engine = ScriptedEngine({"object": lambda prompt: prompt.instruction.split()[-1]})
    questions = [Question(f"{n}", partial(grey, n % 7), f"Say {n}") for n in range(40)]
    assert await answer_all(RSAgent(engine), run, "set", questions) == [f"{n}" for n in range(40)]
    assert await single_answers(engine, run, "single", questions) == [f"{n}" for n in range(40)]


async def test_a_partial_caption_is_scored_but_not_kept(run, tmp_path, capsys):
    engine = ScriptedEngine(SAID, failures={"object": "out of memory"})
    agent = RSAgent(engine)
    said = await caption_all(agent, run, "set", {"a.png": partial(grey, 1)}, "detailed")
    assert said == {"a.png": "An airport. The planes are near a road."}
    assert "set: 1 are partial, first a.png: without object" in capsys.readouterr().err
    engine.failures.clear()
    assert "Two planes." in (await caption_all(agent, run, "set", {"a.png": partial(grey, 1)}, "detailed"))["a.png"]


def test_a_line_cut_short_by_a_kill_is_dropped_and_the_file_goes_on(tmp_path):
    path = tmp_path / "set.jsonl"
    first = Predictions(path)
    first.add("a", text="ein Hafen ⚓")
    first.add("b", text="boats")
    path.write_bytes(path.read_bytes()[:-5])
    cut = path.read_bytes()
    second = Predictions(path)
    assert "a" in second
    assert "b" not in second
    assert path.read_bytes() == cut, "somebody may be writing the line just now"
    second.add("b", text="ships")
    third = Predictions(path)
    assert (third["a"]["text"], third["b"]["text"]) == ("ein Hafen ⚓", "ships")


def test_another_file_is_not_overwritten(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text("my notes\n")
    with pytest.raises(UserError, match="is no file of predictions; move it away"):
        Predictions(path)
    assert path.read_text() == "my notes\n"


def test_a_folder_that_is_no_checkpoint_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(UserError, match="no checkpoint folder"):
        Run.open(tmp_path / "nothing", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def question_set(n: int) -> tuple[QuestionSet, dict]:
    """`n` pictures, each asked its own level (which the scripted model reads off the picture) and one easy question."""
    pictures = {f"p{level}": partial(grey, level) for level in range(n)}
    questions, types, truths, images = [], [], [], []
    for level in range(n):
        for kind, words, truth in (("count", "How many?", str(level)), ("presence", "Is it grey?", "yes")):
            questions.append(Question(f"p{level}#{kind}", pictures[f"p{level}"], words))
            types.append(kind)
            truths.append(truth)
            images.append(f"p{level}")
    prior = QuestionPrior.fit([("How many?", "count", "1"), ("Is it grey?", "presence", "yes")])
    asked = {"count": {OVER: Asked(0.5)}, "all": {MODEL: Asked(0.9)}}
    return QuestionSet("toy", "Toy", questions, types, truths, images, prior, asked), pictures


class Reader(ScriptedEngine):
    """A model that sees: it counts what the picture is filled with."""

    def __init__(self):
        super().__init__({"object": lambda prompt: self.read(prompt)})
        self.levels: dict[str, int] = {}

    async def prepare(self, image):
        facts = await super().prepare(image)
        self.levels[facts.sha256] = int(image[0, 0, 0])
        return facts

    def read(self, prompt):
        return str(self.levels[prompt.digest]) if "many" in prompt.instruction else "yes"


async def test_a_model_that_looks_beats_the_prior_and_loses_on_shuffled_images(run):
    chosen, pictures = question_set(12)
    table = await question_table(run, chosen, pictures, RSAgent(Reader()), None)
    rows = {row.name: row for row in table.rows}
    assert set(rows) == {"all", "count", "presence", "counts within 10 %"}
    assert rows["count"].figures[MODEL].value == 1
    assert rows["count"].figures["shuffled image"].value == 0
    assert rows["count"].figures[PRIOR].value == pytest.approx(1 / 12)
    assert rows["count"].figures[OVER].value == pytest.approx(11 / 12)
    assert rows["presence"].figures[OVER].value == 0
    assert rows["presence"].figures["shuffled image"].value == 1
    assert (rows["all"].figures[MODEL].n, rows["count"].figures[OVER].n) == (24, 12)
    assert rows["count"].asked == {OVER: Asked(0.5)}


def test_a_quick_look_is_spread_over_the_set(tmp_path):
    items = list(range(100))
    assert Run(tmp_path, tmp_path, limit=4).some(items) == [0, 25, 50, 75]
    assert Run(tmp_path, tmp_path, limit=400).some(items) == Run(tmp_path, tmp_path).some(items) == items


async def test_a_quick_look_is_held_against_no_floor(tmp_path):
    chosen, pictures = question_set(3)
    table = await question_table(Run(tmp_path, tmp_path, limit=3), chosen, pictures, RSAgent(Reader()), None)
    assert not any(row.asked for row in table.rows)
