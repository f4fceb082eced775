"""Real SGLang servers on the CPU, one a checkpoint, started when a test first asks and ended with the session.

They need the environment of `make sglang-env`; `make test-servers` names its Python in RSAGENT_TEST_SERVERS, and without
that every test here is skipped.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from rsagent.model.checkpoint import EMBEDDED, checkpoint_digest
from rsagent.serving.sglang import launch
from rsagent.serving.sglang.checks import check_checkpoint
from rsagent.serving.sglang.child import Server
from rsagent.serving.sglang.prepare import prepare
from tests.conftest import untrained_checkpoint
from tests.instructblip_llm import with_llm_inside_instructblip

if TYPE_CHECKING:
    from rsagent.training.recipe import Recipe

READY_S = 1200.0  # half a minute on a quiet machine


@dataclass
class Running:
    """A server, the checkpoint it serves, and how to start it again."""

    checkpoint: Path
    options: launch.Options
    log: Path
    server: Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.options.port}"

    def start(self) -> None:
        servable, digest = check_checkpoint(self.checkpoint), checkpoint_digest(self.checkpoint)
        line = launch.command(servable, prepare(servable, digest), digest, self.options)
        self.server = Server(line, launch.environment(self.options), self.log)
        self.server.wait_ready(self.url, READY_S, lambda step: None)

    def stop(self, grace_s: float = 10.0) -> None:
        if self.server is not None:
            self.server.stop(grace_s)


@pytest.fixture(scope="session")
def server_python() -> str:
    """The Python of the server's environment."""
    python = os.environ.get("RSAGENT_TEST_SERVERS")
    if not python:
        pytest.skip("a real server takes minutes: make test-servers")
    launch.check_version(python)
    return python


@pytest.fixture(scope="session")
def shipped(server_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the checkpoint that comes with rsagent."""
    yield from _running(EMBEDDED, server_python, tmp_path_factory.mktemp("shipped"))


@pytest.fixture(scope="session")
def random_llama(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a random Llama and random adapters, its MLP of a width that SGLang takes on a CPU."""
    network = tiny_recipe.network.model_copy(update={"llm_mlp": 64})
    return untrained_checkpoint(
        tiny_recipe.model_copy(update={"network": network}), tmp_path_factory.mktemp("random") / "checkpoint"
    )


@pytest.fixture(scope="session")
def untrained(server_python: str, random_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the random Llama, which never ends a text by itself."""
    yield from _running(random_llama, server_python, tmp_path_factory.mktemp("untrained"))


@pytest.fixture(scope="module")
def instructblip(server_python: str, random_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the random Llama where it lies inside an InstructBLIP, as the paper's Vicuna does."""
    folder = tmp_path_factory.mktemp("instructblip")
    yield from _running(with_llm_inside_instructblip(random_llama, folder), server_python, folder)


@pytest.fixture(scope="module")
def cramped(server_python: str, random_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Another server of the random Llama, with memory for a thousand tokens."""
    small = ("--max-total-tokens", "1024")
    yield from _running(random_llama, server_python, tmp_path_factory.mktemp("cramped"), extra=small)


@pytest.fixture(scope="module")
def chatting(server_python: str, random_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the random Llama that takes chats, with a template that says one message after the other."""
    folder = tmp_path_factory.mktemp("chatting")
    (folder / "template.jinja").write_text("{% for message in messages %}{{ message['content'] }} {% endfor %}", "utf-8")
    yield from _running(random_llama, server_python, folder, extra=("--chat-template", str(folder / "template.jinja")))


@pytest.fixture(scope="module")
def copies(server_python: str, random_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with two copies of the random Llama behind one address."""
    yield from _running(random_llama, server_python, tmp_path_factory.mktemp("copies"), dp=2)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four pictures of coloured blocks."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(4):
        blocks = np.random.default_rng(index).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(np.kron(blocks, np.ones((40, 40, 1), dtype=np.uint8))).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


def free_port() -> int:
    """A port that nobody listens on, below those that clients get.

    A client that asks for a port of those, of a server that is away, may be given that very port for its own end: it then
    talks to itself, and the server cannot come back.
    """
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _running(checkpoint: Path, python: str, folder: Path, **given: Any) -> Iterator[Running]:
    options = launch.Options(python, port=free_port(), device="cpu", **given)
    running = Running(checkpoint, options, folder / "server.log")
    try:
        running.start()
        yield running
    finally:
        running.stop()
