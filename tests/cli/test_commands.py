"""The smaller commands: config, doctor, model, train, and what holds for all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import rsagent
from rsagent.cli.doctor import EXTRAS
from rsagent.model.config import FORMAT_VERSION


@pytest.fixture
def checkpoint(place: Path) -> Path:
    """A checkpoint folder with the right files and next to nothing in them."""
    folder = place / "mini"
    config = {
        "format": FORMAT_VERSION, "name": "mini", "llm_dim": 8, "experts": ["theme", "object"],
        "vlm_encoder": {"vocabulary": 16}, "composer_styles": ["ucm"],
    }  # fmt: skip
    adapters = [f"experts/{name}/adapter_model" for name in ("theme", "object", "composer")]
    for name in ("model", "router", "llm/model", *adapters):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_file({"w": np.zeros((3, 4), np.float16)}, folder / f"{name}.safetensors")
    texts = {f"{name.removesuffix('model')}config.json": "{}" for name in adapters}
    texts |= {"config.json": json.dumps(config), "llm/config.json": "{}", "tokenizer/tokenizer.json": "{}"}
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return Path("mini")


def test_version_and_help(cli):
    assert cli("--version").stdout == f"rsagent {rsagent.__version__}\n"
    for command in ("caption", "ask", "explain", "model", "doctor", "config", "train"):
        assert command in cli("--help").stdout


def test_an_unknown_command_suggests_the_near_one(cli):
    result = cli("captoin")
    assert result.exit_code == 2
    assert "caption" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_config_show_says_where_each_value_came_from(cli, monkeypatch):
    Path("rsagent.toml").write_text("seed = 3\n")
    monkeypatch.setenv("RSAGENT_STYLE", "ucm")
    monkeypatch.setenv("RSAGENT_STILE", "ucm")
    result = cli("config", "show")
    assert "seed = 3 (rsagent.toml)" in result.stdout
    assert "style = ucm (RSAGENT_STYLE)" in result.stdout
    assert "device = auto (default)" in result.stdout
    assert "RSAGENT_STILE is no setting" in result.stderr
    assert json.loads(cli("config", "show", "--json").stdout)["seed"] == {"value": 3, "source": "rsagent.toml"}


def test_a_wrong_configuration_file_is_one_line_in_every_command(cli, picture):
    Path("rsagent.toml").write_text("sead = 3\n")
    for arguments in (["caption", picture], ["config", "show"], ["model", "show"]):
        result = cli(*arguments)
        assert result.exit_code == 2
        assert result.stderr == "rsagent: rsagent.toml: unknown setting 'sead': did you mean seed?\n"


def test_model_show_counts_parameters_without_loading(cli, checkpoint):
    result = cli("model", "show", checkpoint)
    assert result.exit_code == 0
    assert "experts: theme, object" in result.stdout
    assert "experts/theme/adapter_model.safetensors: 12 parameters, F16" in result.stdout
    assert json.loads(cli("model", "show", checkpoint, "--json").stdout)["config"]["name"] == "mini"


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda folder: (folder / "router.safetensors").unlink(), "router.safetensors"),
        (lambda folder: (folder / "router.safetensors").write_bytes(b"\x80\x04junk"), "router.safetensors"),
        (lambda folder: (folder / "config.json").write_text('{"format": 99}'), "99"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
        (lambda folder: (folder / "weights.pt").touch(), "pickle"),
    ],
)
def test_a_broken_checkpoint_is_one_line(cli, checkpoint, break_it, says):
    break_it(checkpoint)
    result = cli("model", "show", checkpoint)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert says in result.stderr


def test_doctor_names_what_is_missing_and_what_mends_it(cli, monkeypatch):
    monkeypatch.setenv("RSAGENT_CHECKPOINT", "nowhere")
    result = cli("doctor")
    assert result.exit_code == 1
    assert "[ok] torch" in result.stdout
    assert "[missing] checkpoint" in result.stdout
    assert "rsagent: missing: checkpoint" in result.stderr
    checks = {check["name"]: check for check in json.loads(cli("doctor", "--json").stdout)}
    for extra in EXTRAS:
        check = checks[f"extra {extra}"]
        assert check["state"] == "ok" or check["mend"] == f"pip install 'rsagent[{extra}]'"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["all"], "RSAGENT_DATA"),
        (["base", "--data", "nowhere"], "nowhere is no folder"),
        (["stage1", "--recipe", "gone.yaml", "--data", "."], "gone.yaml"),
        (["stage2", "--data", ".", "--out", "held"], "--resume"),
        (["scenes", "--out", "held"], "held"),
        (["scenes", "--out", "new", "--split", "holiday"], "holiday"),
    ],
)
def test_training_checks_its_arguments_first(cli, place, arguments, says):
    (place / "held").mkdir()
    (place / "held" / "encoder.safetensors").touch()
    before = sorted(place.rglob("*"))
    result = cli("train", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert says in result.stderr
    assert sorted(place.rglob("*")) == before


def test_scenes_are_written(cli):
    result = cli("train", "scenes", "--out", "drawn", "--count", "2", "--split", "val")
    assert result.exit_code == 0
    assert result.stdout == "drawn\n"
    assert len(list(Path("drawn").glob("*.png"))) == 2
    assert len(Path("drawn/scenes.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("command", ["caption", "ask", "explain", "chat", "serve", "mcp"])
def test_every_command_with_an_engine_takes_its_options(cli, command):
    text = cli(command, "--help", env={"COLUMNS": "200"}).stdout
    options = ("--engine", "--url", "--chat-url", "--chat-model", "--checkpoint", "--max-tokens", "--max-pixels", "--bands")
    assert all(f"{option} " in text for option in options)
    assert ("--style " in text) is (command != "ask")


def test_flags_say_where_the_chat_model_is(cli, picture):
    result = cli("ask", picture, "How many?", "--engine", "openai", "--chat-model", "qwen-vl")
    assert result.exit_code == 2 and "--chat-url" in result.stderr
    away = cli("ask", picture, "How many?", "--engine", "openai", "--chat-model", "x", "--chat-url", "http://127.0.0.1:9/v1")
    assert away.exit_code == 1 and "no connection to http://127.0.0.1:9" in away.stderr
