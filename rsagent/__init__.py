"""rsagent: an agent that looks at aerial and satellite images.

A learned instruction router writes one prompt for each expert, the experts (LoRA adapters on one base LLM) answer in
parallel, and a composer makes the caption or the answer. Importing this package loads no torch and no LangGraph.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsagent.agent import RSAgent
    from rsagent.graphs import create_graph
    from rsagent.schemas import Answer, Caption

__version__ = "0.1.0"
__all__ = ["Answer", "Caption", "RSAgent", "__version__", "create_graph"]

_HOMES = {
    "RSAgent": "rsagent.agent",
    "create_graph": "rsagent.graphs",
    "Caption": "rsagent.schemas",
    "Answer": "rsagent.schemas",
}


def __getattr__(name: str) -> Any:  # the import waits until somebody asks, so that `import rsagent` stays light
    if name not in _HOMES:
        raise AttributeError(f"module 'rsagent' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
