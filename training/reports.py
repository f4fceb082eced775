"""What the experts really say of training pictures: what the composer learns to read.

Trained on aspects that were taken from the captions, a composer trusts its reports more than they deserve, since the experts'
own words are wrong at times. So stage II's experts describe some thousand training pictures, exactly as at inference, before
the composer is trained. Augmented views are described too: there the experts err about as often as on pictures they never saw.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from rsagent.graphs.compose import EVIDENCE_THRESHOLD, choose
from rsagent.graphs.text import clean, once_round
from rsagent.model.decode import DecodeRequest, decode
from rsagent.model.image_encoder import ImageFeatures
from rsagent.model.network import RSMoE, visual_prefix
from rsagent.prompts import Prompts
from rsagent.schemas import ExpertPrompt
from rsagent.training.batches import Stores
from rsagent.training.corpus import Corpus, Picture
from rsagent.training.resume import whole_files

_BATCH = 48
Described = tuple[Picture, int]
"""A picture, and the row of the view that is described."""


def described_pictures(
    corpus: Corpus, network: RSMoE, stores: Stores, count: int, target: Path, progress: Callable[[int, int], None] | None = None
) -> dict[str, list[Picture]]:
    """Have the experts describe `count` views; the words are kept in `target`.

    Returns:
        By style the pictures of those views, with their `reports`.
    """
    views = _draw_views(corpus, count)
    if not target.exists():
        with whole_files(target) as (partial,), partial.open("w", encoding="utf-8") as out:
            for index, said in enumerate(_describe(network, stores, corpus.prompts, views)):
                out.write(json.dumps(said) + "\n")
                if progress is not None:
                    progress(index + 1, count)
    found: dict[int, Picture] = {}
    with target.open(encoding="utf-8") as lines:
        for (picture, image), line in zip(views, lines, strict=True):
            described = found.setdefault(id(picture), replace(picture, reports=[]))
            described.reports.append((image, json.loads(line)))
    return {style: [p for p in found.values() if p.style == style] for style in corpus.pictures}


def _draw_views(corpus: Corpus, count: int) -> list[Described]:
    """Different views, the styles in the shares in which the stages draw them."""
    rng = random.Random(f"{corpus.seed} reports")
    found: dict[int, Picture] = {}
    most = sum(len(picture.images) for pictures in corpus.pictures.values() for picture in pictures)
    while len(found) < min(count, most):
        picture = corpus.draw_picture(rng)
        found.setdefault(rng.choice(picture.images), picture)
    return [(picture, image) for image, picture in found.items()]


@torch.no_grad()
def _describe(network: RSMoE, stores: Stores, prompts: Prompts, views: Sequence[Described]) -> Iterator[dict[str, str]]:
    """Each view's words by expert; an expert whose gate is low is not asked, as in the graph."""
    device = next(network.vlm_encoder.parameters()).device  # the trainer moved what it trains, the image encoder stayed
    # mixing takes the LLM out of PEFT's wrapper, which the training still needs
    speaking = copy.deepcopy(network).eval().to(device)
    speaking.mix()
    lowered = speaking.llm.get_input_embeddings().weight.dtype == torch.bfloat16  # as pretrained LLMs are kept while training
    for start in range(0, len(views), _BATCH):
        part = views[start : start + _BATCH]
        fine, coarse = stores.read([image for _, image in part])
        tokens = speaking.look(ImageFeatures(fine.to(device), coarse.to(device)))
        instructions = [prompts.caption_instruction(picture.style) for picture, _ in part]
        seen, _ = speaking.see(tokens, instructions)
        routing = speaking.route(seen)
        said: list[dict[str, str]] = [{} for _ in part]
        requests: list[DecodeRequest] = []
        heard: list[tuple[dict[str, str], str, list[str]]] = []
        for row, instruction in enumerate(instructions):
            for asked in _asked(speaking, prompts, instruction, routing.gate[row].sigmoid().tolist()):
                pieces: list[str] = []
                expert = speaking.config.experts.index(asked.expert)
                prefix = visual_prefix(seen.projected[row], routing.soft_prompts[row, expert])
                requests.append(DecodeRequest(prefix, asked.text, asked.expert, asked.max_tokens, _listener(pieces)))
                heard.append((said[row], asked.expert, pieces))
        with torch.autocast(device.type, torch.bfloat16, enabled=lowered):
            decode(speaking, requests)
        for words, expert, pieces in heard:
            said_once = once_round("".join(pieces))
            words[expert] = clean("".join(pieces) if said_once is None else said_once)
        yield from said


def _asked(network: RSMoE, prompts: Prompts, instruction: str, gates: Sequence[float]) -> list[ExpertPrompt]:
    written = [
        ExpertPrompt(
            expert=name, text=prompts.expert_text(name, "caption", instruction),
            digest="", instruction=instruction, task="caption", gate=gate,
        )
        for name, gate in zip(network.config.experts, gates, strict=True)
    ]  # fmt: skip
    return choose(written, "caption", EVIDENCE_THRESHOLD)


def _listener(pieces: list[str]) -> Callable[[str], bool]:
    def on_piece(piece: str) -> bool:
        pieces.append(piece)
        return once_round("".join(pieces)) is None

    return on_piece
