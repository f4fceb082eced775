"""The frozen image encoder's tokens, computed once and kept on disk.

Both stages freeze the image encoder, so its output for a picture (or for one augmented view of it) never changes. An entry
is 107 kB: the fine scale as float16, the coarse one as uint8 (it ends in ReLU6, so its range is known).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsagent.model.image_encoder import COARSE_DIM, FINE_DIM, ImageEncoder, ImageFeatures
from rsagent.training.resume import whole_files

_LEVELS = 255 / 6.0


@dataclass
class FeatureStore:
    """Features of `count` pictures, mapped from disk: `fine` `(count, 112, f, f)`, `coarse` `(count, 1280, c, c)`."""

    fine: np.ndarray
    coarse: np.ndarray

    def __len__(self) -> int:
        return len(self.fine)

    def __reduce__(self) -> tuple[Any, ...]:
        """A worker process that does not share this one's memory gets the files' names, not their gigabytes."""
        if isinstance(self.fine, np.memmap) and isinstance(self.coarse, np.memmap):
            return _mapped, (self.fine.filename, self.coarse.filename)
        return FeatureStore, (self.fine, self.coarse)

    def read(self, rows: Sequence[int]) -> ImageFeatures:
        """The features of some rows, as float32."""
        fine = torch.from_numpy(np.stack([self.fine[row] for row in rows])).float()
        coarse = torch.from_numpy(np.stack([self.coarse[row] for row in rows])).float() / _LEVELS
        return ImageFeatures(fine, coarse)


def feature_store(
    encoder: ImageEncoder,
    name: str,
    count: int,
    batches: Callable[[], Iterator[Tensor]],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureStore:
    """Encode `count` pictures, or map what an earlier run wrote for the same encoder and `name`.

    Args:
        encoder: frozen; its weights are part of the key.
        name: says which pictures in which order; the caller's promise.
        count: how many pictures `batches` yields in all.
        batches: yields `(batch, 3, size, size)` in [-1, 1], in order.
        folder: where the store lies.
        progress: called with (done, count).
    """
    key = hashlib.sha256(f"float32 {name} {count} {encoder_digest(encoder)}".encode()).hexdigest()[:16]
    fine_side, coarse_side = encoder.grid
    shapes = {"fine": (FINE_DIM, fine_side, fine_side), "coarse": (COARSE_DIM, coarse_side, coarse_side)}
    files = {part: folder / f"features-{key}-{part}.npy" for part in shapes}
    if not all(file.exists() for file in files.values()):
        with whole_files(files["fine"], files["coarse"]) as (fine_file, coarse_file):
            fine = np.lib.format.open_memmap(fine_file, "w+", np.float16, (count, *shapes["fine"]))
            coarse = np.lib.format.open_memmap(coarse_file, "w+", np.uint8, (count, *shapes["coarse"]))
            _encode(encoder, batches(), fine, coarse, progress)
    return _mapped(files["fine"], files["coarse"])


def _mapped(fine: Path | str, coarse: Path | str) -> FeatureStore:
    return FeatureStore(np.load(fine, mmap_mode="r"), np.load(coarse, mmap_mode="r"))


@torch.no_grad()
def _encode(
    encoder: ImageEncoder,
    batches: Iterator[Tensor],
    fine: np.ndarray,
    coarse: np.ndarray,
    progress: Callable[[int, int], None] | None,
) -> None:
    encoder.eval()
    device = next(encoder.parameters()).device
    done = 0
    for pixels in batches:
        # in full precision, as at inference: in bfloat16 the features are 6 % off, and that is not noise but a shift
        features = encoder(pixels.to(device).contiguous(memory_format=torch.channels_last))
        end = done + len(pixels)
        fine[done:end] = features.fine.float().cpu().numpy().astype(np.float16)
        coarse[done:end] = (features.coarse.float() * _LEVELS).round().byte().cpu().numpy()
        done = end
        if progress is not None:
            progress(done, len(fine))
    if done != len(fine):
        raise ValueError(f"{done} pictures came, {len(fine)} were promised")


def encoder_digest(encoder: ImageEncoder) -> str:
    """A digest of the encoder's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
