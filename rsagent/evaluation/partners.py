"""Whose soft prompts an image gets when the router's work is shuffled, or replaced by a mean."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rsagent.evaluation.floors import derangement
from rsagent.evaluation.run import Picture, Progress

SAMPLE = 32
"""Images whose soft prompts make a mean: more hardly move it, and each is read once for every question."""


def sample(pictures: Mapping[str, Picture], seed: int) -> list[Picture]:
    """`SAMPLE` of the pictures, drawn with the seed; all where there are fewer."""
    keys = list(pictures)
    drawn = np.random.default_rng(seed).permutation(len(keys))[:SAMPLE]
    return [pictures[keys[int(place)]] for place in sorted(drawn)]


def partners(pictures: Mapping[str, Picture], seed: int, *, max_pixels: int) -> dict[str, Picture]:
    """Digest of each image -> the picture of another one; every image is the partner of one.

    Raises:
        ImageError: a picture cannot be used.
        UserError: there is only one.
    """
    from rsagent.imagery import load_image

    keys = list(pictures)
    order = derangement(len(keys), seed=seed)
    progress = Progress("digests of the pictures", len(keys))
    digests = [load_image(pictures[key](), max_pixels=max_pixels).facts.sha256 for key in progress.over(keys)]
    return {digest: pictures[keys[int(other)]] for digest, other in zip(digests, order, strict=True)}
