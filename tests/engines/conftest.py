from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from rsagent.engines.sglang import SGLangEngine
from rsagent.model.checkpoint import checkpoint_digest
from tests.engines.misbehaving import Upstream, misbehaving
from tests.engines.pretender import Pretender, connect

if TYPE_CHECKING:
    from rsagent.model.network import RSMoE


@pytest.fixture(scope="module")
def exact(tiny_checkpoint: Path) -> RSMoE:
    """The network in float64: in a batch of another size numbers round differently, and random weights have near ties."""
    import torch

    from rsagent.model.checkpoint import load_checkpoint

    network = load_checkpoint(tiny_checkpoint)
    network.mix()
    return network.to(torch.float64)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(5):
        pixels = np.random.default_rng(index).integers(0, 256, (40 + index, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


@pytest.fixture
async def server(tiny_checkpoint: Path) -> AsyncIterator[Pretender]:
    server = Pretender(checkpoint_digest(tiny_checkpoint))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def engine(server: Pretender, tiny_checkpoint: Path) -> AsyncIterator[SGLangEngine]:
    engine = await connect(server.url, tiny_checkpoint)
    yield engine
    await engine.close()


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (40, 30), (10, 80, 120)).save(tmp_path / "port.png")
    return str(tmp_path / "port.png")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with misbehaving() as server:
        yield server
