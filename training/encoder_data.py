"""What the image encoder is fine-tuned on: labelled and captioned aerial pictures, and rendered scenes.

Every item is a pure function of (seed, index), so that a resumed run sees what it would have seen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rsagent.evaluation.published.class_folders import read_class_folders
from rsagent.evaluation.published.karpathy import read_rsicd, read_ucm_captions, read_ucm_multilabels
from rsagent.evaluation.published.records import CaptionedImage, holdout
from rsagent.evaluation.wording import clean_caption
from rsagent.training.pictures import augment, normalise
from rsagent.training.render import render
from rsagent.training.scene_model import COLOURS, DIRECTIONS, KINDS, SCENES, annotate, visible_center
from rsagent.training.scenes import scene_from_seed

T = TypeVar("T")
WORDS = 300
_STOP = frozenset("a an the of is are in on and with to it this that there some many two near by at its be has have".split())
_WEIGHTS = {"ucm": 3.0, "rsicd": 1.0, "nwpu": 1.0, "eurosat": 0.4}


@dataclass
class Pictures:
    """The pictures of one data set that share a label space. `words` is `(n, 300)`: the share of captions with each word."""

    name: str
    files: list[Path]
    classes: list[str]
    labels: list[int]
    words: np.ndarray | None = None
    tags: np.ndarray | None = None
    start: int = field(default=0)


def read_pictures(root: Path, *, held_out: bool = False) -> list[Pictures]:
    """The training pictures of every data set at hand; with `held_out`, the slice of them that choices are made on.

    Raises:
        UserError: a data set is missing or damaged.
    """
    ucm = [item for item in read_ucm_captions(root) if item.split == "train"]
    rsicd = [item for item in read_rsicd(root) if item.split == "train"]
    vocabulary = _frequent_words([*ucm, *rsicd])
    tags = read_ucm_multilabels(root)
    names = sorted({tag for found in tags.values() for tag in found})
    parts: list[Pictures] = []
    for name, items in (("ucm", ucm), ("rsicd", rsicd)):
        classes = sorted({item.label or "" for item in items})
        chosen = _slice(items, held_out)
        part = Pictures(name, [item.path for item in chosen], classes, [classes.index(item.label or "") for item in chosen])
        part.words = np.asarray([_word_shares(item, vocabulary) for item in chosen], np.float32).reshape(-1, WORDS)
        if name == "ucm":
            rows = [[float(tag in tags[item.path.name]) for tag in names] for item in chosen]
            part.tags = np.asarray(rows, dtype=np.float32)
        parts.append(part)
    for name, folder in (("nwpu", "NWPU-RESISC45"), ("eurosat", "EuroSAT_RGB")):
        items = [item for item in read_class_folders(root / folder) if item.split == "train"]
        classes = sorted({item.label for item in items})
        chosen = _slice(items, held_out)
        parts.append(Pictures(name, [i.path for i in chosen], classes, [classes.index(i.label) for i in chosen]))
    start = 0
    for part in parts:
        part.start = start
        start += len(part.files)
    return parts


def _slice(items: Sequence[T], held_out: bool) -> list[T]:
    kept, held = holdout(list(items), share=0.04, seed=0)
    return list(held if held_out else kept)


def _frequent_words(items: Sequence[CaptionedImage]) -> list[str]:
    counts = Counter(word for item in items for caption in item.captions for word in set(_words(caption)))
    return [word for word, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:WORDS]]


def _words(caption: str) -> list[str]:
    return [word for word in re.findall(r"[a-z]+", clean_caption(caption)) if word not in _STOP]


def _word_shares(item: CaptionedImage, vocabulary: Sequence[str]) -> np.ndarray:
    found = [set(_words(caption)) for caption in item.captions]
    shares = np.full(WORDS, np.nan, dtype=np.float32)  # a small corpus has fewer words: the rest is unknown
    shares[: len(vocabulary)] = [np.mean([word in words for words in found]) for word in vocabulary]
    return shares


class EncoderData(Dataset[dict[str, Tensor]]):
    """`samples` pictures drawn from the data sets and the rendered scenes.

    An item holds `pixels` `(size, size, 3)` uint8 and the targets its source offers; the others are -1 (classes) or nan.
    """

    def __init__(self, parts: Sequence[Pictures], bank: np.ndarray, samples: int, scene_share: float, seed: int) -> None:
        self.parts, self.bank, self.samples, self.scene_share, self.seed = parts, bank, samples, scene_share, seed
        weights = np.asarray([len(part.files) * _WEIGHTS[part.name] for part in parts])
        self.shares = weights / weights.sum()

    def __len__(self) -> int:
        return self.samples

    def __getstate__(self) -> dict[str, Any]:
        """A worker process that does not share this one's memory gets the bank's file name, not its gigabytes."""
        state = dict(self.__dict__)
        if isinstance(self.bank, np.memmap):
            state["bank"] = str(self.bank.filename)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.bank, str):
            self.bank = np.load(self.bank, mmap_mode="r")

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.seed, index])
        if rng.random() < self.scene_share:
            return scene_item(int(rng.integers(10_000_000, 2_000_000_000)))
        part = self.parts[int(rng.choice(len(self.parts), p=self.shares))]
        return picture_item(part, int(rng.integers(len(part.files))), self.bank)


def empty_item() -> dict[str, Tensor]:
    """Targets of a picture of which nothing is known."""
    item = {name: torch.tensor(-1) for name in ("ucm", "rsicd", "nwpu", "eurosat", "scene", "direction")}
    item["words"] = torch.full((WORDS,), torch.nan)
    item["tags"] = torch.full((17,), torch.nan)
    item["cells"] = torch.full((len(KINDS), 14, 14), torch.nan)
    item["colours"] = torch.full((len(COLOURS), 14, 14), torch.nan)
    item["rendered"] = torch.tensor(False)
    return item


def picture_item(part: Pictures, index: int, bank: np.ndarray) -> dict[str, Tensor]:
    """One real picture and what its data set says of it."""
    item = empty_item()
    item["pixels"] = torch.from_numpy(np.array(bank[part.start + index]))
    item[part.name] = torch.tensor(part.labels[index])
    if part.words is not None:
        item["words"] = torch.from_numpy(part.words[index])
    if part.tags is not None:
        item["tags"] = torch.from_numpy(part.tags[index])
    return item


def scene_item(seed: int) -> dict[str, Tensor]:
    """One rendered scene with its dense truth: for each 16-pixel cell which kinds and which colours are centred there."""
    scene = scene_from_seed(seed, "train")
    truth = annotate(scene)
    item = empty_item()
    item["pixels"] = torch.tensor(render(scene))
    item["scene"], item["direction"] = torch.tensor(int(truth["scene"])), torch.tensor(int(truth["direction"]))
    cells = torch.tensor(truth["cells"])
    item["cells"] = cells.where(cells >= 0, torch.nan).clamp(max=1.0)  # negative: a kind that nobody could count
    colours = torch.zeros(len(COLOURS), 14, 14)
    for thing in scene.seen():
        if thing.colour is not None:
            column, row = (min(13, max(0, int(c * 14 / scene.size))) for c in visible_center(thing, scene.size))
            colours[COLOURS.index(thing.colour), row, column] = 1.0
    item["colours"] = torch.full_like(colours, torch.nan) if scene.greyscale else colours
    item["rendered"] = torch.tensor(True)
    return item


class EncoderCollator:
    """Stacks items and augments the real pictures; scenes stay as they are, since their words name places and colours."""

    def __init__(self, size: int, seed: int, *, train: bool = True) -> None:
        self.size, self.seed, self.train = size, seed, train
        self.calls = 0

    def __call__(self, items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Put the items of one batch together."""
        batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
        pixels = normalise(batch.pop("pixels"))
        real = ~batch.pop("rendered")
        if self.train and bool(real.any()):
            self.calls += 1
            seed = int(pixels[0].abs().sum().item() * 1000) + self.seed  # from the content: the same after a resume
            pixels[real] = augment(pixels[real], self.size, torch.Generator().manual_seed(seed))
        batch["pixels"] = pixels.contiguous(memory_format=torch.channels_last)
        return batch


SCENE_CLASSES = len(SCENES)
DIRECTION_CLASSES = len(DIRECTIONS)
