"""A conversation on a pseudo-terminal whose experts run on a real SGLang server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.cli.terminal import Terminal
from tests.servers.clients import requests_running


def test_answers_stream_and_ctrl_c_leaves_nothing_running_on_the_server(untrained: Any, pictures: list[Path], tmp_path: Path):
    options = ("--engine", "sglang", "--url", untrained.url, "--checkpoint", str(untrained.checkpoint), "--experts", "theme")
    with Terminal("chat", pictures[0], *options, "--max-tokens", "300", cwd=tmp_path) as terminal:
        terminal.wait("0.png>")
        for number in range(1, 6):  # this LLM never ends by itself
            mark = len(terminal.raw)
            terminal.type("What is there?")
            terminal.wait_bytes(b"theme", mark)
            for _ in range(4):
                terminal.pump()
            mark = len(terminal.raw)
            terminal.press("c")
            terminal.wait_bytes(b"0.png>", mark)
            assert sum("stopped" in line for line in terminal.lines()) == number
            ends = time.monotonic() + 10
            while (left := requests_running(untrained.url)) and time.monotonic() < ends:
                terminal.pump(0.2)
            assert left == 0
            time.sleep(1.1)  # a second Ctrl-C within a second would leave
        terminal.type("/undo")
        terminal.wait("taken back")
        terminal.press("d")
        assert terminal.end() == 0 and b"Traceback" not in terminal.raw
