"""The plugin for SGLang's server: RS-MoE experts that read F_VLM and soft prompts as embeddings.

The server imports it as `rsagent_sglang`, in its own environment, so it imports nothing of rsagent.
"""
