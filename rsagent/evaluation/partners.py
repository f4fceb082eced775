"""Which other image's soft prompts an image gets when the router's work is shuffled."""

from __future__ import annotations

from collections.abc import Mapping

from rsagent.evaluation.floors import derangement
from rsagent.evaluation.run import Picture, Progress


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
