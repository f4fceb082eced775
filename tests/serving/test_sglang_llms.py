"""Base LLMs in the forms in which people have them, and adapters that do not fit them, before a server is started."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rsagent.engines.local import LocalEngine
from rsagent.errors import CheckpointError
from rsagent.model.checkpoint import checkpoint_digest, load_encoder_side
from rsagent.serving.sglang import checks, prepare
from tests.instructblip_llm import with_llm_inside_instructblip


@pytest.fixture(scope="module")
def inside(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_llm_inside_instructblip(tiny_checkpoint, tmp_path_factory.mktemp("inside"))


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    return tmp_path / "copy"


def test_an_llm_inside_an_instructblip_is_served_as_a_part_of_its_files(
    inside: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    servable = checks.check_checkpoint(inside)
    folder = prepare.prepare(servable, checkpoint_digest(inside))
    config, plain = json.loads((folder / "config.json").read_text()), checks.check_checkpoint(tiny_checkpoint).llm.config
    assert config["rsagent_part"] == "language_model." and config["model_type"] == "llama"
    for size in ("hidden_size", "num_attention_heads", "intermediate_size", "rms_norm_eps", "tie_word_embeddings"):
        assert config[size] == plain[size]
    assert len(list(folder.glob("*.safetensors"))) > 1  # links, nothing is copied
    assert all(file.is_symlink() for file in folder.glob("*.safetensors*"))


def test_what_an_instructblip_lacks_or_holds_besides_is_named(inside: Path, tmp_path: Path):
    spoilt = tmp_path / "spoilt"
    shutil.copytree(inside.parent / "instructblip", spoilt)
    shutil.copytree(inside, tmp_path / "copy")
    file = tmp_path / "copy" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "llm": str(spoilt)}))
    config = json.loads((spoilt / "config.json").read_text())
    (spoilt / "config.json").write_text(
        json.dumps({**config, "text_config": {**config["text_config"], "num_hidden_layers": 2}})
    )
    with pytest.raises(CheckpointError, match=r"lacks .* such as language_model.model.layers.1"):
        checks.check_checkpoint(tmp_path / "copy")
    (spoilt / "config.json").write_text(json.dumps({**config, "text_config": {"model_type": "t5"}}))
    with pytest.raises(CheckpointError, match="inside .* is of the type 't5', which is not served: llama"):
        checks.check_checkpoint(tmp_path / "copy")


def test_the_words_near_a_soft_prompt_are_found_inside_an_instructblip(inside: Path, tiny_checkpoint: Path):
    tables = [load_encoder_side(folder).llm.get_input_embeddings().weight for folder in (inside, tiny_checkpoint)]
    assert torch.equal(*tables)


def test_a_gguf_file_is_refused_with_what_to_do(copy: Path):
    file = copy / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "llm": "models/vicuna.gguf"}))
    with pytest.raises(CheckpointError, match=r"vicuna.gguf, which is not served .*: write it as safetensors"):
        checks.check_checkpoint(copy)


@pytest.mark.parametrize(("layer", "half"), [("q_proj", "A"), ("q_proj", "B"), ("down_proj", "A"), ("gate_proj", "B")])
def test_an_adapter_of_another_llm_is_refused_by_its_width(copy: Path, layer: str, half: str):
    file = copy / "experts" / "object" / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if f".{layer}.lora_{half}." in name)
    tensors[name] = torch.cat([tensors[name]] * 2, dim=1 if half == "A" else 0)
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=rf"object.*{layer}.lora_{half}.* wide there: it is of another LLM"):
        checks.check_checkpoint(copy)


def test_half_an_adapter_is_refused(copy: Path):
    file = copy / "experts" / "object" / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors.pop(next(name for name in tensors if ".q_proj.lora_B." in name))
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match="q_proj.lora_A.weight without its other half"):
        checks.check_checkpoint(copy)


async def test_the_local_engine_reads_the_same_checkpoint(inside: Path):
    await LocalEngine.load(inside, device="cpu", dtype="float32").close()
