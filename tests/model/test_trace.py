"""What the router did, for people to look at."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rsagent.model.network import RSMoE
from rsagent.model.trace import trace


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [np.random.default_rng(seed).integers(0, 256, (64, 80, 3), dtype=np.uint8) for seed in range(2)]


def look(network: RSMoE, picture: np.ndarray):
    with torch.inference_mode():
        return network.look(network.encode_images([picture]))


def test_every_expert_has_words_and_a_map(network: RSMoE, pictures: list[np.ndarray]):
    found = trace(network, look(network, pictures[0]), "how many boats are in the harbour ?")
    assert list(found) == network.config.experts
    fine = network.image_encoder.grid[0]
    for words, attention in found.values():
        assert len(words) == network.config.router.soft_prompts and all(isinstance(word, str) for word in words)
        heat = np.asarray(attention)
        assert heat.shape == (fine, fine) and (heat >= 0).all()
        assert heat.sum() == pytest.approx(1.0, abs=1e-5)


def test_maps_follow_the_image_and_the_instruction(network: RSMoE, pictures: list[np.ndarray]):
    plain = trace(network, look(network, pictures[0]), "how many boats ?")
    image = trace(network, look(network, pictures[1]), "how many boats ?")
    asked = trace(network, look(network, pictures[0]), "describe the runway")
    for other in (image, asked):
        assert any(not np.allclose(plain[name][1], other[name][1], atol=1e-6) for name in plain)


def test_maps_show_what_the_last_layer_looked_at(network: RSMoE, pictures: list[np.ndarray]):
    """A coarse token's weight is spread over the four fine cells that it covers."""
    from rsagent.model.trace import _on_grid

    fine, coarse = network.image_encoder.grid
    weights = torch.zeros(2, fine * fine + coarse * coarse)
    weights[0, fine * 3 + 5] = 1.0
    weights[1, fine * fine + coarse * 2 + 4] = 1.0
    maps = _on_grid(weights, (fine, coarse))
    assert maps[0, 3, 5] == 1.0 and maps[0].sum() == 1.0
    assert torch.equal(maps[1, 4:6, 8:10], torch.full((2, 2), 0.25)) and maps[1].sum() == 1.0
