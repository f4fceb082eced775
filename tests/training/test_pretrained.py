"""Weights as people have them, on tiny folders of the published structure: the same numbers come out, faults are one line."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration, LlamaConfig, LlamaForCausalLM

import rsagent.training.stages as stages
from rsagent.errors import CheckpointError, EngineError, RSAgentError, UserError
from rsagent.model.checkpoint import load_checkpoint, save_checkpoint
from rsagent.model.image_encoder import ImageFeatures
from rsagent.model.network import COMPOSER, SINGLE, RSMoE
from rsagent.model.pretrained import load_llm, load_llm_tokenizer
from rsagent.training.batches import Stores
from rsagent.training.beginning import begin, start_of
from rsagent.training.corpus import Corpus
from rsagent.training.features import FeatureStore
from rsagent.training.fresh import train_tokenizer
from rsagent.training.instructblip_weights import read_instructblip
from rsagent.training.material import Material
from rsagent.training.placement import adapt_llm
from rsagent.training.pretrained import go_on_speaking, pretrained_network, spoke_to_it
from rsagent.training.recipe import Recipe
from tests.gguf_file import write_gguf

WORDS = ["two white planes stand beside a runway", "describe this image in detail", "many boats lie in a harbour"] * 3
LLM = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 400, "tie_word_embeddings": False,
}  # fmt: skip


def loud(module: torch.nn.Module) -> None:
    """InstructBLIP's ViT starts as good as nothing, and then every wrong mapping would look right."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


@pytest.fixture(scope="module")
def published() -> InstructBlipForConditionalGeneration:
    """An InstructBLIP of 2 + 2 + 2 layers; widths that tell the heads of LAVIS' files."""
    config = InstructBlipConfig(
        vision_config={"hidden_size": 176, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
                       "image_size": 28},
        qformer_config={"vocab_size": 320, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
                        "intermediate_size": 96, "encoder_hidden_size": 176, "max_position_embeddings": 64},
        text_config={"model_type": "llama", **LLM},
        num_query_tokens=4,
    )  # fmt: skip
    model = InstructBlipForConditionalGeneration(config).eval()
    loud(model)
    return model


def tokenizers(folder: Path) -> None:
    train_tokenizer(WORDS, 400).save_pretrained(folder)
    train_tokenizer(WORDS, 300).save_pretrained(folder / "qformer_tokenizer")


@pytest.fixture(scope="module")
def folder(published: InstructBlipForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the hub serves it: sharded safetensors, two tokenizers."""
    folder = tmp_path_factory.mktemp("instructblip")
    published.save_pretrained(folder, max_shard_size="200KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    tokenizers(folder)
    return folder


def lavis_name(name: str) -> str | None:
    """What LAVIS calls a tensor of transformers' InstructBLIP, written from its modules; None: it has no such tensor."""
    for pattern, replacement in (
        (r"^vision_model\.embeddings\.class_embedding$", "visual_encoder.cls_token"),
        (r"^vision_model\.embeddings\.position_embedding$", "visual_encoder.pos_embed"),
        (r"^vision_model\.embeddings\.patch_embedding", "visual_encoder.patch_embed.proj"),
        (r"^vision_model\.encoder\.layers\.(\d+)\.layer_norm", r"visual_encoder.blocks.\1.norm"),
        (r"^vision_model\.encoder\.layers\.(\d+)\.self_attn\.projection", r"visual_encoder.blocks.\1.attn.proj"),
        (r"^vision_model\.encoder\.layers\.(\d+)\.self_attn", r"visual_encoder.blocks.\1.attn"),
        (r"^vision_model\.encoder\.layers\.(\d+)\.mlp", r"visual_encoder.blocks.\1.mlp"),
        (r"^vision_model\.post_layernorm", "ln_vision"),
        (r"^qformer\.embeddings\.layernorm", "Qformer.bert.embeddings.LayerNorm"),
        (r"^qformer\.(.*attention)\.attention\.", r"Qformer.bert.\1.self."),
        (r"^qformer\.", "Qformer.bert."),
        (r"^language_projection", "llm_proj"),
        (r"^query_tokens$", "query_tokens"),
    ):
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name)
    return None


def as_lavis(model: InstructBlipForConditionalGeneration) -> dict[str, torch.Tensor]:
    """The tensors under LAVIS' names, the biases of queries and values apart, with some that we have no use for."""
    found: dict[str, torch.Tensor] = {"Qformer.bert.embeddings.position_ids": torch.arange(64)[None]}
    for name, tensor in model.state_dict().items():
        renamed = lavis_name(name)
        if renamed is None:
            continue
        if renamed.endswith("qkv.bias"):
            queries, _, values = tensor.chunk(3)
            found[renamed.replace("qkv.bias", "q_bias")], found[renamed.replace("qkv.bias", "v_bias")] = queries, values
        else:
            found[renamed] = tensor
    return found


