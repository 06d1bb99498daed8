"""Encoder and decoder of the f8 autoencoders: each position of the latent stands for a patch of 8x8 pixels.

    x [B,3,H,W] -> unshuffle/4 -> 1/4 grid -> 1/8 grid -> z [B,D,H/8,W/8]
    z [B,D,H/8,W/8] -> 1/8 grid -> 1/4 grid -> shuffle*4 -> x_hat [B,3,H,W]

No convolution runs at full resolution, which makes them fast enough for two CPU cores.
"""

from __future__ import annotations

from torch import nn

from gocom.common.nets.blocks import residual_stack

PATCH_PX = 8
"""Side in pixels of the patch that a latent position stands for."""


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


def patch_decoder(channels: int, quarter_channels: int, eighth_channels: int, blocks: tuple[int, int]) -> nn.Sequential:
    """Return the decoder, [B,channels,H/8,W/8] -> [B,3,H,W].

    Args:
        channels: channels of the input.
        quarter_channels: width of the convolutions on the 1/4 grid.
        eighth_channels: width of the convolutions on the 1/8 grid.
        blocks: number of residual blocks on the 1/8 and on the 1/4 grid.
    """
    return nn.Sequential(
        nn.Conv2d(channels, eighth_channels, 3, padding=1),
        residual_stack(eighth_channels, blocks[0]),
        nn.Conv2d(eighth_channels, 4 * quarter_channels, 1),
        nn.PixelShuffle(2),
        residual_stack(quarter_channels, blocks[1]),
        nn.SiLU(),
        nn.Conv2d(quarter_channels, 48, 3, padding=1),
        nn.PixelShuffle(4),
    )
