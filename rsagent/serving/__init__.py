"""rsagent behind a server: what runs the experts elsewhere, and what offers the agent to others."""
