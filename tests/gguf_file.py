"""A Llama written as a GGUF file, as llama.cpp's converter does it, without its tokenizer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_NAMES = {
    "embed_tokens": "token_embd", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "lm_head": "output", "norm": "output_norm",
}  # fmt: skip


def write_gguf(llm: Any, file: Path) -> None:
    """Write a LlamaForCausalLM; where words are tied it has no output layer of its own."""
    import gguf

    config = llm.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    for name, tensor in llm.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        plain = name.removeprefix("model.").removesuffix(".weight")
        place = re.match(r"layers\.(\d+)\.(.*)", plain)
        theirs = f"blk.{place[1]}.{_NAMES[place[2]]}" if place else _NAMES[plain]
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(theirs.rsplit(".", 1)[-1])
        if heads:  # GGUF keeps the two halves of a head's rotation interleaved
            tensor = tensor.view(heads, 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)
        writer.add_tensor(f"{theirs}.weight", tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
