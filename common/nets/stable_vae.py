"""The autoencoder of Stable Diffusion (Rombach et al. 2022): a latent of four channels, one position for 8x8 pixels."""

from __future__ import annotations

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from gocom.common.net_geometry import latent_geometry


class StableVae:
    """LatentAutoencoder on an AutoencoderKL.

    It differs from ours in that one scale for all channels, and no mean, brings its latent to about unit variance: the
    diffusion models of Stable Diffusion are trained on the latent so scaled. The features are the mean of the posterior
    and not a sample of it, so that a picture has the same features each time.

    Args:
        net: the autoencoder. It may be of half precision.
    """

    def __init__(self, net: AutoencoderKL) -> None:
        self.net = net
        self.scale: float = net.config.scaling_factor
        self.latent_channels, self.patch_px = latent_geometry({"_class_name": "AutoencoderKL", **net.config})

    def encode(self, x: Tensor) -> Tensor:
        """Return the features, float32 [B,C,h,w], of images; see `LatentAutoencoder`."""
        mean: Tensor = self.net.encode((x * 2 - 1).to(self.net.dtype), return_dict=False)[0].mean
        return mean.float() * self.scale

    def decode(self, y: Tensor) -> Tensor:
        """Return the images, float32 [B,3,H,W] in [0,1], of features, float32 [B,C,h,w]."""
        x_hat: Tensor = self.net.decode((y / self.scale).to(self.net.dtype), return_dict=False)[0]
        return ((x_hat.float() + 1) / 2).clamp(0, 1)
