"""ST-LPIPS (Ghildyal and Liu, "Shift-tolerant Perceptual Similarity Metric", ECCV 2022): a perceptual distance.

As LPIPS (Zhang et al. 2018): features of five depths, each position scaled to unit length, squared difference, weighted
by channel with learned weights, mean over positions, summed over depths. Its trunks subsample through a low-pass filter
(Zhang 2019), so that a shift by a pixel, which nobody sees, counts for little. Its numbers are its own: they are not
LPIPS and must not be called so.

The weights are those of its authors (evaluation/measure/st_lpips_weights.py); the nets are written from the papers.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gocom.common.errors import InvalidInput, NotReady
from gocom.evaluation.measure.st_lpips_weights import PACKAGE, Trunk, weights_path

_EPSILON = 1e-10

_Step = tuple[str, str, int]
"""(kind, name of its weights, size). "conv": a convolution with this padding, and ReLU; "bare": without; "relu";
"pool": the maximum of so many neighbours each way; "blur": to half the resolution, with this padding; "tap": what is
compared."""


def _alex() -> Iterator[_Step]:
    """AlexNet whose strides are filters of the package's size; ReLU after the first filter, not before."""
    yield from (("bare", "slice1.0", 2), ("blur", "slice1.1", 2), ("relu", "", 0), ("tap", "", 0))
    yield from (("pool", "", 3), ("blur", "slice2.4", 2), ("conv", "slice2.5", 2), ("tap", "", 0))
    yield from (("pool", "", 3), ("blur", "slice3.8", 2), ("conv", "slice3.9", 1), ("tap", "", 0))
    yield from (("conv", "slice4.11", 1), ("tap", "", 0), ("conv", "slice5.13", 1), ("tap", "", 0))


def _vgg() -> Iterator[_Step]:
    """VGG16, numbered as a sequence of convolutions, ReLUs, maxima and filters."""
    for part, (blur, convolutions) in enumerate(
        ((None, (0, 2)), (5, (6, 8)), (11, (12, 14, 16)), (19, (20, 22, 24)), (27, (28, 30, 32))), 1
    ):
        if blur is not None:
            yield from (("pool", "", 2), ("blur", f"slice{part}.{blur}", 2))
        yield from (("conv", f"slice{part}.{index}", 1) for index in convolutions)
        yield ("tap", "", 0)


_STEPS = {"alex": tuple(_alex()), "vgg": tuple(_vgg())}


def _channels_last(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last) if values.dim() == 4 else values


class StLpips(nn.Module):
    """The distance of pictures float32 [B, 3, H, W] in [0, 1], 0: the same. No learning: its weights are buffers.

    Args:
        trunk: "alex" (quick enough to train with) or "vgg" (VGG16).
        device: where it runs.

    Raises:
        NotReady: the package with its weights is not installed.
    """

    def __init__(self, trunk: Trunk, device: torch.device | str = "cpu") -> None:
        super().__init__()
        path = weights_path(trunk)
        if path is None:
            raise NotReady(f"ST-LPIPS: its weights are missing: pip install --no-deps {PACKAGE}")
        state = torch.load(path, map_location=device, weights_only=True)
        self.steps = _STEPS[trunk]
        # A third quicker on a CPU than rows of pixels.
        self.weights: dict[str, Tensor] = {name: _channels_last(value.float()) for name, value in state.items()}

    def features(self, x: Tensor) -> list[Tensor]:
        """Float32 [B, 3, H, W] in [0, 1], sides of 64 px at least -> five [B, C, h, w] of unit length."""
        weights, found = self.weights, []
        h = (2 * _channels_last(x) - 1 - weights["scaling_layer.shift"]) / weights["scaling_layer.scale"]
        for kind, name, size in self.steps:
            key = f"net.{name}"
            if kind in ("conv", "bare"):
                h = F.conv2d(h, weights[f"{key}.weight"], weights[f"{key}.bias"], padding=size)
            if kind in ("conv", "relu"):
                h = F.relu(h)
            elif kind == "pool":
                h = F.max_pool2d(h, size, stride=1)
            elif kind == "blur":
                kernel = weights[f"{key}.filt"]
                h = F.conv2d(F.pad(h, (size,) * 4, "reflect"), kernel, stride=2, groups=len(kernel))
            elif kind == "tap":
                found.append(h / (h.square().sum(1, keepdim=True) + _EPSILON).sqrt())
        return found

    def between(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Features of two batches -> distances [B]."""
        parts = [
            F.conv2d((one - other).square(), self.weights[f"lin{depth}.model.1.weight"]).mean((1, 2, 3))
            for depth, (one, other) in enumerate(zip(a, b, strict=True))
        ]
        return torch.stack(parts).sum(0)

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Distances [B]; gradients go to `x_hat` only."""
        if x_hat.shape != x.shape:
            raise InvalidInput(f"image: shapes {tuple(x_hat.shape)} and {tuple(x.shape)} cannot be compared")
        with torch.no_grad():
            wanted = self.features(x)
        return self.between(self.features(x_hat), wanted)
