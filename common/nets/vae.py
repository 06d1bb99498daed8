"""Variational autoencoder at f8 (Kingma & Welling 2014): the latent that feature_imputing quantizes, loses and imputes.

    x [B,3,H,W] in [0,1] -> (mean, log variance) [B,C,H/8,W/8]; the mean, scaled to unit variance, is the feature y
    y [B,C,H/8,W/8] -> x_hat [B,3,H,W] in [0,1]

Small noise and a small prior in training keep the latent smooth: a quantizer's error, or an imputer's, changes the
picture by little. The scale is measured over training pictures and kept with the weights.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from gocom.common.nets.autoencoder import patch_decoder, patch_encoder


class Vae(ModelMixin, ConfigMixin):
    """Image to a latent of unit variance and back.

    Args:
        latent_channels: C.
        quarter_channels: width of the convolutions on the 1/4 grid.
        eighth_channels: width of the convolutions on the 1/8 grid.
        encoder_blocks: residual blocks (1/4 grid, 1/8 grid) in the encoder.
        decoder_blocks: residual blocks (1/8 grid, 1/4 grid) in the decoder.
    """

    latent_mean: Tensor
    latent_std: Tensor

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 8,
        quarter_channels: int = 96,
        eighth_channels: int = 192,
        encoder_blocks: tuple[int, int] = (1, 2),
        decoder_blocks: tuple[int, int] = (4, 3),
    ) -> None:
        super().__init__()
        self.encoder = patch_encoder(2 * latent_channels, quarter_channels, eighth_channels, encoder_blocks)
        self.decoder = patch_decoder(latent_channels, quarter_channels, eighth_channels, decoder_blocks)
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B,3,H,W] in [0,1], sides multiples of 8 -> (mean, log variance), each [B,C,H/8,W/8], not scaled."""
        mean, log_variance = self.encoder(x * 2 - 1).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)

    def encode(self, x: Tensor) -> Tensor:
        """x [B,3,H,W] in [0,1], sides multiples of 8 -> y [B,C,H/8,W/8], each channel of about unit variance."""
        mean, _ = self.posterior(x)
        return (mean - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def decode(self, y: Tensor) -> Tensor:
        """y [B,C,h,w] -> x_hat [B,3,8h,8w] in [0,1]."""
        return self.decode_latent(y * self.latent_std[:, None, None] + self.latent_mean[:, None, None]).clamp(0, 1)

    def decode_latent(self, z: Tensor) -> Tensor:
        """z [B,C,h,w], not scaled -> x_hat [B,3,8h,8w], not clamped."""
        x_hat: Tensor = self.decoder(z)
        return (x_hat + 1) / 2

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Training pass: (x_hat of a draw, mean, log variance)."""
        mean, log_variance = self.posterior(x)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return self.decode_latent(z), mean, log_variance
