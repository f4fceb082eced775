"""Rows become tensors: what is predicted where, what belongs to which picture, and the same in a worker process."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from rsagent.training.batches import IGNORE, Collator, Samples
from rsagent.training.corpus import Corpus, Row, Stage
from rsagent.training.language import counted
from rsagent.training.material import Material
from rsagent.training.question_types import expert_of

EXPERTS = ("theme", "object", "relation")
ADAPTERS = (*EXPERTS, "composer")
STAGES: tuple[Stage, ...] = ("base", "stage1", "stage2")


def collator(material: Material, tokenizer: PreTrainedTokenizerFast | None = None) -> Collator:
    chosen = tokenizer or material.tokenizer
    return Collator(material.stores, chosen, material.answers, EXPERTS, ADAPTERS, max_words=16, queries_side=3)


def row(image: int, targets: tuple[str, ...], **changes: object) -> Row:
    plain = Row(image, "how many boats are there ?", "how many boats ? Answer:", targets, "object", "answer", ("object",), "5")
    return replace(plain, **changes)


def test_each_target_is_predicted_from_its_begin_to_its_end(material: Material):
    tokenizer = material.tokenizer
    batch = collator(material)([[row(3, ("boats", "two hangars"))]])
    ids, segment, labels = (batch[name][0].tolist() for name in ("ids", "segment", "labels"))
    prompt, first, second = (tokenizer(text)["input_ids"] for text in ("how many boats ? Answer:", "boats", "two hangars"))
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert ids == [*prompt, bos, *first, bos, *second]
    assert labels == [*[IGNORE] * len(prompt), *first, eos, *second, eos]
    assert segment == [*[0] * len(prompt), *[1] * (len(first) + 1), *[2] * (len(second) + 1)]


def test_a_prompt_is_trained_as_it_is_decoded(material: Material, network):
    """The LLM is asked for the first word in the same place: after the prompt and the token that begins an answer."""
    from rsagent.model.decode import DecodeRequest, _left_padded

    batch = collator(material, network.tokenizer)([[row(0, ("boats",))]])
    trained = batch["ids"][0, : int((batch["segment"][0] == 0).sum()) + 1]
    none = torch.zeros(0, network.config.llm_dim)
    embeds, _ = _left_padded(network, [DecodeRequest(none, "how many boats ? Answer:", "object", 1, lambda _: True)])
    assert torch.equal(embeds[0], network.embed(trained[None])[0])


def test_a_tokenizer_that_marks_begin_and_end_by_itself(material: Material):
    """Llama's puts its begin token before every text; the marks are set by the collator, once."""
    plain = material.tokenizer
    marked = PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer.from_str(plain.backend_tokenizer.to_str()),
        pad_token="<pad>", bos_token="<s>", eos_token="</s>", clean_up_tokenization_spaces=False,
    )  # fmt: skip
    marked.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", plain.bos_token_id), ("</s>", plain.eos_token_id)]
    )
    assert marked("boats")["input_ids"][0] == plain.bos_token_id
    rows = [[row(0, ("boats", "hangars"))]]
    assert torch.equal(collator(material, marked)(rows)["ids"], collator(material)(rows)["ids"])


def test_a_begin_token_with_the_number_zero(material: Material):
    backend = material.tokenizer.backend_tokenizer
    zero = PreTrainedTokenizerFast(
        tokenizer_object=backend.from_str(backend.to_str()), pad_token="</s>", bos_token="<pad>", eos_token="</s>"
    )
    assert zero.bos_token_id == 0
    batch = collator(material, zero)([[row(0, ("boats",))]])
    assert batch["ids"][0, int((batch["segment"][0] == 0).sum())] == 0


def test_rows_of_one_batch(material: Material):
    samples = [
        [row(9, ("a very long caption about boats in a harbour",), task="caption", answer="", needed=EXPERTS)],
        [row(3, ("yes",), answer="yes"), row(9, (), answer="a word nobody knows")],
        [row(0, ("yes",), adapter="composer", needed=(), answer="")],
    ]
    batch = collator(material)(samples)
    lengths = (batch["segment"] >= 0).sum(1).tolist()
    assert lengths == sorted(lengths) and lengths[0] == 0  # the one that is only looked at
    assert batch["fine"].shape == (3, 112, 14, 14)  # one entry a picture, not one a row
    fine, coarse = material.stores.read([0, 3, 9])
    assert torch.equal(batch["fine"], fine) and torch.equal(batch["coarse"], coarse)
    assert sorted(batch["picture"].tolist()) == [0, 1, 2, 2]
    looked, long = 0, 3
    assert batch["picture"][looked] == batch["picture"][long] == 2
    assert batch["answer"][looked] == -1 and batch["answer"][long] == -1
    assert sorted(batch["answer"].tolist()) == [-1, -1, -1, material.answers.index("yes")]
    assert batch["weight"][long] == 1.0 and batch["weight"][looked] == 3.0
    assert batch["needed"][long].tolist() == [1, 1, 1]
    composer = batch["adapter"].tolist().index(ADAPTERS.index("composer"))
    assert batch["needed"][composer].tolist() == [-1, -1, -1]
    assert (batch["labels"][batch["segment"] < 1] == IGNORE).all()
    assert batch["word_mask"].sum(1).min() > 0


