"""A checkpoint comes back as it was saved; whatever is wrong with a folder is one line that names it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rsagent.errors import CheckpointError, EngineError, RSAgentError
from rsagent.model.checkpoint import checkpoint_digest, load_checkpoint, read_config, save_checkpoint
from rsagent.model.network import RSMoE, visual_prefix
from rsagent.model.pretrained import failure

ADAPTERS = ["composer", "object", "relation", "single", "theme"]


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to damage: files are links, so replace them and never write into them."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint", copy_function=os.link))


@pytest.fixture
def loaded(tiny_checkpoint: Path) -> RSMoE:
    return load_checkpoint(tiny_checkpoint)


def outputs(network: RSMoE) -> dict[str, torch.Tensor]:
    """What every part of a network says to one picture and one instruction."""
    picture = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    with torch.inference_mode():
        seen, _ = network.see(network.look(network.encode_images([picture])), ["how many boats are there ?"])
        routing = network.route(seen)
        found = {"seen": seen.projected, "gate": routing.gate, "soft": routing.soft_prompts}
        for name in network.adapters:
            network.llm.set_adapter(name)
            found[name] = network.llm(inputs_embeds=visual_prefix(seen.projected, routing.soft_prompts[:, 0])).logits
    return found


def same_tensors(one: RSMoE, other: RSMoE) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def fault(folder: Path) -> str:
    """The one line that a user gets to read."""
    with pytest.raises(RSAgentError) as caught:
        load_checkpoint(folder)
    assert isinstance(caught.value, CheckpointError)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 500
    return line


def replace(file: Path, content: bytes | str) -> None:
    file.unlink()
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(file.read_text())
    change(content)
    replace(file, json.dumps(content))


def retensor(file: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(tensors)
    file.unlink()
    save_file(tensors, file, {"format": "pt"})


# --- there and back


def test_what_is_saved_comes_back(loaded: RSMoE, tmp_path: Path):
    save_checkpoint(loaded, tmp_path / "new", half=False, card="# a card\n")
    again = load_checkpoint(tmp_path / "new")
    assert again.adapters == ADAPTERS and again.config == loaded.config
    first, second = outputs(loaded), outputs(again)
    assert set(first) == {*ADAPTERS, "seen", "gate", "soft"}
    for name in first:
        torch.testing.assert_close(second[name], first[name])
    assert same_tensors(loaded, again)
    assert (tmp_path / "new" / "README.md").read_text() == "# a card\n"
    for path in [tmp_path / "new", *(tmp_path / "new").rglob("*")]:  # others of this machine may read it
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)


def test_half_precision_is_near_and_half_the_size(loaded: RSMoE, tiny_checkpoint: Path, tmp_path: Path):
    save_checkpoint(loaded, tmp_path / "half")
    first, second = loaded.state_dict(), load_checkpoint(tmp_path / "half").state_dict()
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=1e-3, atol=1e-6)
    full = (tiny_checkpoint / "model.safetensors").stat().st_size
    assert (tmp_path / "half" / "model.safetensors").stat().st_size < 0.52 * full


def test_the_files_are_those_that_others_read(tiny_checkpoint: Path):
    found = {file.relative_to(tiny_checkpoint).as_posix() for file in tiny_checkpoint.rglob("*") if file.is_file()}
    assert {"config.json", "model.safetensors", "router.safetensors", "README.md", "tokenizer/tokenizer.json"} <= found
    assert {"llm/config.json", "llm/model.safetensors"} <= found
    for name in ADAPTERS:
        assert {f"experts/{name}/adapter_config.json", f"experts/{name}/adapter_model.safetensors"} <= found
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in found)
    # names as PEFT and SGLang expect them, the LLM without a trace of its adapters
    adapter = load_file(tiny_checkpoint / "experts" / "theme" / "adapter_model.safetensors")
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in adapter
    llm = load_file(tiny_checkpoint / "llm" / "model.safetensors")
    assert "model.layers.0.self_attn.q_proj.weight" in llm
    assert not any("lora" in name or "base_layer" in name for name in llm)


def test_the_tokenizer_is_stored_without_indentation(tiny_checkpoint: Path):
    text = (tiny_checkpoint / "tokenizer" / "tokenizer.json").read_text("utf-8")
    assert text.count("\n") == 1 and '", "' not in text


def test_the_llm_folder_is_one_that_transformers_reads_alone(tiny_checkpoint: Path, loaded: RSMoE):
    from transformers import AutoModelForCausalLM

    llm, info = AutoModelForCausalLM.from_pretrained(tiny_checkpoint / "llm", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    with loaded.llm.disable_adapter(), torch.inference_mode():
        ids = torch.tensor([[5, 6, 7]])
        torch.testing.assert_close(llm(input_ids=ids).logits, loaded.llm(input_ids=ids).logits)


def test_the_llm_names_its_class_as_servers_ask_for_it(loaded: RSMoE, tmp_path: Path):
    save_checkpoint(loaded, tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "llm" / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]


def test_no_path_of_this_machine_is_saved(loaded: RSMoE, tiny_checkpoint: Path, tmp_path: Path):
    save_checkpoint(loaded, tmp_path / "new")
    for file in (tmp_path / "new").rglob("*.json"):
        assert str(tiny_checkpoint.parent) not in file.read_text(), file


def test_equal_networks_give_equal_folders(loaded: RSMoE, tiny_checkpoint: Path, tmp_path: Path):
    """Whether trained in this process or read from a folder, and whatever order a set of names has today."""
    save_checkpoint(loaded, tmp_path / "new", half=False)
    assert checkpoint_digest(tmp_path / "new") == checkpoint_digest(tiny_checkpoint)
    adapter = json.loads((tmp_path / "new" / "experts" / "theme" / "adapter_config.json").read_text())
    assert adapter["target_modules"] == sorted(adapter["target_modules"])


def test_only_the_adapters_that_are_wanted(tiny_checkpoint: Path):
    assert load_checkpoint(tiny_checkpoint, adapters=["object", "theme"]).adapters == ["object", "theme"]


def test_a_loaded_network_is_frozen_and_ready(loaded: RSMoE):
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())


def test_the_digest_follows_what_decides_the_words(folder: Path):
    before = checkpoint_digest(folder)
    replace(folder / "README.md", "another card")
    assert checkpoint_digest(folder) == before
    retensor(folder / "router.safetensors", lambda t: t["base"].add_(1e-3))
    assert checkpoint_digest(folder) != before


# --- saving fails


def test_a_failed_save_leaves_nothing_and_keeps_the_old_one(loaded: RSMoE, folder: Path):
    before = checkpoint_digest(folder)
    loaded.tokenizer = None  # type: ignore[assignment]  # breaks half-way, after two files
    with pytest.raises(AttributeError):
        save_checkpoint(loaded, folder)
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]
    assert checkpoint_digest(folder) == before


def test_an_old_checkpoint_is_replaced_whole(loaded: RSMoE, folder: Path):
    (folder / "experts" / "weather").mkdir()
    save_checkpoint(loaded, folder)
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]
    assert sorted(path.name for path in (folder / "experts").iterdir()) == ADAPTERS


def test_a_folder_of_something_else_is_never_replaced(loaded: RSMoE, tmp_path: Path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("do not lose me")
    with pytest.raises(CheckpointError, match="thesis exists and is no checkpoint"):
        save_checkpoint(loaded, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "do not lose me"


def test_a_network_ready_for_decoding_is_not_saved_half(network: RSMoE, tmp_path: Path):
    with pytest.raises(ValueError, match="before `mix`"):
        save_checkpoint(network, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


# --- folders that are no checkpoint


def test_no_folder(tmp_path: Path):
    assert "no checkpoint folder" in fault(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    assert "no checkpoint folder" in fault(tmp_path / "file")


def test_a_folder_without_a_configuration_is_not_searched(tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(pickle.dumps("somebody's home"))
    assert "no config.json" in fault(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "router.safetensors",
        "tokenizer/tokenizer.json",
        "llm/config.json",
        "llm/model.safetensors",
        "experts/object/adapter_model.safetensors",
        "experts/object/adapter_config.json",
        "experts/composer/adapter_model.safetensors",
        "experts/single/adapter_model.safetensors",
    ],
)
def test_a_missing_file_is_named(folder: Path, name: str):
    (folder / name).unlink()
    line = fault(folder)
    assert Path(name).name in line and Path(name).parent.name in line


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1, 2]", b"null", b'"text"', b"\xff\xfe\x00", b"[" * 100_000, b'{"format": 1}', b" " * 2_000_000 + b"{}"],
    ids=["empty", "cut", "list", "null", "text", "no utf-8", "deep", "too little", "huge"],
)
@pytest.mark.parametrize("name", ["config.json", "experts/theme/adapter_config.json"])
def test_json_that_is_none(folder: Path, name: str, content: bytes):
    replace(folder / name, content)
    line = fault(folder)
    assert "config" in line or "adapter" in line


def test_a_pipe_in_the_place_of_a_file_does_not_hang(folder: Path):
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert "config.json" in fault(folder)


@pytest.mark.parametrize("version", [0, 1, 3, "2", None, [2]])
def test_another_format_version(folder: Path, version: object):
    edit(folder / "config.json", lambda config: config.update(format=version))
    assert "format version" in fault(folder)


CONFIGS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "colour": lambda config: config.update(colour="red"),
    "llm_dim": lambda config: config.update(llm_dim=0),
    "experts": lambda config: config.update(experts=["theme", "theme"]),
    "'composer'": lambda config: config.update(experts=["theme", "composer"]),
    "'single'": lambda config: config.update(experts=["single"]),
    "experts.0": lambda config: config.update(experts=["../../theme"]),
    "heads": lambda config: config["vlm_encoder"].update(heads=5),
    "vlm_encoder.dim": lambda config: config["vlm_encoder"].update(dim=10**12),
    "vlm_encoder.layers": lambda config: config["vlm_encoder"].update(layers=10**6),
    "vlm_encoder.scales": lambda config: config["vlm_encoder"].update(scales=[12, 1280]),
    "image_encoder.kind": lambda config: config["image_encoder"].update(kind="vit_g"),
    "image_encoder.size": lambda config: config["image_encoder"].update(size=225),
}


@pytest.mark.parametrize("named", CONFIGS)
def test_an_impossible_configuration_is_named(folder: Path, named: str):
    edit(folder / "config.json", CONFIGS[named])
    line = fault(folder)
    assert "config.json" in line and named in line


def test_sizes_of_other_weights(folder: Path):
    edit(folder / "config.json", lambda config: config["vlm_encoder"].update(dim=64))
    assert "does not fit the VLM encoder" in fault(folder)
    edit(folder / "config.json", lambda config: config["vlm_encoder"].update(dim=32))
    edit(folder / "config.json", lambda config: config.update(llm_dim=64))
    assert "32 wide, config.json says 64" in fault(folder)


# --- tensors


@pytest.mark.parametrize("name", ["model.safetensors", "router.safetensors", "llm/model.safetensors",
                                  "experts/relation/adapter_model.safetensors"])  # fmt: skip
@pytest.mark.parametrize("damage", ["cut", "pickle", "text", "empty", "long header"])
def test_damaged_tensors_are_named(folder: Path, name: str, damage: str):
    whole = (folder / name).read_bytes()
    content = {
        "cut": whole[: len(whole) // 2], "pickle": pickle.dumps({"weights": [1.0]}), "text": b"hello", "empty": b"",
        "long header": b"\xff" * 8 + whole[8:],
    }[damage]  # fmt: skip
    replace(folder / name, content)
    line = fault(folder)
    assert Path(name).parent.name in line or name in line


def test_a_tensor_of_a_wrong_shape_is_named(folder: Path):
    retensor(folder / "router.safetensors", lambda t: t.update(base=torch.zeros(3, 2, 5)))
    assert "base" in fault(folder)


def test_a_tensor_that_is_missing_or_too_many_is_named(folder: Path):
    retensor(folder / "model.safetensors", lambda t: t.pop("vlm_encoder.query_tokens"))
    assert "query_tokens" in fault(folder)
    retensor(folder / "model.safetensors", lambda t: t.clear())
    assert "image encoder" in fault(folder)


def test_an_llm_with_a_missing_tensor_is_not_filled_with_noise(folder: Path):
    retensor(folder / "llm" / "model.safetensors", lambda t: t.pop("model.layers.0.mlp.up_proj.weight"))
    assert "model.layers.0.mlp.up_proj.weight" in fault(folder)


def test_an_llm_of_a_wrong_shape(folder: Path):
    retensor(folder / "llm" / "model.safetensors", lambda t: t.update({"model.norm.weight": torch.zeros(7)}))
    assert "the LLM" in fault(folder)


ADAPTER_FAULTS: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "lacks": lambda t: t.pop("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"),
    "has too much": lambda t: t.update({"base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight": torch.zeros(4, 32)}),
    "other rank": lambda t: t.update({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": torch.zeros(9, 32)}),
}


@pytest.mark.parametrize("damage", ADAPTER_FAULTS)
@pytest.mark.parametrize("name", ["composer", "theme"])  # the first that is loaded, and a later one
def test_an_adapter_that_does_not_fit(folder: Path, name: str, damage: str):
    retensor(folder / "experts" / name / "adapter_model.safetensors", ADAPTER_FAULTS[damage])
    line = fault(folder)
    assert name in line and "does not fit the LLM" in line


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "PROMPT_TUNING"},
        {"peft_type": 3},
        {"megatron_config": {"a": 1}, "megatron_core": "antigravity"},
        {"target_modules": ["no_such_layer"]},
        {"target_modules": 5},
        {"r": -1},
        {"r": "many"},
    ],
    ids=str,
)
def test_an_adapter_of_another_kind(folder: Path, change: dict[str, Any]):
    edit(folder / "experts" / "theme" / "adapter_config.json", lambda config: config.update(change))
    assert "theme" in fault(folder)


# --- what could do harm


@pytest.mark.parametrize("name", ["pytorch_model.bin", "experts/theme/adapter_model.BIN", "llm/old/x.pt", "a.pickle", "b.ckpt"])
def test_a_pickle_anywhere_is_refused(folder: Path, name: str):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(pickle.dumps("harmless"))
    line = fault(folder)
    assert "pickle" in line and Path(name).name in line


def test_an_adapter_behind_a_link_brings_no_pickle(folder: Path, tmp_path: Path):
    """A linked folder is not searched, and PEFT reads adapter_model.bin where it finds no safetensors."""
    outside = tmp_path / "outside"
    shutil.copytree(folder / "experts" / "theme", outside)
    (outside / "adapter_model.safetensors").unlink()
    (outside / "adapter_model.bin").write_bytes(pickle.dumps({}))
    (folder / "experts" / "weather").symlink_to(outside)
    assert "weather is incomplete" in fault(folder)


def test_code_beside_the_llm_is_not_run(folder: Path):
    (folder / "llm" / "evil.py").write_text("raise SystemExit('it ran')")
    edit(folder / "llm" / "config.json", lambda c: c.update(auto_map={"AutoModelForCausalLM": "evil.Evil"}, model_type="evil"))
    assert "the LLM" in fault(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        {"model_type": "bert"},
        {"hidden_size": -3},
        {"vocab_size": 50},
    ],
    ids=str,
)
def test_an_llm_configuration_that_cannot_be(folder: Path, change: dict[str, Any]):
    edit(folder / "llm" / "config.json", lambda config: config.update(change))
    assert "llm" in fault(folder).lower()


# --- tokenizers


def test_a_tokenizer_that_is_none(folder: Path):
    for content in ("{}", "not json", '{"version": "1.0", "model": {"type": "Nothing"}}'):
        replace(folder / "tokenizer" / "tokenizer.json", content)
        assert "tokenizer" in fault(folder)


def test_a_tokenizer_without_the_token_that_begins_an_answer(folder: Path):
    edit(folder / "tokenizer" / "tokenizer_config.json", lambda config: config.pop("bos_token"))
    assert "needs tokens for padding, begin and end" in fault(folder)


def test_a_tokenizer_with_more_tokens_than_the_network_knows(folder: Path):
    def add(config: dict[str, Any]) -> None:
        token = dict(config["added_tokens"][0], id=400, content="<new>")
        config["added_tokens"].append(token)

    edit(folder / "tokenizer" / "tokenizer.json", add)
    assert "401 tokens, its networks know 400" in fault(folder)


# --- an LLM that lies elsewhere


def test_an_llm_in_another_folder(folder: Path, tiny_checkpoint: Path):
    shutil.move(folder / "llm", folder.parent / "elsewhere")
    edit(folder / "config.json", lambda config: config.update(llm=str(folder.parent / "elsewhere")))
    assert same_tensors(load_checkpoint(folder), load_checkpoint(tiny_checkpoint))


def test_a_hub_that_cannot_be_reached_is_the_machines_trouble(folder: Path):
    shutil.rmtree(folder / "llm")
    edit(folder / "config.json", lambda config: config.update(llm="nobody/has-this-model"))
    with pytest.raises(EngineError, match="nobody/has-this-model") as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 1


def test_a_folder_that_is_not_there_is_the_users(folder: Path):
    edit(folder / "config.json", lambda config: config.update(llm="/no/such/folder"))
    assert "/no/such/folder" in fault(folder)


def test_out_of_memory_is_the_machines_trouble():
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...\nmore")):
        said = failure("the LLM cannot be loaded", error)
        assert isinstance(said, EngineError) and str(said) == "the LLM cannot be loaded: out of memory"


def test_reading_a_configuration_is_light(tiny_checkpoint: Path):
    assert read_config(tiny_checkpoint).experts == ["theme", "object", "relation"]
