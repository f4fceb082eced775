"""Decoding a batch of prompts for different experts: the same words as one by one, streamed, and stopped when asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rsagent.model.checkpoint import load_checkpoint
from rsagent.model.decode import DecodeRequest, _left_padded, _Writer, decode
from rsagent.model.network import RSMoE

TEXTS = ("describe this image . theme :", "how many red lorries are in the car park ? answer :", "is there a bridge ?", "boats")
ADAPTERS = ("theme", "object", "relation", "composer", "single")


@pytest.fixture(scope="module")
def network(tiny_checkpoint: Path) -> RSMoE:
    """In float64: in a batch of another size numbers round differently, and random weights have near ties."""
    network = load_checkpoint(tiny_checkpoint)
    network.mix()
    return network.to(torch.float64)


class Heard(list[str]):
    """Pieces as they come; stops after `most` of them."""

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        self.most = most

    def __call__(self, piece: str) -> bool:
        self.append(piece)
        return self.most is None or len(self) < self.most

    @property
    def text(self) -> str:
        return "".join(self)


def request(network: RSMoE, seed: int, *, tokens: int = 12, prefix: int | None = None, heard: Heard | None = None):
    generator = torch.Generator().manual_seed(seed)
    length = prefix if prefix is not None else (9 if ADAPTERS[seed % 5] in ("composer", "single") else 11)
    visual = torch.randn(length, network.config.llm_dim, generator=generator)
    return DecodeRequest(visual, TEXTS[seed % 4], ADAPTERS[seed % 5], tokens, heard if heard is not None else Heard())


def write(network: RSMoE, requests: list[DecodeRequest], beams: int = 1) -> list[str]:
    decode(network, requests, beams=beams)
    return [pieces(one).text for one in requests]


def pieces(one: DecodeRequest) -> Heard:
    assert isinstance(one.on_piece, Heard)
    return one.on_piece


@pytest.mark.parametrize("beams", [1, 3])
def test_a_mixed_batch_writes_what_its_rows_write_alone(network: RSMoE, beams: int):
    together = write(network, [request(network, seed) for seed in range(10)], beams)
    alone = [write(network, [request(network, seed)], beams)[0] for seed in range(10)]
    assert together == alone
    assert len(set(together)) > 5  # the rows have something different to say


def test_adapters_differ_and_do_not_leak_into_the_next_batch(network: RSMoE):
    def ask(adapter: str) -> str:
        one = request(network, 0)
        one.adapter = adapter
        return write(network, [one])[0]

    first = {adapter: ask(adapter) for adapter in ADAPTERS}
    assert len(set(first.values())) == len(ADAPTERS)
    assert {adapter: ask(adapter) for adapter in reversed(ADAPTERS)} == first


def test_mixed_layers_write_what_peft_writes(network: RSMoE, tiny_checkpoint: Path):
    """PEFT's own way of running one adapter is the reference."""
    plain = load_checkpoint(tiny_checkpoint).to(torch.float64)
    for seed in range(5):
        one = request(network, seed)
        plain.llm.set_adapter(one.adapter)
        embeds, mask = _left_padded(plain, [one])
        with torch.inference_mode():
            expected = plain.llm(inputs_embeds=embeds, attention_mask=mask).logits
            assert network.mixed is not None
            with network.mixed.rows([one.adapter]):
                found = network.llm(inputs_embeds=embeds, attention_mask=mask).logits
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_prompts_of_very_different_lengths_are_padded_on_the_left(network: RSMoE):
    lengths = (1, 9, 60)
    together = write(network, [request(network, 0, prefix=length) for length in lengths])
    assert together == [write(network, [request(network, 0, prefix=length)])[0] for length in lengths]


@pytest.mark.parametrize("beams", [1, 3])
def test_each_row_has_its_own_limit(network: RSMoE, beams: int):
    limits = (1, 4, 9)
    together = [request(network, 2, tokens=limit) for limit in limits]
    write(network, together, beams)
    alone = [write(network, [request(network, 2, tokens=limit)], beams)[0] for limit in limits]
    assert [pieces(one).text for one in together] == alone
    if beams == 1:
        assert [len(pieces(one)) for one in together] == [1, 4, 9]
        assert alone[2].startswith(alone[1]) and alone[1].startswith(alone[0])


def test_stopping_one_row_leaves_the_others_as_they_are(network: RSMoE):
    alone = [write(network, [request(network, seed)])[0] for seed in (0, 1, 2)]
    stopped = Heard(most=3)
    together = [request(network, 0), request(network, 1, heard=stopped), request(network, 2)]
    texts = write(network, together)
    assert [texts[0], texts[2]] == [alone[0], alone[2]]
    assert len(stopped) == 3 and together[1].stopped and alone[1].startswith(texts[1])


def test_nothing_is_computed_for_nobody(network: RSMoE):
    stopped = [Heard(most=2), Heard(most=1)]
    steps: list[int] = []
    hook = network.llm.register_forward_hook(lambda *_: steps.append(1))
    decode(network, [request(network, seed, tokens=500, heard=heard) for seed, heard in enumerate(stopped)])
    hook.remove()
    assert len(steps) <= 3


def test_beams_stop_when_nobody_waits(network: RSMoE):
    heard = Heard(most=2)
    steps: list[int] = []
    hook = network.llm.register_forward_hook(lambda *_: steps.append(1))
    decode(network, [request(network, 0, tokens=500, heard=heard)], beams=3)
    hook.remove()
    assert len(steps) <= 4 and heard.text == ""


def test_the_pieces_join_to_the_text(network: RSMoE):
    """Whatever bytes an untrained network writes: what was streamed is what the whole token sequence reads as."""
    for seed in range(6):
        one = request(network, seed, tokens=30)
        written: list[int] = []
        catch = _catching(network, written)
        decode(network, [one])
        catch()
        end = network.tokenizer.eos_token_id
        ids = written[: written.index(end)] if end in written else written
        assert pieces(one).text == network.tokenizer.decode(ids, skip_special_tokens=True).rstrip("\ufffd")
        assert len(pieces(one)) == len(ids)


def _catching(network: RSMoE, written: list[int]) -> Callable[[], None]:
    """Notes each token that the LLM's own greedy choice gives."""
    handle = network.llm.register_forward_hook(lambda _m, _i, output: written.append(int(output.logits[0, -1].argmax())))
    return handle.remove


def test_characters_of_several_bytes_come_whole(network: RSMoE):
    one = request(network, 0, tokens=50)
    writer = _Writer(network, [one])
    for token in network.tokenizer("größe 東京 🌍 end")["input_ids"]:
        writer.put(torch.tensor([token]))
    assert pieces(one).text.strip() == "größe 東京 🌍 end"
    assert not any("\ufffd" in piece for piece in pieces(one))
    assert "" in pieces(one)  # the bytes in between


def test_an_end_token_ends_a_row(network: RSMoE):
    rows = [request(network, 0), request(network, 1)]
    writer = _Writer(network, rows)
    writer.put(torch.tensor([network.tokenizer.eos_token_id, 40]))
    writer.put(torch.tensor([41, 41]))
    assert writer.done == [True, False]
    assert pieces(rows[0]) == [] and len(pieces(rows[1])) == 2


def test_an_unknown_adapter_is_an_error_and_the_next_batch_works(network: RSMoE):
    bad = request(network, 0)
    bad.adapter = "weather"
    with pytest.raises((KeyError, ValueError)):
        decode(network, [bad])
    assert write(network, [request(network, 0)])[0]
