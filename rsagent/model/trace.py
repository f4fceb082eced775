"""What the router did, for people: the words nearest to its soft prompts, and where in the image each expert's attend."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from rsagent.model.network import RSMoE
from rsagent.model.vlm_encoder import ImageTokens


@torch.inference_mode()
def trace(network: RSMoE, image: ImageTokens, instruction: str) -> dict[str, tuple[list[str], list[list[float]]]]:
    """For each expert: the token nearest to each soft prompt vector, and a map (rows x columns) that sums to 1.

    A soft prompt attends to image tokens, or to query tokens that have looked at image tokens, and then the map is the product
    of the two; both scales are put on the fine grid.
    """
    seen, looked = network.see(image, [instruction], attentions=True)
    routing = network.route(seen)
    assert looked is not None
    weights = routing.attention.float()
    if not network.router.reads_image:
        weights = torch.einsum("beq,bqt->bet", weights, looked.float())
    weights = weights[0]
    maps = _on_grid(weights, network.image_encoder.grid)
    table = F.normalize(cast(Tensor, network.llm.get_input_embeddings().weight).float(), dim=1)
    found: dict[str, tuple[list[str], list[list[float]]]] = {}
    for index, expert in enumerate(network.config.experts):
        soft = F.normalize(routing.soft_prompts[0, index].float(), dim=1)
        nearest = (soft @ table.T).argmax(1).tolist()
        words = [str(network.tokenizer.decode([token])).strip() for token in nearest]
        found[expert] = (words, maps[index].tolist())
    return found


def _on_grid(weights: Tensor, grid: tuple[int, int]) -> Tensor:
    """`(experts, tokens)` over both scales -> `(experts, fine, fine)`, each map summing to 1."""
    fine, coarse = grid
    near = weights[:, : fine * fine].unflatten(1, (fine, fine))
    far = weights[:, fine * fine :].unflatten(1, (1, coarse, coarse))
    spread = F.interpolate(far, (fine, fine), mode="nearest")[:, 0] * (coarse / fine) ** 2
    whole = near + spread
    return whole / whole.sum((1, 2), keepdim=True)
