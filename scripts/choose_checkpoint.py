"""Which of several checkpoints is the better one, on data that no table reports: a choice made on a test set is no choice.

Captions of the slice of the training images that training leaves out (4 % of UC Merced's and of RSICD's, seed 0), written in
the data set's style by the whole graph with the default decoding: CIDEr with its 95 % interval (bootstrap over images, seed 0)
and BLEU-4. Needs `pip install 'rsagent[eval]'` and the data sets in the folder RSAGENT_DATA.

    RSAGENT_DATA=../data python scripts/choose_checkpoint.py runs/tiny/checkpoint rsagent/weights/tiny
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from rsagent import Caption, RSAgent
from rsagent.errors import RSAgentError
from rsagent.evaluation.captions import CaptionScores, score_captions
from rsagent.evaluation.published.records import CaptionedImage, data_root
from rsagent.training.corpus import held_out_images


async def scores(checkpoint: Path, held: dict[str, list[CaptionedImage]]) -> dict[str, CaptionScores]:
    """The captions of a checkpoint, scored by style.

    Raises:
        RSAgentError: a picture cannot be used, or the experts failed.
    """
    found: dict[str, CaptionScores] = {}
    async with RSAgent("local", checkpoint=checkpoint, expert_timeout_s=600) as agent:
        for style, items in held.items():
            said: dict[str, str] = {}
            async for one in agent.caption_many([item.path for item in items], style):
                if not isinstance(one.result, Caption):
                    raise one.result
                said[str(one.index)] = one.result.text
            found[style] = score_captions(said, {str(place): item.captions for place, item in enumerate(items)})
    return found


def main() -> int:
    """Print one line for each checkpoint and style."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help="a checkpoint folder")
    parser.add_argument("--data", type=Path, help="folder of the data sets (default: $RSAGENT_DATA)")
    chosen = parser.parse_args()
    try:
        held = held_out_images(data_root(chosen.data))
        for checkpoint in chosen.checkpoints:
            for style, score in asyncio.run(scores(checkpoint, held)).items():
                figures = score.figures()
                cider, bleu = figures["CIDEr"], figures["BLEU-4"]
                print(
                    f"{checkpoint}: {style}, held out: CIDEr {cider.value:.3f} [{cider.low:.3f}, {cider.high:.3f}], "
                    f"BLEU-4 {bleu.value:.3f}, n = {cider.n}"
                )
    except RSAgentError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
