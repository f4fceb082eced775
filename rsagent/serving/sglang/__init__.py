"""RS-MoE experts on SGLang: a plugin for its server, the launch of that server, and a client's view of it.

The server runs in an environment of its own, whose pins are not ours; nothing here imports SGLang but `plugin`, which only
the server loads.
"""

SGLANG_VERSION = "0.5.23"
"""The server's version: its interface for models of others changes from release to release."""

ARCHITECTURE = "RSMoEForCausalLM"
"""The plugin's model class, by which a server of RS-MoE experts is known."""
