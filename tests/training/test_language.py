"""The loss of the language side: packed targets count as if each stood alone, and a stage trains what it should."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rsagent.model.network import RSMoE
from rsagent.training.batches import Collator
from rsagent.training.corpus import Row, Stage
from rsagent.training.fresh import fresh_network
from rsagent.training.language import LanguageTask, block_mask, counted, positions, told_places
from rsagent.training.material import Material
from rsagent.training.recipe import Recipe

EXPERTS = ("theme", "object", "relation")
CAPTIONS = ("two hangars", "a long runway with two white hangars", "boats")


@pytest.fixture
def fresh(tiny_recipe: Recipe, material: Material) -> RSMoE:
    return fresh_network(tiny_recipe, material.tokenizer, ["ucm"])


def row(*targets: str, image: int = 0, **changes: object) -> Row:
    return replace(Row(image, "describe this image", "describe this image Caption:", targets, "single", "caption"), **changes)


def loss_of(task: LanguageTask, material: Material, rows: list[Row], name: str = "words") -> float:
    collate = Collator(material.stores, material.tokenizer, material.answers, EXPERTS, task.adapters, 16, 3)
    with torch.no_grad():
        return float(task(**collate([rows]))[name])


def tokens(material: Material, text: str) -> int:
    return len(material.tokenizer(text)["input_ids"]) + 1


# --- the mask


def test_who_sees_whom():
    allowed = (block_mask(torch.tensor([[0, -1, 0, 1, 1, 2, 2, -1]]))[0, 0] == 0).int().tolist()
    assert allowed == [
        [1, 0, 0, 0, 0, 0, 0, 0],  # prompt
        [1, 1, 0, 0, 0, 0, 0, 0],  # a soft prompt that is not there: nobody sees it
        [1, 0, 1, 0, 0, 0, 0, 0],
        [1, 0, 1, 1, 0, 0, 0, 0],  # first target
        [1, 0, 1, 1, 1, 0, 0, 0],
        [1, 0, 1, 0, 0, 1, 0, 0],  # second target: not the first
        [1, 0, 1, 0, 0, 1, 1, 0],
        [1, 0, 1, 0, 0, 0, 0, 1],  # padding
    ]


def test_every_target_stands_right_behind_the_prompt():
    places = positions(torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2, -1], [0, -1, 0, 1, 1, 1, -1, -1, -1]]))
    assert places[0, :8].tolist() == [0, 1, 2, 3, 4, 3, 4, 5]
    assert places[1, [0, 2, 3, 4, 5]].tolist() == [0, 1, 2, 3, 4]


# --- the loss


def test_a_packed_row_costs_what_its_targets_cost_alone(fresh: RSMoE, material: Material):
    task = LanguageTask(fresh, "base", ["single"], len(material.answers)).eval()
    alone = [loss_of(task, material, [row(caption)]) for caption in CAPTIONS]
    counts = [tokens(material, caption) for caption in CAPTIONS]
    mean = sum(loss * count for loss, count in zip(alone, counts, strict=True)) / sum(counts)
    assert loss_of(task, material, [row(*CAPTIONS)]) == pytest.approx(mean, abs=1e-5)
    assert loss_of(task, material, [row(caption) for caption in CAPTIONS]) == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_batch_costs_the_mean_of_its_rows(fresh: RSMoE, material: Material, count: int):
    """Whatever their lengths and padding, with an odd number of rows, and with rows that are only looked at."""
    task = LanguageTask(fresh, "base", ["single"], len(material.answers)).eval()
    rows = [row(CAPTIONS[i % 3], *CAPTIONS[: i % 2], image=i, prompt="boats " * (i + 1)) for i in range(count)]
    looked = [row(image=7, answer="yes", task="answer"), row(image=8, answer="5", task="answer")]
    weights = [sum(tokens(material, target) for target in one.targets) for one in rows]
    mean = sum(loss_of(task, material, [one]) * w for one, w in zip(rows, weights, strict=True)) / sum(weights)
    assert loss_of(task, material, rows) == pytest.approx(mean, abs=1e-5)
    assert loss_of(task, material, rows + looked) == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize("stage", ["base", "stage2"])
def test_a_divided_batch_costs_what_it_costs_whole(fresh: RSMoE, second: LanguageTask, material: Material, stage: Stage):
    """However it is divided: each part of the loss is averaged over what is known in all parts of the batch together."""
    task = second.eval() if stage == "stage2" else LanguageTask(fresh, "base", ["single"], len(material.answers)).eval()
    collate = Collator(material.stores, material.tokenizer, material.answers, EXPERTS, task.adapters, 16, 3)
    samples = [material.corpus.sample(index, stage) for index in range(12)]
    whole, *parts = (collate(found) for found in (samples, samples[:3], samples[3:4], samples[4:]))
    counts = torch.stack([counted(part) for part in parts]).sum(0)
    assert torch.equal(counts, counted(whole)) and counts[:2].min() > 0
    with torch.no_grad():
        once, shares = task(**whole), [task(**part, counts=counts) for part in parts]
    assert {"words", "gate" if stage == "stage2" else "grounding"} <= once.keys()
    for name, value in once.items():
        assert sum(float(share[name]) for share in shares) == pytest.approx(float(value), rel=1e-5), name


def test_a_target_does_not_see_another(fresh: RSMoE, material: Material):
    task = LanguageTask(fresh, "base", ["single"], len(material.answers)).eval()
    collate = Collator(material.stores, material.tokenizer, material.answers, EXPERTS, task.adapters, 16, 3)

    def logits(*targets: str) -> torch.Tensor:
        batch = collate([[row(*targets)]])
        with torch.no_grad():
            image = task.vlm_encoder.look(_features(batch))[batch["picture"]]
            seen, _ = task.vlm_encoder(image, batch["words"], batch["word_mask"])
            told = told_places(batch["labels"])
            return task._logits(seen, None, batch, slice(0, 1), batch["ids"].shape[1], told)[0]

    both, other, alone = logits(CAPTIONS[0], CAPTIONS[1]), logits(CAPTIONS[0], CAPTIONS[2]), logits(CAPTIONS[0])
    torch.testing.assert_close(both[: len(alone)], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(other[: len(alone)], alone, atol=1e-5, rtol=1e-4)
    last = tokens(material, CAPTIONS[1])
    torch.testing.assert_close(both[-last:], logits(CAPTIONS[1])[-last:], atol=1e-5, rtol=1e-4)


def _features(batch: dict[str, torch.Tensor]):
    from rsagent.model.image_encoder import ImageFeatures

    return ImageFeatures(batch["fine"], batch["coarse"])


def test_an_answer_counts_more_than_a_caption(fresh: RSMoE, material: Material):
    task = LanguageTask(fresh, "base", ["single"], len(material.answers)).eval()
    caption, answer = row("two hangars"), row("yes", image=3, task="answer", answer="yes")
    one, two = loss_of(task, material, [caption]), loss_of(task, material, [answer])
    n, m = tokens(material, "two hangars"), 3.0 * tokens(material, "yes")
    assert loss_of(task, material, [caption, answer]) == pytest.approx((one * n + two * m) / (n + m), abs=1e-5)


def test_the_loss_falls_when_the_words_are_learnt(fresh: RSMoE, material: Material):
    torch.manual_seed(0)
    task = LanguageTask(fresh, "base", ["single"], len(material.answers)).train()
    collate = Collator(material.stores, material.tokenizer, material.answers, EXPERTS, task.adapters, 16, 3)
    batch = collate([[row(CAPTIONS[1], image=0), row("yes", image=5, task="answer", answer="yes")]])
    optimizer = torch.optim.AdamW(task.parameters(), 1e-2)
    losses: list[float] = []
    for _ in range(30):
        found = task(**batch)
        losses.append(found["loss"].item())
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]
    assert found["read_out"] < 0.1


# --- what the router and the adapters add in stage II


@pytest.fixture
def second(tiny_recipe: Recipe, material: Material) -> LanguageTask:
    """Stage II on adapters that already differ."""
    from peft import LoraConfig, get_peft_model

    network = fresh_network(tiny_recipe, material.tokenizer, ["ucm"])
    names = ["theme", "object", "relation"]
    lora = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM")
    network.llm = get_peft_model(network.llm, lora, adapter_name=names[0])
    for name in names[1:]:
        network.llm.add_adapter(name, lora)
    for name, parameter in network.llm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return LanguageTask(network, "stage2", names, len(material.answers)).train()


def test_rows_of_different_experts_in_one_batch_cost_what_they_cost_alone(second: LanguageTask, material: Material):
    rows = [
        row("two hangars", adapter="object", needed=("object",)),
        row("boats", adapter="relation", image=3),
        row("a field of wheat", adapter="object", image=4, prompt="describe wheat Objects:"),
        row("a place", adapter="theme", image=5),
    ]
    alone = [loss_of(second, material, [one]) for one in rows]
    counts = [tokens(material, one.targets[0]) for one in rows]
    mean = sum(loss * count for loss, count in zip(alone, counts, strict=True)) / sum(counts)
    assert loss_of(second, material, rows) == pytest.approx(mean, abs=1e-4)
    other = [loss_of(second, material, [replace(rows[0], adapter=name)]) for name in ("theme", "relation")]
    assert len({round(loss, 5) for loss in [alone[0], *other]}) == 3


def test_every_expert_has_its_own_soft_prompt(second: LanguageTask, material: Material):
    def change(adapter: str, expert: int) -> float:
        one = row("two hangars", adapter=adapter)
        before = loss_of(second, material, [one])
        with torch.no_grad():
            target = second.router.base[expert]
            target += 3.0
            after = loss_of(second, material, [one])
            target -= 3.0
        return abs(after - before)

    assert change("object", 1) > 1e-3
    assert change("object", 2) < 1e-6


def test_of_a_hidden_picture_the_soft_prompt_alone_tells(second: LanguageTask, material: Material):
    hidden, shown = (row("two hangars", adapter="object", hidden=hidden) for hidden in (True, False))

    def change(one: Row, parameter: torch.Tensor) -> float:
        before = loss_of(second, material, [one])
        with torch.no_grad():
            parameter += 1.0
            after = loss_of(second, material, [one])
            parameter -= 1.0
        return abs(after - before)

    assert (
        change(shown, second.vlm_encoder.projection.bias) > 1e-3 and change(hidden, second.vlm_encoder.projection.bias) < 1e-6
    )
    assert change(hidden, second.router.base) > 1e-3
    mean = (loss_of(second, material, [hidden]) + loss_of(second, material, [shown])) / 2
    assert loss_of(second, material, [hidden, shown]) == pytest.approx(mean, abs=1e-5)


def test_gradients_reach_the_experts_in_the_batch_and_the_router_alone(second: LanguageTask, material: Material):
    for name, parameter in second.llm.named_parameters():
        parameter.requires_grad_(".lora_" in name)
    collate = Collator(material.stores, material.tokenizer, material.answers, EXPERTS, second.adapters, 16, 3)
    second(**collate([[row("two hangars", adapter="object", needed=("object",))]]))["loss"].backward()
    touched = {name for name, p in second.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    assert any(".object." in name for name in touched)
    assert all(".object." in name or name.startswith("router.") for name in touched)
    assert {"router.gate_out.weight", "router.write.weight", "router.questions"} <= touched


def test_rows_without_gate_labels_teach_the_gate_nothing(second: LanguageTask, material: Material):
    assert loss_of(second, material, [row("boats", adapter="object")], "gate") == 0.0
    assert loss_of(second, material, [row("boats", adapter="object", needed=("object",))], "gate") > 0.0


@pytest.mark.parametrize("stage", ["base", "stage1", "stage2", "composer"])
def test_what_is_in_training_mode(fresh: RSMoE, material: Material, stage: Stage):
    """PEFT mixes adapters in evaluation mode only; the heads that teach the Q-Former are the base's."""
    task = LanguageTask(fresh, stage, ["single"], 3)
    task.train()
    assert task.llm.training == (stage != "stage2")
    assert (task.read_out is None) == (task.grounding is None) == (stage != "base")
    task.eval()
    assert not task.training and not task.llm.training
