"""The composer learns from the score of its own captions, and nothing else moves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rsagent.training.consensus import Scorer
from rsagent.training.critical import CriticalCollator, CriticalTask
from rsagent.training.fresh import fresh_network
from rsagent.training.material import Material
from rsagent.training.recipe import CriticalRecipe, Recipe
from rsagent.training.stages import train_base, train_composer, train_critical, train_stage1, train_stage2

pytest.importorskip("accelerate", reason="needs pip install 'rsagent[train]'")
pytestmark = pytest.mark.usefixtures("one_thread")

REFERENCES = ["two barges lie at a quay", "two barges lie at a long quay", "barges lie at the quay"]


def test_a_whole_sentence_scores_more_than_one_that_breaks_off() -> None:
    judge = Scorer([REFERENCES, ["a herd of sheds", "some sheds by a lane"], ["snow on a ridge"]])
    whole, broken, other = judge.scores(
        [("two barges lie at a quay", True), ("two barges lie at a quay", False), ("snow on a ridge", True)], REFERENCES
    )
    assert 10 >= whole > broken > other >= 0


def test_words_nobody_used_are_rare_and_do_no_harm() -> None:
    assert Scorer([REFERENCES]).scores([("zzz", True), ("", False)], REFERENCES) == [pytest.approx(0, abs=1.0), 0.0]


def test_the_stage_moves_the_composer_alone(tiny_recipe: Recipe, material: Material, tmp_path: Path) -> None:
    run = tiny_recipe.base.model_copy(update={"samples": 8, "batch": 4, "lr": 1e-2})
    composer = tiny_recipe.composer.model_copy(update={"samples": 8, "batch": 4, "lr": 1e-2})
    recipe = tiny_recipe.model_copy(update={"base": run, "stage1": run, "stage2": run, "composer": composer})
    recipe = recipe.model_copy(update={"critical": CriticalRecipe(samples=8, batch=4, lr=1e-2, captions=2)})
    network = fresh_network(recipe, material.tokenizer, ["ucm", "rsicd"])
    for stage in (train_base, train_stage1, train_stage2):
        stage(network, recipe, material, tmp_path, resume=False)
    train_composer(network, recipe, material, tmp_path, lambda *_: None, resume=False)
    train_critical(network, recipe, material, tmp_path, lambda *_: None, resume=False)
    before, after = load_file(tmp_path / "composer.safetensors"), load_file(tmp_path / "critical.safetensors")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys() and moved and all(".composer." in name for name in moved)
    assert "lora_B" in "".join(moved)


def test_what_scores_more_becomes_likelier(tiny_recipe: Recipe, material: Material) -> None:
    """One picture, again and again: the mean score of what is drawn rises."""
    torch.manual_seed(0)
    network = fresh_network(tiny_recipe, material.tokenizer, ["ucm"])
    corpus = material.corpus
    picture = corpus.pictures["ucm"][0]
    picture.reports.append((picture.images[0], {"theme": "a harbour", "object": "boats", "relation": ""}))
    try:
        (row,) = type(corpus)({"ucm": [picture]}, corpus.prompts, corpus.experts, 0.0, seed=0).sample(0, "critical")
    finally:
        picture.reports.clear()
    assert set(row.targets) == set(picture.captions)
    judges = {row.instruction: Scorer([p.captions for p in corpus.pictures["ucm"]])}
    task = CriticalTask(network, judges, captions=8, plain=1.0)
    sizes = network.config.vlm_encoder
    collator = CriticalCollator(material.stores, material.tokenizer, [], [], [], sizes.max_words, sizes.queries_side)
    optimizer = torch.optim.AdamW(network.llm.parameters(), lr=1e-2)
    seen: list[float] = []
    for _ in range(30):
        output = task(**collator([[row]]))
        optimizer.zero_grad()
        output["loss"].backward()
        optimizer.step()
        seen.append(float(output["score"]))
    assert sum(seen[-5:]) > sum(seen[:5]) + 5


@pytest.fixture
def task(tiny_recipe: Recipe, material: Material) -> CriticalTask:
    torch.manual_seed(0)
    return CriticalTask(fresh_network(tiny_recipe, material.tokenizer, ["ucm"]), {}, captions=3, plain=1.0)


def test_a_prompt_is_read_once_for_all_its_captions(task: CriticalTask) -> None:
    """Prompts of different lengths: what is drawn is what `generate` draws when it reads each of them three times."""
    prompts = [task._ids(text) for text in ("a harbour", "a harbour with two long quays and boats", "sheds")]
    prefix = torch.randn(3, 4, task.llm.config.hidden_size)
    torch.manual_seed(1)
    with torch.no_grad():
        drawn = task._draw(prefix, prompts, 12)
    expected: list[list[list[int]]] = []
    longest = max(map(len, prompts))
    bos = task.tokenizer.bos_token_id
    embed = task.llm.get_input_embeddings()
    rows = [torch.cat([seen, embed(torch.tensor([*ids, bos]))]) for seen, ids in zip(prefix, prompts, strict=True)]
    padded = torch.stack([torch.cat([row.new_zeros(longest + 5 - len(row), row.shape[1]), row]) for row in rows])
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * (len(ids) + 5) for ids in prompts])
    torch.manual_seed(1)
    written = task.llm.generate(
        inputs_embeds=padded.detach(), attention_mask=mask, max_new_tokens=12, num_return_sequences=3, do_sample=True, top_k=0,
        pad_token_id=task.tokenizer.pad_token_id, eos_token_id=task.tokenizer.eos_token_id,
    ).tolist()  # fmt: skip
    for text in written:
        end = text.index(task._eos) + 1 if task._eos in text else len(text)
        expected.append(text[:end])
    assert [text for row in drawn for text in row] == expected


def test_the_losses_of_all_texts_in_one_pass_are_those_of_each_by_itself(task: CriticalTask) -> None:
    prompts = [task._ids("a harbour"), task._ids("sheds by a lane")]
    drawn = [[[5, 6, 7], [8]], [[9, 10], [11, 12, 13, 14]]]
    people = [[[20, 21]], [[22], [23, 24, 25]]]
    better = [[0.5, -0.5], [-1.0, 1.0]]
    prefix = torch.randn(2, 4, task.llm.config.hidden_size)
    with torch.no_grad():
        own, plain = task._losses(prefix, prompts, drawn, better, people)

    def losses(row: int, text: list[int]) -> torch.Tensor:
        ids = torch.tensor([[*prompts[row], task.tokenizer.bos_token_id, *text]])
        embeds = torch.cat([prefix[row : row + 1], task.llm.get_input_embeddings()(ids)], 1)
        with torch.no_grad():
            logits = task.llm(inputs_embeds=embeds).logits[0, -len(text) - 1 : -1]
        return torch.nn.functional.cross_entropy(logits, torch.tensor(text), reduction="sum")

    wanted = sum(better[row][i] * losses(row, text) for row in (0, 1) for i, text in enumerate(drawn[row])) / 10
    assert float(own) == pytest.approx(float(wanted), rel=1e-4)
    wanted = sum(losses(row, text) for row in (0, 1) for text in people[row]) / 6
    assert float(plain) == pytest.approx(float(wanted), rel=1e-4)


def test_without_a_critical_part_nothing_is_written(tiny_recipe: Recipe, material: Material, tmp_path: Path) -> None:
    assert tiny_recipe.critical is None
    train_critical(None, tiny_recipe, material, tmp_path, lambda *_: None, resume=False)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
