"""Cells of a notebook: results show themselves as tables, and nothing needs `await`, although a loop is running.

Run: python examples/notebook.py photo.tif (or paste the cells below into Jupyter)
"""

# %%
import sys
from typing import Any

from rsagent import RSAgent


# %%
def main(image: Any, agent: RSAgent) -> list[Any]:
    with agent.sync as eyes:
        caption = eyes.caption(image)  # as the last line of a cell: a table with the aspects
        answer = eyes.ask(image, "How many buildings are there?")
    return [caption, answer]


# %%
if __name__ == "__main__":
    for result in main(sys.argv[1], RSAgent()):
        print(result.to_markdown(), end="\n\n")
