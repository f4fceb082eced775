from __future__ import annotations

from pathlib import Path

import pytest

from rsagent.errors import SettingsError
from rsagent.settings import Settings, unknown_variables


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder and a configuration folder with nothing in them, and no RSAGENT_* variable."""
    for name in unknown_variables() + [
        "RSAGENT_DEVICE",
        "RSAGENT_STYLE",
        "RSAGENT_MAX_TOKENS",
        "RSAGENT_ENGINE",
        "RSAGENT_ROOT",
    ]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults_say_that_they_are():
    settings = Settings.load()
    assert (settings.checkpoint, settings.device, settings.style) == (None, "auto", "detailed")
    assert set(settings.sources().values()) == {"default"}


def test_flag_beats_variable_beats_file_beats_default(monkeypatch):
    Path("rsagent.toml").write_text('device = "cuda"\nstyle = "ucm"\nmax_tokens = 9\n')
    monkeypatch.setenv("RSAGENT_STYLE", "rsicd")
    monkeypatch.setenv("RSAGENT_MAX_TOKENS", "12")
    settings = Settings.load(max_tokens=20, seed=None)
    assert (settings.device, settings.style, settings.max_tokens, settings.seed) == ("cuda", "rsicd", 20, 0)
    sources = settings.sources()
    assert sources["device"] == "rsagent.toml"
    assert sources["style"] == "RSAGENT_STYLE"
    assert sources["max_tokens"] == "--max-tokens"
    assert sources["seed"] == "default"


def test_the_users_own_file_is_read_when_the_folder_has_none(empty_place):
    (empty_place / "config" / "rsagent").mkdir(parents=True)
    (empty_place / "config" / "rsagent" / "rsagent.toml").write_text("seed = 4\n")
    settings = Settings.load()
    assert settings.seed == 4
    assert settings.sources()["seed"].endswith("rsagent.toml")
    Path("rsagent.toml").write_text("max_tokens = 5\n")
    assert Settings.load().seed == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('devise = "cpu"\n', ["rsagent.toml", "'devise'", "did you mean device?"]),
        ("wings = 2\n", ["rsagent.toml", "'wings'", "the settings are checkpoint"]),
        ('device = "tpu"\n', ["rsagent.toml", "device", "'tpu'", "'mps'"]),
        ("max_tokens = 0\n", ["rsagent.toml", "max_tokens", "greater than or equal to 1"]),
        ("device = \n", ["rsagent.toml", "not TOML"]),
        ("[device]\nname = 'cpu'\n", ["rsagent.toml", "device"]),
    ],
)
def test_a_wrong_file_is_one_line_naming_key_and_file(text, says):
    Path("rsagent.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    message = str(caught.value)
    assert "\n" not in message
    for part in says:
        assert part in message


def test_a_wrong_variable_names_the_variable(monkeypatch):
    monkeypatch.setenv("RSAGENT_MAX_TOKENS", "many")
    with pytest.raises(SettingsError, match="RSAGENT_MAX_TOKENS: max_tokens cannot be 'many'"):
        Settings.load()


def test_a_wrong_flag_names_the_flag():
    with pytest.raises(SettingsError, match="--device: device cannot be 'tpu'"):
        Settings.load(device="tpu")


def test_an_empty_variable_is_none_and_a_misspelt_one_is_found(monkeypatch):
    monkeypatch.setenv("RSAGENT_STYLE", "")
    monkeypatch.setenv("RSAGENT_DEVISE", "cpu")
    monkeypatch.setenv("RSAGENT_DATA", "/nowhere")
    assert Settings.load().sources()["style"] == "default"
    assert unknown_variables() == ["RSAGENT_DEVISE"]