@pytest.fixture
def lavis(published: InstructBlipForConditionalGeneration, tmp_path: Path) -> Path:
    """LAVIS' two files: the ViT's, with bare names, and the rest; the Q-Former's tokenizer beside them."""
    tensors = as_lavis(published)
    vision = {name.removeprefix("visual_encoder."): t for name, t in tensors.items() if name.startswith("visual_encoder.")}
    rest = {name: t for name, t in tensors.items() if not name.startswith("visual_encoder.")}
    torch.save(vision, tmp_path / "eva_vit_g.pth")
    torch.save({"model": rest}, tmp_path / "instruct_blip.pth")
    train_tokenizer(WORDS, 300).save_pretrained(tmp_path / "qformer_tokenizer")
    return tmp_path


def recipe(llm: Path | str, encoder: Path | str, vision: Path | None = None) -> Recipe:
    weights = {"llm": str(llm), "encoder": str(encoder), "vision": None if vision is None else str(vision)}
    run = {"samples": 8, "batch": 4, "lr": 1e-3}
    small = {"soft_prompts": 2, "router_rank": 4, "lora_rank": 2, "qformer_lora_rank": 2}
    return Recipe.model_validate(
        {"name": "t", "scenes": 0, "weights": weights, "network": small, "optim": run, "composer": {"reports": 4}}
    )


