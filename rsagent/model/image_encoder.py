"""The image encoder: EfficientNet-Lite0, read at two scales (strides 16 and 32).

RS-MoE (section III-B1) freezes a ViT-G/14; the embedded default freezes this one, which fits into a wheel. Lite0 is
EfficientNet-B0 without squeeze-and-excitation and with ReLU6, so it quantises and runs well on a CPU. The module follows
TensorFlow's "same" padding, because the published ImageNet weights were trained with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

if TYPE_CHECKING:
    import numpy as np

# (expansion, output channels, blocks, stride of the first block, kernel), as in the EfficientNet paper's Table 1
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_FINE_STAGE = 4  # the last stage at stride 16
FINE_DIM = 112
COARSE_DIM = 1280


class ConvNorm(nn.Module):
    """Convolution with TensorFlow's "same" padding, batch norm, and ReLU6 unless `linear`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False):
        super().__init__()
        self.pad = kernel - stride if stride > 1 else 0
        padding = 0 if stride > 1 else kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        self.linear = linear

    def fold(self) -> None:
        """Fold the batch norm into the convolution; for inference only. Idempotent."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs, height, width)` -> `(batch, outputs, height / stride, width / stride)`."""
        if self.pad:
            before = self.pad // 2
            x = F.pad(x, (before, self.pad - before, before, self.pad - before))
        x = self.norm(self.conv(x))
        return x if self.linear else F.relu6(x)


class InvertedResidual(nn.Module):
    """MBConv without squeeze-and-excitation: expand, depthwise, project; a shortcut where the shape allows it."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        width = inputs * expansion
        self.expand = ConvNorm(inputs, width, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(width, width, kernel, stride, groups=width)
        self.project = ConvNorm(width, outputs, 1, linear=True)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs, height, width)` -> `(batch, outputs, height / stride, width / stride)`."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


@dataclass
class ImageFeatures:
    """What the image encoder sees in a batch of pictures.

    Attributes:
        fine: small things and where they are; of Lite0 `(batch, 112, height / 16, width / 16)`.
        coarse: what kind of place each part is; of Lite0 `(batch, 1280, height / 32, width / 32)`, in [0, 6].
    """

    fine: Tensor
    coarse: Tensor

    def pooled(self) -> Tensor:
        """Mean and maximum of the coarse features: `(batch, 2 * channels)`; what read-outs and neighbours use."""
        return torch.cat([self.coarse.mean((2, 3)), self.coarse.amax((2, 3))], 1)


class ImageEncoder(nn.Module):
    """EfficientNet-Lite0 without its classifier. Input: RGB in [-1, 1], sides a multiple of 32 (the default: 224)."""

    coarse_range: float | None = 6.0
    """The coarse features end in ReLU6, so a cache can keep them in a byte each."""
    dims = (FINE_DIM, COARSE_DIM)
    """Channels of the fine and the coarse features."""

    def __init__(self, size: int = 224):
        super().__init__()
        self.size = size
        self.stem = ConvNorm(3, 32, 3, 2)
        stages: list[nn.Module] = []
        inputs = 32
        for expansion, outputs, blocks, stride, kernel in _STAGES:
            first = InvertedResidual(inputs, outputs, expansion, kernel, stride)
            rest = [InvertedResidual(outputs, outputs, expansion, kernel, 1) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(first, *rest))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        self.head = ConvNorm(inputs, COARSE_DIM, 1)

    def forward(self, pixels: Tensor) -> ImageFeatures:
        """`(batch, 3, height, width)` in [-1, 1] -> features at strides 16 and 32."""
        x = self.stem(pixels)
        fine = x
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index == _FINE_STAGE:
                fine = x
        return ImageFeatures(fine, self.head(x))

    def fold(self) -> None:
        """Make the frozen encoder a third faster: batch norms folded away, weights in the layout that convolutions like."""
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fold()
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # documented, missing in the stubs

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens a side at strides 16 and 32 for a picture of the configured size."""
        return self.size // 16, self.size // 32


def pixels_from_rgb(images: list[np.ndarray], size: int) -> Tensor:
    """RGB uint8 pictures `(height, width, 3)` of any sizes -> `(batch, 3, size, size)` in [-1, 1].

    The whole picture is kept (resized to a square), since a caption is about all of it; antialiased, so that
    small objects in a large photograph fade rather than vanish at random.
    """
    batch: list[Tensor] = []
    for image in images:
        tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
        if tensor.shape[2:] != (size, size):
            tensor = F.interpolate(tensor, (size, size), mode="bilinear", antialias=True, align_corners=False)
        batch.append(tensor)
    return (torch.cat(batch) - 127.0) / 128.0


def imagenet_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of `efficientnet-lite0-57934424.pth` to this module's names; the classifier is left out.

    Raises:
        KeyError: a tensor is missing (another file).
    """
    names: dict[str, str] = {"stem": "_conv_stem _bn0", "head": "_conv_head _bn1"}
    block = 0
    for stage, (expansion, _, blocks, _, _) in enumerate(_STAGES):
        for index in range(blocks):
            ours, theirs = f"stages.{stage}.{index}", f"_blocks.{block}"
            if expansion > 1:
                names[f"{ours}.expand"] = f"{theirs}._expand_conv {theirs}._bn0"
            names[f"{ours}.depthwise"] = f"{theirs}._depthwise_conv {theirs}._bn1"
            names[f"{ours}.project"] = f"{theirs}._project_conv {theirs}._bn2"
            block += 1
    state: dict[str, Tensor] = {}
    for ours, pair in names.items():
        conv, norm = pair.split()
        state[f"{ours}.conv.weight"] = published[f"{conv}.weight"]
        for tensor in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            key = f"{norm}.{tensor}"
            state[f"{ours}.norm.{tensor}"] = published[key] if key in published else torch.tensor(0)
    return state