def test_a_row_for_every_adapter_weighs_nothing(material: Material):
    """Where devices hold parts of the network, every adapter takes part in every batch; the loss stays what it was."""
    rows = [[row(3, ("boats", "two hangars"), adapter="object"), row(1, ("5",), adapter="object")]]
    collate = collator(material)
    plain = collate(rows)
    collate.every_adapter = True
    full = collate(rows)
    assert sorted(full["adapter"].tolist()) == sorted([*plain["adapter"].tolist(), *range(len(ADAPTERS))])
    assert torch.equal(counted(full), counted(plain))
    assert len(full["fine"]) == len(plain["fine"]) and bool((full["segment"] >= 0).any(1).all())


def test_what_is_too_long_is_cut_where_it_hurts_least(material: Material):
    batch = collator(material)([[row(0, ("boats " * 300,), prompt="wheat " * 300 + "Answer:", instruction="boats " * 99)]])
    assert batch["words"].shape == (1, 16)
    prompt = batch["ids"][0][batch["segment"][0] == 0]
    assert len(prompt) == 96 and prompt[-1] == material.tokenizer("Answer:")["input_ids"][-1]
    assert int((batch["segment"][0] == 1).sum()) == 97 and batch["labels"][0, -1] == material.tokenizer.eos_token_id


@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_process_gives_the_same_batches(material: Material, stage: Stage):
    samples = Samples(material.corpus, stage, 12)
    adapters = list(ADAPTERS) if stage == "stage2" else ["single"]
    collate = Collator(material.stores, material.tokenizer, material.answers, EXPERTS, adapters, 16, 3)
    here = list(DataLoader(samples, 4, collate_fn=collate))
    there = list(DataLoader(samples, 4, collate_fn=collate, num_workers=1))
    sent = list(DataLoader(pickle.loads(pickle.dumps(samples)), 4, collate_fn=pickle.loads(pickle.dumps(collate))))
    assert len(here) == 3
    for one, *others in zip(here, there, sent, strict=True):
        for other in others:
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name].nan_to_num(-1), other[name].nan_to_num(-1)) for name in one)


@pytest.mark.parametrize("stage", STAGES)
def test_a_sample_is_a_function_of_its_number(corpus: Corpus, stage: Stage):
    first = [corpus.sample(index, stage) for index in range(50)]
    assert first == [corpus.sample(index, stage) for index in reversed(range(50))][::-1]
    assert len({str(rows) for rows in first}) > 20
    assert replace(corpus, seed=1).sample(0, stage) != first[0] or replace(corpus, seed=1).sample(1, stage) != first[1]


@pytest.mark.parametrize("stage", STAGES)
def test_no_sample_is_empty_and_none_has_an_empty_target(corpus: Corpus, stage: Stage):
    for index in range(400):
        rows = corpus.sample(index, stage)
        assert rows
        assert all(target for one in rows for target in one.targets)
        assert stage == "base" or all(one.targets for one in rows)


def test_stage_two_asks_one_expert_an_image(corpus: Corpus):
    for index in range(300):
        rows = corpus.sample(index, "stage2")
        experts = {one.adapter for one in rows} - {"composer"}
        assert len(experts) <= 1
        for one in rows:
            if one.task == "answer":  # the type of a question decides who learns it, and what the gate learns
                asked = (q for p in corpus.pictures.values() for x in p for q in x.questions)
                kind = next(q.type for q in asked if q.question == one.instruction)
                assert one.needed == (expert_of(kind, EXPERTS),) == (one.adapter,)


def test_an_aspect_that_a_picture_lacks_is_neither_written_nor_needed(corpus: Corpus):
    lacking = {
        image for p in corpus.pictures.values() for x in p if not any(a["relation"] for a in x.aspects) for image in x.images
    }
    assert lacking
    for index in range(300):
        for one in corpus.sample(index, "stage2"):
            if one.image in lacking and one.task == "caption":
                assert one.adapter != "relation" and "relation" not in one.needed


def test_questions_about_places_see_the_plain_view(corpus: Corpus):
    plain = {x.images[0] for p in corpus.pictures.values() for x in p}
    placed = {q.question for p in corpus.pictures.values() for x in p for q in x.questions if expert_of(q.type) == "relation"}
    seen = [one for stage in STAGES for index in range(200) for one in corpus.sample(index, stage) if one.instruction in placed]
    assert seen and all(one.image in plain for one in seen)
