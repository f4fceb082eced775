"""The router's work mixed up or taken away: only what an arm names differs."""

import numpy as np
import pytest

from rsagent.engines.ablation import AblatedEngine, Others
from rsagent.errors import UserError
from rsagent.evaluation.partners import partners
from rsagent.imagery import MAX_PIXELS

ASKED = "How many planes are there?"


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)


PICTURES = {str(seed): (lambda seed=seed: picture(seed)) for seed in range(4)}


async def soft_prompts(engine: AblatedEngine, seed: int) -> tuple[np.ndarray, list[float]]:
    """The prefix that the object expert reads of a picture, and the gate."""
    facts = await engine.prepare(picture(seed))
    prompts = await engine.route(facts.sha256, ASKED, "answer")
    wanted = next(prompt for prompt in prompts if prompt.expert == "object")
    return (await engine.prefix(wanted)).numpy(), sorted(prompt.gate for prompt in prompts)


@pytest.fixture
async def engine(tiny_checkpoint):
    engine = AblatedEngine.load(tiny_checkpoint, device="cpu")
    yield engine
    await engine.close()


async def test_each_image_gets_the_soft_prompts_of_its_partner_and_keeps_all_else(engine):
    plain = [await soft_prompts(engine, seed) for seed in range(4)]
    by_digest = partners(PICTURES, 0, max_pixels=MAX_PIXELS)
    engine.ablate("shuffled", Others(by_digest))
    own = engine.network.config.router.soft_prompts
    for seed in range(4):
        prefix, gate = await soft_prompts(engine, seed)
        facts = await engine.prepare(picture(seed))
        other = next(k for k in range(4) if np.array_equal(picture(k), by_digest[facts.sha256]()))
        assert other != seed
        assert gate == plain[seed][1]
        assert np.array_equal(prefix[own:], plain[seed][0][own:])
        assert np.allclose(prefix[:own], plain[other][0][:own], atol=1e-5)


async def test_zero_takes_them_away(engine):
    engine.ablate("zero")
    prefix, _ = await soft_prompts(engine, 1)
    own = engine.network.config.router.soft_prompts
    assert not prefix[:own].any()
    assert prefix[own:].any()


async def test_the_mean_is_the_same_for_every_image_and_none_is_its_own(engine):
    plain = [await soft_prompts(engine, seed) for seed in range(4)]
    engine.ablate("mean", Others(sample=list(PICTURES.values())))
    own = engine.network.config.router.soft_prompts
    expected = np.mean([prefix[:own] for prefix, _ in plain], axis=0)
    for seed in range(4):
        prefix, gate = await soft_prompts(engine, seed)
        assert np.allclose(prefix[:own], expected, atol=1e-5)
        assert np.array_equal(prefix[own:], plain[seed][0][own:])
        assert gate == plain[seed][1]


async def test_text_prompts_alone_leave_no_place_for_soft_ones(engine):
    plain, _ = await soft_prompts(engine, 1)
    engine.ablate("text")
    prefix, _ = await soft_prompts(engine, 1)
    own = engine.network.config.router.soft_prompts
    assert np.array_equal(prefix, plain[own:])
    facts = await engine.prepare(picture(1))
    prompt = (await engine.route(facts.sha256, ASKED, "answer"))[0].model_copy(update={"max_tokens": 4})
    assert "".join([piece async for piece in engine.generate(prompt)])


async def test_an_open_gate_is_one_for_every_expert(engine):
    engine.ablate("open")
    _, gate = await soft_prompts(engine, 1)
    assert gate == [1.0, 1.0, 1.0]


async def test_swapped_experts_read_each_others_prompts(engine):
    facts = await engine.prepare(picture(1))
    prompts = await engine.route(facts.sha256, ASKED, "answer")

    async def says(expert: str, adapter: str) -> str:
        """What `adapter` makes of the words and the soft prompt of `expert`."""
        prompt = next(prompt for prompt in prompts if prompt.expert == expert)
        prompt = prompt.model_copy(update={"max_tokens": 8})
        engine._adapter = lambda _: adapter
        said = "".join([piece async for piece in engine.generate(prompt)])
        del engine._adapter
        return said

    expected = await says("theme", "object")
    own = await says("theme", "theme")
    engine.ablate("swapped")
    prompt = next(prompt for prompt in prompts if prompt.expert == "theme").model_copy(update={"max_tokens": 8})
    assert "".join([piece async for piece in engine.generate(prompt)]) == expected != own
    assert engine._adapter("relation") == "theme"
    assert engine._adapter("composer") == "composer"


async def test_one_expert_cannot_be_swapped(engine, monkeypatch):
    monkeypatch.setattr(engine.network.config, "experts", ["whole"])
    with pytest.raises(UserError, match="one expert alone"):
        engine.ablate("swapped")
