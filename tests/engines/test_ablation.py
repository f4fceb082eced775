"""Soft prompts mixed up or taken away: the image, the gate and the words of the prompt stay."""

import numpy as np
import pytest

from rsagent.engines.ablation import AblatedEngine
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
    engine.ablate("shuffled", by_digest)
    own = engine.network.config.router.soft_prompts
    for seed in range(4):
        prefix, gate = await soft_prompts(engine, seed)
        facts = await engine.prepare(picture(seed))
        other = next(k for k in range(4) if np.array_equal(picture(k), by_digest[facts.sha256]()))
        assert other != seed
        assert gate == plain[seed][1]
        assert np.array_equal(prefix[:-own], plain[seed][0][:-own])
        assert np.allclose(prefix[-own:], plain[other][0][-own:], atol=1e-5)


async def test_zero_takes_them_away(engine):
    engine.ablate("zero")
    prefix, _ = await soft_prompts(engine, 1)
    own = engine.network.config.router.soft_prompts
    assert not prefix[-own:].any()
    assert prefix[:-own].any()
