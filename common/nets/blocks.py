"""Building blocks that the convolutional nets share.

The blocks do not normalise over space: a net trained on 96-pixel crops must behave the same on 1024-pixel images, but
the statistics of a crop differ from those of a picture. Instead, residual branches start at zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Residual block x + conv(silu(conv(silu(x)))), [B,C,H,W] -> [B,C,H,W]. The second convolution starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        if self.conv2.bias is not None:
            nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(torch.nn.functional.silu(x))
        out: Tensor = x + self.conv2(torch.nn.functional.silu(h))
        return out


def residual_stack(channels: int, blocks: int) -> nn.Sequential:
    """Return a sequence of `blocks` residual blocks."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
