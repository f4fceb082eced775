"""`rsagent model get` and `list`, and shipped checkpoints by name; `small` and its base are made by the tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rsagent.model import bases, shipped
from rsagent.model.checkpoint import EMBEDDED
from tests.small_checkpoint import NAME, Small

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("gguf", reason="needs pip install 'rsagent[small]'")


@pytest.fixture
def small(place: Path, made: Small, monkeypatch: pytest.MonkeyPatch) -> Small:
    """`small` is the checkpoint of the tests, and its base is nowhere yet."""
    monkeypatch.setenv("RSAGENT_HOME", str(place / "home"))
    monkeypatch.setitem(shipped.SHIPPED, "small", made.checkpoint)
    monkeypatch.delitem(bases.BASES, bases.SMOLLM2.name)
    monkeypatch.setitem(bases.BASES, NAME, made.base)
    return made


@pytest.fixture
def installed(small: Small, monkeypatch: pytest.MonkeyPatch) -> Small:
    monkeypatch.syspath_prepend(str(small.package.parent))
    return small


def user_settings(place: Path) -> Path:
    return place / ".config" / "rsagent" / "rsagent.toml"


def test_get_prepares_and_tries_and_leaves_the_settings(cli, installed: Small, place: Path):
    got = cli("model", "get", "small")
    assert got.exit_code == 0, got.stderr
    prepared = place / "home" / "bases" / "nobody--base-of-the-tests"
    assert f"small is ready: {installed.checkpoint}" in got.stdout and "of a rendered picture it says: " in got.stdout
    assert f"from the package tests-base==1.0, in {prepared}" in got.stdout and "default: no" in got.stdout
    assert "preparing" in got.stderr and "prepared in" in got.stderr and not user_settings(place).exists()
    again = cli("model", "get", "small", "--json")
    assert "prepar" not in again.stderr
    told = json.loads(again.stdout)
    assert told["base"]["path"] == str(prepared) and told["bytes"] > told["base"]["bytes"] > 0
    assert told["caption"] and told["default"] is False


def test_get_takes_the_base_from_where_it_is_told(cli, small: Small):
    assert cli("model", "get", "small", "--base", small.llm).exit_code == 0
    told = json.loads(cli("model", "get", "small", "--base", small.package / "base.gguf", "--json").stdout)
    assert told["base"]["from"] == str(small.package / "base.gguf")
    assert json.loads(cli("model", "get", "small", "--json").stdout)["base"] == told["base"]  # and keeps it


def test_the_default_is_recorded_where_small_is_better(cli, installed: Small, place: Path, monkeypatch):
    path = user_settings(place)
    path.parent.mkdir(parents=True)
    path.write_text("# mine\nseed = 4\n")
    monkeypatch.setattr(shipped, "BETTER_THAN_TINY", True)
    assert "default: no" in cli("model", "get", "small", "--no-default").stdout
    assert path.read_text() == "# mine\nseed = 4\n"
    got = cli("model", "get", "small")
    assert "default: yes" in got.stdout and f"{path}: checkpoint is small now" in got.stderr
    assert path.read_text() == '# mine\nseed = 4\ncheckpoint = "small"\n'
    assert "checkpoint: test in" in cli("doctor").stdout
    back = cli("model", "get", "tiny")
    assert "default: yes" in back.stdout and "checkpoint is tiny now, was small" in back.stderr
    assert path.read_text() == '# mine\nseed = 4\ncheckpoint = "tiny"\n'


def test_a_checkpoint_of_the_users_own_stays_unless_told_otherwise(cli, installed: Small, place: Path, monkeypatch):
    path = user_settings(place)
    path.parent.mkdir(parents=True)
    path.write_text('checkpoint = "my/own"\n')
    monkeypatch.setattr(shipped, "BETTER_THAN_TINY", True)
    got = cli("model", "get", "small")
    assert "my/own, which stays: --default replaces it" in got.stderr and "default: no" in got.stdout
    assert path.read_text() == 'checkpoint = "my/own"\n'
    assert "default: yes" in cli("model", "get", "small", "--default").stdout


def test_what_goes_before_the_users_settings_is_named(cli, installed: Small, place: Path, monkeypatch):
    (place / "rsagent.toml").write_text("seed = 4\n")
    got = cli("model", "get", "small", "--default")
    assert "here ./rsagent.toml goes before it, so that tiny speaks" in got.stderr and "default: no" in got.stdout
    monkeypatch.setenv("RSAGENT_CHECKPOINT", "tiny")
    assert "here RSAGENT_CHECKPOINT goes before it" in cli("model", "get", "small", "--default").stderr


def test_get_tiny_needs_nothing_and_makes_no_file(cli, small: Small, place: Path):
    got = cli("model", "get", "tiny")
    assert got.exit_code == 0 and "default: yes" in got.stdout and not user_settings(place).exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["huge"], "choose one of tiny, small"),
        (["tiny", "--base", "."], "brings its own LLM"),
        (["small", "--base", "gone.gguf"], "no GGUF file at gone.gguf"),
    ],
)
def test_what_cannot_be_got_is_one_line(cli, small: Small, place: Path, arguments, says):
    got = cli("model", "get", *arguments, "--default")
    assert (got.exit_code, got.stdout) == (2, "") and says in got.stderr.splitlines()[-1]
    assert not user_settings(place).exists()


def test_without_a_base_the_line_says_how_to_get_it(cli, small: Small, picture: Path, monkeypatch):
    monkeypatch.setenv("RSAGENT_ENGINE", "local")
    for arguments in (["caption", picture, "--checkpoint", "small"], ["model", "get", "small"]):
        got = cli(*arguments)
        assert (got.exit_code, got.stdout) == (1, "") and "rsagent model get small" in got.stderr.splitlines()[-1]


def test_a_small_that_is_not_carried(cli, place: Path, monkeypatch):
    monkeypatch.setitem(shipped.SHIPPED, "small", place / "gone")
    for arguments in (["model", "show", "small"], ["model", "get", "small"], ["model", "diff", "tiny", "small"]):
        got = cli(*arguments)
        assert got.exit_code == 2 and "carries no checkpoint 'small'" in got.stderr
    listed = cli("model", "list")
    assert listed.exit_code == 0 and "small: not carried" in listed.stdout


def test_list(cli, small: Small, place: Path, monkeypatch):
    listed = cli("model", "list").stdout
    assert f"tiny (default): 26.1 MB in {EMBEDDED}" in listed and "brings its own LLM" in listed
    assert f"base LLM {NAME}: not on this machine; rsagent model get small gets it" in listed
    monkeypatch.syspath_prepend(str(small.package.parent))
    assert "the package, " in cli("model", "list").stdout
    cli("model", "get", "small", "--default")
    tiny, other = json.loads(cli("model", "list", "--json").stdout)
    assert (tiny["default"], other["default"], other["base"]["there"]) == (False, True, True)
    assert other["base"]["bytes"] > 0 and "prepared in" in other["base"]["found"]
    Path(other["base"]["path"], "model.safetensors").write_bytes(b"")
    assert "is damaged: rsagent model get small" in cli("model", "list").stdout
    monkeypatch.setenv("RSAGENT_CHECKPOINT", "my/own")
    assert "in force: my/own (RSAGENT_CHECKPOINT)" in cli("model", "list").stdout


def test_doctor_tells_of_the_base(cli, small: Small, monkeypatch):
    def check() -> dict[str, str]:
        return {one["name"]: one for one in json.loads(cli("doctor", "--json").stdout)}["base LLM of small"]

    assert (check()["state"], check()["mend"]) == ("optional", "rsagent model get small")
    monkeypatch.setenv("RSAGENT_CHECKPOINT", "small")
    assert check()["state"] == "missing"
    monkeypatch.syspath_prepend(str(small.package.parent))
    assert check()["state"] == "ok"


def test_the_names_are_taken_wherever_a_folder_is(cli, installed: Small, picture: Path, monkeypatch):
    monkeypatch.setenv("RSAGENT_ENGINE", "local")
    Path("small").mkdir()  # a name is a name, whatever lies in the current folder
    named = cli("caption", picture, "--checkpoint", "small", "--style", "ucm", "--json")
    assert named.exit_code == 0, named.stderr
    monkeypatch.setenv("RSAGENT_CHECKPOINT", str(installed.checkpoint))
    by_folder = cli("caption", picture, "--style", "ucm", "--json")
    assert json.loads(named.stdout)["text"] == json.loads(by_folder.stdout)["text"] != ""
    monkeypatch.setenv("RSAGENT_CHECKPOINT", "small")
    assert json.loads(cli("model", "show", "--json").stdout)["folder"] == str(installed.checkpoint)
    assert cli("model", "diff", "small", str(installed.checkpoint)).stdout == "no difference\n"
    assert cli("model", "merge", "theme", "merged", "--checkpoint", "small").exit_code == 0
    monkeypatch.setenv("RSAGENT_CHECKPOINT", "./small")
    assert "has no config.json" in cli("model", "show").stderr
    served = cli("experts", "serve", "small", "--print", "--python", sys.executable, "--device", "cuda")
    assert served.exit_code == 0 and "--model-path" in served.stdout, served.stderr


def test_the_names_are_taken_by_python_and_by_recipes(installed: Small, picture: Path):
    from rsagent import RSAgent
    from rsagent.training.placement import network_config
    from rsagent.training.recipe import load_recipe

    with RSAgent(checkpoint="small").sync as agent:
        assert agent.caption(picture, "ucm").text
    recipes = ROOT / "training" / "recipes"
    recipe = load_recipe(recipes / "smollm2-135m.yaml", ["captions=ucm", "weights.encoder=null", "start=small"])
    assert network_config(recipe, 576).vlm_encoder.dim == 32  # the checkpoint's of the tests


def test_a_first_use_says_what_takes_so_long(made: Small, place: Path):
    """In a process of its own: pytest listens to the log, and then nothing is said."""
    code = (
        f"import sys, json; sys.path[:0] = [{str(ROOT)!r}, {str(made.package.parent)!r}]\n"
        "from rsagent.model.bases import BASES, Base; from rsagent.cli.main import main\n"
        "base = Base(**json.loads(sys.argv.pop(1))); BASES[base.name] = base; main()"
    )
    base = json.dumps({**made.base.__dict__, "sizes": dict(made.base.sizes)})
    done = subprocess.run(
        [sys.executable, "-c", code, base, "model", "merge", "theme", "merged", "--checkpoint", str(made.checkpoint)],
        text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("rsagent: ")]
    assert "preparing" in lines[0] and "prepared in" in lines[1] and len(lines) == 2