def outputs(network: RSMoE, pixels: torch.Tensor, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        features = network.image_encoder.eval()(pixels)
        seen, _ = network.vlm_encoder.eval()(network.look(features), words, torch.ones_like(words))
    return torch.cat([features.coarse.flatten(2), features.fine.flatten(2)], 2).transpose(1, 2), seen.projected


def assert_same(network: RSMoE, model: InstructBlipForConditionalGeneration) -> None:
    """The same picture and instruction give the same tokens and the same F_VLM."""
    pixels, words = torch.rand(2, 3, 28, 28) * 2 - 1, torch.tensor([[5, 6, 7], [9, 8, 4]])
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    scaled = (((pixels * 128 + 127) / 255) - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    with torch.no_grad():
        tokens = model.vision_model(pixel_values=scaled).last_hidden_state
        queries = model.query_tokens.expand(2, -1, -1)
        hidden = model.qformer(
            input_ids=words,
            attention_mask=torch.ones(2, 7, dtype=torch.long),
            query_embeds=queries,
            encoder_hidden_states=tokens,
        ).last_hidden_state[:, :4]
        projected = model.language_projection(hidden)
    ours, f_vlm = outputs(network, pixels, words)
    torch.testing.assert_close(ours, tokens, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(f_vlm, projected, atol=1e-4, rtol=1e-4)


def test_a_folder_of_the_hub(folder: Path, published: InstructBlipForConditionalGeneration):
    network = pretrained_network(recipe(folder, folder), None, ["rsicap"])
    assert_same(network, published)
    inner = network.llm.model.layers[1].mlp.up_proj.weight
    torch.testing.assert_close(inner, published.language_model.model.layers[1].mlp.up_proj.weight.to(torch.bfloat16))
    assert len(network.words_tokenizer) < len(network.tokenizer)


def test_lavis_files(folder: Path, lavis: Path, published: InstructBlipForConditionalGeneration):
    network = pretrained_network(recipe(folder, lavis / "instruct_blip.pth", lavis / "eva_vit_g.pth"), None, [])
    for name, tensor in published.vision_model.state_dict().items():
        if name.endswith("qkv.bias"):  # keys have no bias in LAVIS
            width = len(tensor) // 3
            published.vision_model.state_dict()[name][width : 2 * width] = 0
    assert_same(network, published)


def test_a_projection_of_another_width_is_new(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    LlamaForCausalLM(LlamaConfig(**{**LLM, "hidden_size": 32})).save_pretrained(tmp_path)
    train_tokenizer(WORDS, 400).save_pretrained(tmp_path)
    with caplog.at_level("INFO"):
        network = pretrained_network(recipe(tmp_path, folder), None, [])
    assert network.vlm_encoder.projection.weight.shape == (32, 128)
    spoken = network.vlm_encoder.projection(torch.randn(64, 128)).std().item()  # as large as the LLM's own words
    assert spoken == pytest.approx(network.llm.get_input_embeddings().weight.float().std().item(), rel=0.1)
    assert "projection is new" in caplog.text


def test_a_tokenizer_without_padding_gets_some(tmp_path: Path):
    LlamaForCausalLM(LlamaConfig(**LLM)).save_pretrained(tmp_path)
    tokenizer = train_tokenizer(WORDS, 400)
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({key: value for key, value in config.items() if key not in ("pad_token", "bos_token")})
    )
    read = load_llm_tokenizer(str(tmp_path))
    assert read.pad_token == read.bos_token == read.eos_token == "</s>"


def test_a_gguf_file(tmp_path: Path):
    pytest.importorskip("gguf", reason="needs pip install 'rsagent[train]'")
    torch.manual_seed(0)
    llm = LlamaForCausalLM(LlamaConfig(**LLM))
    write_gguf(llm, tmp_path / "tiny.gguf")
    train_tokenizer(WORDS, 400).save_pretrained(tmp_path)
    read = load_llm(str(tmp_path / "tiny.gguf"), torch.float32)
    ids = torch.tensor([[5, 9, 12]])
    torch.testing.assert_close(read(ids).logits, llm(ids).logits, atol=1e-3, rtol=1e-3)
    assert load_llm_tokenizer(str(tmp_path / "tiny.gguf")).eos_token == "</s>"


# --- what can be wrong


def fault(call: Any, *arguments: Any) -> str:
    with pytest.raises(RSAgentError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_pickle_that_does_more_than_hold_tensors_is_refused(lavis: Path):
    class Harm:
        def __reduce__(self) -> Any:
            return (Path.touch, (lavis / "harmed",))

    (lavis / "harm.pth").write_bytes(pickle.dumps({"model": Harm()}))
    assert "more than tensors" in fault(read_instructblip, str(lavis / "harm.pth"))
    assert not (lavis / "harmed").exists()


def test_lavis_without_its_vit(lavis: Path):
    assert "weights.vision" in fault(read_instructblip, str(lavis / "instruct_blip.pth"))
    assert "cannot be read" in fault(read_instructblip, str(lavis / "gone.pth"))


def test_a_folder_of_pickles(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "pytorch_model.bin").touch()
    assert "convert them" in fault(load_llm, str(tmp_path), torch.float32)


def test_a_missing_shard_is_named(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "cut")
    gone = sorted((tmp_path / "cut").glob("*.safetensors"))[1]
    gone.unlink()
    assert gone.name in fault(read_instructblip, str(tmp_path / "cut"))


def test_no_instructblip(tmp_path: Path):
    LlamaForCausalLM(LlamaConfig(**LLM)).save_pretrained(tmp_path)
    assert "no InstructBLIP" in fault(read_instructblip, str(tmp_path))


def test_a_gated_model_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    def refuse(*_: Any, **__: Any) -> str:
        error = GatedRepoError.__new__(GatedRepoError)
        Exception.__init__(error, "403 Client Error")
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(CheckpointError, match="ask for access on its page, then run `hf auth login`"):
        load_llm("meta-llama/Llama-3.2-1B", torch.float32)


def test_offline(tmp_path: Path):
    with pytest.raises(EngineError, match="the hub cannot be reached: give a folder"):
        load_llm("nobody/has-this-model", torch.float32)
    assert "no GGUF file" in fault(load_llm, str(tmp_path / "gone.gguf"), torch.float32)


# --- going on from a checkpoint


def started(llm: Path, start: Path | str, **changes: int) -> Recipe:
    network = {"soft_prompts": 2, "router_rank": 4, "lora_rank": 2, "merge": 2, **changes}
    run = {"samples": 8, "batch": 4, "lr": 1e-3}
    return Recipe.model_validate(
        {"name": "t", "weights": {"llm": str(llm)}, "start": str(start), "network": network, "optim": run,
         "composer": {"reports": 4}}
    )  # fmt: skip


def begun(chosen: Recipe, out: Path) -> RSMoE:
    """The network that stage I of `chosen` begins with."""
    out.mkdir()
    start = start_of(chosen, out)
    assert start is not None
    network = pretrained_network(chosen, start, ["ucm"])
    adapt_llm(network, chosen.network)
    if spoke_to_it(start, chosen):
        go_on_speaking(network.llm, start.llm)
    return network


def test_stage_one_goes_on_from_a_checkpoint_of_the_same_llm_alone(tmp_path: Path):
    llm = tmp_path / "llm"
    LlamaForCausalLM(LlamaConfig(**{**LLM, "hidden_size": 32})).save_pretrained(llm)
    train_tokenizer(WORDS, 400).save_pretrained(llm)
    first = begun(started(llm, "tiny"), tmp_path / "1")
    for part in (first.vlm_encoder.projection, first.llm):
        for name, parameter in part.named_parameters():
            if name == "weight" or ".lora_B." in name:
                torch.nn.init.constant_(parameter, 0.25)
    for name in (*first.config.experts, COMPOSER):  # a checkpoint is whole with them alone
        first.llm.add_adapter(name, first.llm.peft_config[SINGLE])
    checkpoint = tmp_path / "checkpoint"
    save_checkpoint(first, checkpoint)
    again = begun(started(llm, checkpoint), tmp_path / "2")
    torch.testing.assert_close(again.vlm_encoder.projection.weight, first.vlm_encoder.projection.weight)
    learnt = {name: tensor for name, tensor in first.llm.state_dict().items() if ".lora_" in name and f".{SINGLE}." in name}
    assert len(learnt) > 8
    for name, tensor in learnt.items():
        torch.testing.assert_close(again.llm.state_dict()[name], tensor, atol=1e-3, rtol=1e-2)  # kept as float16
    wider, ids = begun(started(llm, checkpoint, lora_rank=5), tmp_path / "wider"), torch.tensor([[5, 9, 12]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(wider.llm(ids).logits, again.llm(ids).logits)
        with wider.llm.disable_adapter():
            bare = wider.llm(ids).logits
        assert not torch.allclose(wider.llm(ids).logits, bare)
    for chosen in (started(llm, checkpoint, lora_rank=1), started(llm, checkpoint, merge=3)):
        other = begun(chosen, tmp_path / f"{chosen.network.merge}-{chosen.network.lora_rank}")
        assert not any(bool(tensor.any()) for name, tensor in other.llm.state_dict().items() if ".lora_B." in name)
        assert float((other.vlm_encoder.projection.weight == 0.25).float().mean()) < 0.1


def test_the_head_reads_the_last_tokens_in_one_piece(tmp_path: Path):
    """A slice with gaps makes torch copy the head's matrix for every row."""
    LlamaForCausalLM(LlamaConfig(**LLM)).save_pretrained(tmp_path)
    llm, read = load_llm(str(tmp_path), torch.float32), []
    llm.get_output_embeddings().register_forward_hook(lambda _module, given, _output: read.append(given[0].is_contiguous()))
    ids = torch.tensor([[5, 9, 12], [3, 3, 4]])
    last = llm(ids, logits_to_keep=1).logits
    torch.testing.assert_close(last, llm(ids).logits[:, -1:])
    assert read == [True, True]


# --- both stages on such a stack


@pytest.mark.slow
def test_both_stages_and_a_checkpoint(folder: Path, corpus: Corpus, tmp_path: Path):
    """Stage I, stage II and the composer run; the checkpoint names its LLM, holds none of it, and loads again."""
    pytest.importorskip("accelerate", reason="needs pip install 'rsagent[train]'")
    chosen = recipe(folder, folder)
    network = pretrained_network(chosen, None, ["ucm", "rsicd"])
    network.requires_grad_(False)
    rng = np.random.default_rng(0)
    store = FeatureStore(*(rng.normal(size=(16, 176, side, side)).astype(np.float16) for side in (2, 1)))
    material = Material(corpus, Stores([store]), network.tokenizer, [], network.words_tokenizer)
    frozen = {name: tensor.clone() for name, tensor in network.llm.state_dict().items()}
    stages.train_stage1(network, chosen, material, tmp_path, resume=False)
    stages.train_stage2(network, chosen, material, tmp_path, resume=False)
    stages.train_composer(network, chosen, material, tmp_path, lambda *_: None, resume=False)
    save_checkpoint(network, tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint" / "llm").exists()
    assert sum(file.stat().st_size for file in tmp_path.glob("stage2.safetensors")) < 200_000
    again = load_checkpoint(tmp_path / "checkpoint")
    assert again.adapters == ["composer", "object", "relation", "single", "theme"]
    base = again.llm.get_base_model().state_dict()
    for name, tensor in frozen.items():
        plain = name if name in base else re.sub(r"\.(weight|bias)$", r".base_layer.\1", name)
        torch.testing.assert_close(base[plain].to(torch.bfloat16), tensor.to(torch.bfloat16))
    features = ImageFeatures(torch.zeros(1, 176, 2, 2), torch.zeros(1, 176, 1, 1))
    with torch.no_grad():
        seen, _ = again.see(again.look(features), ["describe this image"])
        ours, _ = network.eval().see(network.look(features), ["describe this image"])
    torch.testing.assert_close(seen.projected, ours.projected, atol=2e-2, rtol=2e-2)  # kept as float16


def test_stage_one_is_not_left_out_before_another_llm(tmp_path: Path):
    """The start has never spoken with this LLM, so there is nothing that could stay as it is; no data is read for that."""
    given = started(tmp_path / "llm", "tiny").model_dump(exclude_unset=True) | {"stage1": None, "optim": None}
    with pytest.raises(UserError, match="stage1 cannot be left out: the start 'tiny' has not been through it"):
        begin(Recipe.model_validate(given), tmp_path / "data", tmp_path, lambda *_: None)
