"""rsagent as a server: the OpenAI-compatible one (`web`, extra `serve`) and the MCP one (`mcp`, extra `mcp`)."""
