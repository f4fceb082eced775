"""The floors of a caption table: what is said without looking, or by looking only for a class or a neighbour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rsagent.evaluation.floors import class_captions, derangement, neighbour_captions, random_captions
from rsagent.evaluation.readout import Features, Readout

SHUFFLED, RANDOM, NEIGHBOUR = "shuffled image", "random training caption", "nearest neighbour's caption"
LOOKUP, CEILING = "predicted-class lookup", "true-class lookup"


@dataclass(frozen=True)
class Seen:
    """What the model's own image encoder makes of a set: features of both parts, and a class read-out, if there are classes."""

    train: Features
    images: Features
    readout: Readout | None


def caption_floors(
    keys: Sequence[str],
    labels: Sequence[str | None],
    said: Mapping[str, str],
    train: Sequence[tuple[str | None, Sequence[str]]],
    seen: Seen | None,
    seed: int,
) -> dict[str, dict[str, str]]:
    """Row name -> image -> caption.

    Args:
        keys: the reported images.
        labels: the class of each, None where it has none.
        said: what the model says of each; the shuffled row gives it to another image.
        train: (class, captions) of each training image, in the order of `seen.train`; none, and only the shuffled row is given.
        seen: features, or None where the model has no image encoder of its own at hand.
        seed: of what is drawn.
    """
    order = derangement(len(keys), seed=seed)
    rows = {SHUFFLED: {key: said[keys[int(other)]] for key, other in zip(keys, order, strict=True)}}
    if not train:
        return rows
    captions = [texts for _, texts in train]
    rows[RANDOM] = random_captions(captions, keys, seed=seed)
    labelled = [(label, texts) for label, texts in train if label is not None]
    lookup = class_captions(labelled) if labelled else {}
    if seen is not None:
        rows[NEIGHBOUR] = dict(zip(keys, neighbour_captions(captions, seen.train, seen.images), strict=True))
        if seen.readout is not None:
            predicted = seen.readout.predict(seen.images)
            rows[LOOKUP] = {key: lookup[label] for key, label in zip(keys, predicted, strict=True)}
    if lookup and any(label in lookup for label in labels):
        rows[CEILING] = {key: lookup.get(label or "", "") for key, label in zip(keys, labels, strict=True)}
    return rows
