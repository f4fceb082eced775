"""What the frozen image encoder sees: pooled features of many images, kept on disk, and a linear read-out of classes.

The read-out is logistic regression on standardised features; its penalty is chosen on a held-out slice of the training
images, and the parts that are reported are never looked at before the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rsagent.errors import UserError
from rsagent.evaluation.run import Picture, Progress, Run

if TYPE_CHECKING:
    from torch import Tensor

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""L2 penalties tried: on the sum of squared weights, beside the mean cross entropy."""
_BATCH = 32
_STEPS = 100

Features = NDArray[np.float32]
Encoder = Callable[[list[NDArray[np.uint8]]], Features]
"""From RGB uint8 pictures (height, width, 3) of any sizes to pooled features (pictures, dim)."""


@dataclass(frozen=True)
class Readout:
    """A linear read-out: `classes` by name, `weights` (dim, classes), `bias` (classes,), and the penalty chosen."""

    classes: tuple[str, ...]
    weights: Features
    bias: Features
    penalty: float

    def predict(self, features: Features) -> list[str]:
        """The class of each row of `features` (images, dim)."""
        best = np.argmax(features @ self.weights + self.bias, axis=1)
        return [self.classes[int(index)] for index in best]


def pooled_features(run: Run, name: str, pictures: Mapping[str, Picture], encoder: Encoder) -> Features:
    """Pooled features of each picture in order, (pictures, dim); kept in the run's folder under `name`.

    Raises:
        UserError: a picture cannot be used (the data folder is damaged).
    """
    path = run.folder / f"features-{name}.npz"
    kept = _read(path)
    if kept is not None and kept[0] == list(pictures):
        return kept[1]
    progress = Progress(f"features-{name}", len(pictures))
    rows: list[Features] = []
    batch: list[NDArray[np.uint8]] = []
    for picture in progress.over(pictures.values()):
        batch.append(_rgb(picture))
        if len(batch) == _BATCH:
            rows.append(encoder(batch))
            batch = []
    if batch:
        rows.append(encoder(batch))
    features = np.concatenate(rows).astype(np.float32)
    partial = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(partial, keys=np.array(list(pictures)), features=features)
    os.replace(partial, path)
    return features


def fit_readout(features: Features, labels: Sequence[str], held: Sequence[bool]) -> Readout:
    """Fit on the rows that are not `held` with each penalty, take the one best on those held, fit again on all rows.

    Args:
        features: (images, dim), of training images only.
        labels: the class of each row.
        held: which rows choose the penalty.

    Raises:
        UserError: fewer than two classes, or no row on one side.
    """
    aside = np.asarray(held, dtype=bool)
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2 or aside.all() or not aside.any():
        raise UserError("a read-out needs two classes and a held-out slice of the training images: raise --limit")
    targets = np.array([classes.index(label) for label in labels], dtype=np.int64)
    right: dict[float, float] = {}
    for penalty in PENALTIES:
        weights, bias = _fit(features[~aside], targets[~aside], len(classes), penalty)
        found = np.argmax(features[aside] @ weights + bias, axis=1)
        right[penalty] = int(np.count_nonzero(found == targets[aside])) / len(found)
    best = max(PENALTIES, key=lambda penalty: (right[penalty], penalty))  # of equals the stronger penalty
    return Readout(classes, *_fit(features, targets, len(classes), best), best)


def _fit(features: Features, targets: NDArray[Any], classes: int, penalty: float) -> tuple[Features, Features]:
    """Logistic regression by L-BFGS; the standardisation is folded into the weights that are returned."""
    import torch
    import torch.nn.functional as F

    mean, spread = features.mean(axis=0), features.std(axis=0) + np.float32(1e-6)
    x = torch.from_numpy((features - mean) / spread)
    y = torch.from_numpy(targets)
    weights = torch.zeros(x.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS([weights, bias], max_iter=_STEPS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(x @ weights + bias, y) + penalty * weights.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    plain = weights.detach().numpy() / spread[:, None]
    return plain, bias.detach().numpy() - mean @ plain


def _rgb(picture: Picture) -> NDArray[np.uint8]:
    from rsagent.imagery import load_image

    return load_image(picture()).rgb


def _read(path: Path) -> tuple[list[str], Features] | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return [str(key) for key in file["keys"]], file["features"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove it") from error


# The seam to the network: the only lines of the evaluation that know it from inside. ------------------------------


def load_encoder(run: Run) -> Encoder:
    """The checkpoint's frozen image encoder, as a function from pictures to pooled features."""
    import torch

    from rsagent.model.checkpoint import load_checkpoint

    network = load_checkpoint(run.checkpoint, adapters=[])

    def encode(images: list[NDArray[np.uint8]]) -> Features:
        with torch.inference_mode():
            return network.encode_images(images).pooled().float().cpu().numpy()

    return encode
