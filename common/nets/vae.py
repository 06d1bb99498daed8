"""Variational autoencoder at f8 (Kingma & Welling 2014) whose latent feature_imputing quantizes, sends and imputes.

    x [B,3,H,W] in [0,1] -> (mean, log variance) [B,C,H/8,W/8]; the mean, scaled to unit variance, is the feature y
    y [B,C,H/8,W/8] -> x_hat [B,3,H,W] in [0,1]

Small noise and a small weight of the prior in training keep the latent smooth, so that an error of the quantizer or of
the imputer changes the picture only a little. The scale is measured on training pictures and stored with the weights.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from gocom.common.net_geometry import F8_PATCH_PX
from gocom.common.nets.autoencoder import patch_decoder, patch_encoder


class Vae(ModelMixin, ConfigMixin):
    """Autoencoder between images and a latent of unit variance.

    Args:
        latent_channels: channels of the latent, C.
        quarter_channels: width of the convolutions on the 1/4 grid.
        eighth_channels: width of the convolutions on the 1/8 grid.
        encoder_blocks: residual blocks (1/4 grid, 1/8 grid) in the encoder.
        decoder_blocks: residual blocks (1/8 grid, 1/4 grid) in the decoder.
        full_channels: channels of the decoder at full resolution beside the picture's three; 0: none, as before it had
            a head there.
    """

    patch_px = F8_PATCH_PX
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
        full_channels: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = patch_encoder(2 * latent_channels, quarter_channels, eighth_channels, encoder_blocks)
        self.decoder = patch_decoder(latent_channels, quarter_channels, eighth_channels, decoder_blocks, full_channels)
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    @property
    def latent_channels(self) -> int:
        """Channels of the latent, C."""
        return len(self.latent_mean)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (mean, log variance), each [B,C,H/8,W/8] and unscaled, of x, [B,3,H,W] in [0,1].

        The sides of x are multiples of 8.
        """
        mean, log_variance = self.encoder(x * 2 - 1).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)

    def encode(self, x: Tensor) -> Tensor:
        """Return the features y, [B,C,H/8,W/8], each channel of about unit variance, of x, [B,3,H,W] in [0,1].

        The sides of x are multiples of 8.
        """
        mean, _ = self.posterior(x)
        return (mean - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def decode(self, y: Tensor) -> Tensor:
        """Return the image x_hat, [B,3,8h,8w] in [0,1], of features y, [B,C,h,w]."""
        return self.decode_latent(y * self.latent_std[:, None, None] + self.latent_mean[:, None, None]).clamp(0, 1)

    def decode_latent(self, z: Tensor) -> Tensor:
        """Return the image x_hat, [B,3,8h,8w], not clamped, of an unscaled latent z, [B,C,h,w]."""
        x_hat: Tensor = self.decoder(z)
        return (x_hat + 1) / 2

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (x_hat, mean, log variance) for training; x_hat, not clamped, decodes a sample of the posterior."""
        mean, log_variance = self.posterior(x)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return self.decode_latent(z), mean, log_variance
