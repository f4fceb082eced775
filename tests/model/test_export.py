"""A checkpoint for other programs: an expert merged into its LLM says the same, and two checkpoints are told apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rsagent.errors import CheckpointError, UserError
from rsagent.model.checkpoint import load_checkpoint
from rsagent.model.export import compare, merge_expert


def test_a_merged_expert_is_a_plain_llm_that_says_the_same(tiny_checkpoint: Path, tmp_path: Path):
    out = merge_expert(tiny_checkpoint, "object", tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(out, use_safetensors=True).eval()
    assert not any("lora" in name for name, _ in plain.named_parameters())
    network = load_checkpoint(tiny_checkpoint, adapters=["object"])
    ids = AutoTokenizer.from_pretrained(out)("many small boats", return_tensors="pt", add_special_tokens=False).input_ids
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits, network.llm(ids).logits, atol=1e-3, rtol=1e-3)


def test_nothing_is_overwritten_and_an_adapter_must_be_there(tiny_checkpoint: Path, tmp_path: Path):
    with pytest.raises(UserError, match="no adapter 'weather': choose one of composer, object"):
        merge_expert(tiny_checkpoint, "weather", tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists: give a new folder"):
        merge_expert(tiny_checkpoint, "object", tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_equal_checkpoints_have_no_difference(tiny_checkpoint: Path):
    keys, files = compare(tiny_checkpoint, tiny_checkpoint)
    assert not keys and files
    assert all(file.changed == 0 and not file.only and file.change == 0 for file in files)


def test_a_difference_is_found_where_it_is(tiny_checkpoint: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(tiny_checkpoint, other)
    file = other / "experts" / "theme" / "adapter_model.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[0]
    save_file({**tensors, name: tensors[name] * 2}, file)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"name": "other"}))
    shutil.rmtree(other / "experts" / "single")
    keys, files = compare(tiny_checkpoint, other)
    assert keys == {"name": ("test", "other")}
    found = {row.file: row for row in files}
    theme = found["experts/theme/adapter_model.safetensors"]
    assert (theme.changed, theme.same) == (1, len(tensors) - 1) and theme.change > 0
    assert found["experts/single/adapter_model.safetensors"].only == ("A",)
    assert found["router.safetensors"].changed == 0


def test_what_is_no_checkpoint(tiny_checkpoint: Path, tmp_path: Path):
    with pytest.raises(CheckpointError):
        compare(tiny_checkpoint, tmp_path)
