"""A look at a training before it costs: files, splits, aspects, tokens, one step, memory, time and disk.

rsagent train check llama-3.2-1b --data DATA
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from rsagent.errors import UserError
from rsagent.evaluation.published.karpathy import read_rsicd, read_ucm_captions
from rsagent.evaluation.published.records import CaptionedImage
from rsagent.evaluation.published.rsgpt import read_rsicap
from rsagent.prompts import load_prompts
from rsagent.training.corpus import Corpus, read_corpus
from rsagent.training.plan import disk_bytes
from rsagent.training.recipe import Recipe

_LOOKED_AT = 200  # pictures that are decoded: enough to notice a broken download, quick enough for a slow disk
_SAMPLES = 10


@dataclass(frozen=True)
class Step:
    """One forward and backward pass.

    Attributes:
        seconds: that it took, the first and slowest.
        gigabytes: that were held at most, on the GPU or by this process.
        expected_gigabytes: what that was expected to be on a CPU before the pass; None where nothing is expected.
    """

    seconds: float
    gigabytes: float
    expected_gigabytes: float | None


@dataclass
class Checked:
    """What a check found.

    Attributes:
        splits: by data set, how many images each part has.
        unreadable: files among those looked at that are no pictures, with the reason.
        aspects: of some pictures, the caption and what each expert learns from it.
        tokens: of a sample of stage I as the LLM reads it: mean and longest, and the share of targets that are cut.
        step: of one forward and backward pass, where one was made.
        needed, free: bytes on the disk.
    """

    splits: dict[str, Counter[str]]
    unreadable: list[str]
    aspects: list[tuple[str, dict[str, str]]]
    needed: dict[str, float]
    free: int
    pictures: int
    tokens: tuple[float, int, float] | None = None
    step: Step | None = None
    faults: list[str] = field(default_factory=list)


def check_data(recipe: Recipe, data: Path, out: Path) -> tuple[Checked, Corpus]:
    """Read the recipe's captions, look at some pictures and at the disk; nothing heavy is loaded.

    Raises:
        UserError: a data set is missing, damaged, or of another layout.
    """
    corpus, files = read_corpus(
        data, load_prompts(), recipe.network.experts, [],
        views=recipe.views, scene_share=0.0, seed=recipe.seed, only=recipe.captions,
    )  # fmt: skip
    if not files:
        raise UserError(f"{data} holds no captioned training picture that the recipe asks for")
    rng = random.Random(recipe.seed)
    looked = rng.sample(files, min(_LOOKED_AT, len(files)))
    unreadable = [found for file in looked if (found := _fault(file))]
    pictures = [picture for held in corpus.pictures.values() for picture in held]
    shown = rng.sample(pictures, min(_SAMPLES, len(pictures)))
    existing = next(folder for folder in (out, *out.resolve().parents) if folder.exists())
    checked = Checked(
        splits={style: Counter(item.split for item in items) for style, items in _read(data, recipe).items()},
        unreadable=unreadable,
        aspects=[(picture.captions[0], picture.aspects[0]) for picture in shown],
        needed=disk_bytes(recipe, len(files)),
        free=shutil.disk_usage(existing).free,
        pictures=len(files),
    )
    if len(unreadable) * 100 > len(looked):
        checked.faults.append(f"{len(unreadable)} of {len(looked)} pictures cannot be read: {unreadable[0]}")
    if sum(checked.needed.values()) > checked.free:
        checked.faults.append(f"the disk of {existing} has {checked.free / 1e9:.1f} GB free, too little")
    for expert in recipe.network.experts:
        if not any(aspects[expert] for picture in pictures for aspects in picture.aspects):
            checked.faults.append(
                f"no caption says anything for the expert '{expert}': split them with train data split-aspects"
            )
    return checked, corpus


def count_tokens(corpus: Corpus, tokenizer: Any, prefix: int, samples: int = 200) -> tuple[float, int, float]:
    """The LLM's tokens in a sample of stage I: their mean and maximum, and which share of targets is cut.

    Args:
        corpus: where samples are drawn.
        tokenizer: of the LLM.
        prefix: tokens of F_VLM and a soft prompt, before every row.
        samples: how many samples are counted.
    """
    from rsagent.training.batches import MAX_TOKENS

    found: list[int] = []
    targets = cut = 0
    for index in range(samples):
        total = 0
        for row in corpus.sample(index, "stage1"):
            total += prefix + min(MAX_TOKENS, len(_ids(tokenizer, row.prompt)))
            for target in row.targets:
                length = len(_ids(tokenizer, target))
                targets, cut = targets + 1, cut + (length > MAX_TOKENS)
                total += 1 + min(MAX_TOKENS, length)
        found.append(total)
    return sum(found) / len(found), max(found), cut / max(1, targets)


def one_step(recipe: Recipe, corpus: Corpus, network: Any) -> Step:
    """One forward and backward pass of stage I on random features.

    Raises:
        UserError: memory does not suffice; the message names the knobs.
    """
    import torch

    from rsagent.model.network import SINGLE
    from rsagent.training.batches import Collator, Stores
    from rsagent.training.language import LanguageTask
    from rsagent.training.memory import expected_bytes, peak_bytes
    from rsagent.training.placement import adapt_llm, adapt_qformer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.requires_grad_(False)
    adapt_llm(network, recipe.network)
    adapt_qformer(network, recipe.network)
    run = recipe.first_stage
    images = run.images_a_pass(1)
    samples = [corpus.sample(index, "stage1") for index in range(images)]
    store = _random_features(network, {row.image for rows in samples for row in rows})
    sizes = network.config.vlm_encoder
    collate = Collator(
        Stores([store]), network.tokenizer, [], recipe.network.experts, [SINGLE], sizes.max_words,
        getattr(sizes, "queries_side", 1), network.words_tokenizer,
    )  # fmt: skip
    task = LanguageTask(network, "stage1", [SINGLE], 0).to(device).train()
    if run.checkpointing:
        task.llm.gradient_checkpointing_enable({"use_reentrant": False})
    batch = {name: tensor.to(device) for name, tensor in collate(samples).items()}
    expected = None
    if device == "cpu" and recipe.weights:  # a network that is trained from nothing is small
        expected = expected_bytes(network, batch, recipe.network.lora_rank, checkpointing=run.checkpointing)
    started = time.perf_counter()
    try:
        with torch.autocast(device, torch.bfloat16):
            loss = task(**batch)["loss"]
        loss.backward()
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        raise UserError(
            f"out of memory with {images} images at a time: optim.accumulate=N divides a batch, "
            "optim.checkpointing=true saves stage I's activations, optim.batch=N is the last resort"
        ) from error
    seconds = time.perf_counter() - started
    most = torch.cuda.max_memory_allocated() if device == "cuda" else peak_bytes()
    return Step(seconds, most / 1e9, None if expected is None else expected / 1e9)


def _random_features(network: Any, rows: set[int]) -> Any:
    """Features that no picture gave, for every row up to the highest; mapped memory costs only what is read."""
    import numpy as np

    from rsagent.training.features import FeatureStore

    encoder = network.image_encoder
    (fine_dim, coarse_dim), (fine, coarse) = encoder.dims, encoder.grid
    rng = np.random.default_rng(0)
    one = rng.normal(size=(1, fine_dim, fine, fine)).astype(np.float16), rng.random((1, coarse_dim, coarse, coarse))
    count = max(rows) + 1
    shown = [np.broadcast_to(part, (count, *part.shape[1:])) for part in (one[0], one[1].astype(np.float16))]
    return FeatureStore(shown[0], shown[1])


def _read(data: Path, recipe: Recipe) -> dict[str, list[CaptionedImage]]:
    if recipe.captions == "rsicap":
        return {"rsicap": read_rsicap(data)}
    read = {"ucm": read_ucm_captions, "rsicd": read_rsicd}
    return {style: reader(data) for style, reader in read.items() if recipe.captions in (None, style)}


def _fault(file: Path) -> str | None:
    """Why a picture cannot be read, or None."""
    try:
        with Image.open(file) as image:
            image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"{file.name}: {str(error).splitlines()[0][:100]}"
    return None


def _ids(tokenizer: Any, text: str) -> Sequence[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]
