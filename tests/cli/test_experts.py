"""`rsagent experts`: the command that is printed, and what is said when something is wrong."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rsagent.model.checkpoint import EMBEDDED

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))


def test_print_gives_a_whole_command_without_sglang(cli):
    outcome = cli("experts", "serve", EMBEDDED, "--print", "--device", "cpu", "--python", "/env/python", "--", "--seed", 3)
    assert outcome.exit_code == 0
    line = shlex.split(outcome.stdout)
    assert line[0] == "env" and "/env/python" in line and line[-2:] == ["--seed", "3"]
    assert any(part.startswith("PYTHONPATH=") and part.endswith("serving/sglang/plugin") for part in line)
    assert (Path(line[line.index("--model-path") + 1]) / "config.json").is_file()


def test_a_printed_command_that_could_start_nothing_says_so(cli):
    outcome = cli("experts", "serve", EMBEDDED, "--print", "--device", "cpu")
    assert outcome.exit_code == 0 and sys.executable in outcome.stdout
    assert "this Python, which has no SGLang: give --python PATH" in outcome.stderr
    named = cli("experts", "serve", EMBEDDED, "--print", "--device", "cpu", "--python", "/env/python")
    assert "no SGLang" not in named.stderr


def test_arguments_for_sglang_need_no_folder_before_them(cli):
    outcome = cli("experts", "serve", "--print", "--device", "cpu", "--", "--mem-fraction-static", "0.5")
    assert shlex.split(outcome.stdout)[-2:] == ["--mem-fraction-static", "0.5"]


def test_serving_needs_the_right_sglang(cli, tiny_checkpoint):
    outcome = cli("experts", "serve", tiny_checkpoint, "--device", "cuda", "--python", "/nowhere/python")
    assert outcome.exit_code == 2 and "/nowhere/python cannot be run" in outcome.stderr


def test_a_full_disk_is_named_and_leaves_nothing_behind(place, tmp_path):
    """A limit on the size of files stands in for a full disk."""
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); from rsagent.cli.main import main; main()"
    command = [sys.executable, "-c", code, "experts", "serve", str(EMBEDDED), "--print", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    outcome = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert outcome.returncode == 1 and "cannot prepare" in outcome.stderr and outcome.stderr.count("\n") == 1
    assert not list((place / "cache").rglob("config.json"))


def test_an_llm_that_only_a_gpu_could_serve(cli, tiny_checkpoint):
    outcome = cli("experts", "serve", tiny_checkpoint, "--print", "--device", "cpu")
    assert outcome.exit_code == 2 and "cannot be served on a CPU" in outcome.stderr


def test_no_checkpoint(cli):
    outcome = cli("experts", "serve", "nothing", "--print")
    assert outcome.exit_code == 2 and "no checkpoint folder at nothing" in outcome.stderr


@pytest.mark.parametrize("command", [["status"], ["load", "x", "folder"], ["unload", "x"]])
def test_nobody_there(cli, command):
    outcome = cli("experts", *command, "--url", "http://127.0.0.1:9")
    assert outcome.exit_code == 1 and "no server at http://127.0.0.1:9" in outcome.stderr


def test_an_adapters_name_is_a_name(cli):
    outcome = cli("experts", "unload", "../x", "--url", "http://127.0.0.1:9")
    assert outcome.exit_code == 2 and "no adapter's name" in outcome.stderr


def test_captions_from_a_server_that_is_not_there(cli, picture):
    outcome = cli("caption", picture, "--engine", "sglang", "--url", "http://127.0.0.1:9")
    assert outcome.exit_code == 1 and "start one with 'rsagent experts serve'" in outcome.stderr
    outcome = cli("ask", picture, "how many?", "--engine", "sglang", "--best")
    assert outcome.exit_code == 2 and "--best" in outcome.stderr
