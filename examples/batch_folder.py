"""Caption every picture of a folder, several at a time, and write one JSON line each as soon as it is done.

Run: python examples/batch_folder.py pictures/ > captions.jsonl
"""

import asyncio
import json
import sys
from typing import TextIO

from rsagent import Caption, RSAgent
from rsagent.imagery import find_images


async def main(folder: str, out: TextIO, agent: RSAgent) -> int:
    failed = 0
    async with agent:
        async for item in agent.caption_many(find_images(folder)):
            good = isinstance(item.result, Caption)
            said = {"text": item.result.text} if good else {"error": str(item.result)}
            print(json.dumps({"image": str(item.image), **said}), file=out)
            failed += not good
    return failed


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(main(sys.argv[1], sys.stdout, RSAgent())) else 0)
