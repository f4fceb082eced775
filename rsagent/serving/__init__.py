"""rsagent behind a server: what runs the experts elsewhere (`sglang`), and what offers the agent to others (`web`, `mcp`)."""
