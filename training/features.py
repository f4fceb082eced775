"""The frozen image encoder's tokens, computed once and kept on disk.

Both stages freeze the image encoder, so its output for a picture (or for one augmented view of it) never changes. An entry
of the default is 107 kB: the fine scale as float16, the coarse one as uint8 (it ends in ReLU6, so its range is known). Of a
ViT both are float16: 724 kB.
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

from rsagent.model.image_encoder import ImageEncoder, ImageFeatures
from rsagent.model.instructblip import ViTEncoder
from rsagent.training.resume import whole_files

AnyEncoder = ImageEncoder | ViTEncoder


@dataclass
class FeatureStore:
    """Features of `count` pictures, mapped from disk: `fine` `(count, channels, f, f)`, `coarse` `(count, channels, c, c)`.

    Where `coarse` is kept in bytes, 255 stands for `coarse_range`.
    """

    fine: np.ndarray
    coarse: np.ndarray
    coarse_range: float = 6.0

    def __len__(self) -> int:
        return len(self.fine)

    def __reduce__(self) -> tuple[Any, ...]:
        """A worker process that does not share this one's memory gets the files' names, not their gigabytes."""
        if isinstance(self.fine, np.memmap) and isinstance(self.coarse, np.memmap):
            return _mapped, (self.fine.filename, self.coarse.filename, self.coarse_range)
        return FeatureStore, (self.fine, self.coarse, self.coarse_range)

    def read(self, rows: Sequence[int]) -> ImageFeatures:
        """The features of some rows, as float32."""
        fine = torch.from_numpy(np.stack([self.fine[row] for row in rows])).float()
        coarse = torch.from_numpy(np.stack([self.coarse[row] for row in rows])).float()
        if self.coarse.dtype == np.uint8:
            coarse = coarse / (255 / self.coarse_range)
        return ImageFeatures(fine, coarse)


def feature_store(
    encoder: AnyEncoder,
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
    fine_dim, coarse_dim = encoder.dims
    shapes = {"fine": (fine_dim, fine_side, fine_side), "coarse": (coarse_dim, coarse_side, coarse_side)}
    kind = np.uint8 if encoder.coarse_range else np.float16
    files = {part: folder / f"features-{key}-{part}.npy" for part in shapes}
    if not all(file.exists() for file in files.values()):
        with whole_files(files["fine"], files["coarse"]) as (fine_file, coarse_file):
            fine = np.lib.format.open_memmap(fine_file, "w+", np.float16, (count, *shapes["fine"]))
            coarse = np.lib.format.open_memmap(coarse_file, "w+", kind, (count, *shapes["coarse"]))
            _encode(encoder, batches(), fine, coarse, progress)
    return _mapped(files["fine"], files["coarse"], encoder.coarse_range or 6.0)


def _mapped(fine: Path | str, coarse: Path | str, coarse_range: float) -> FeatureStore:
    return FeatureStore(np.load(fine, mmap_mode="r"), np.load(coarse, mmap_mode="r"), coarse_range)


@torch.no_grad()
def _encode(
    encoder: AnyEncoder,
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
        seen = features.coarse.float()
        if encoder.coarse_range:
            coarse[done:end] = (seen * (255 / encoder.coarse_range)).round().byte().cpu().numpy()
        else:
            coarse[done:end] = seen.cpu().numpy().astype(np.float16)
        done = end
        if progress is not None:
            progress(done, len(fine))
    if done != len(fine):
        raise ValueError(f"{done} pictures came, {len(fine)} were promised")


def encoder_digest(encoder: AnyEncoder) -> str:
    """A digest of the encoder's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
