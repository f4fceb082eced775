"""Which of several checkpoints is the better one, on data that no table reports: a choice made on a test set is no choice.

Captions of the slice of the training images that training leaves out (4 % of UC Merced's and of RSICD's, seed 0), written in
the data set's style by the whole graph with the default decoding: CIDEr with its 95 % interval (bootstrap over images, seed 0)
and BLEU-4; and RSIVQA's questions about those of UC Merced's, strictly right by type. Needs `pip install 'rsagent[eval]'` and
the data sets in the folder RSAGENT_DATA.

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
from rsagent.evaluation.published.records import CaptionedImage, QuestionItem, data_root
from rsagent.evaluation.published.rsivqa import read_rsivqa_ucm
from rsagent.evaluation.questions import QuestionScores, score_questions
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


async def answers(checkpoint: Path, asked: list[QuestionItem]) -> QuestionScores:
    """The answers of a checkpoint, scored by type.

    Raises:
        RSAgentError: a picture cannot be used, or an expert failed.
    """
    async with RSAgent("local", checkpoint=checkpoint, expert_timeout_s=600) as agent:
        said = [(await agent.ask(one.path, one.question)).text for one in asked]
    return score_questions(
        said, [one.answer for one in asked], [one.type for one in asked], [one.path.name for one in asked], seed=0
    )


def main() -> int:
    """Print one line for each checkpoint and style, and one for its answers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help="a checkpoint folder")
    parser.add_argument("--data", type=Path, help="folder of the data sets (default: $RSAGENT_DATA)")
    chosen = parser.parse_args()
    try:
        root = data_root(chosen.data)
        held = held_out_images(root)
        names = {item.path.name for item in held["ucm"]}
        asked = [one for one in read_rsivqa_ucm(root, drop_faulty=False) if one.path.name in names]
        for checkpoint in chosen.checkpoints:
            for style, score in asyncio.run(scores(checkpoint, held)).items():
                figures = score.figures()
                cider, bleu = figures["CIDEr"], figures["BLEU-4"]
                print(
                    f"{checkpoint}: {style}, held out: CIDEr {cider.value:.3f} [{cider.low:.3f}, {cider.high:.3f}], "
                    f"BLEU-4 {bleu.value:.3f}, n = {cider.n}"
                )
            right = asyncio.run(answers(checkpoint, asked))
            types = ", ".join(f"{kind} {figure.value:.3f} (n = {figure.n})" for kind, figure in right.types.items())
            print(f"{checkpoint}: questions, held out: {right.overall.value:.3f} (n = {right.overall.n}); {types}")
    except RSAgentError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
