"""Encoder and decoder of the f8 autoencoders: each position of the latent stands for a patch of 8x8 pixels.

    x [B,3,H,W] -> unshuffle/4 -> 1/4 grid -> 1/8 grid -> z [B,D,H/8,W/8]
    z [B,D,H/8,W/8] -> 1/8 grid -> 1/4 grid -> shuffle*4 -> narrow head at full resolution -> x_hat [B,3,H,W]

Almost nothing runs at full resolution, which makes them fast enough for two CPU cores. But a pixel shuffle has a filter
of its own for each of its 16 phases, and losses that ask for sharpness make these phases differ where nothing in the
picture does: a lattice, like a halftone (Odena et al. 2016). The head, two narrow convolutions that see all phases,
removes it. A decoder without a head (`full_channels` 0) ends in the shuffle.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gocom.common.nets.blocks import residual_stack


def patch_encoder(channels: int, quarter_channels: int, eighth_channels: int, blocks: tuple[int, int]) -> nn.Sequential:
    """Return the encoder, [B,3,H,W] -> [B,channels,H/8,W/8].

    Args:
        channels: channels of the output.
        quarter_channels: width of the convolutions on the 1/4 grid.
        eighth_channels: width of the convolutions on the 1/8 grid.
        blocks: number of residual blocks on the 1/4 and on the 1/8 grid.
    """
    return nn.Sequential(
        nn.PixelUnshuffle(4),
        nn.Conv2d(48, quarter_channels, 3, padding=1),
        residual_stack(quarter_channels, blocks[0]),
        nn.Conv2d(quarter_channels, eighth_channels, 4, stride=2, padding=1),
        residual_stack(eighth_channels, blocks[1]),
        nn.SiLU(),
        nn.Conv2d(eighth_channels, channels, 1),
    )


class FullResolutionHead(nn.Module):
    """Two 3x3 convolutions whose output is added to the picture, [B, 3 + extra, H, W] -> [B, 3, H, W]; zero at first.

    Args:
        extra: channels beside red, green and blue, which only the convolutions read.
    """

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3 + extra, 2 * extra, 3, padding=1)
        self.conv2 = nn.Conv2d(2 * extra, 3, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        if self.conv2.bias is not None:
            nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.conv2(F.silu(self.conv1(x)))
        return x[:, :3] + added


@torch.no_grad()
def same_in_every_phase(conv: nn.Conv2d, factor: int, first: int = 0) -> None:
    """Start all phases of a pixel shuffle with the same filter, so that there is no lattice: ICNR (Aitken et al. 2017).

    Args:
        conv: the convolution before the shuffle, weight [C * factor^2, ...].
        factor: upscaling factor of the shuffle.
        first: output channels of the shuffle before this one are left as they are.
    """
    phases = factor**2
    weight = conv.weight[first * phases :]
    weight.copy_(weight[::phases].repeat_interleave(phases, dim=0))
    if conv.bias is not None:
        conv.bias[first * phases :] = conv.bias[first * phases :: phases].repeat_interleave(phases)


def patch_decoder(
    channels: int, quarter_channels: int, eighth_channels: int, blocks: tuple[int, int], full_channels: int = 0
) -> nn.Sequential:
    """Return the decoder, [B,channels,H/8,W/8] -> [B,3,H,W].

    Args:
        channels: channels of the input.
        quarter_channels: width of the convolutions on the 1/4 grid.
        eighth_channels: width of the convolutions on the 1/8 grid.
        blocks: number of residual blocks on the 1/8 and on the 1/4 grid.
        full_channels: channels beside the picture's three that reach the head at full resolution; 0: no head.
    """
    last = nn.Conv2d(quarter_channels, 16 * (3 + full_channels), 3, padding=1)
    if full_channels:
        same_in_every_phase(last, 4, first=3)
    return nn.Sequential(
        nn.Conv2d(channels, eighth_channels, 3, padding=1),
        residual_stack(eighth_channels, blocks[0]),
        nn.Conv2d(eighth_channels, 4 * quarter_channels, 1),
        nn.PixelShuffle(2),
        residual_stack(quarter_channels, blocks[1]),
        nn.SiLU(),
        last,
        nn.PixelShuffle(4),
        *([FullResolutionHead(full_channels)] if full_channels else []),
    )
