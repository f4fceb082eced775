"""What a checkpoint's own image encoder makes of a set: features of both parts and a class read-out, for the floors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from rsagent.evaluation.caption_floors import Seen
from rsagent.evaluation.published.records import LabelledImage, holdout
from rsagent.evaluation.readout import Encoder, fit_readout, pooled_features
from rsagent.evaluation.run import Picture, Run, say
from rsagent.evaluation.sets import EvaluationSet, Item

_HELD = 0.1
_HELD_SCENES = 0.2


def see_set(run: Run, chosen: EvaluationSet, encoder: Encoder) -> Seen | None:
    """Features of the evaluated and of the training images, kept in the run's folder; None without a training part.

    The read-out is trained on the training images that have a class, its penalty chosen on a slice of them.

    Raises:
        UserError: a picture cannot be used.
    """
    known: dict[str, Item] = {item.image: item for item in chosen.train}
    if not known:
        return None
    say(f"{chosen.name}: image features for the floors")
    there = pooled_features(run, f"{chosen.name}-train-{_short(known)}", _pictures(known), encoder)
    images = {item.image: item for item in chosen.items}
    here = pooled_features(run, f"{chosen.name}-{chosen.split}-{_short(images)}", _pictures(images), encoder)
    rows = [row for row, item in enumerate(known.values()) if item.label is not None]
    items = [item for item in known.values() if item.label is not None]
    labels = [item.label or "" for item in items]
    readout = fit_readout(there[rows], labels, _aside(items)) if len(set(labels)) > 1 else None
    return Seen(there, here, readout)


def _pictures(items: dict[str, Item]) -> dict[str, Picture]:
    return {image: item.picture for image, item in items.items()}


def _short(items: dict[str, Item]) -> str:
    """Other images are other features, and lie in another file."""
    return hashlib.sha256("\n".join(items).encode(errors="surrogatepass")).hexdigest()[:8]


def _aside(items: Sequence[Item]) -> list[bool]:
    """Which training images choose the read-out's penalty."""
    records = [LabelledImage(item.file, item.label or "", "", "train") for item in items if item.file is not None]
    if len(records) < len(items):  # rendered scenes, whose order is no order
        return [place < _HELD_SCENES * len(items) for place in range(len(items))]
    _, held = holdout(records, share=_HELD)
    files = {record.path for record in held}
    found = [item.file in files for item in items]
    if any(found) and not all(found):
        return found
    return [place % 10 == 0 for place in range(len(items))]  # a handful of images
